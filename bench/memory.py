"""Memory of a detector while the sizes of pictures and batches vary, sampled from outside its work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from models.bundle import load_bundle
from models.detector import Detector

SIDES = (64, 1920)
MOST_PICTURES = 20


@dataclass(frozen=True)
class Sample:
    """`seconds` since the warming, pictures seen so far, resident memory in MB (10⁶ bytes)."""

    seconds: float
    pictures: int
    rss: float


@dataclass(frozen=True)
class MemoryRun:
    """`loaded`: MB before the detector; `warmed`: after every batch size ran once."""

    model: str
    provider: str
    max_batch: int
    loaded: float
    warmed: float
    samples: tuple[Sample, ...]

    @property
    def most(self) -> float:
        return max(s.rss for s in self.samples)

    @property
    def drift(self) -> float:
        """MB an hour, by least squares over the second half of the samples; 0 where there are fewer than four."""
        late = self.samples[len(self.samples) // 2 :]
        if len(late) < 2:
            return 0.0
        slope = np.polyfit([s.seconds / 3600 for s in late], [s.rss for s in late], 1)[0]
        return float(slope)

    def wire(self) -> dict[str, Any]:
        return {**asdict(self), "most": self.most, "drift_mb_an_hour": round(self.drift, 2)}


def watch(
    model: str,
    provider: str,
    max_batch: int,
    minutes: float,
    every: float,
    duty: float,
    threads: int = 1,
    seed: int = 0,
    say: Callable[[Sample], None] = lambda _: None,
) -> MemoryRun:
    """Feed 1 to 20 pictures of 64 to 1920 px a side in each call for `minutes`; `duty` is the share of time at work.

    The pictures are noise: what a network computes does not change its memory, shapes and counts do.
    """
    process, rng = psutil.Process(), np.random.default_rng(seed)
    canvas = rng.integers(0, 255, (SIDES[1], SIDES[1], 3), np.uint8)

    def rss() -> float:
        return round(process.memory_info().rss / 1e6, 1)

    loaded = rss()
    detector = Detector(load_bundle(model), provider, threads, max_batch)
    detector.warm()
    begun, pictures = time.monotonic(), 0
    run = MemoryRun(model, detector.provider, detector.largest_batch, loaded, rss(), ())
    samples: list[Sample] = []
    while (now := time.monotonic() - begun) < minutes * 60 or not samples:
        if now >= len(samples) * every:
            samples.append(Sample(round(now, 1), pictures, rss()))
            say(samples[-1])
        sizes = rng.integers(*SIDES, (int(rng.integers(1, MOST_PICTURES + 1)), 2))
        at_work = time.monotonic()
        detector.detect([canvas[:h, :w] for h, w in sizes])
        pictures += len(sizes)
        time.sleep((time.monotonic() - at_work) * (1 / duty - 1))
    samples.append(Sample(round(time.monotonic() - begun, 1), pictures, rss()))
    return replace(run, samples=tuple(samples))


def plot(runs: list[MemoryRun], path: Path) -> None:
    """PNG: resident memory against minutes, one line a run, dotted where warming left it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for run in runs:
        (line,) = axes.plot(
            [s.seconds / 60 for s in run.samples],
            [s.rss for s in run.samples],
            label=f"{run.model}, {run.provider}, batches to {run.max_batch}",
        )
        axes.axhline(run.warmed, color=line.get_color(), linewidth=0.8, linestyle=":")
    axes.set(xlabel="minutes", ylabel="resident MB", ylim=(0, 1.2 * max(r.most for r in runs)))
    axes.set_title("Memory while pictures and batches vary; dotted: after warming", fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path)
