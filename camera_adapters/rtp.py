"""RTP in an RTSP connection (RFC 2326 10.12) to access units: H.264 (RFC 6184) and H.265 (RFC 7798).

A packet costs one pass of a loop here and no call of the system: many are read at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from camera_adapters.reasons import StreamFaultError

CLOCK = 90_000
# A key frame of 8192 x 6144 at the best quality stays under it.
MAX_UNIT = 24 * 2**20
_START = b"\0\0\0\1"
_BYTE = [bytes([n]) for n in range(256)]
_EPOCH = datetime(1900, 1, 1, tzinfo=UTC)
_DOLLAR = 0x24
# Packets out of decoding order, and fragments with a number of their own.
_RARE_H264 = frozenset({25, 26, 27, 29})
# Of H.264's parts of a picture those that begin with the number of a macroblock.
_SLICES = frozenset({1, 2, 5})
_SUFFIX_HEVC = 40
# Units that the codec does not have. A camera that changed its codec sends them ever again, and never a key frame.
_MISFITS, _GOP = 2, 2 * CLOCK
# What a part costs beside its bytes; and one gap in so many packets is believed to be a loss.
_OVERHEAD, _TRUSTED = 64, 20


class UnreadableError(Exception):
    """The stream is one for a reader of another kind; the text says why."""


@dataclass(slots=True)
class AccessUnit:
    """One compressed picture in Annex B.

    Attributes:
        pts: presentation time in 1/90000 s from the first one's.
        torn: a packet of it, or one before it, did not come.
    """

    data: bytes
    key: bool
    pts: int
    torn: bool


class RtpUnpacker:
    """Takes interleaved packets out of a buffer and puts them together; `units` are the pictures that are whole.

    A picture ends with the marker, with another time stamp, or where another first slice comes: some cameras set no markers,
    some too many, and some never change the time stamp. Parameter sets behind its last slice belong to the next picture.
    """

    def __init__(self, codec: Literal["h264", "hevc"], payload_type: int, channels: tuple[int, int]) -> None:
        self.units: list[AccessUnit] = []
        self._codec, self._type, (self._channel, self._control) = codec, payload_type, channels
        self._parts: list[bytes | memoryview] = []
        # So many of them lie in the buffer no more.
        self._settled = 0
        # Of the last packet of a fragmented unit: what is before its number, and what is between that and its payload.
        self._head = self._middle = b""
        self._size = self._misfits = self._packets = self._gaps = 0
        self._key = self._picture = self._torn = self._open = self._recovers = False
        self._next = self._stamp = self._sent = -1
        # Where in `_parts` what follows the last slice begins; -1 while that is the last.
        self._tail = -1
        self._marked = True
        self._pts = self._last = self._key_pts = 0
        self._longest_gop = _GOP
        self._first: int | None = None
        # The last sender report: UTC and the RTP time, counted as the pictures' is once there is one.
        self._report: tuple[datetime, int] | None = None

    def take(self, buffer: bytearray, view: memoryview, begin: int, end: int) -> int:
        """Take the whole packets from `begin` to `end`; return where one begins that is not whole, or what is no packet.

        `view` is a view of `buffer`. What lies in the buffer is referred to until `settle`.

        Raises:
            UnreadableError: a way of packing that is not known here.
            StreamFaultError: a picture without an end, or another codec.
        """
        at, channel = begin, self._channel
        while end - at >= 4 and buffer[at] == _DOLLAR:
            after = at + 4 + (buffer[at + 2] << 8 | buffer[at + 3])
            if after > end:
                break
            if buffer[at + 1] == channel:
                self._middle = b""
                self._packet(buffer, view, at + 4, after)
                if self._middle:
                    after = self._run(buffer, view, after, end)
            elif buffer[at + 1] == self._control:
                self._control_packet(bytes(view[at + 4 : after]))
            at = after
        return at

    def _run(self, buffer: bytearray, view: memoryview, at: int, end: int) -> int:
        """Take the packets in the middle of a fragmented unit, as most are: what the last one was but for its number."""
        head, middle, number, parts = self._head, self._middle, self._next, self._parts
        size, skip, begin = 4 + int.from_bytes(head[2:4], "big"), 8 + len(middle), at
        while (
            at + size <= end
            and buffer.startswith(head, at)
            and buffer.startswith(middle, at + 8)
            and buffer[at + 6] << 8 | buffer[at + 7] == number
        ):
            parts.append(view[at + skip : at + size])
            at += size
            number = number + 1 & 0xFFFF
        self._next = number
        self._packets += (at - begin) // size
        self._grown(at - begin)
        return at

    def settle(self) -> None:
        """Let go of the buffer: keep copies of the parts of a picture that is not whole yet."""
        parts = self._parts
        for i in range(self._settled, len(parts)):
            parts[i] = bytes(parts[i])
        self._settled = len(parts)

    def lost(self) -> None:
        """Note that bytes were passed over."""
        self._torn, self._open, self._middle = True, False, b""

    def camera_time(self, pts: int) -> datetime | None:
        """Return the UTC of a picture by the last sender report (RFC 3550 6.4.1); None before the first one."""
        if self._report is None or self._first is None:
            return None
        at, then = self._report
        try:
            return at + timedelta(seconds=(pts - then) / CLOCK)
        except OverflowError:
            return None

    def _packet(self, buffer: bytearray, view: memoryview, begin: int, end: int) -> None:
        if end - begin < 12 or buffer[begin] >> 6 != 2:
            return
        number = buffer[begin + 2] << 8 | buffer[begin + 3]
        gap = number != self._next and self._next >= 0
        self._next = (number + 1) & 0xFFFF
        self._packets += 1
        if gap:
            # What comes is taken all the same, as FFmpeg does: some number their packets in a way of their own.
            self._gaps += 1
            self._torn = True
        at = begin + 12
        if buffer[begin] != 0x80:
            at, end = payload_span(buffer, begin, end)
        if at >= end or buffer[begin + 1] & 0x7F != self._type:
            return
        stamp = int.from_bytes(view[begin + 4 : begin + 8], "big")
        if stamp != self._stamp:
            if self._picture:
                self._emit()
                self._torn = gap
            self._stamp = stamp
        self._grown(end - at + _OVERHEAD)
        if self._codec == "h264":
            self._h264(buffer, view, at, end)
        else:
            self._hevc(buffer, view, at, end)
        if self._middle:
            self._middle = self._middle if buffer[begin] == 0x80 else b""
            self._head = bytes(view[begin - 4 : begin + 2])
        # Some mark each packet: in the middle of a unit that is no end.
        if buffer[begin + 1] & 0x80 and self._picture and self._marked and not self._open:
            self._emit()

    def _grown(self, size: int) -> None:
        self._size += size
        if self._size > MAX_UNIT:
            raise StreamFaultError("protocol", f"a picture of more than {MAX_UNIT} bytes")

    def _h264(self, buffer: bytearray, view: memoryview, at: int, end: int) -> None:
        head = buffer[at]
        kind = head & 31
        if kind == 28:
            if end - at < 3:
                self._open = self._open and end - at == 2 and not buffer[at + 1] & 0x40
                return
            fragment = buffer[at + 1]
            if fragment & 0x80:
                self._begin_h264(fragment & 31, buffer[at + 2] >= 0x80, view[at + 2 : end])
                self._open = True
                self._parts += (_START, _BYTE[head & 0xE0 | fragment & 31])
            if self._open:
                self._parts.append(view[at + 2 : end])
                if fragment & 0x40:
                    self._open = False
                else:
                    self._middle = bytes((*view[at - 8 : at + 1], fragment & 31))
        elif kind == 24:
            for a, b in _aggregated(buffer, at + 1, end):
                self._single_h264(buffer, view, a, b)
        elif kind in _RARE_H264:
            raise UnreadableError(f"H.264 packed in a rare way (type {kind})")
        else:
            self._single_h264(buffer, view, at, end)

    def _single_h264(self, buffer: bytearray, view: memoryview, at: int, end: int) -> None:
        kind = buffer[at] & 31
        if not 0 < kind < 24:
            self._misfits += 1
            return
        self._single()
        self._begin_h264(kind, end - at > 1 and buffer[at + 1] >= 0x80, view[at + 1 : end])
        self._parts += (_START, view[at:end])

    def _single(self) -> None:
        """Note a whole unit: what was open has lost its end, and each unit of a packet of many takes its own room."""
        self._open = False
        self._grown(_OVERHEAD)

    def _begin_h264(self, kind: int, first: bool, body: memoryview) -> None:
        """Note a unit that begins. `first`: were it a slice, it would be a picture's first (first_mb_in_slice is 0)."""
        if kind <= 5:
            self._slice(kind == 5, first and kind in _SLICES)
            return
        self._ahead()
        if kind == 6:
            self._recovers |= _recovery_point(body)

    def _hevc(self, buffer: bytearray, view: memoryview, at: int, end: int) -> None:
        if end - at < 3:
            return
        head = buffer[at]
        kind = head >> 1 & 63
        if kind == 49:
            fragment = buffer[at + 2]
            if fragment & 0x80:
                self._begin_hevc(fragment & 63, end - at > 3 and buffer[at + 3] >= 0x80)
                self._open = True
                self._parts += (_START, _BYTE[head & 0x81 | (fragment & 63) << 1], _BYTE[buffer[at + 1]])
            if self._open:
                self._parts.append(view[at + 3 : end])
                if fragment & 0x40:
                    self._open = False
                else:
                    self._middle = bytes((*view[at - 8 : at + 2], fragment & 63))
        elif kind == 48:
            for a, b in _aggregated(buffer, at + 2, end):
                self._single_hevc(buffer, view, a, b)
        else:
            self._single_hevc(buffer, view, at, end)

    def _single_hevc(self, buffer: bytearray, view: memoryview, at: int, end: int) -> None:
        kind = buffer[at] >> 1 & 63
        if kind >= 48:
            self._misfits += 1
            return
        self._single()
        self._begin_hevc(kind, end - at > 2 and buffer[at + 2] >= 0x80)
        self._parts += (_START, view[at:end])

    def _begin_hevc(self, kind: int, first: bool) -> None:
        """Note a unit that begins. `first`: were it a slice, it would be a picture's first (first_slice_segment_in_pic_flag)."""
        if kind < 32:
            self._slice(16 <= kind <= 23, first)
        elif kind != _SUFFIX_HEVC:
            self._ahead()

    def _ahead(self) -> None:
        if self._picture and self._tail < 0:
            self._tail = len(self._parts)

    def _slice(self, key: bool, first: bool) -> None:
        if self._picture and first:
            self._emit()
        if self._stamp == self._sent and not first:
            # A marker came before the end of the picture.
            self._marked = False
        self._picture, self._tail = True, -1
        self._key |= key or self._recovers
        self._recovers = False

    def _emit(self) -> None:
        stamp = self._stamp
        if self._first is None:
            self._first = self._last = stamp
            if self._report is not None:
                self._report = (self._report[0], _signed(self._report[1] - stamp))
        self._pts += _signed(stamp - self._last)
        self._last = self._sent = stamp
        # Numbers that hardly ever follow one another say nothing of losses.
        torn = self._torn and self._gaps * _TRUSTED < self._packets + 100
        ahead = self._parts[self._tail :] if self._tail >= 0 else []
        whole = self._parts[: -len(ahead)] if ahead else self._parts
        self.units.append(AccessUnit(b"".join(whole), self._key, self._pts, torn))
        self._parts, self._tail, self._settled, self._middle = ahead, -1, 0, b""
        self._size = sum(map(len, ahead))
        if self._key:
            self._longest_gop = max(self._longest_gop, self._pts - self._key_pts)
            self._key_pts, self._misfits = self._pts, 0
        elif self._misfits >= _MISFITS and self._pts - self._key_pts > 2 * self._longest_gop:
            raise StreamFaultError("codec", f"the packets are no {self._codec}, which the camera describes")
        self._key = self._picture = self._torn = self._open = False

    def _control_packet(self, data: bytes) -> None:
        """Take a compound RTCP packet; of it a sender report counts."""
        at = 0
        while at + 4 <= len(data):
            kind, words = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
            if kind == 200 and at + 20 <= len(data):
                seconds, share, stamp = struct.unpack_from("!III", data, at + 8)
                # A camera that does not know the time says 0.
                if seconds:
                    then = stamp if self._first is None else self._pts + _signed(stamp - self._last)
                    self._report = (_EPOCH + timedelta(seconds=seconds + share / 2**32), then)
            at += 4 * (words + 1)


def payload_span(buffer: bytes | bytearray, begin: int, end: int) -> tuple[int, int]:
    """Return where the payload of a packet with contributors, an extension or padding lies (RFC 3550 5.1)."""
    flags = buffer[begin]
    at = begin + 12 + 4 * (flags & 15)
    if flags & 0x10:
        if at + 4 > end:
            return end, end
        at += 4 + 4 * (buffer[at + 2] << 8 | buffer[at + 3])
    if flags & 0x20:
        end = max(at, end - buffer[end - 1])
    return at, end


def _aggregated(buffer: bytearray, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where the units of an aggregation packet lie, each behind its length."""
    while at + 2 < end:
        size = buffer[at] << 8 | buffer[at + 1]
        at += 2
        if not size or at + size > end:
            return
        yield at, at + size
        at += size


def _recovery_point(body: memoryview) -> bool:
    """Whether a supplemental unit (H.264 D.1.1) has a recovery point, from which decoding can begin without an IDR picture."""
    at = 0
    while at + 1 < len(body) and body[at] != 0x80:
        told = []
        for _ in range(2):
            value = 0
            while at < len(body) and body[at] == 255:
                value, at = value + 255, at + 1
            if at >= len(body):
                return False
            told.append(value + body[at])
            at += 1
        if told[0] == 6:
            return True
        at += told[1]
    return False


def _signed(difference: int) -> int:
    """Return a difference of two time stamps of 32 bits, the smaller way round."""
    return (difference + 0x80000000 & 0xFFFFFFFF) - 0x80000000
