"""What one camera more costs in memory: boxes with 1, 5, 9 … cameras of 1080p, each until its rings have turned over, and the slope.

Read from outside the box's process. PSS is the fairer number where processes share libraries; RSS is what a limit counts.
Nothing is confirmed: the clips at work belong to the box (one at a time, at most four that wait), not to a camera.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from bench.street_video import StreetClip
from bench.throughput import Profile, box_config, cameras_at, machine, split_cores, streets

# The last so many seconds are read, every `EVERY_S`.
LATE_S, EVERY_S = 15.0, 1.0
# A ring is full after a minute; what the heap loses to holes shows only after it has turned over a few times.
FULL_S = 165.0
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Level:
    """One box with its rings full: MiB of its process, medians of the last seconds; `most` is the peak of RSS since the start."""

    cameras: int
    rss: float
    pss: float
    most: float
    threads: int
    parts: dict[str, float]


def measure(
    folder: Path,
    clips: tuple[StreetClip, StreetClip],
    cameras: int,
    profile: Profile,
    seconds: float = FULL_S + LATE_S,
    bundle: str = "default",
) -> Level:
    """Run one box for `seconds` from its cameras' start on and return what its process held at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with cameras_at(folder, streets(clips, cameras, profile), split_cores()[1]) as port:
        config = box_config(folder, port, cameras, profile, bundle, 4)
        _confirm_nothing(config)
        command = [sys.executable, "-m", "bench.throughput_box", str(config), str(seconds + 60), "0"]
        with subprocess.Popen(
            [*command, str(folder / "result.json")], env={**os.environ, "OMP_NUM_THREADS": "1"}
        ) as box:
            process = psutil.Process(box.pid)
            _wait_for_cameras(box, process, cameras * (2 if profile == "sub" else 1))
            began = time.monotonic()
            seen: list[Any] = []
            most = 0
            while (at := time.monotonic() - began) < seconds:
                if box.poll() is not None:
                    raise RuntimeError(f"the box ended with {box.returncode}")
                most = max(most, process.memory_info().rss)
                if at > seconds - min(LATE_S, seconds / 2):
                    seen.append(process.memory_full_info())
                    # Read again: it may have grown since.
                    most = max(most, seen[-1].rss)
                time.sleep(EVERY_S)
            parts, threads = parts_of(box.pid), process.num_threads()
            box.terminate()
    return Level(
        cameras,
        round(statistics.median(m.rss for m in seen) / MIB, 1),
        round(statistics.median(m.pss for m in seen) / MIB, 1),
        round(most / MIB, 1),
        threads,
        parts,
    )


def _wait_for_cameras(box: subprocess.Popen[bytes], process: psutil.Process, streams: int) -> None:
    """Return when each stream has its thread."""
    until = time.monotonic() + 120
    while process.num_threads() <= streams:
        if box.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the box did not start its {streams} streams; it ended with {box.poll()}")
        time.sleep(0.1)


def _confirm_nothing(config: Path) -> None:
    told = yaml.safe_load(config.read_text())
    for camera in told["cameras"]:
        camera["policy"]["parking.motor"]["confirm_s"] = 3600
    config.write_text(yaml.safe_dump(told))


def parts_of(pid: int) -> dict[str, float]:
    """Return where a process's resident memory lies, in MiB: heap, other memory of its own, stacks, files."""
    sums: Counter[str] = Counter()
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            path = words[5] if len(words) > 5 else ""
            name = "files" if path.startswith("/") else path.strip("[]") or "mapped"
        elif words[0] == "Rss:":
            sums[name] += int(words[1])
    return {k: round(v / 1024, 1) for k, v in sums.most_common() if v >= 1024}


def slope(levels: list[Level], field: str) -> float:
    """Return MiB a camera, by least squares over the numbers of cameras; NaN for a single one."""
    if len(levels) < 2:
        return float("nan")
    x, y = [v.cameras for v in levels], [float(getattr(v, field)) for v in levels]
    return float(np.polyfit(x, y, 1)[0])


def report(levels: dict[str, list[Level]]) -> dict[str, Any]:
    """Return the run as JSON."""
    return {
        "at": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "profiles": {
            name: {
                "levels": [asdict(v) for v in found],
                **{f"{f}_mib_a_camera": round(slope(found, f), 1) for f in ("rss", "pss", "most")},
            }
            for name, found in levels.items()
        },
    }


def write(told: dict[str, Any], path: Path) -> None:
    """Write the report."""
    path.write_text(json.dumps(told, indent=1) + "\n")
