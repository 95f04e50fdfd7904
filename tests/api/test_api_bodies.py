"""Bodies that a stranger or a careless client sends: read after the guard, and refused by name."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from api_parts import Centre

AREA = {
    "type": "Feature",
    "properties": {"code": "a"},
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
}


def test_nobody_reads_a_strangers_areas(house: Centre) -> None:
    read: list[int] = []

    async def receive() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": b"[]", "more_body": False}

    async def ask() -> int:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "PUT", "path": "/geo/grid", "raw_path": b"/geo/grid", "query_string": b"",
            "headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http",
            "server": ("centre", 80), "client": ("203.0.113.9", 5), "root_path": "",
        }  # fmt: skip
        await house.app(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(ask()) == 401
    assert read == []


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b"9" * 6000,
        json.dumps({"type": "FeatureCollection", "features": [AREA]}).replace("[1, 0]", f"[{10**400}, 0]").encode(),
        *(
            json.dumps({"type": "FeatureCollection", "features": [AREA | {"properties": {"code": "a"} | wrong}]}).encode()
            for wrong in ({"code": "a\ud800"}, {"name": "a\ud800"}, {"unit": "a\ud800"})
        ),
    ],
    ids=["empty", "broken", "list", "no UTF-8", "deep", "digits", "huge", "code", "name", "unit"],
)  # fmt: skip
def test_areas_that_are_none(house: Centre, sent: bytes) -> None:
    answer = house.person("root", "admin").put(
        "/geo/grid", content=sent, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
