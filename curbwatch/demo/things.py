"""Things of a street drawn with light and shade, to be laid over real footage: a parasol, a table, a chair, bags.

Each is RGBA, float32, in 0..1, drawn at four times its size and made smaller, so that its edges are soft.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Sprite = NDArray[np.float32]
Colour = tuple[float, float, float]
Point = tuple[float, float]
FINE = 4


class Sheet:
    """A transparent sheet of `width` x `height` pixels; points are in pixels of the finished sprite."""

    def __init__(self, width: int, height: int, seed: int = 0) -> None:
        self._size = (width, height)
        self._rgb = np.zeros((height * FINE, width * FINE, 3), np.float32)
        self._alpha = np.zeros((height * FINE, width * FINE), np.float32)
        self._rng = np.random.default_rng(seed)

    def fill(self, points: Sequence[Point], colour: Colour, alpha: float = 1.0) -> None:
        """Fill a polygon."""
        corners = np.round(np.array(points, np.float64) * FINE).astype(np.int32)
        mask = np.zeros(self._alpha.shape, np.uint8)
        cv2.fillPoly(mask, [corners], 1)
        self._lay(mask, colour, alpha)

    def oval(self, centre: Point, half: Point, colour: Colour, alpha: float = 1.0) -> None:
        """Fill an ellipse with its axes along the picture's."""
        mask = np.zeros(self._alpha.shape, np.uint8)
        at = (round(centre[0] * FINE), round(centre[1] * FINE))
        cv2.ellipse(mask, at, (round(half[0] * FINE), round(half[1] * FINE)), 0, 0, 360, 1, -1)
        self._lay(mask, colour, alpha)

    def line(self, a: Point, b: Point, thick: float, colour: Colour) -> None:
        """Draw a bar."""
        mask = np.zeros(self._alpha.shape, np.uint8)
        ends = [(round(p[0] * FINE), round(p[1] * FINE)) for p in (a, b)]
        cv2.line(mask, ends[0], ends[1], 1, max(1, round(thick * FINE)), cv2.LINE_8)
        self._lay(mask, colour, 1.0)

    def done(self, grain: float = 0.03) -> Sprite:
        """Return the sprite; `grain` is the spread of its texture."""
        noise = self._rng.normal(0, grain, self._alpha.shape).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), FINE * 0.6)[..., None] * 2.5
        whole = np.dstack([np.clip(self._rgb + noise * self._alpha[..., None], 0, 1), self._alpha])
        small: Sprite = cv2.resize(whole, self._size, interpolation=cv2.INTER_AREA).astype(np.float32)
        return small

    def _lay(self, mask: NDArray[np.uint8], colour: Colour, alpha: float) -> None:
        share = mask.astype(np.float32) * alpha
        self._rgb = self._rgb * (1 - share[..., None]) + np.array(colour, np.float32) * share[..., None]
        self._alpha = share + self._alpha * (1 - share)


def dim(colour: Colour, by: float) -> Colour:
    """Return a colour in another light."""
    return (min(1.0, colour[0] * by), min(1.0, colour[1] * by), min(1.0, colour[2] * by))


def parasol(width: int, colours: Sequence[Colour], seed: int = 1) -> Sprite:
    """A market parasol seen from a little above; its foot is at the bottom, in the middle."""
    w, h = width, round(width * 1.15)
    sheet = Sheet(w, h, seed)
    cx, top, brim, flat = w / 2, h * 0.03, h * 0.33, h * 0.10
    sheet.oval((cx, h * 0.975), (w * 0.13, h * 0.022), (0.05, 0.05, 0.06), 0.5)
    sheet.line((cx, top + 2), (cx, h * 0.97), max(1.5, w * 0.022), (0.78, 0.78, 0.76))
    sheet.fill([(cx - w * 0.1, h * 0.985), (cx + w * 0.1, h * 0.985), (cx + w * 0.06, h * 0.95), (cx - w * 0.06, h * 0.95)], (0.25, 0.25, 0.27))  # fmt: skip
    # The inside of the far brim, then eight gores from the left to the right.
    sheet.oval((cx, brim), (w * 0.485, flat), dim(colours[0], 0.35))
    gores = 8
    rim = [(cx - w * 0.485 * math.cos(math.pi * i / gores), brim + flat * math.sin(math.pi * i / gores)) for i in range(gores + 1)]  # fmt: skip
    for i in range(gores):
        (ax, ay), (bx, by) = rim[i], rim[i + 1]
        light = 1.08 - 0.5 * abs(i - 2.2) / gores
        bow_a = (cx + (ax - cx) * 0.62, top + (ay - top) * 0.36)
        bow_b = (cx + (bx - cx) * 0.62, top + (by - top) * 0.36)
        sag = ((ax + bx) / 2, (ay + by) / 2 - h * 0.012)
        sheet.fill([(cx, top), bow_a, (ax, ay), sag, (bx, by), bow_b], dim(colours[i % len(colours)], light))
        drop = h * 0.045
        sheet.fill([(ax, ay), sag, (bx, by), (bx, by + drop), (ax, ay + drop)], dim(colours[i % len(colours)], light * 0.8))  # fmt: skip
        sheet.line((cx, top), bow_a, 0.5, dim(colours[0], 0.5))
    sheet.oval((cx, top), (w * 0.015, h * 0.015), (0.8, 0.8, 0.8))
    return sheet.done()


def table(width: int, cloth: Colour | None = None, goods: bool = True, seed: int = 2) -> Sprite:
    """A folding table with goods on it; its feet are at the bottom."""
    w, h = width, round(width * 0.72)
    sheet = Sheet(w, h, seed)
    back, front, skirt = h * 0.30, h * 0.52, h * 0.93
    wood = (0.62, 0.47, 0.32)
    sheet.fill([(w * 0.05, skirt), (w * 0.98, skirt), (w * 0.93, h * 0.99), (w * 0.1, h * 0.99)], (0.04, 0.04, 0.05), 0.4)  # fmt: skip
    for x, y, foot in ((0.17, back, 0.8), (0.83, back, 0.8), (0.05, front, 0.97), (0.95, front, 0.97)):
        sheet.line((w * x, y), (w * x, h * foot), max(1.2, w * 0.03), (0.3, 0.3, 0.32))
    plate = [(w * 0.14, back), (w * 0.86, back), (w * 0.99, front), (w * 0.01, front)]
    sheet.fill(plate, cloth or wood)
    edge = dim(cloth or wood, 0.62)
    deep = h * 0.26 if cloth else h * 0.05
    sheet.fill([(w * 0.01, front), (w * 0.99, front), (w * 0.985, front + deep), (w * 0.015, front + deep)], edge)  # fmt: skip
    if goods:
        _goods(sheet, w, h, back, front, seed)
    return sheet.done()


def _goods(sheet: Sheet, w: int, h: int, back: float, front: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds: list[Colour] = [(0.85, 0.2, 0.12), (0.9, 0.55, 0.1), (0.3, 0.55, 0.15), (0.85, 0.75, 0.2), (0.55, 0.1, 0.3)]  # fmt: skip
    for row in range(2):
        y = back + (front - back) * (0.28 + 0.42 * row)
        for col in range(5):
            x, colour = w * (0.2 + 0.15 * col - 0.01 * row), kinds[(col + 2 * row) % len(kinds)]
            sheet.fill([(x - w * 0.06, y + h * 0.03), (x + w * 0.06, y + h * 0.03), (x + w * 0.05, y - h * 0.04), (x - w * 0.05, y - h * 0.04)], (0.45, 0.33, 0.2))  # fmt: skip
            for _ in range(7):
                px, py = x + rng.uniform(-0.045, 0.045) * w, y - h * rng.uniform(0.02, 0.09)
                sheet.oval((px, py), (w * 0.02, w * 0.02), dim(colour, rng.uniform(0.7, 1.15)))


def chair(width: int, colour: Colour = (0.8, 0.15, 0.12), seed: int = 3) -> Sprite:
    """A plastic chair; its feet are at the bottom."""
    w, h = width, round(width * 1.65)
    sheet = Sheet(w, h, seed)
    for x, y, foot in ((0.22, 0.55, 0.9), (0.8, 0.55, 0.9), (0.1, 0.6, 0.99), (0.92, 0.6, 0.99)):
        sheet.line((w * x, h * y), (w * (x + (x - 0.5) * 0.1), h * foot), max(1.2, w * 0.08), dim(colour, 0.65))  # fmt: skip
    sheet.fill([(w * 0.2, h * 0.05), (w * 0.82, h * 0.05), (w * 0.85, h * 0.5), (w * 0.18, h * 0.5)], colour)
    for i in range(3):
        x = 0.32 + 0.15 * i
        sheet.fill([(w * x, h * 0.13), (w * (x + 0.06), h * 0.13), (w * (x + 0.06), h * 0.4), (w * x, h * 0.4)], dim(colour, 0.4))  # fmt: skip
    sheet.fill([(w * 0.18, h * 0.48), (w * 0.85, h * 0.48), (w * 0.97, h * 0.62), (w * 0.06, h * 0.62)], dim(colour, 1.15))  # fmt: skip
    sheet.fill([(w * 0.06, h * 0.62), (w * 0.97, h * 0.62), (w * 0.95, h * 0.68), (w * 0.08, h * 0.68)], dim(colour, 0.7))  # fmt: skip
    sheet.line((w * 0.06, h * 0.36), (w * 0.05, h * 0.6), max(1.0, w * 0.07), dim(colour, 0.9))
    sheet.line((w * 0.96, h * 0.36), (w * 0.97, h * 0.6), max(1.0, w * 0.07), dim(colour, 0.9))
    return sheet.done()


def bag(width: int, colour: Colour = (0.1, 0.1, 0.12), seed: int = 4) -> Sprite:
    """A tied rubbish bag that stands on its bottom."""
    w, h = width, round(width * 1.15)
    sheet, rng = Sheet(w, h, seed), np.random.default_rng(seed)
    sheet.oval((w * 0.55, h * 0.94), (w * 0.45, h * 0.055), (0.03, 0.03, 0.03), 0.55)
    around = [(math.cos(a) * (0.44 + 0.03 * math.sin(5 * a)), math.sin(a) * 0.37) for a in np.linspace(0, 2 * math.pi, 40)]  # fmt: skip
    sheet.fill([(w * (0.5 + x), h * (0.58 + y)) for x, y in around], colour)
    sheet.fill([(w * 0.42, h * 0.26), (w * 0.58, h * 0.26), (w * 0.66, h * 0.06), (w * 0.5, h * 0.14), (w * 0.36, h * 0.04)], dim(colour, 1.3))  # fmt: skip
    for _ in range(26):
        a, r = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.36)
        x, y = w * (0.5 + r * math.cos(a)), h * (0.58 + r * 0.85 * math.sin(a))
        light = 2.6 if rng.random() < 0.45 else 0.5
        end = (x + w * rng.uniform(-0.1, 0.1), y + h * rng.uniform(0.02, 0.13))
        sheet.line((x, y), end, rng.uniform(0.4, 1.2), dim((colour[0] + 0.04, colour[1] + 0.04, colour[2] + 0.05), light))  # fmt: skip
    return sheet.done()


def lay(picture: NDArray[np.uint8], sprite: Sprite, x: float, y: float, share: float = 1.0) -> None:
    """Lay a sprite over a picture (BGR uint8) in place, its bottom centre at pixel (x, y); `share` fades it."""
    h, w = sprite.shape[:2]
    left, top = round(x - w / 2), round(y - h)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(picture.shape[1], left + w), min(picture.shape[0], top + h)  # fmt: skip
    if x0 >= x1 or y0 >= y1:
        return
    part = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = part[..., 3:] * share
    under = picture[y0:y1, x0:x1].astype(np.float32)
    # The sheet's colours carry their own share already.
    over = part[..., 2::-1] / np.maximum(part[..., 3:], 1e-3) * 255
    picture[y0:y1, x0:x1] = np.clip(under * (1 - alpha) + over * alpha, 0, 255).astype(np.uint8)
