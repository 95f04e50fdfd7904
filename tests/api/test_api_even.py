"""Two loops on one listening socket share the connections that are kept."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import ExitStack
from typing import cast

import pytest
import uvloop

from api.even import EvenLoop


class _Kept(asyncio.Protocol):
    """A protocol as uvicorn's: it knows the connections of its server."""

    def __init__(self, connections: set[_Kept]) -> None:
        self.connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)

    def shutdown(self) -> None:
        self.transport.close()


class _Process:
    """A loop in a thread, standing in for a server process that has the socket from its parent."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self.loop, self.held = loop, set[_Kept]()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        self.server = self._do(loop.create_server(lambda: _Kept(self.held), sock=sock.dup()))

    def _do(self, work: object) -> asyncio.AbstractServer:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)  # type: ignore[arg-type]

    def close(self) -> None:
        async def end() -> None:
            self.server.close()
            await self.server.wait_closed()
            for kept in list(self.held):
                kept.transport.close()

        self._do(end())
        self.loop.call_soon_threadsafe(self.loop.stop)


def _shares(kind: type[asyncio.AbstractEventLoop]) -> list[int]:
    with ExitStack() as stack:
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        both = [_Process(kind(), sock) for _ in range(2)]
        for process in both:
            stack.callback(process.close)
        clients = [stack.enter_context(socket.create_connection(sock.getsockname())) for _ in range(24)]
        for client in clients:
            client.settimeout(10)
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        return sorted(len(p.held) for p in both)


def test_kept_connections_are_shared() -> None:
    few, many = _shares(EvenLoop)
    assert few + many == 24
    assert few >= 6, "a burst of boxes is no business of one process alone"


def test_a_closed_server_takes_nobody_and_leaves_the_rest_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        process = _Process(EvenLoop(), sock)
        with socket.create_connection(sock.getsockname()) as client:
            client.settimeout(10)
            client.sendall(b"a")
            assert client.recv(1) == b"a"
            process.loop.call_soon_threadsafe(process.server.close)
            while process.server.is_serving():
                time.sleep(0.01)
            with socket.create_connection(sock.getsockname()) as late:
                late.settimeout(0.3)
                late.sendall(b"b")
                with pytest.raises(TimeoutError):
                    late.recv(1)
            client.sendall(b"c")
            assert client.recv(1) == b"c"
        process.close()


def test_a_connection_that_is_opened_while_the_server_closes_ends_as_well() -> None:
    """Else a box would be served on it for as long as an end may take, and then be cut off."""

    async def serve(sock: socket.socket) -> set[_Kept]:
        loop, held = asyncio.get_running_loop(), set[_Kept]()

        def factory() -> _Kept:
            loop.call_soon(lambda: server.close())  # before the connection is made, after it was taken
            return _Kept(held)

        server = await loop.create_server(factory, sock=sock)
        with socket.create_connection(sock.getsockname()) as client:
            client.setblocking(False)
            assert await asyncio.wait_for(loop.sock_recv(client, 1), 60) == b""
        await server.wait_closed()
        return held

    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        asyncio.Runner(loop_factory=EvenLoop) as runner,
    ):
        assert runner.run(serve(sock.dup())) == set()


def test_without_a_socket_it_is_uvloop() -> None:
    async def serve() -> bool:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()
        return type(server).__module__.startswith("uvloop")

    with asyncio.Runner(loop_factory=EvenLoop) as runner:
        assert runner.run(serve())
    assert issubclass(EvenLoop, uvloop.Loop)
