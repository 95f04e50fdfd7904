"""How many cameras a core keeps at a promised delay: real RTSP on loopback, the whole box, a van that stops in each street.

The cameras run in one process on one core, the box in another on the rest of those it is given. A trial of N cameras is
good when every van was reported by its dwell + 30 s. With `settle_s` the streets are empty for so long first: a box in its
first minute fills its rings with pages that the system has to find, which it does once in its life. The largest good N is looked for by doubling and halving.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from bench.ports import free_port
from bench.street_video import FPS, GOP, VAN_FROM_S, ZONE, StreetClip

Profile = Literal["main", "acts", "sub"]
PROMISE_S = 30.0
# The dwell that the policy asks of a van; long enough for key frames alone to measure it.
CONFIRM_S = 30.0
WARM_S = 12.0
# One camera in this many shows the busy street.
BUSY_EVERY = 4


@dataclass
class Trial:
    """What N cameras cost one box, and whether the promise held."""

    cameras: int
    profile: Profile
    kept: int = 0
    missed: list[str] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """True when every camera kept the promise."""
        return self.kept == self.cameras

    @property
    def cores(self) -> float:
        """Cores that the box used."""
        return float(self.result["cpu_s"] / self.result["seconds"])

    def wire(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        r, hours = self.result, self.cameras * self.result["seconds"] / 3600
        return {
            "cameras": self.cameras,
            "profile": self.profile,
            "kept": self.kept,
            "missed": self.missed,
            "cores_used": round(self.cores, 3),
            "cpu_s_per_camera_hour": {k: round(v / hours, 2) for k, v in r["stages_s"].items()},
            "cpu_s_per_camera_hour_total": round(r["cpu_s"] / hours, 2),
            "rss_mib": round(r["rss_peak"] / 2**20, 1),
            "rss_bare_mib": round(r["rss_bare"] / 2**20, 1),
            "threads": r["threads"],
            "dropped": sum(lane["dropped"] for lane in r["lanes"].values()),
            "offered": r["looks"]["offered"],
            "judged": r["looks"]["judged"],
            "seconds": round(r["seconds"], 1),
            "age_s": {q: round(r["load"][f"age_{q}_s"], 3) for q in ("p50", "p95", "p99")},
            "stretch": round(r["load"]["stretch"], 2),
            "overloads": r["load"]["overloads"],
            "delay_after_dwell_s": _spread(self.delays_s),
        }


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return {"median": round(ordered[len(ordered) // 2], 2), "worst": round(ordered[-1], 2)}


def streets(
    clips: tuple[StreetClip, StreetClip], cameras: int, profile: Profile = "main", settle_s: float = 0.0
) -> dict[str, dict[str, Any]]:
    """Return the simulator's plan: each camera's file, beginning up to 24 s apart in the clip, after `settle_s` of its empty street."""
    lead = math.ceil(settle_s * FPS / GOP) * GOP
    plan: dict[str, dict[str, Any]] = {}
    for i in range(cameras):
        clip = clips[1] if i % BUSY_EVERY == BUSY_EVERY - 1 else clips[0]
        start = (i * 7 % 13) * GOP
        begin = {"start_unit": start, "lead_units": lead}
        plan[f"cam{i}"] = {"file": str(clip.main.resolve()), **begin}
        if profile == "sub":
            plan[f"cam{i}-sub"] = {"file": str(clip.sub.resolve()), **begin}
    return plan


def box_config(
    folder: Path,
    port: int,
    cameras: int,
    profile: Profile,
    bundle: str,
    max_batch: int,
    provider: str = "auto",
) -> Path:
    """Write the box's YAML. The API is away: what is measured ends in the outbox."""
    away = free_port()
    zones = [{"id": "kerb", "kind": "no_parking", "polygon": ZONE}]
    if profile == "acts":
        zones.append({"id": "verge", "kind": "no_dumping", "polygon": ZONE})
    listed = []
    for i in range(cameras):
        camera: dict[str, Any] = {
            "id": f"cam{i}",
            "url": f"rtsp://127.0.0.1:{port}/cam{i}",
            "place": {"lon": 0.0, "lat": 0.0},
            "zones": zones,
            "policy": {"parking.motor": {"candidate_s": 10, "confirm_s": CONFIRM_S}},
            # The clips come again and again.
            "view_check": {"looped": False},
        }
        if profile == "sub":
            # 352 x 288 of a 16:9 view.
            camera |= {"sub_url": f"rtsp://127.0.0.1:{port}/cam{i}-sub", "sub_stretched": True}
        listed.append(camera)
    config = {
        "device": "bench",
        "data_dir": str(folder / "data"),
        "api": {"url": f"http://127.0.0.1:{away}", "token": "bench"},
        "model": {"bundle": bundle, "provider": provider, "threads": 1, "max_batch": max_batch},
        "cameras": listed,
    }
    path = folder / "box.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextlib.contextmanager
def cameras_at(folder: Path, plan: dict[str, dict[str, Any]], core: int | None) -> Iterator[int]:
    """Serve the cameras and yield their port; afterwards `played.json` in `folder` says when each was played."""
    (folder / "plan.json").write_text(json.dumps({"cameras": plan}))
    command = [*_pinned(None if core is None else [core]), sys.executable, "-m", "bench.throughput_cams"]
    with subprocess.Popen(
        [*command, str(folder / "plan.json")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _pinned(cores: list[int] | None) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, cores))] if cores else []


def split_cores() -> tuple[list[int] | None, int | None]:
    """Return the box's core and the simulator's: one each where there are two, else no pinning."""
    cores = sorted(os.sched_getaffinity(0))
    return ([cores[0]], cores[1]) if len(cores) > 1 else (None, None)


def trial(
    folder: Path,
    clips: tuple[StreetClip, StreetClip],
    cameras: int,
    profile: Profile = "main",
    seconds: float = 110.0,
    bundle: str = "default",
    max_batch: int = 4,
    provider: str = "auto",
    settle_s: float = 0.0,
) -> Trial:
    """Run one box on `cameras` streams for `seconds` after `settle_s` of empty streets, and judge the promise."""
    out, plan = Trial(cameras, profile), streets(clips, cameras, profile, settle_s)
    out.result, played = run_box(
        folder, plan, cameras, profile, settle_s + seconds, bundle, max_batch, provider, settle_s + WARM_S
    )
    judge(out, plan, played)
    return out


def run_box(
    folder: Path,
    plan: dict[str, dict[str, Any]],
    cameras: int,
    profile: Profile,
    seconds: float,
    bundle: str,
    max_batch: int = 4,
    provider: str = "auto",
    warm_s: float = WARM_S,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run one box on the plan's cameras; return what it cost and raised, and when each camera was played."""
    folder.mkdir(parents=True, exist_ok=True)
    box_cores, cam_core = split_cores()
    with cameras_at(folder, plan, cam_core) as port:
        config = box_config(folder, port, cameras, profile, bundle, max_batch, provider)
        command = [*_pinned(box_cores), sys.executable, "-m", "bench.throughput_box"]
        subprocess.run(
            [*command, str(config), str(seconds), str(warm_s), str(folder / "result.json")],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    result = json.loads((folder / "result.json").read_text())
    return result, json.loads((folder / "played.json").read_text())


def judge(out: Trial, plan: dict[str, dict[str, Any]], played: dict[str, float]) -> None:
    """Compare each camera's first alert with the moment at which its van had stood for the dwell."""
    for i in range(out.cameras):
        name = f"cam{i}"
        stood = stood_at(plan[name], played[name])
        raised = out.result["alerts"].get(name)
        if raised is None or raised > stood + PROMISE_S:
            out.missed.append(name)
            continue
        out.kept += 1
        out.delays_s.append(raised - stood)


def stood_at(camera: dict[str, Any], played: float) -> float:
    """Return when a camera's van had stood for the dwell, in the time of `played`, at which the plan's camera was played."""
    before: float = (camera.get("lead_units", 0) - camera["start_unit"]) / FPS + VAN_FROM_S
    return played + max(0.0, before) + CONFIRM_S


def search(run: Callable[[int], Trial], most: int, start: int = 8) -> list[Trial]:
    """Return every trial of a search for the largest good number of cameras up to `most`."""
    trials: list[Trial] = []
    good, bad, n = 0, most + 1, min(start, most)
    while good + max(1, good // 16) < bad and n not in {t.cameras for t in trials}:
        done = run(n)
        trials.append(done)
        if done.good:
            good = n
        else:
            bad = n
        n = min(most, good * 2) if bad > most else (good + bad) // 2
        if n < 1:
            break
    return trials


def best(trials: list[Trial]) -> Trial | None:
    """Return the largest good trial."""
    return max((t for t in trials if t.good), key=lambda t: t.cameras, default=None)


def machine() -> str:
    """Return the processor's name and the number of cores."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return f"{os.cpu_count()} cores"


def report(trials: list[Trial], seconds: float, settle_s: float = 0.0) -> dict[str, Any]:
    """Return the whole run as JSON."""
    top = best(trials)
    return {
        "at": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "seconds": seconds,
        "settle_s": settle_s,
        "promise_s": PROMISE_S,
        "confirm_s": CONFIRM_S,
        "largest": top.cameras if top else 0,
        "trials": [t.wire() for t in trials],
    }
