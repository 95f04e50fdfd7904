"""The demo's second camera: the clip's own empty street with drawn stalls and rubbish, and people cut out of the clip.

Nobody stages a stall for a recording that may be given on, so the things are drawn (`things`); ground, light, noise and
people are those of the recording. The box knows nothing of it: what it finds, its detector found in the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from curbwatch.demo.things import Colour, Point, Sprite, bag, chair, lay, parasol, table

Picture = NDArray[np.uint8]
FPS, LENGTH_S = 10, 75
WIDTH, HEIGHT = 768, 576
# Nothing before this second of the recording is used, and a gigabyte of memory spared.
FROM_S = 54
# A new number makes the clip anew where an older one lies in the cache.
VERSION = 1
YELLOW: list[Colour] = [(0.9, 0.7, 0.1), (0.75, 0.1, 0.1)]
BLUE: list[Colour] = [(0.1, 0.25, 0.7)]
GREEN: list[Colour] = [(0.1, 0.45, 0.2), (0.93, 0.9, 0.8)]
WHITE: Colour = (0.92, 0.92, 0.9)
GREY, NAVY = (0.75, 0.75, 0.78), (0.1, 0.25, 0.5)
# Where the box of this camera is told to look, and for what. A parasol is seen by its cloth, so its zone begins behind it.
STREET_ZONES: list[dict[str, Any]] = [
    {"id": "kerb-east", "kind": "no_vending", "street_class": "control",
     "polygon": [[0.64, 0.52], [0.95, 0.52], [0.95, 0.78], [0.64, 0.78]]},
    {"id": "path-north", "kind": "no_vending", "street_class": "control",
     "polygon": [[0.21, 0.31], [0.42, 0.31], [0.42, 0.48], [0.21, 0.48]]},
    {"id": "breakfast-point", "kind": "permitted_vending", "street_class": "control", "holder": "Breakfast stall 12",
     "schedule": [{"begin": "06:00", "end": "09:30", "valid_to": "2025-12-31"}],
     "polygon": [[0.02, 0.34], [0.195, 0.34], [0.195, 0.42], [0.02, 0.42]]},
    {"id": "verge", "kind": "pavement", "street_class": "control",
     "polygon": [[0.79, 0.36], [0.91, 0.36], [0.91, 0.44], [0.79, 0.44]]},
    {"id": "lawn", "kind": "no_dumping", "street_class": "control",
     "polygon": [[0.2, 0.68], [0.4, 0.68], [0.4, 0.97], [0.2, 0.97]]},
]  # fmt: skip
# What is to be found there, each in its zone.
STREET_ISSUES = {
    "vendor.unlicensed": "kerb-east",
    "street_occupation.roadside": "path-north",
    "vendor.out_of_permit": "breakfast-point",
    "dumping.exposed": "verge",
    "dumping.act": "lawn",
}
# Who carries the bag over the lawn: second of the recording, feet x, y, height in pixels, read off the pictures.
WALK = np.array([
    (62, 402, 574, 151), (63, 378, 542, 146), (64, 361, 526, 141), (65, 358, 515, 143), (66, 326, 491, 133),
    (67, 254, 469, 125), (68, 175, 450, 119), (69, 141, 427, 120), (70, 122, 396, 110), (71, 86, 367, 101),
    (72, 77, 340, 92), (73, 111, 315, 85), (74, 142, 298, 81),
], np.float64)  # fmt: skip
WALK_BEGINS_S, PUT_DOWN_S = 24.0, 67.2
# Who stands by the blue stall: these seconds of the recording, forth and back.
VENDOR_FROM_S, VENDOR_TO_S = 54.6, 57.4
VENDOR_WINDOW = (618, 296, 702, 420)


def street_clip(recording: Path, cache: Path) -> Path:
    """Return the made clip (H.264, 768 x 576, 75 s), made from the recording into `cache` where it is not yet there."""
    target = cache / f"street-{VERSION}.mp4"
    if target.is_file():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with av.open(str(part), "w", format="mp4") as out:
        gop = str(FPS * 2)
        stream: Any = out.add_stream(
            "libx264", rate=FPS, options={"preset": "veryfast", "crf": "19", "bf": "0", "g": gop, "keyint_min": gop}
        )  # fmt: skip
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for n, picture in enumerate(pictures(recording)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    part.replace(target)
    return target


def pictures(recording: Path) -> Iterator[Picture]:
    """Yield the clip's pictures, BGR uint8 (576, 768, 3)."""
    real, empty = _read(recording)
    behind = empty.copy()
    furnish(behind)
    things = (behind != empty).any(axis=2)
    put_down = bag(38, GREY, 40)
    for n in range(FPS * LENGTH_S):
        t = n / FPS
        source = real[n % len(real)]
        # The recording's own pixels with their noise, wherever nobody walks and nothing was drawn.
        picture = np.where((_moving(source, empty) | things)[..., None], behind, source)
        _vendor(picture, real, empty, t)
        _walker(picture, real, empty, t, put_down)
        yield picture


def furnish(picture: Picture) -> None:
    """Draw what stands there all the time."""
    lay(picture, parasol(84, GREEN, 5), 85, 222)
    for left in (40, 130):
        lay(picture, chair(26, (0.9, 0.9, 0.9)), left, 226)
    lay(picture, parasol(96, YELLOW, 5), 235, 255)
    lay(picture, table(72, (0.85, 0.85, 0.9)), 225, 264)
    for left, seed in ((285, 3), (180, 9)):
        lay(picture, chair(30, (0.95, 0.95, 0.95), seed), left, 262)
    lay(picture, parasol(125, BLUE), 590, 412)
    lay(picture, table(95), 590, 424)
    lay(picture, chair(38, WHITE), 694, 430)
    heap: list[tuple[Point, Colour]] = [((636.5, 229), NAVY), ((665, 230), GREY), ((650, 239), NAVY)]
    for seed, ((x, y), colour) in enumerate(heap, 4):
        lay(picture, bag(30, colour, seed), x, y)


def walker_at(t: float) -> tuple[float, float, float, float] | None:
    """Return second of the recording, feet x, y and height of whoever carries the bag, at a second of the clip."""
    second = WALK[0, 0] + t - WALK_BEGINS_S
    if not WALK[0, 0] <= second <= WALK[-1, 0]:
        return None
    x, y, height = (float(np.interp(second, WALK[:, 0], WALK[:, k])) for k in (1, 2, 3))
    return second, x, y, height


def _walker(picture: Picture, real: list[Picture], empty: Picture, t: float, item: Sprite) -> None:
    rest = np.array([np.interp(PUT_DOWN_S, WALK[:, 0], WALK[:, k]) for k in (1, 2)])
    at = walker_at(t)
    if at is None:
        if t > WALK_BEGINS_S:
            lay(picture, item, rest[0] + 12, rest[1] + 4)
        return
    second, x, y, height = at
    lies = second >= PUT_DOWN_S
    if lies:
        lay(picture, item, rest[0] + 12, rest[1] + 4)
    half = 0.36 * height
    window = (int(x - half), int(y - 1.1 * height), int(x + half), int(y + 8))
    _cut_out(picture, _at(real, second), empty, window)
    if not lies:
        lay(picture, item, x + 0.13 * height, y - 0.12 * height)


def _vendor(picture: Picture, real: list[Picture], empty: Picture, t: float) -> None:
    span = VENDOR_TO_S - VENDOR_FROM_S
    phase = t % (2 * span)
    second = VENDOR_FROM_S + (phase if phase < span else 2 * span - phase)
    _cut_out(picture, _at(real, second), empty, VENDOR_WINDOW)


def _cut_out(picture: Picture, source: Picture, empty: Picture, window: tuple[int, int, int, int]) -> None:
    """Copy what moves in a window (x1, y1, x2, y2) of the recording, with soft edges."""
    x1, y1, x2, y2 = max(0, window[0]), max(0, window[1]), min(WIDTH, window[2]), min(HEIGHT, window[3])
    if x1 >= x2 or y1 >= y2:
        return
    part = (slice(y1, y2), slice(x1, x2))
    mask = cv2.GaussianBlur(_moving(source[part], empty[part], 2).astype(np.float32), (0, 0), 0.8)[..., None]
    picture[part] = np.clip(source[part] * mask + picture[part] * (1 - mask), 0, 255).astype(np.uint8)


def _moving(source: Picture, empty: Picture, grow: int = 9) -> NDArray[np.bool_]:
    """Return where a picture differs from the empty street, bool (H, W), grown by some pixels."""
    differs = (cv2.absdiff(source, empty).max(axis=2) > 26).astype(np.uint8)
    closed = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cv2.dilate(opened, np.ones((grow, grow), np.uint8)).astype(bool)


def _read(recording: Path) -> tuple[list[Picture], Picture]:
    """Return the recording from `FROM_S` on, and the street without anybody: the median over all of it."""
    kept: list[Picture] = []
    some: list[Picture] = []
    with av.open(str(recording)) as container:
        for n, frame in enumerate(container.decode(video=0)):
            picture = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            if n >= FROM_S * FPS:
                kept.append(picture)
            if n % 8 == 0:
                some.append(picture)
    rows = [np.median([p[y] for p in some], axis=0) for y in range(HEIGHT)]
    return kept, np.stack(rows).astype(np.uint8)


def _at(real: list[Picture], second: float) -> Picture:
    """Return the picture of a second of the recording."""
    return real[min(len(real) - 1, max(0, round((second - FROM_S) * FPS)))]
