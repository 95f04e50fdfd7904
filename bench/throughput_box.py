"""One box under measurement: `python -m bench.throughput_box BOX.yaml SECONDS WARM_SECONDS RESULT.json`.

The real box with its real configuration; only its log is kept instead of printed. CPU, memory and stages count from
`WARM_SECONDS` after the start, when the cameras are connected.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from camera_adapters.meter import METER
from edge.allocator import lean_process
from edge.box import Box
from edge.config import load_box


class Log:
    """Keeps when each camera raised its first alert and saw its first frame; counts the rest."""

    def __init__(self) -> None:
        self.alerts: dict[str, float] = {}
        self.first_frames: dict[str, float] = {}
        self.events: dict[str, int] = {}
        self.problems: list[str] = []
        self._lock = threading.Lock()

    def info(self, event: str, **facts: Any) -> None:
        """Take an event."""
        with self._lock:
            self.events[event] = self.events.get(event, 0) + 1
            if event == "alert.opened":
                self.alerts.setdefault(str(facts["camera"]), time.time())
            elif event == "camera.first_frame":
                self.first_frames.setdefault(str(facts["camera"]), time.time())

    debug = info

    def warning(self, event: str, **facts: Any) -> None:
        """Take an event that should not happen too often."""
        self.info(event, **facts)
        if len(self.problems) < 20:
            self.problems.append(f"{event} {facts}")

    error = warning


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _looks(box: Box) -> dict[str, int]:
    counted = [lane.pipeline.counters() for lane in box.worker.lanes]
    return {"offered": sum(c.offered for c in counted), "judged": sum(c.judged for c in counted)}


def measure(config: Path, seconds: float, warm_s: float) -> dict[str, Any]:
    """Run the box and return what it cost and raised."""
    lean_process()
    log, process = Log(), psutil.Process()
    box = Box(load_box(config), log)
    bare = process.memory_info().rss
    box.start()
    time.sleep(warm_s)
    cpu, stages, looks, began = _cpu(), METER.seconds(), _looks(box), time.monotonic()
    peak, threads = 0, 0
    while time.monotonic() - began < seconds - warm_s:
        time.sleep(0.5)
        peak, threads = max(peak, process.memory_info().rss), max(threads, process.num_threads())
    took = time.monotonic() - began
    used = {name: value - stages[name] for name, value in METER.seconds().items()}
    total, load = _cpu() - cpu, box.worker.load()
    lanes = {
        lane.camera.id: {
            **asdict(lane.pipeline.counters()),
            "dropped": box.worker.dropped(lane.camera.id),
            "state": lane.stream.health().state.value if lane.stream else "none",
        }
        for lane in box.worker.lanes
    }
    result = {
        "seconds": took,
        "looks": {name: count - looks[name] for name, count in _looks(box).items()},
        "cpu_s": total,
        "stages_s": {**used, "other": total - sum(used.values())},
        "rss_bare": bare,
        "rss_peak": peak,
        "threads": threads,
        "fds": process.num_fds(),
        "load": asdict(load),
        "lanes": lanes,
        "alerts": log.alerts,
        "first_frames": log.first_frames,
        "events": log.events,
        "problems": log.problems,
    }
    box.stop()
    return result


def main() -> None:
    """Measure and write the figures; exit at once, so that no slow end of a thread is waited for."""
    config, seconds, warm_s, result = sys.argv[1:5]
    Path(result).write_text(json.dumps(measure(Path(config), float(seconds), float(warm_s))))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
