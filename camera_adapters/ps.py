"""MPEG program stream (ISO/IEC 13818-1) over RTP, as GB/T 28181 devices send it, to access units."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from camera_adapters.rtp import payload_span

_STREAM_TYPES = {0x1B: "h264", 0x24: "hevc", 0x80: "svac"}
_MAX_FRAME_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One compressed picture in Annex B form; `pts90k` in 1/90000 s, None where the stream gives none."""

    codec: str
    pts90k: int | None
    data: bytes

    @property
    def key(self) -> bool:
        """Whether it begins with parameter sets or holds an intra picture."""
        at = 0
        while (at := self.data.find(b"\0\0\1", at)) >= 0 and at + 3 < len(self.data):
            head = self.data[at + 3]
            kind = (head >> 1) & 63 if self.codec == "hevc" else head & 31
            if kind in ((19, 20, 21, 33) if self.codec == "hevc" else (5, 7)):
                return True
            if (self.codec == "hevc" and kind < 10) or (self.codec != "hevc" and kind == 1):
                return False
            at += 3
        return False


class RtpToAccessUnits:
    """Joins RTP packets into program-stream frames; one with a missing packet is dropped whole and counted."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._next: int | None = None
        self._broken = False
        self._demuxer = PsDemuxer()
        self.dropped = 0

    def feed(self, packet: bytes) -> Iterator[AccessUnit]:
        """Take one RTP packet (RFC 3550) and yield the picture that it completes."""
        if len(packet) < 13 or packet[0] >> 6 != 2:
            return
        sequence = struct.unpack_from("!H", packet, 2)[0]
        if self._next is not None and sequence != self._next:
            if (sequence - self._next) & 0xFFFF > 0x8000:
                return  # late or repeated
            self._broken = True
        self._next = (sequence + 1) & 0xFFFF
        start, end = payload_span(packet, 0, len(packet))
        self._buffer += packet[start:end]
        if len(self._buffer) > _MAX_FRAME_BYTES:
            self._broken = True
            self._buffer.clear()
        if packet[1] & 0x80:
            yield from self._frame()

    def _frame(self) -> Iterator[AccessUnit]:
        data, broken = bytes(self._buffer), self._broken
        self._buffer.clear()
        self._broken = False
        if broken:
            self.dropped += 1
            return
        unit = self._demuxer.frame(data)
        if unit is not None:
            yield unit


class PsDemuxer:
    """Takes whole program-stream frames apart and remembers the codec that the stream map names."""

    def __init__(self) -> None:
        self.codec = "h264"

    def frame(self, data: bytes) -> AccessUnit | None:
        """Return the picture in a frame; None when it holds no video or is broken."""
        at, pts, video = 0, None, bytearray()
        while at + 6 <= len(data) and data[at : at + 3] == b"\0\0\1":
            kind = data[at + 3]
            if kind == 0xBA:
                if at + 14 > len(data):
                    break
                at += 14 + (data[at + 13] & 7)
                continue
            length = struct.unpack_from("!H", data, at + 4)[0]
            part = data[at + 6 : at + 6 + length]
            if kind == 0xBC:
                self._map(part)
            elif 0xE0 <= kind <= 0xEF and len(part) >= 3:
                if part[1] & 0x80 and pts is None and len(part) >= 8:
                    pts = _pts(part[3:8])
                video += part[3 + part[2] :]
            at += 6 + length
        return AccessUnit(self.codec, pts, bytes(video)) if video else None

    def _map(self, part: bytes) -> None:
        """Read the program stream map's video entry (13818-1, 2.5.4)."""
        if len(part) < 6:
            return
        start = 4 + struct.unpack_from("!H", part, 2)[0]
        if start + 2 > len(part):
            return
        entries = part[start + 2 : start + 2 + struct.unpack_from("!H", part, start)[0]]
        while len(entries) >= 4:
            if entries[1] & 0xF0 == 0xE0:
                self.codec = _STREAM_TYPES.get(entries[0], self.codec)
            entries = entries[4 + struct.unpack_from("!H", entries, 2)[0] :]


def _pts(field: bytes) -> int:
    b = field
    return (b[0] >> 1 & 7) << 30 | b[1] << 22 | (b[2] >> 1) << 15 | b[3] << 7 | b[4] >> 1
