"""A GB/T 28181 camera that registers with this box itself: `gb28181://:PASSWORD@BIND-HOST:PORT/DEVICE/CHANNEL?transport=tcp`.

Tried against our own device simulator only.
"""

from __future__ import annotations

import math
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from urllib.parse import parse_qs, unquote, urlsplit

from camera_adapters.clock import Clock
from camera_adapters.coded import CodedPicture
from camera_adapters.gb_platform import GbPlatform
from camera_adapters.ps import RtpToAccessUnits
from camera_adapters.reasons import StreamFaultError
from camera_adapters.ring import StreamParams
from camera_adapters.rtp_order import REORDERED
from camera_adapters.rtsp import Connection, RtspStream
from camera_adapters.stream import FrameSink, StreamOptions

_BASE = Fraction(1, 90_000)
_PLATFORMS: dict[tuple[str, int], GbPlatform] = {}
_PLATFORMS_LOCK = threading.Lock()


def bind_of(url: str) -> tuple[tuple[str, int], str]:
    """Return where the platform of an address listens, and its password.

    Raises:
        ValueError: it names no host, or all addresses of this machine.
    """
    parts = urlsplit(url)
    # Devices are told it, and send their picture there.
    if parts.hostname in {"0.0.0.0", "::"}:  # noqa: S104
        raise ValueError(
            f"url: {parts.hostname} is no address that a device can send to; "
            "write this machine's own address in the devices' network"
        )
    if not parts.hostname:
        raise ValueError(
            "url: no host; write gb28181://:PASSWORD@BIND-HOST:PORT, the address of this machine"
        )
    return (parts.hostname, parts.port or 5060), unquote(parts.password or "")


def platform_at(host: str, port: int, password: str) -> GbPlatform:
    """Return the process's platform on an address, started at the first call; from now on devices need this password."""
    with _PLATFORMS_LOCK:
        platform = _PLATFORMS.get((host, port))
        if platform is None:
            platform = _PLATFORMS[(host, port)] = GbPlatform((host, port), password)
            platform.start()
        platform.password = password
        return platform


class GbStream(RtspStream):
    """One channel of a registered device. What its packets mean, and when they are none, is told as of a camera over RTSP."""

    def __init__(
        self,
        camera_id: str,
        url: str,
        sink: FrameSink,
        options: StreamOptions,
        clock: Clock,
        platform: GbPlatform | None = None,
    ) -> None:
        parts = urlsplit(url)
        ids = [x for x in parts.path.split("/") if x]
        if not parts.hostname or len(ids) != 2 or not all(x.isdigit() and len(x) == 20 for x in ids):
            raise ValueError(
                "url: write gb28181://:PASSWORD@BIND-HOST:PORT/DEVICE/CHANNEL with two ids of 20 digits"
            )
        super().__init__(camera_id, url, sink, options, clock)
        self._device, self._channel = ids
        # The limits of a host are a device's here: the address's host is this machine.
        self._host = self._device
        self._bind, self._password = bind_of(url)
        self._tcp = parse_qs(parts.query).get("transport", [options.transport])[0] == "tcp"
        self._platform = platform
        # Since when a packet has been missing; None after a key frame.
        self._torn_s: float | None = None

    def _session(self, stop: threading.Event) -> None:
        platform = self._platform or platform_at(*self._bind, self._password)
        platform.wait_for(self._device, self._options.stall_s)
        with closing(_media_socket(self._bind[0], self._tcp)) as listening:
            dialog = platform.invite(
                self._device, self._channel, listening.getsockname(), self._tcp, self._options.stall_s
            )
            try:
                self._watch(listening, stop)
            finally:
                platform.bye(dialog)

    def _watch(self, listening: socket.socket, stop: threading.Event) -> None:
        joiner, times = RtpToAccessUnits(0 if self._tcp else REORDERED), _TimeLine()
        last, connection = self._clock.monotonic(), None
        for data in _packets(listening, self._tcp, stop, self._options.stall_s):
            now = self._clock.monotonic()
            for unit in joiner.feed(data, now) if data else joiner.pause():
                last = now
                if unit.codec == "svac":
                    raise StreamFaultError("codec", "the channel sends SVAC; set it to H.264 or H.265")
                # The codec is known only once the stream names it, and may be set anew.
                if connection is None or connection.params.codec != unit.codec:
                    params = StreamParams(unit.codec, 0, 0, _BASE, None, self._epoch + 1)
                    connection = self._connection(params, lambda _: None)
                if unit.key:
                    self._torn_s = None
                elif unit.torn and self._torn_s is None:
                    self._torn_s = now
                self._packet(
                    CodedPicture(unit.data, unit.key, times.unwrapped(unit.pts90k), unit.torn),
                    connection,
                    last,
                )
            if now - last > self._options.stall_s:
                self._stalled("timeout", f"no picture for {self._options.stall_s:g} s")

    def _key_due(self, connection: Connection) -> float:
        # Devices are asked for a key frame only by a new play, and sub streams have GOPs of a minute: one counts as late where
        # none has come yet, or where what comes cannot be shown without it.
        if not connection.keys:
            since = connection.last_key
        elif self._torn_s is not None:
            since = self._torn_s
        else:
            since = connection.last_picture if connection.decoder.barren else math.inf
        return since + connection.key_wait_s

    def _words(self, params: StreamParams) -> str:
        return f"{super()._words(params)} over GB/T 28181"


class _TimeLine:
    """The times of one play, counted on where the device's counter of 33 bits, or of 32, begins anew."""

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrapped(self, pts90k: int | None) -> int | None:
        if pts90k is None:
            return None
        last = pts90k if self._last is None else self._last
        self._last = last + (pts90k - last + 2**31) % 2**32 - 2**31
        return self._last


def _media_socket(host: str, tcp: bool) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    if not tcp:
        # A key frame of a 4 Mbit/s camera comes in one burst of a hundred packets and more.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    listening.bind((host, 0))
    listening.settimeout(0.5)
    if tcp:
        listening.listen(1)
    return listening


def _packets(listening: socket.socket, tcp: bool, stop: threading.Event, wait_s: float) -> Iterator[bytes]:
    """Yield RTP packets, and b"" twice a second when there are none, until `stop` is set."""
    if tcp:
        listening.settimeout(wait_s)
        connection, _ = listening.accept()
        with closing(connection):
            connection.settimeout(0.5)
            yield from _framed(connection, stop)
        return
    while not stop.is_set():
        try:
            yield listening.recv(65_535)
        except TimeoutError:
            yield b""


def _framed(connection: socket.socket, stop: threading.Event) -> Iterator[bytes]:
    """Yield packets with a two-byte length before each (RFC 4571)."""
    buffer = bytearray()
    while not stop.is_set():
        try:
            data = connection.recv(65_535)
        except TimeoutError:
            yield b""
            continue
        if not data:
            raise StreamFaultError("eof", "the device closed the connection")
        buffer += data
        while len(buffer) >= 2 and len(buffer) >= 2 + (size := struct.unpack_from("!H", buffer)[0]):
            yield bytes(buffer[2 : 2 + size])
            del buffer[: 2 + size]
