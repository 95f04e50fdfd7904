"""A webhook's name is asked once: the address that was checked is the one that is called."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api import outbox

PUBLIC, PRIVATE = "93.184.215.14", "169.254.169.254"


def _names(monkeypatch: pytest.MonkeyPatch, answers: list[str]) -> list[str]:
    asked: list[str] = []

    def ask(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        address = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(outbox.socket, "getaddrinfo", ask)
    return asked


def test_the_checked_address_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, sent = _names(monkeypatch, [PUBLIC, PRIVATE]), []

    def take(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(take)) as client:
        url = "https://hooks.example:8443/in?a=b"
        assert not outbox._send(client, url, "whsec_eA==", "1", {}, datetime.now(UTC), False)
    (request,) = sent
    assert asked == ["hooks.example"]
    assert str(request.url) == f"https://{PUBLIC}:8443/in?a=b"
    assert request.headers["host"] == "hooks.example:8443"
    assert request.extensions["sni_hostname"] == "hooks.example"


@pytest.mark.parametrize("address", [PRIVATE, "127.0.0.1", "10.1.2.3", "::1", "fd00::1"])
def test_private_addresses_are_not_called(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    _names(monkeypatch, [address])

    def never(_: httpx.Request) -> httpx.Response:
        raise AssertionError("called")

    with httpx.Client(transport=httpx.MockTransport(never)) as client:
        said = outbox._send(client, "https://h.example/", "whsec_eA==", "1", {}, datetime.now(UTC), False)
    assert "private" in said


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:4700::1111", True),
        ("2002:5db8:d70e::1", True),  # 6to4 of PUBLIC
        ("64:ff9b::5db8:d70e", True),  # NAT64 of PUBLIC
        ("224.0.0.1", False),
        ("ff0e::1", False),
        ("fec0::1", False),
        ("2002:7f00:1::", False),
        ("2002:a00:5::1", False),
        ("64:ff9b::a00:5", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("::7f00:1", False),
        ("::a00:5", False),
        ("::ffff:10.0.0.5", False),
        ("2001:0:5db8:d70e::f5ff:fffa", False),  # Teredo of 10.0.0.5 by PUBLIC
    ],
)
def test_an_address_that_carries_a_private_one_is_private(address: str, public: bool) -> None:
    host = f"[{address}]" if ":" in address else address
    refused, there = outbox.resolve(f"https://{host}/x", False)
    assert (refused is None, bool(there)) == (public, public)
