"""What every peer's loop is given beside its own code: the same rule on its boxes, and the same report.

A van is found when vehicle boxes lay in the zone at looks that span the dwell, without a gap of more than a third of it.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VEHICLES = {2, 5, 7}  # car, bus, truck of COCO


class Dwell:
    """The dwell of one camera. Boxes are x1, y1, x2, y2 in 0-1 of the picture."""

    def __init__(self, zone: list[list[float]], confirm_s: float) -> None:
        xs, ys = [x for x, _ in zone], [y for _, y in zone]
        self._zone, self._confirm = (min(xs), min(ys), max(xs), max(ys)), confirm_s
        self._since: float | None = None
        self._last = 0.0
        self.found: float | None = None

    def look(self, now: float, boxes: Iterable[tuple[float, float, float, float]]) -> None:
        """Take the vehicle boxes of one look at the time `now`, seconds since 1970."""
        x1, y1, x2, y2 = self._zone
        inside = any(x1 <= (a + c) / 2 <= x2 and y1 <= d <= y2 for a, _, c, d in boxes)
        if self._since is not None and now - self._last > self._confirm / 3:
            self._since = None
        if not inside:
            return
        self._last = now
        self._since = now if self._since is None else self._since
        if self.found is None and now - self._since >= self._confirm:
            self.found = now


class Peer:
    """The run of one peer: cameras, their dwells, its cost."""

    def __init__(self, plan: Path) -> None:
        told: dict[str, Any] = json.loads(plan.read_text())
        self.urls: list[str] = told["urls"]
        self.seconds: float = told["seconds"]
        self.warm_s: float = told["warm_s"]
        self.stride: int = told["stride"]
        self.model: str = told["model"]
        self._out = Path(told["out"])
        self.dwells = [Dwell(told["zone"], told["confirm_s"]) for _ in self.urls]
        self.looks = [0] * len(self.urls)
        self._began: float | None = None
        self._cpu = 0.0
        self._start = time.monotonic()

    def look(self, camera: int, boxes: Iterable[tuple[float, float, float, float]]) -> None:
        """Take one camera's vehicle boxes; ends the process with the report when the time is over."""
        now = time.monotonic()
        if self._began is None and now - self._start > self.warm_s:
            self._began, self._cpu = now, _cpu()
            self.looks = [0] * len(self.urls)
        self.looks[camera] += 1
        self.dwells[camera].look(time.time(), boxes)
        if now - self._start > self.seconds:
            self.end()

    def end(self) -> None:
        """Write the report and end."""
        took = time.monotonic() - (self._began or self._start)
        report = {
            "seconds": took,
            "cpu_s": _cpu() - self._cpu,
            "rss_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "looks": sum(self.looks),
            "fewest_looks": min(self.looks),
            "found": {f"cam{i}": d.found for i, d in enumerate(self.dwells) if d.found is not None},
        }
        self._out.write_text(json.dumps(report))
        os._exit(0)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
