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
_MISFITS = 2


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

    A picture ends with the marker, or with another time stamp where a camera sets no markers, or too many.
    """

    def __init__(self, codec: Literal["h264", "hevc"], payload_type: int, channels: tuple[int, int]) -> None:
        self.units: list[AccessUnit] = []
        self._codec, self._type, (self._channel, self._control) = codec, payload_type, channels
        self._parts: list[bytes | memoryview] = []
        # Of the last packet of a fragmented unit: what is before its number, and what is between that and its payload.
        self._head = self._middle = b""
        self._size = self._misfits = 0
        self._key = self._picture = self._torn = self._open = False
        self._next = self._stamp = self._sent = -1
        self._marked = True
        self._pts = self._last = 0
        self._first: int | None = None
        self._report: tuple[datetime, int] | None = None

    def take(self, buffer: bytearray, view: memoryview, begin: int, end: int) -> int:
        """Take the whole packets from `begin` to `end`; return where one begins that is not whole, or what is no packet.

        `view` is a view of `buffer`. What lies in the buffer is referred to until `settle`.

        Raises:
            UnreadableError: a way of packing that is not known here.
            StreamFaultError: a picture without an end.
        """
        at, channel = begin, self._channel
        while end - at >= 4 and buffer[at] == _DOLLAR:
            after = at + 4 + (buffer[at + 2] << 8 | buffer[at + 3])
            if after > end:
                break
            if buffer[at + 1] == channel:
                self._packet(buffer, view, at + 4, after)
                if self._middle:
                    self._head = bytes(view[at : at + 6])
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
        self._grown(at - begin)
        return at

    def settle(self) -> None:
        """Let go of the buffer: keep copies of the parts of a picture that is not whole yet."""
        self._parts = [part if isinstance(part, bytes) else bytes(part) for part in self._parts]

    def lost(self) -> None:
        """Note that bytes were passed over."""
        self._torn, self._open, self._middle = True, False, b""

    def camera_time(self, pts: int) -> datetime | None:
        """Return the UTC of a picture by the last sender report (RFC 3550 6.4.1); None before the first one."""
        if self._report is None or self._first is None:
            return None
        at, stamp = self._report
        try:
            return at + timedelta(seconds=_signed(self._first + pts - stamp) / CLOCK)
        except OverflowError:
            return None

    def _packet(self, buffer: bytearray, view: memoryview, begin: int, end: int) -> None:
        if end - begin < 13:
            return
        flags, kind = buffer[begin], buffer[begin + 1]
        if kind & 0x7F != self._type:
            return
        at = begin + 12
        if flags != 0x80:
            at, end = _payload(buffer, begin, end)
            if at >= end:
                return
        number = buffer[begin + 2] << 8 | buffer[begin + 3]
        if number != self._next and self._next >= 0:
            self.lost()
        self._next = (number + 1) & 0xFFFF
        stamp = int.from_bytes(view[begin + 4 : begin + 8], "big")
        if stamp != self._stamp:
            if self._picture:
                self._emit()
            self._stamp = stamp
        if self._codec == "h264":
            self._h264(buffer, view, at, end)
        else:
            self._hevc(buffer, view, at, end)
        if self._picture and stamp == self._sent:
            # A marker came before the end of the picture.
            self._marked = False
        self._grown(end - at)
        if kind & 0x80 and self._picture and self._marked:
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
                return
            fragment = buffer[at + 1]
            if fragment & 0x80:
                self._open = True
                self._parts += (_START, _BYTE[head & 0xE0 | fragment & 31])
                self._seen_h264(fragment & 31)
            if self._open:
                self._parts.append(view[at + 2 : end])
                self._middle = bytes((*view[at - 8 : at + 1], fragment & 31))
        elif kind == 24:
            for a, b in _aggregated(buffer, at + 1, end):
                self._parts += (_START, view[a:b])
                self._seen_h264(buffer[a] & 31)
        elif kind and kind < 24:
            self._parts += (_START, view[at:end])
            self._seen_h264(kind)
        elif kind in _RARE_H264:
            raise UnreadableError(f"H.264 packed in a rare way (type {kind})")
        else:
            self._misfit()

    def _seen_h264(self, kind: int) -> None:
        if kind <= 5:
            self._picture = True
            self._key |= kind == 5

    def _hevc(self, buffer: bytearray, view: memoryview, at: int, end: int) -> None:
        if end - at < 3:
            return
        head = buffer[at]
        kind = head >> 1 & 63
        if kind == 49:
            fragment = buffer[at + 2]
            if fragment & 0x80:
                self._open = True
                self._parts += (_START, _BYTE[head & 0x81 | (fragment & 63) << 1], _BYTE[buffer[at + 1]])
                self._seen_hevc(fragment & 63)
            if self._open:
                self._parts.append(view[at + 3 : end])
                self._middle = bytes((*view[at - 8 : at + 2], fragment & 63))
        elif kind == 48:
            for a, b in _aggregated(buffer, at + 2, end):
                self._parts += (_START, view[a:b])
                self._seen_hevc(buffer[a] >> 1 & 63)
        elif kind < 48:
            self._parts += (_START, view[at:end])
            self._seen_hevc(kind)
        else:
            self._misfit()

    def _seen_hevc(self, kind: int) -> None:
        if kind < 32:
            self._picture = True
            self._key |= 16 <= kind <= 23

    def _misfit(self) -> None:
        """Take a unit that the codec does not have: one may be damage, a camera that changed its codec sends them ever again."""
        self._misfits += 1
        if self._misfits >= _MISFITS:
            raise StreamFaultError("codec", f"the packets are no {self._codec}, which the camera describes")

    def _emit(self) -> None:
        stamp = self._stamp
        if self._first is None:
            self._first = self._last = stamp
        self._pts += _signed(stamp - self._last)
        self._last = self._sent = stamp
        self.units.append(AccessUnit(b"".join(self._parts), self._key, self._pts, self._torn))
        self._parts.clear()
        self._size, self._middle = 0, b""
        if self._key:
            self._misfits = 0
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
                    self._report = (_EPOCH + timedelta(seconds=seconds + share / 2**32), stamp)
            at += 4 * (words + 1)


def _payload(buffer: bytearray, begin: int, end: int) -> tuple[int, int]:
    """Return where the payload of a packet with contributors, an extension or padding lies (RFC 3550 5.1)."""
    flags = buffer[begin]
    if flags >> 6 != 2:
        return end, end
    at = begin + 12 + 4 * (flags & 15)
    if flags & 0x10:
        if at + 4 > end:
            return end, end
        at += 4 + 4 * (buffer[at + 2] << 8 | buffer[at + 3])
    if flags & 0x20:
        end -= buffer[end - 1]
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


def _signed(difference: int) -> int:
    """Return a difference of two time stamps of 32 bits, the smaller way round."""
    return (difference + 0x80000000 & 0xFFFFFFFF) - 0x80000000
