"""The view check on real clips: what passes by must raise nothing, what is done to a camera must be told.

Each clip is commissioned on its first seconds and then judged for two minutes, one picture a second, over and over
where it is shorter. The light of the quiet rows is that of `bench.changes`.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.changes import CHANGES
from camera_adapters.clock import VirtualClock
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame
from camera_adapters.open import open_stream
from camera_adapters.stream import StreamEvent, StreamOptions
from camera_adapters.view import Grey, ViewReference
from camera_adapters.view_watch import FIT, ViewWatch
from edge.pipeline import small_grey

COMMISSION_S, STEP_S, SECONDS = 10, 0.5, 120
# When the bus comes, or the fault begins.
FROM_S, BUS_S = 40, 12
Scene = Callable[[Grey, int, np.random.Generator], Grey]


@dataclass(frozen=True)
class Row:
    """One way of playing all clips.

    Attributes:
        want: the word that must be told; "" where nothing may be.
        clips: how many were played.
        told: how many were given the word wanted, or a wrong one where none is.
        wrong: clips with another bad word.
        readings: pictures judged; `bad` of them were read as bad, one by one.
        after_s: median seconds from the fault to the word.
    """

    name: str
    referenced: bool
    want: str
    clips: int
    told: int
    wrong: int
    readings: int
    bad: int
    after_s: float | None


def _late(change: Scene) -> Scene:
    return lambda a, t, rng: change(a, t, rng) if t >= FROM_S else a


def _bus(a: Grey, t: int, _rng: np.random.Generator) -> Grey:
    """A wall of one colour with windows over half of the picture, for twelve seconds."""
    if not FROM_S <= t < FROM_S + BUS_S:
        return a
    out, (h, w) = a.copy(), a.shape
    out[h // 4 : h * 19 // 20, w // 8 : w * 7 // 8] = 150
    out[h // 3 : h // 2, w // 6 : w * 5 // 6] = 60
    return out


def _cloud(a: Grey, t: int, _rng: np.random.Generator) -> Grey:
    """Light that falls to half within twenty seconds and comes back."""
    dim = 0.5 * np.exp(-(((t - 60) / 20) ** 2))
    return np.asarray(a * (1 - dim), np.uint8)


def _changed(name: str) -> Scene:
    pixels = CHANGES[name].pixels
    return lambda a, _t, rng: a if pixels is None else pixels(a, rng)


def _turned(a: Grey, _t: int, _rng: np.random.Generator) -> Grey:
    """An eighth of the width to the side; what comes in there was not in the picture before."""
    return np.asarray(np.roll(a, a.shape[1] // 8, 1), np.uint8)


def _zoomed(a: Grey, _t: int, _rng: np.random.Generator) -> Grey:
    h, w = a.shape
    part = a[h // 5 : h * 4 // 5, w // 5 : w * 4 // 5]
    return np.asarray(cv2.resize(part, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)


def _cover(a: Grey, _t: int, rng: np.random.Generator) -> Grey:
    return np.asarray(np.clip(rng.normal(70, 2, a.shape), 0, 255), np.uint8)


def _blur(a: Grey, _t: int, _rng: np.random.Generator) -> Grey:
    return np.asarray(cv2.GaussianBlur(a, (0, 0), a.shape[1] * 0.02), np.uint8)


def _dazzle(a: Grey, _t: int, _rng: np.random.Generator) -> Grey:
    """A low sun: half of the picture saturated, the rest washed out."""
    out = np.clip(a.astype(np.float32) * 0.6 + 90, 0, 255).astype(np.uint8)
    out[:, : a.shape[1] * 6 // 10] = 255
    return np.asarray(out, np.uint8)


def _dark(a: Grey, _t: int, rng: np.random.Generator) -> Grey:
    return np.asarray(np.clip(a * 0.05 + rng.normal(6, 2, a.shape), 0, 255), np.uint8)


QUIET: Mapping[str, Scene] = {
    **{n: _changed(n) for n in ("as it is", "dark", "bright", "low contrast", "noise", "night", "rain")},
    "a bus for 12 s": _bus,
    "a cloud": _cloud,
    "wind (2 px of 192)": lambda a, t, _rng: np.asarray(np.roll(a, (t % 3 - 1) * 3, 1), np.uint8),
}
FAULTS: Mapping[str, tuple[str, Scene]] = {
    "turned by an eighth": ("moved", _late(_turned)),
    "zoomed by 5/3": ("moved", _late(_zoomed)),
    "covered": ("covered", _late(_cover)),
    "out of focus": ("blurred", _late(_blur)),
    "low sun": ("dazzled", _late(_dazzle)),
    "no light": ("dark", _late(_dark)),
}
BARE_FAULTS = ("covered", "low sun", "no light")


def pictures_of(path: Path) -> list[Grey]:
    """Return a clip's small grey pictures, as the box's gate sees them, two a second."""
    seen: list[Grey] = []

    class Sink:
        def on_frame(self, frame: Frame) -> None:
            seen.append(small_grey(frame))

        def on_event(self, event: StreamEvent) -> None:
            """A file's states need no answer."""

    stream = open_stream("clip", str(path), Sink(), StreamOptions(ring_seconds=1), VirtualClock())
    stream.demand = Demand("all", STEP_S)
    stream.run(threading.Event())
    return seen


def run_all(clips: Sequence[Path], tell: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Play all clips in all ways."""
    films = []
    for path in clips:
        tell(path.name)
        films.append(pictures_of(path))
    rows = []
    for referenced in (True, False):
        for name, scene in QUIET.items():
            tell(name)
            rows.append(_row(name, referenced, "", films, scene))
        for name, (want, scene) in FAULTS.items():
            if referenced or name in BARE_FAULTS:
                tell(name)
                rows.append(_row(name, referenced, want, films, scene))
    return [*rows, _frozen(films), _looped(films), _straight(films)]


def _row(name: str, referenced: bool, want: str, films: Sequence[list[Grey]], scene: Scene) -> Row:
    told = wrong = readings = bad = 0
    after: list[float] = []
    for n, film in enumerate(films):
        first = film[: round(COMMISSION_S / STEP_S)]
        watch = ViewWatch([ViewReference.of(first)] if referenced else [], loops=False)
        words: list[tuple[int, str]] = []
        for t in range(SECONDS):
            rng = np.random.default_rng((n, t))
            # Another sensor noise each time round, or a short clip would be a loop.
            noise = rng.integers(0, 2, film[0].shape, np.uint8)
            picture = np.maximum(film[round(t / STEP_S) % len(film)], 1) - noise
            words.append((t, watch.observe(scene(np.asarray(picture, np.uint8), t, rng), float(t))))
            readings += 1
            bad += watch.reading not in FIT and (not want or t < FROM_S)
        said = {w for _, w in words} - FIT
        if want in said:
            after.append(next(t for t, w in words if w == want) - FROM_S)
        told += (want in said) if want else bool(said)
        wrong += bool(said - {want})
    return Row(name, referenced, want, len(films), told, wrong, readings, bad, _median(after))


def _frozen(films: Sequence[list[Grey]]) -> Row:
    """The last picture again and again, from a moment on."""
    return _played("frozen picture", "frozen", films, lambda film, n: film[min(n, len(film) // 2)])


def _looped(films: Sequence[list[Grey]]) -> Row:
    """The whole clip again and again."""
    return _played("the clip in a loop", "looped", films, lambda film, n: film[n % len(film)])


def _played(name: str, want: str, films: Sequence[list[Grey]], at: Callable[[list[Grey], int], Grey]) -> Row:
    told = wrong = readings = 0
    after: list[float] = []
    for film in films:
        watch, since = ViewWatch(), (len(film) // 2 if want == "frozen" else len(film)) * STEP_S
        words = []
        for n in range(round((since + SECONDS) / STEP_S)):
            words.append((n * STEP_S, watch.observe(at(film, n), n * STEP_S)))
            readings += 1
        said = {w for _, w in words} - FIT
        if want in said:
            after.append(next(t for t, w in words if w == want) - since)
        told += want in said
        wrong += bool(said - {want})
    return Row(name, False, want, len(films), told, wrong, readings, 0, _median(after))


def _straight(films: Sequence[list[Grey]]) -> Row:
    """Each clip once, with the check for loops on: nothing may recur."""
    told = readings = 0
    for film in films:
        watch = ViewWatch()
        words = {watch.observe(picture, n * STEP_S) for n, picture in enumerate(film)}
        readings += len(film)
        told += bool(words - FIT)
    return Row("each clip once, loops on", False, "", len(films), told, told, readings, 0, None)


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 1) if values else None
