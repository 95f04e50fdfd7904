"""A GB/T 28181 camera that registers with this box itself: `gb28181://:PASSWORD@BIND-HOST:PORT/DEVICE/CHANNEL?transport=tcp`.

Tried against our own device simulator only.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from functools import partial
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

import av

from camera_adapters.capture import CaptureClock
from camera_adapters.clock import Clock
from camera_adapters.decoder import OnDemandDecoder, Stamp, software
from camera_adapters.gb_platform import GbPlatform
from camera_adapters.live import LiveStream
from camera_adapters.ps import AccessUnit, RtpToAccessUnits
from camera_adapters.reasons import StreamFaultError
from camera_adapters.ring import RingPacket, StreamParams
from camera_adapters.stream import FrameSink, StreamOptions, StreamState

_BASE = Fraction(1, 90_000)
_PLATFORMS: dict[tuple[str, int], GbPlatform] = {}
_PLATFORMS_LOCK = threading.Lock()


def bind_of(url: str) -> tuple[tuple[str, int], str]:
    """Return where the platform of an address listens, and its password.

    Raises:
        ValueError: it names no host.
    """
    parts = urlsplit(url)
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


class GbStream(LiveStream):
    """One channel of a registered device."""

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
        super().__init__(camera_id, url, ids[0], sink, options, clock)
        self._device, self._channel = ids
        self._bind, self._password = bind_of(url)
        self._tcp = parse_qs(parts.query).get("transport", [options.transport])[0] == "tcp"
        self._platform = platform

    def _session(self, stop: threading.Event) -> None:
        platform = self._platform or platform_at(*self._bind, self._password)
        platform.wait_for(self._device, self._options.stall_s)
        self._epoch += 1
        with closing(_media_socket(self._bind[0], self._tcp)) as listening:
            dialog = platform.invite(
                self._device, self._channel, listening.getsockname(), self._tcp, self._options.stall_s
            )
            try:
                self._receive(listening, stop)
            finally:
                platform.bye(dialog)

    def _receive(self, listening: socket.socket, stop: threading.Event) -> None:
        joiner, picture = RtpToAccessUnits(), _Pictures(self._options, self._epoch)
        last = self._clock.monotonic()
        for packet in _packets(listening, self._tcp, stop, self._options.stall_s):
            for unit in joiner.feed(packet) if packet else ():
                last = self._clock.monotonic()
                self._picture(unit, picture, last)
            if self._clock.monotonic() - last > self._options.stall_s:
                if self._state is StreamState.LIVE:
                    self._go(StreamState.STALLED, f"no picture for {self._options.stall_s:g} s")
                raise StreamFaultError("timeout", f"no picture for {self._options.stall_s:g} s")

    def _picture(self, unit: AccessUnit, state: _Pictures, mono: float) -> None:
        if unit.codec == "svac":
            raise StreamFaultError("codec", "the channel sends SVAC; set it to H.264 or H.265")
        params, decoder = state.of(unit)
        self._packet_came(f"{unit.codec} over GB/T 28181")
        pts_s = None if unit.pts90k is None else unit.pts90k / 90_000
        capture = state.capture.stamp(pts_s, None, self._clock.now(), mono)
        packet = cast("av.Packet[av.VideoStream]", av.Packet(unit.data))
        packet.pts = packet.dts = unit.pts90k
        packet.time_base, packet.is_keyframe = _BASE, unit.key
        if self.ring is not None:
            self.ring.push(
                RingPacket(capture.at, unit.key, packet.pts, packet.dts, unit.data, params, capture.mono_s)
            )
        for decoded in decoder.feed(packet, Stamp(capture.at, capture.mono_s), self.demand):
            state.size = (decoded.video.width, decoded.video.height)
            self._deliver(decoded, capture.source, None)


class _Pictures:
    """The decoder of one play; the codec is known only once the stream names it."""

    def __init__(self, options: StreamOptions, epoch: int) -> None:
        self.capture = CaptureClock(options.max_skew_s)
        self.size = (0, 0)
        self._epoch, self._codec = epoch, ""
        self._decoder: OnDemandDecoder | None = None

    def of(self, unit: AccessUnit) -> tuple[StreamParams, OnDemandDecoder]:
        if self._decoder is None or unit.codec != self._codec:
            self._codec = unit.codec
            renew = partial(software, unit.codec)
            self._decoder = OnDemandDecoder(renew(), renew)
        return StreamParams(unit.codec, *self.size, _BASE, None, self._epoch), self._decoder


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
