"""A client that costs little: requests written beforehand, sent over kept connections by one asyncio loop.

The clients of a load test stand on the machine that they measure; an ordinary one takes a third of its cores.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass


class LoadError(RuntimeError):
    """The server answered with an error, or not at all."""


@dataclass(frozen=True)
class Took:
    """What a run took: seconds of each act, and of all."""

    acts: list[float]
    seconds: float

    def row(self) -> dict[str, float]:
        """Return count, rate and quantiles."""
        ordered = sorted(self.acts)
        at = {q: ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 95, 99)}
        return {
            "n": len(ordered),
            "per_s": round(len(ordered) / self.seconds, 1),
            **{f"p{q}_ms": round(1000 * s, 1) for q, s in at.items()},
        }


def request(method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> bytes:
    """Return the bytes of an HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: centre", *(f"{k}: {v}" for k, v in headers.items())]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class Connection:
    """One kept connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to the loopback."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    async def ask(self, raw: bytes) -> bytes:
        """Send a request and return the answer's body; raises `LoadError` unless it is 2xx with a length."""
        self._writer.write(raw)
        await self._writer.drain()
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = await self._reader.readexactly(length) if length else b""
        if not 200 <= status < 300:
            raise LoadError(f"{raw[:80]!r}: {status} {body[:300]!r}")
        return body

    async def close(self) -> None:
        """End the connection."""
        self._writer.close()
        await self._writer.wait_closed()


Act = Callable[[Connection], Awaitable[None]]


def sends(*raw: bytes) -> Act:
    """Return the act that sends some requests, one after the other."""

    async def act(connection: Connection) -> None:
        for one in raw:
            await connection.ask(one)

    return act


def play(port: int, clients: Sequence[Sequence[Act]]) -> Took:
    """Let each client do its acts in order over a connection of its own, all clients at once."""
    took: list[float] = []

    async def client(connection: Connection, acts: Sequence[Act]) -> None:
        for act in acts:
            began = time.perf_counter()
            await act(connection)
            took.append(time.perf_counter() - began)

    async def everybody() -> float:
        connections = [await Connection.open(port) for _ in clients]
        began = time.perf_counter()
        await asyncio.gather(*(client(c, acts) for c, acts in zip(connections, clients, strict=True)))
        seconds = time.perf_counter() - began
        for connection in connections:
            await connection.close()
        return seconds

    return Took(took, asyncio.run(everybody()))
