"""The health that a heartbeat carries: load, temperature, disk, clock, versions; and the look that judges a change."""

from __future__ import annotations

import os
import platform
import time
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from camera_adapters.meter import METER
from contract.fleet import BoxLoad
from edge.fleet.health_window import Look
from edge.worker import Worker


def versions() -> dict[str, str]:
    """Return what this box stands on."""
    found = {"system": f"{platform.system()} {platform.release()}"[:120], "python": platform.python_version()}
    for name in ("onnxruntime", "onnxruntime-gpu", "av", "tuf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def temperature_c() -> float | None:
    """Return the hottest sensor in degrees Celsius; None where the machine shows none."""
    reader = getattr(psutil, "sensors_temperatures", None)
    try:
        found = [s.current for sensors in (reader() if reader else {}).values() for s in sensors]
    except (OSError, ValueError):
        return None
    sane = [t for t in found if t is not None and -60 <= t <= 200]
    return max(sane) if sane else None


class Signs:
    """Reads the box. `take` and `look` belong to the heartbeat's thread."""

    def __init__(self, worker: Worker, data_dir: Path) -> None:
        self._worker, self._data = worker, data_dir
        self._at, self._stages = time.monotonic(), METER.seconds()
        self._versions = versions()
        self._offset: float | None = None
        self._failures = 0

    def heard(self, asked: datetime, server: datetime, got: datetime) -> None:
        """Note the centre's clock: it read `server` in the middle between question and answer."""
        self._offset = (server - asked).total_seconds() - (got - asked).total_seconds() / 2

    def take(self) -> dict[str, Any]:
        """Return the heartbeat's fields; load is since the last call."""
        now, stages, load = time.monotonic(), METER.seconds(), self._worker.load()
        seconds = max(1e-3, now - self._at)
        cores = {k: max(0.0, (stages[k] - self._stages[k]) / seconds) for k in ("decode", "detect")}
        self._at, self._stages = now, stages
        disk = psutil.disk_usage(os.fspath(self._data))
        return {
            "disk_free_bytes": disk.free,
            "disk_bytes": disk.total,
            "temperature_c": temperature_c(),
            "clock_offset_s": None if self._offset is None else round(self._offset, 3),
            "load": BoxLoad(
                decode=cores["decode"], inference=cores["detect"], busy=min(1.0, max(0.0, load.busy)),
                stretch=load.stretch, age_p95_s=load.age_p95_s,
            ),
            "versions": self._versions,
        }  # fmt: skip

    def look(self) -> Look:
        """Return how the box stands now; it fails when a picture failed since the last look."""
        lanes = self._worker.lanes
        live = {
            x.camera.id for x in lanes if x.stream is not None and x.stream.health().state.value == "live"
        }
        failing, self._failures = self._worker.failures > self._failures, self._worker.failures
        overloaded = self._worker.load().overloaded
        wanted = frozenset(x.camera.id for x in lanes)
        return Look(time.monotonic(), frozenset(live), wanted, overloaded, failing)
