"""Streets for the speed benchmarks: 1080p25 with a GOP of 2 s and a CIF sub stream, with a van that stops at a known frame.

Made from the demo's CCTV footage: a quiet scene is its empty yard with sensor noise, a busy one has its people walking.
The yard's own parked van is cut out, enlarged and set down in the zone from `VAN_FROM_S` on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
FPS, GOP = 25, 50
VAN_FROM_S, VAN_UNTIL_S, LENGTH_S = 30, 116, 120
MAIN, SUB = (1920, 1080), (352, 288)
# The van in the footage, and where it is set down: shares of width and height. The zone is round the second.
_VAN = (0.83, 0.085, 0.96, 0.20)
_DOWN = (0.62, 0.62, 0.88, 0.88)
ZONE = [[0.60, 0.70], [0.92, 0.70], [0.92, 0.93], [0.60, 0.93]]


@dataclass(frozen=True, slots=True)
class StreetClip:
    """One scene as main and sub stream."""

    main: Path
    sub: Path
    busy: bool


def street_clips(footage: Path, cache: Path, say: Callable[[str], None]) -> tuple[StreetClip, StreetClip]:
    """Return the quiet and the busy scene, made once into `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    out = []
    for name, busy in (("quiet", False), ("busy", True)):
        clip = StreetClip(cache / f"{name}-1080p25.mp4", cache / f"{name}-cif.mp4", busy)
        if not (clip.main.is_file() and clip.sub.is_file()):
            say(f"making the {name} street: {LENGTH_S} s of 1080p25 and CIF, once")
            _encode(footage, clip)
        out.append(clip)
    return out[0], out[1]


def _frames(footage: Path) -> Iterator[Picture]:
    with av.open(str(footage)) as container:
        for frame in container.decode(video=0):
            picture = cv2.resize(frame.to_ndarray(format="rgb24"), MAIN, interpolation=cv2.INTER_CUBIC)
            yield np.asarray(picture, np.uint8)


def _empty_yard(footage: Path) -> Picture:
    some = [f for i, f in enumerate(_frames(footage)) if i % 40 == 0]
    return np.asarray(np.median(np.stack(some), axis=0), np.uint8)


def _pixels(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    w, h = MAIN
    return int(box[0] * w), int(box[1] * h), int(box[2] * w), int(box[3] * h)


def _van(yard: Picture) -> tuple[Picture, NDArray[np.float32]]:
    x1, y1, x2, y2 = _pixels(_VAN)
    a, b, c, d = _pixels(_DOWN)
    cut = cv2.resize(yard[y1:y2, x1:x2], (c - a, d - b), interpolation=cv2.INTER_CUBIC)
    alpha = np.zeros((d - b, c - a), np.float32)
    alpha[12:-12, 12:-12] = 1
    return np.asarray(cut, np.uint8), cv2.GaussianBlur(alpha, (25, 25), 0)[:, :, None].astype(np.float32)


def _scene(footage: Path, busy: bool) -> Iterator[Picture]:
    yard = _empty_yard(footage)
    van, alpha = _van(yard)
    a, b, c, d = _pixels(_DOWN)
    rng = np.random.default_rng(1)
    noise = [rng.normal(0, 2.0, yard.shape).astype(np.int16) for _ in range(4)]
    moving, picture = _frames(footage), yard
    for i in range(LENGTH_S * FPS):
        if busy and i % 5 in (0, 2):  # footage of 10 pictures a second
            picture = next(moving, picture)
        shown = np.clip((picture if busy else yard) + noise[i % 4], 0, 255).astype(np.uint8)
        if VAN_FROM_S * FPS <= i < VAN_UNTIL_S * FPS:
            under = shown[b:d, a:c].astype(np.float32)
            shown[b:d, a:c] = (alpha * van + (1 - alpha) * under).astype(np.uint8)
        yield shown


class _Writer:
    def __init__(self, path: Path, size: tuple[int, int], bits: int) -> None:
        self._path, self._size = path, size
        self._container = av.open(str(path.with_suffix(".part")), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", FPS)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt, self._stream.bit_rate, self._stream.gop_size = "yuv420p", bits, GOP
        # Constant rate without B frames, as cameras send it.
        self._stream.options = {
            "preset": "veryfast",
            "tune": "zerolatency",
            "sc_threshold": "0",
            "x264-params": f"keyint={GOP}:min-keyint={GOP}:vbv-maxrate={bits // 1000}:vbv-bufsize={bits // 500}",
        }
        self._n = 0

    def write(self, picture: Picture) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        if (frame.width, frame.height) != self._size:
            frame = frame.reformat(*self._size)
        frame.pts, frame.time_base = self._n, Fraction(1, FPS)
        self._n += 1
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._path.with_suffix(".part").replace(self._path)


def _encode(footage: Path, clip: StreetClip) -> None:
    writers = [_Writer(clip.main, MAIN, 4_000_000), _Writer(clip.sub, SUB, 384_000)]
    for picture in _scene(footage, clip.busy):
        for writer in writers:
            writer.write(picture)
    for writer in writers:
        writer.close()
