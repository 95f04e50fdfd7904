"""An event loop whose listening sockets share connections evenly among the processes that listen on them.

Boxes and proxies keep their connections, and the process that wakes first would take all that wait: one core works, the
other looks on. Here a process takes one connection at a time, and then lets the socket rest the longer the more
connections it holds, so that another one takes the next. Nothing is shared but the socket.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvloop

# Long enough for the other process to wake up, short enough for a page with many pictures.
REST_S, MOST_S = 0.001, 0.02
TROUBLE_S = 0.1


class EvenLoop(uvloop.Loop):
    """uvloop's loop; sockets that are handed to it, as uvicorn's processes get theirs, are listened on evenly."""

    async def create_server(self, protocol_factory: Any, *args: Any, **more: Any) -> Any:
        """Listen on the socket `sock` evenly; anything else is uvloop's own business."""
        sock = more.get("sock")
        if sock is None or more.get("ssl") is not None:
            return await super().create_server(protocol_factory, *args, **more)
        sock.setblocking(False)
        sock.listen(more.get("backlog") or 100)
        return EvenServer(self, sock, protocol_factory)


class EvenServer:
    """Takes connections off a socket until it is closed; those that are taken live on."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, factory: Callable[[], Any]
    ) -> None:
        self._loop, self._sock, self._factory = loop, sock, factory
        self._resting: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.sockets = (sock,)
        self._listen()

    def _listen(self) -> None:
        self._resting = None
        self._loop.add_reader(self._sock, self._take)

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock)
        self._resting = self._loop.call_later(seconds, self._listen)

    def _take(self) -> None:
        try:
            taken, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was faster
        except OSError:
            self._rest(TROUBLE_S)  # no descriptor or memory left; those who wait stay in the backlog
            return
        taken.setblocking(False)
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = self._factory()
        self._rest(min(MOST_S, REST_S * (1 + len(protocol.connections))))
        task = self._loop.create_task(self._open(protocol, taken))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, protocol: Any, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, taken)
        except OSError:
            taken.close()
            return
        if self._closed:
            # Whoever closed the server has told the connections that there were to end. One that was being opened meanwhile
            # would be served on, until the time for an end is over and its request is cut off.
            protocol.shutdown()

    def is_serving(self) -> bool:
        """True until `close`."""
        return not self._closed

    def close(self) -> None:
        """Take no more connections."""
        if self._closed:
            return
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        self._loop.remove_reader(self._sock)

    async def wait_closed(self) -> None:
        """Wait for the connections that were taken last."""
        if self._opening:
            await asyncio.gather(*self._opening, return_exceptions=True)
