"""MPEG program stream (ISO/IEC 13818-1) over RTP, as GB/T 28181 devices send it, to access units."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from camera_adapters.rtp import payload_span
from camera_adapters.rtp_order import REORDERED, RtpOrder

_PREFIX, _PACK = b"\0\0\1", b"\0\0\1\xba"
_SYSTEM = re.compile(rb"\x00\x00\x01[\xb9-\xff]")
# Of private data, padding and sound.
_PRIVATE, _LAST_SOUND = 0xBD, 0xDF
_STREAM_TYPES = {0x1B: "h264", 0x24: "hevc", 0x80: "svac"}
_MAX_FRAME_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One compressed picture in Annex B form.

    Attributes:
        pts90k: when it is shown in 1/90000 s; None where the stream does not tell.
        torn: something before it, to which it may refer, did not come.
    """

    codec: str
    pts90k: int | None
    data: bytes
    torn: bool = False

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
    """Joins RTP packets into program-stream frames; one with a missing packet is dropped whole and counted.

    A frame ends with another RTP timestamp, or with the marker once one has proved to stand at an end: some devices set
    none, some set one behind each PES. A timestamp that changes in the middle of a PES, without a pack header, ends none.
    """

    def __init__(self, room: int = REORDERED) -> None:
        """`room`: how many packets are held for a late one; 0 over TCP."""
        self._order, self._demuxer = RtpOrder(room), PsDemuxer()
        self._buffer = bytearray()
        self._stamp = b""
        # Up to where what it holds is known to be whole PES; beyond its end where one is still to be filled.
        self._reach = 0
        # Of the frame at hand: is there one, did its last packet have the marker, is a part missing, did a marker cut it off?
        self._open = self._marked = self._broken = self._rest = False
        self._lost = False
        # Whether a marker is an end; None until one has shown it.
        self._trusts: bool | None = None
        self.dropped = 0

    def feed(self, packet: bytes, mono_s: float = 0.0) -> Iterator[AccessUnit]:
        """Take one RTP packet (RFC 3550) that came at `mono_s`, and yield the pictures that it completes."""
        # Some send their RTCP reports on the same way (RFC 5761).
        if len(packet) < 13 or packet[0] >> 6 != 2 or 200 <= packet[1] <= 204:
            return
        for each, gap in self._order.feed(packet, mono_s):
            yield from self._take(each, gap)

    def pause(self) -> Iterator[AccessUnit]:
        """Note that nothing comes for a moment, and yield what need not wait for the next packet."""
        for each, gap in self._order.release():
            yield from self._take(each, gap)
        if self._marked and self._trusts is not False:
            yield from self._end()

    def _take(self, packet: bytes, gap: bool) -> Iterator[AccessUnit]:
        start, end = payload_span(packet, 0, len(packet))
        payload, same = packet[start:end], packet[4:8] == self._stamp
        begins = payload.startswith(_PACK)
        self._lost |= gap
        if self._open:
            self._broken |= gap
            # Some senders stamp each packet with its own time.
            ends = not same and (begins or self._broken or not self._in_pes())
            over = ends or (begins and self._marked and self._trusts is not False)
            if self._marked and not gap and self._trusts is None:
                self._trusts = over
            if over:
                yield from self._end()
        if not self._open:
            # Without a pack header it goes on with a picture that a marker ended too soon.
            self._rest = bool(self._trusts) and same and not begins and not gap
            self._trusts = self._trusts and not self._rest
            self._open, self._broken = True, gap and not begins
        self._stamp = packet[4:8]
        self._buffer += payload
        if len(self._buffer) > _MAX_FRAME_BYTES:
            self._broken = True
            self._buffer.clear()
        self._marked = bool(packet[1] & 0x80)
        if self._marked and self._trusts:
            yield from self._end()

    def _in_pes(self) -> bool:
        """Whether the frame at hand stands in the middle of a PES; each of its PES is looked at once."""
        data = self._buffer
        while self._reach < len(data) and (end := _end_of(data, self._reach)) > self._reach:
            self._reach = end
        return self._reach > len(data)

    def _end(self) -> Iterator[AccessUnit]:
        data, broken, rest = bytes(self._buffer), self._broken, self._rest
        self._buffer.clear()
        self._reach = 0
        self._open = self._marked = self._broken = self._rest = False
        unit = None if broken else self._demuxer.frame(data)
        broken = broken or self._demuxer.cut
        # The rest of a picture is lost to it; sound of the same moment is none.
        if broken or (rest and (unit is not None or not data.startswith(_PREFIX))):
            self.dropped += 1
            self._lost = True
        elif unit is not None:
            torn, self._lost = self._lost and not unit.key, False
            yield replace(unit, torn=torn)


class PsDemuxer:
    """Takes whole program-stream frames apart; `codec` is what the stream map, or else a parameter set, has named.

    `cut` is whether the last frame ended before the length that one of its PES, other than of sound or private data, tells.
    """

    def __init__(self) -> None:
        self.codec, self.cut = "h264", False
        self._mapped = False

    def frame(self, data: bytes) -> AccessUnit | None:
        """Return the picture in a frame, as far as it came (see `cut`); None when it holds no video."""
        at, kind, pts, video = 0, 0, None, bytearray()
        while at + 4 <= len(data) and (end := _end_of(data, at)) > at:
            kind, part = data[at + 3], data[at + 6 : end]
            if kind == 0xBC:
                self._map(part)
            elif 0xE0 <= kind <= 0xEF and len(part) >= 3:
                if part[1] & 0x80 and pts is None and len(part) >= 8:
                    pts = _pts(part[3:8])
                video += part[3 + part[2] :]
            at = end
        self.cut = at > len(data) and not _PRIVATE <= kind <= _LAST_SOUND
        if not self._mapped:
            self.codec = _codec_of(video) or self.codec
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
                self._mapped |= entries[0] in _STREAM_TYPES
                self.codec = _STREAM_TYPES.get(entries[0], self.codec)
            entries = entries[4 + struct.unpack_from("!H", entries, 2)[0] :]


def _end_of(data: bytes | bytearray, at: int) -> int:
    """Return where the pack header or PES that begins at `at` ends by its own length, which may be beyond the data; `at` for none."""
    head = data[at : at + 6]
    if head[:3] != _PREFIX[: len(head)]:
        return at
    # The end code alone has no length.
    if head[3:4] == b"\xb9":
        return at + 4
    if len(head) < 6:
        return at + 6
    if head[3] == 0xBA:
        return at + 14 + (data[at + 13] & 7 if at + 14 <= len(data) else 0)
    end = at + 6 + int.from_bytes(head[4:6])
    if end == at + 6 and 0xE0 <= head[3] <= 0xEF:
        # Of no length told: up to what is no unit of H.264 or H.265, whose first bit is 0.
        after = _SYSTEM.search(data, end)
        end = after.start() if after else len(data)
    return end


def _codec_of(video: bytes | bytearray) -> str:
    """Return the codec of the first parameter set; "" where there is none."""
    at = 0
    while (at := video.find(_PREFIX, at)) >= 0 and at + 4 < len(video):
        first, second = video[at + 3], video[at + 4]
        if first & 0x9F == 7 and first & 0x60:
            return "h264"
        if first in (0x40, 0x42) and second == 1:
            return "hevc"
        at += 3
    return ""


def _pts(field: bytes) -> int:
    b = field
    return (b[0] >> 1 & 7) << 30 | b[1] << 22 | (b[2] >> 1) << 15 | b[3] << 7 | b[4] >> 1
