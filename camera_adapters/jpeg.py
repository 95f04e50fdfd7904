"""Single compressed pictures: their size, their decoder, and how they come in a multipart stream."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import av

from camera_adapters.decoder import software

# No picture of a camera is larger; a stream without an end must not fill the memory.
MAX_PICTURE_BYTES = 16 * 2**20
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_SCAN, _END = 0xDA, b"\xff\xd9"
_SIZE_MARKERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels from a JPEG's frame header (ITU-T T.81, B.2.2).

    Raises:
        ValueError: the bytes are no JPEG.
    """
    for marker, at in _segments(data):
        if marker in _SIZE_MARKERS and at + 9 <= len(data):
            height, width = struct.unpack_from("!HH", data, at + 5)
            return width, height
    raise ValueError("the bytes are no JPEG picture")


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and place of each segment up to the first scan; those of a thumbnail lie within one of them."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        yield marker, at
        if marker == _SCAN:
            return
        at += 2 + struct.unpack_from("!H", data, at + 2)[0]


def is_whole(data: bytes, codec: str) -> bool:
    """True when a picture came to its end; FFmpeg decodes half a JPEG too, its lower part in one colour.

    `codec` is FFmpeg's name: "mjpeg" or "png".
    """
    if codec == "png":
        return b"IEND" in data
    # The marker cannot stand in a scan's data, and what follows it is a maker's own.
    return any(marker == _SCAN and data.find(_END, at) >= 0 for marker, at in _segments(data))


class PictureDecoder:
    """Decodes pictures that stand alone. `codec` is FFmpeg's name: "mjpeg" or "png"."""

    def __init__(self, codec: str) -> None:
        self._context = software(codec)

    def decode(self, data: bytes) -> av.VideoFrame | None:
        """Return the picture; None when the bytes do not decode."""
        try:
            pictures = self._context.decode(av.Packet(data))
        except av.error.FFmpegError:
            return None
        return pictures[0] if pictures else None


class MultipartPictures:
    """Cuts `multipart/x-mixed-replace` into pictures, by Content-Length where it is given and right, else by the boundary."""

    def __init__(self, boundary: str) -> None:
        self._mark = b"--" + boundary.strip().strip('"').removeprefix("--").encode()
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes and yield the pictures that they complete.

        Raises:
            ValueError: a part is larger than any picture.
        """
        self._buffer += data
        while (part := self._next()) is not None:
            if part:
                yield part
        if len(self._buffer) > MAX_PICTURE_BYTES:
            raise ValueError(f"a part of the stream is longer than {MAX_PICTURE_BYTES} bytes")

    def _next(self) -> bytes | None:
        start = self._buffer.find(self._mark)
        head = _HEAD_END.search(self._buffer, start) if start >= 0 else None
        if head is None:
            return None
        end = self._end(head.end(), _content_length(bytes(self._buffer[start : head.start()])))
        if end is None:
            return None
        part = bytes(self._buffer[head.end() : end])
        del self._buffer[:end]
        return part

    def _end(self, body: int, length: int | None) -> int | None:
        """Return where the part ends that begins at `body`; None when that has not come yet."""
        if length is not None:
            end = body + length
            if end > len(self._buffer):
                return None
            # The next boundary comes with the next picture: a whole one does not wait for it.
            after = bytes(self._buffer[end : end + len(self._mark) + 2])
            if is_whole(bytes(self._buffer[body:end]), "mjpeg") or after.lstrip().startswith(self._mark):
                return end
            if len(after) < len(self._mark) + 2:
                return None
        end = self._buffer.find(b"\n" + self._mark, body)
        return None if end < 0 else end - (self._buffer[body:end][-1:] == b"\r")


def _content_length(head: bytes) -> int | None:
    for line in head.splitlines():
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return min(int(value), MAX_PICTURE_BYTES + 1)
    return None
