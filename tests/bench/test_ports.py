"""Ports for servers: never the same for two processes, free again when one has ended."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from bench import ports

FIRST = 30_000
CHILD = """
from bench import ports
ports.PORTS = range({first}, {first} + 40)
print(*[ports.free_port() for _ in range(15)], flush=True)
input()
"""


def test_two_processes_are_never_given_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PORTS", range(FIRST, FIRST + 40))
    command = [sys.executable, "-c", CHILD.format(first=FIRST)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        theirs = {int(word) for word in other.stdout.readline().split()}
        mine = {ports.free_port() for _ in range(15)}
        other.communicate("\n")
    assert len(theirs) == len(mine) == 15
    assert not theirs & mine
    monkeypatch.setattr(ports, "PORTS", sorted(theirs)[:1])
    assert ports.free_port() in theirs


def test_a_port_on_which_somebody_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(ports, "PORTS", range(server.getsockname()[1], server.getsockname()[1] + 1))
        with pytest.raises(RuntimeError, match="no free port"):
            ports.free_port()
