"""Does the camera still see what it was commissioned for? Pure functions on grey pictures; `view_watch` judges over time.

The picture is compared with a reference of edges, block by block. Light changes the edges' strength but not their place,
so each block is correlated after normalisation; a bus or a crowd hides some blocks, a turned camera loses nearly all.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from camera_adapters.frame import shrunk
from camera_adapters.levels import level_at
from contract import View

Grey = NDArray[np.uint8]
Map = NDArray[np.float32]

# Working size (width, height): large enough for kerbs and poles, 0.3 ms a picture.
SIZE = (192, 108)
_BLOCK = 12
# Blocks with less edge than this (grey steps a pixel, RMS) are sky or bare road: they say nothing of the view.
_TEXTURE = 4.0
# A picture shows something for certain when it does at this size, in which nothing but large shapes is left.
_COARSE = (64, 36)


@dataclass(frozen=True, slots=True)
class ViewLimits:
    """When a reading is bad. Shares are of 0 to 1, grey levels of 0 to 255."""

    # A block still shows its edges when it correlates with the reference by at least this.
    block_match: float = 0.35
    # Under this share of matching blocks the view is another one.
    moved_match: float = 0.25
    # Edge energy against the reference under which nothing is left to see.
    covered_energy: float = 0.12
    # Fine detail (Laplacian) against the reference under which the lens is out of focus or dirty.
    # On 389 pictures of 12 street and yard clips one fell below this (a person close to the lens); a blur of 2 % of
    # the width falls below it on all of them.
    blurred_detail: float = 0.3
    # Pixels of 192 by which the picture must have shifted to count as turned: wind shakes a mast by 1 to 2.
    moved_pixels: float = 5.0
    # Share of saturated pixels that blinds the view.
    dazzled_share: float = 0.45
    # 99th percentile of grey under which it is night without light.
    dark_level: float = 40.0
    # Without a reference a view is covered when it shows fewer edges than this (mean, grey steps a pixel of 192 x 108)
    # and no more contrast than this (standard deviation): a hand, a sheet, paint. See `curbwatch bench view`.
    flat_edges: float = 0.8
    flat_contrast: float = 12.0
    # A picture darker or brighter than the reference by more than this factor is another time of day: street lamps and
    # infrared draw other edges, so that a day's reference says nothing of where the camera looks at night.
    other_light: float = 2.5


@dataclass(frozen=True)
class ViewReference:
    """The view as commissioned, by day or by night.

    Attributes:
        edges: float32 (108, 192).
        detail: the fine detail of a sharp picture.
        level: mean grey, 0 to 255; nan where it is not known.
    """

    edges: Map
    detail: float
    level: float = math.nan

    @classmethod
    def of(cls, pictures: Sequence[Grey]) -> ViewReference:
        """Make the reference of some grey pictures (uint8, (h, w)) of different moments; what moves falls out by the median.

        Raises:
            ValueError: no picture is given.
        """
        if not pictures:
            raise ValueError("pictures: give at least one picture of the right view")
        small = [_small(p) for p in pictures]
        edges = np.median(np.stack([_edges(p) for p in small]), axis=0).astype(np.float32)
        level = float(np.median([p.mean() for p in small]))
        return cls(edges, float(np.median([_detail(p) for p in small])), level)

    @cached_property
    def blocks(self) -> _Blocks:
        """What a picture's blocks are compared with, made once: a camera is read against it with every look."""
        blocks = _blocks(self.edges)
        strength = np.sqrt((blocks**2).mean(axis=1))
        # At least a quarter of the blocks take part, so that a foggy reference still has a say.
        textured = strength >= min(_TEXTURE, float(np.quantile(strength, 0.75)))
        return _Blocks(textured, blocks[textured], (blocks[textured] ** 2).sum(axis=1))

    @cached_property
    def energy(self) -> float:
        """Mean of the edges, grey steps a pixel."""
        return float(np.mean(self.edges))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of where the edges are: the same view gives nearly the same bits, another one others."""
        blocks = cv2.resize(self.edges, (8, 8), interpolation=cv2.INTER_AREA)
        bits = (blocks > np.median(blocks)).ravel()
        return f"{int(''.join('1' if b else '0' for b in bits), 2):016x}"

    def light_ratio(self, level: float) -> float:
        """How many times brighter or darker (always 1 or more) a mean grey is than the reference's."""
        if math.isnan(self.level):
            return 1.0
        ratio = (level + 1.0) / (self.level + 1.0)
        return max(ratio, 1 / ratio)

    def to_bytes(self) -> bytes:
        """Return the reference for a file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, edges=self.edges.astype(np.float16), detail=self.detail, level=self.level)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> ViewReference:
        """Read what `to_bytes` gave.

        Raises:
            ValueError: the bytes are no reference.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                edges, detail = stored["edges"].astype(np.float32), float(stored["detail"])
                level = float(stored["level"]) if "level" in stored else math.nan
        # Torn bytes raise whatever zip, zlib and NumPy's header come upon: a dozen kinds.
        except Exception as exc:
            raise ValueError("the stored view reference cannot be read; commission the camera again") from exc
        if edges.shape != SIZE[::-1]:
            raise ValueError("the stored view reference has another size; commission the camera again")
        return cls(edges, detail, level)


@dataclass(frozen=True, slots=True)
class ViewReading:
    """What one picture says.

    Attributes:
        verdict: the worst that holds; "good" when nothing does, "unknown" where nothing could be compared.
        match: share of the reference's textured blocks that still show their edges; 1 without a reference.
        energy: edge energy against the reference's; without one, grey steps a pixel.
        detail: fine detail against the reference's; without one, as it is.
        bright: share of saturated pixels.
        level: 99th percentile of grey.
    """

    verdict: View
    match: float
    energy: float
    detail: float
    bright: float
    level: float


def read_view(picture: Grey, reference: ViewReference, limits: ViewLimits = ViewLimits()) -> ViewReading:
    """Compare one grey picture (uint8, (h, w), any size) with the reference."""
    return _read(_Seen(picture), reference, limits)


def _read(seen: _Seen, reference: ViewReference, limits: ViewLimits) -> ViewReading:
    match = _match(seen.blocks, reference.blocks, limits.block_match)
    shifted = _is_shifted(seen.edges, reference, match, limits)
    energy = _ratio(seen.energy, reference.energy)
    detail = _ratio(seen.detail, reference.detail)
    # Sensor noise on a covered lens has edges too, and, unlike what is out of focus, fine ones.
    if _is_flat(seen, limits) and energy < 0.5 and detail >= limits.blurred_detail:
        energy = min(energy, 0.5 * limits.covered_energy)
    verdict = _verdict(0.0 if shifted else match, energy, detail, seen.bright, seen.level, limits)
    if verdict in {"moved", "blurred"} and reference.light_ratio(seen.mean) > limits.other_light:
        verdict = "unknown"
    return ViewReading(verdict, match, energy, detail, seen.bright, seen.level)


def read_best(
    picture: Grey, references: Sequence[ViewReference], limits: ViewLimits = ViewLimits()
) -> ViewReading:
    """Compare with the reference that fits best (day or night); without any, say what needs none."""
    if not references:
        return read_bare(picture, limits)
    seen, level = _Seen(picture), float(cv2.mean(picture)[0])
    # The one whose light is the picture's own, unless another shows clearly more of the view.
    (least, first), *others = sorted(
        ((0.2 * math.log(r.light_ratio(level)), r) for r in references), key=lambda x: x[0]
    )
    best = _read(seen, first, limits)
    most = best.match - least
    for price, reference in others:
        # One of another time of day that could not win if all of it matched is not looked at.
        if 1.0 - price > most:
            reading = _read(seen, reference, limits)
            if reading.match - price > most:
                best, most = reading, reading.match - price
    return best


def read_bare(picture: Grey, limits: ViewLimits = ViewLimits()) -> ViewReading:
    """Say of one grey picture (uint8, (h, w)) what needs no reference: dark, dazzled, covered; otherwise "unknown"."""
    seen = _Seen(picture)
    return ViewReading(_bare(seen, limits), 1.0, seen.energy, seen.detail, seen.bright, seen.level)


def bare_verdict(picture: Grey, limits: ViewLimits = ViewLimits()) -> View:
    """Return the verdict of `read_bare` alone, for most pictures at a tenth of its cost.

    Shrinking keeps the mean and takes from the spread, and what is saturated when it is small was nearly so before. So a
    picture that is lit, has few bright pixels and is uneven even when it is very small needs no closer look.
    """
    coarse = shrunk(picture, *_COARSE)
    mean, spread = (float(v[0, 0]) for v in cv2.meanStdDev(coarse))
    bright = cv2.countNonZero(cv2.threshold(picture, 239, 255, cv2.THRESH_BINARY)[1]) / picture.size
    lit = mean > limits.dark_level + 5.0
    if lit and bright < 0.5 * limits.dazzled_share and spread > 1.5 * limits.flat_contrast:
        return "unknown"
    return _bare(_Seen(picture), limits)


def _bare(seen: _Seen, limits: ViewLimits) -> View:
    if seen.level < limits.dark_level:
        return "dark"
    if seen.bright > limits.dazzled_share:
        return "dazzled"
    return "covered" if _is_flat(seen, limits) else "unknown"


class _Seen:
    """A picture at the working size, and what is read from it, each once and when it is asked for."""

    def __init__(self, picture: Grey) -> None:
        self.small = _small(picture)

    @cached_property
    def edges(self) -> Map:
        return _edges(self.small)

    @cached_property
    def blocks(self) -> Map:
        return _blocks(self.edges)

    @cached_property
    def energy(self) -> float:
        return float(np.mean(self.edges))

    @cached_property
    def detail(self) -> float:
        return _detail(self.small)

    @cached_property
    def bright(self) -> float:
        return cv2.countNonZero(cv2.threshold(self.small, 249, 255, cv2.THRESH_BINARY)[1]) / self.small.size

    @cached_property
    def level(self) -> float:
        return level_at(self.small, 0.99)

    @cached_property
    def _mean_and_spread(self) -> tuple[float, float]:
        mean, spread = cv2.meanStdDev(self.small)
        return float(mean[0, 0]), float(spread[0, 0])

    @property
    def mean(self) -> float:
        return self._mean_and_spread[0]

    @property
    def spread(self) -> float:
        return self._mean_and_spread[1]


def _is_flat(seen: _Seen, limits: ViewLimits) -> bool:
    return seen.spread < limits.flat_contrast and seen.energy < limits.flat_edges


def _verdict(
    match: float, energy: float, detail: float, bright: float, level: float, limits: ViewLimits
) -> View:
    if level < limits.dark_level:
        return "dark"
    if bright > limits.dazzled_share:
        return "dazzled"
    if energy < limits.covered_energy:
        return "covered"
    if detail < limits.blurred_detail:
        return "blurred"
    if match < limits.moved_match:
        return "moved"
    return "good"


def _small(picture: Grey) -> Grey:
    return np.asarray(cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def _edges(small: Grey) -> Map:
    soft = cv2.GaussianBlur(small, (0, 0), 1.0).astype(np.float32)
    dx, dy = cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(dx, dy) / 4, np.float32)


def _detail(small: Grey) -> float:
    # Against the picture's own contrast, so that a cloud, which halves both, changes nothing.
    fine = cv2.meanStdDev(cv2.Laplacian(small, cv2.CV_16S))[1][0, 0]
    whole = cv2.meanStdDev(small)[1][0, 0]
    return float(fine**2 / (whole**2 + 1.0))


def _ratio(value: float, reference: float) -> float:
    return value / max(reference, 1e-3)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """A reference's blocks that say something: which of all they are, their pixels less their mean, their sums of squares."""

    textured: NDArray[np.bool_]
    pixels: Map
    squares: Map


def _blocks(edges: Map) -> Map:
    """Return (blocks, pixels) of square blocks, each less its mean."""
    height, width = edges.shape
    rows, columns = height // _BLOCK, width // _BLOCK
    cut = edges[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    flat = cut.transpose(0, 2, 1, 3).reshape(rows * columns, _BLOCK * _BLOCK)
    return np.asarray(flat - flat.mean(axis=1, keepdims=True), np.float32)


def _is_shifted(edges: Map, reference: ViewReference, match: float, limits: ViewLimits) -> bool:
    """Whether the picture fits the reference clearly better when it is moved back by the shift found.

    Kerbs and fences run on beyond the picture, so a turned camera still matches many blocks where it stands.
    """
    # How much more a picture must match when it is moved back; one that matches nearly whole cannot.
    least = max(0.5, match + 0.1)
    if least >= 1.0:
        return False
    (dx, dy), _ = cv2.phaseCorrelate(reference.edges, edges)
    if max(abs(dx), abs(dy)) < limits.moved_pixels:
        return False
    back = np.asarray(np.roll(edges, (-round(dy), -round(dx)), (0, 1)), np.float32)
    return _match(_blocks(back), reference.blocks, limits.block_match) > least


def _match(blocks: Map, then: _Blocks, least: float) -> float:
    now = blocks[then.textured]
    both = np.sqrt(np.einsum("ij,ij->i", now, now) * then.squares) + 1e-6
    return float(np.mean(np.einsum("ij,ij->i", now, then.pixels) / both >= least))
