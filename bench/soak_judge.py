"""Is a series flat? A robust slope after the warm-up, with its interval, against a limit that was set before the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pairs of samples grow with their square; every second minute of an hour would do.
MOST_SAMPLES = 800


@dataclass(frozen=True, slots=True)
class Limit:
    """What may be gained in an hour: `share` of the level, or `most` in the series' own unit, whichever is more."""

    share: float = 0.0
    most: float = 0.0


# One per cent of memory an hour is less than what one picture more a camera would be; a thread or a descriptor is a whole one.
LIMITS = {
    "rss_mib": Limit(share=0.01),
    # Not PSS, which rises when another process that shares the libraries ends.
    "uss_mib": Limit(share=0.01),
    "threads": Limit(most=1.0),
    "fds": Limit(most=1.0),
    "waiting": Limit(most=1.0),
}


@dataclass(frozen=True, slots=True)
class Trend:
    """One series after the warm-up: its median, its ends, its slope an hour with the 95 % interval, and the limit."""

    name: str
    level: float
    least: float
    most: float
    slope_h: float
    low_h: float
    high_h: float
    limit_h: float

    @property
    def flat(self) -> bool:
        """True when it does not gain more than its limit; what falls is flat too."""
        return self.slope_h <= self.limit_h

    def wire(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()} | {
            "flat": self.flat
        }


def theil_sen(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Return slope and the ends of its 95 % interval (Sen 1968): the median of the slopes of all pairs.

    Up to 29 % of the samples may lie anywhere: a camera that is away, or a clip at work, moves nothing.

    Raises:
        ValueError: there are fewer than four samples at different times.
    """
    step = max(1, math.ceil(len(x) / MOST_SAMPLES))
    xs, ys = np.asarray(x, np.float64)[::step], np.asarray(y, np.float64)[::step]
    i, j = np.triu_indices(len(xs), 1)
    apart = xs[j] != xs[i]
    slopes: NDArray[np.float64] = np.sort((ys[j] - ys[i])[apart] / (xs[j] - xs[i])[apart])
    if len(xs) < 4 or not len(slopes):
        raise ValueError(f"{len(xs)} samples after the warm-up are too few for a slope; let it run longer")
    n = len(xs)
    # Ties of y make the interval a little too wide, never too narrow.
    spread = 1.96 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, round((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, round((len(slopes) + spread) / 2))
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def trends(samples: Sequence[dict[str, float]], warm_s: float) -> list[Trend]:
    """Return the trend of each series of `LIMITS`; each sample has `at_s` and them.

    Raises:
        ValueError: too few samples are left after the warm-up.
    """
    late = [s for s in samples if s["at_s"] >= warm_s]
    hours = [s["at_s"] / 3600 for s in late]
    out = []
    for name, limit in LIMITS.items():
        values = [s[name] for s in late]
        slope, low, high = theil_sen(hours, values)
        level = float(np.median(values))
        out.append(
            Trend(
                name, level, min(values), max(values), slope, low, high, max(limit.share * level, limit.most)
            )
        )
    return out


def plot(told: dict[str, Any], path: Path) -> None:
    """Draw memory, threads and descriptors, the queue and the processor, with a tick where each fault struck."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    samples, warm = told["samples"], told["warm_s"] / 60
    figure = Figure(figsize=(8, 7.2), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True)
    minutes = [s["at_s"] / 60 for s in samples]
    rows = (
        ("MiB", ("rss_mib", "uss_mib")),
        ("count", ("threads", "fds")),
        ("waiting in the outbox", ("waiting",)),
        ("cameras live, cores", ("live", "cores")),
    )
    for axis, (unit, names) in zip(axes, rows, strict=True):
        for name in names:
            axis.plot(minutes, [s[name] for s in samples], linewidth=0.9, label=name)
        for trend in (t for t in told["trends"] if t["name"] in names):
            label = f"{trend['slope_h']:+.2f} an hour ({trend['low_h']:+.2f} to {trend['high_h']:+.2f})"
            axis.plot([], [], " ", label=f"{trend['name']}: {label}")
        axis.set_ylim(bottom=0)
        axis.axvspan(0, warm, color="0.9", zorder=0)
        for fault in told["faults"]:
            axis.axvline(fault["at_s"] / 60, color="tab:red", linewidth=0.5, alpha=0.35, zorder=0)
        axis.set_ylabel(unit, fontsize=8)
        axis.legend(fontsize=7, loc="lower right", ncols=2)
        axis.grid(alpha=0.25)
    axes[0].set_title(
        f"{told['cameras']} cameras, {told['seconds'] / 60:.0f} minutes, {len(told['faults'])} faults (red); grey: warm-up",
        fontsize=10,
    )
    axes[-1].set_xlabel("minutes")
    figure.savefig(path)
