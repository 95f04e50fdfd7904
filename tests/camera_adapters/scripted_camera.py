"""A camera that answers by a script and notes what it is asked."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from camera_adapters.rtp import AccessUnit
from camera_adapters.rtsp_link import headers_of
from camera_adapters.rtsp_reader import RtspReader

SETS = [b"\x67sps", b"\x68pps"]


SDP = "v=0\r\ns=x\r\n{session}m=audio 0 RTP/AVP 0\r\na=control:audio\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 {codec}/90000\r\n{fmtp}a=control:trackID=1\r\n"


KEY = b"\x65picture"


def sdp(codec: str = "H264", fmtp: str = "", session: str = "") -> str:
    return SDP.format(codec=codec, session=session, fmtp=f"a=fmtp:96 {fmtp}\r\n" if fmtp else "")


class Scripted:
    """A camera that answers by a script and notes what it is asked."""

    def __init__(self, description: str = "", public: str = "OPTIONS, DESCRIBE") -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.reports: list[bytes] = []
        self.description, self.public = description or sdp(), public
        self.base = ""
        self.transport = "RTP/AVP/TCP;unicast;interleaved=2-3"
        self.refusal: dict[str, str] = {}
        self.play: Callable[[socket.socket], None] = lambda _: None
        self._number = itertools.count(1)

    def packet(self, payload: bytes = KEY, stamp: int = 0) -> bytes:
        body = struct.pack("!BBHII", 0x80, 0xE0, next(self._number) & 0xFFFF, stamp, 7) + payload
        return struct.pack("!cBH", b"$", 2, len(body)) + body

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.asked]

    def serve(self, connection: socket.socket) -> None:
        # A client that goes with packets unread resets the connection.
        with suppress(ConnectionError), connection, connection.makefile("rb") as lines:
            while first := lines.read(1):
                if first == b"$":
                    head = lines.read(3)
                    self.reports.append(head + lines.read(int.from_bytes(head[1:], "big")))
                    continue
                told = [(first + lines.readline()).decode().strip()]
                while line := lines.readline().decode().strip():
                    told.append(line)
                method, url, _ = told[0].split(" ")
                headers = headers_of("\r\n".join(told))
                self.asked.append((method, url, headers))
                self.answer(connection, method, url, headers)

    def answer(self, to: socket.socket, method: str, url: str, headers: dict[str, str]) -> None:
        status, extra, body = self.refusal.get(method, "200 OK"), "", ""
        if method == "OPTIONS":
            extra = f"Public: {self.public}\r\n"
        elif method == "DESCRIBE":
            body = self.description
            extra = f"Content-Base: {self.base or url}\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            extra = f"Transport: {self.transport}\r\nSession: 77;timeout=60\r\n"
        to.sendall(f"RTSP/1.0 {status}\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n{body}".encode())
        if method == "PLAY" and status == "200 OK":
            self.play(to)


@contextmanager
def serving(camera: Scripted) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                connection.settimeout(None)
                threading.Thread(target=camera.serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"rtsp://viewer:s3cret-word@127.0.0.1:{server.getsockname()[1]}/cam/realmonitor?channel=1&subtype=0"
        finally:
            over.set()
            thread.join(10)


def pictures(reader: RtspReader, count: int) -> list[AccessUnit]:
    units: list[AccessUnit] = []
    end = time.monotonic() + 60
    while len(units) < count:
        assert time.monotonic() < end
        units += reader.read(0.2)[0]
    return units
