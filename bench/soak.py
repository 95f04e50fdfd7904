"""An hour of a box with many cameras and a fault each minute: do memory, threads, descriptors and queues stay where they were?

Sampled from outside the box's process; judged by `bench.soak_judge` after the warm-up, in which rings fill.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.soak_judge import Trend, trends
from bench.soak_world import Fault, World
from bench.throughput import machine

# Each fault takes another camera; 7 and the usual numbers of cameras have no common divisor.
VICTIM_STEP = 7
# A camera that was refused as a wrong login is left alone for five minutes.
SETTLE_S = 330.0


@dataclass
class Soak:
    """One run and what became of it."""

    cameras: int
    seconds: float
    warm_s: float
    samples: list[dict[str, float]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    workers: set[int] = field(default_factory=set)
    alerts: int = 0
    waiting_at_end: int = -1
    live_at_end: int = 0

    def trends(self) -> list[Trend]:
        """Return the trend of each series."""
        return trends(self.samples, self.warm_s)

    def problems(self) -> list[str]:
        """Return why the run is not good; empty when it is."""
        out = [
            f"{t.name} gains {t.slope_h:.2f} an hour, more than {t.limit_h:.2f}"
            for t in self.trends()
            if not t.flat
        ]
        if len(self.workers) != 1:
            out.append(f"the box had {len(self.workers)} workers instead of one: it was started again")
        if self.live_at_end < self.cameras:
            out.append(f"{self.cameras - self.live_at_end} cameras were not live at the end")
        if self.waiting_at_end:
            out.append(f"{self.waiting_at_end} messages and files still wait")
        if not self.alerts:
            out.append("no alert was acknowledged: evidence was not under test")
        return out

    def wire(self) -> dict[str, Any]:
        """Return the whole run as JSON."""
        return {
            "at": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "cameras": self.cameras,
            "seconds": self.seconds,
            "warm_s": self.warm_s,
            "alerts": self.alerts,
            "waiting_at_end": self.waiting_at_end,
            "live_at_end": self.live_at_end,
            "problems": self.problems(),
            "trends": [t.wire() for t in self.trends()],
            "faults": self.faults,
            "samples": self.samples,
        }


class Watch:
    """Reads the box's worker from outside: the kernel's counts and the metrics page."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._client = httpx.Client(trust_env=False, timeout=3)
        self._worker: psutil.Process | None = None
        self._cpu = self._at = 0.0

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def sample(self, began: float) -> tuple[int, dict[str, float]] | None:
        """Return the worker's process id and one sample; None while there is none, or it does not answer."""
        try:
            worker = self._find()
            if worker is None:
                return None
            memory, cpu, now = worker.memory_full_info(), worker.cpu_times(), time.monotonic()
            page = self._page()
            sample = {
                "at_s": round(now - began, 2),
                "rss_mib": round(memory.rss / 2**20, 2),
                "pss_mib": round(memory.pss / 2**20, 2),
                "uss_mib": round(memory.uss / 2**20, 2),
                "threads": float(worker.num_threads()),
                "fds": float(worker.num_fds()),
                "cores": round((cpu.user + cpu.system - self._cpu) / max(now - self._at, 1e-3), 3),
                **page,
            }
            self._cpu, self._at = cpu.user + cpu.system, now
        except (psutil.Error, httpx.HTTPError):
            return None
        return worker.pid, sample

    def _find(self) -> psutil.Process | None:
        if self._worker is None or not self._worker.is_running():
            self._worker = next(iter(psutil.Process(self._world.box.pid).children()), None)
            if self._worker is not None:
                cpu = self._worker.cpu_times()
                self._cpu, self._at = cpu.user + cpu.system, time.monotonic()
        return self._worker

    def _page(self) -> dict[str, float]:
        text = self._client.get(f"http://127.0.0.1:{self._world.metrics_port}/metrics").text
        wanted = {
            "curbwatch_edge_outbox_alerts": "waiting",
            "curbwatch_edge_outbox_files": "waiting",
            "curbwatch_edge_outbox_bytes": "waiting_bytes",
            "curbwatch_edge_uplink_alerts_total": "sent",
            "curbwatch_edge_frames_judged_total": "judged",
            "curbwatch_edge_frames_dropped_total": "dropped",
            "curbwatch_edge_connects_total": "connects",
            "curbwatch_edge_stretch": "stretch",
        }
        out = dict.fromkeys([*wanted.values(), "live"], 0.0)
        for family in text_string_to_metric_families(text):
            for each in family.samples:
                if each.name in wanted:
                    out[wanted[each.name]] += each.value
                elif each.name == "curbwatch_edge_camera_state" and each.labels["state"] == "live":
                    out["live"] += each.value
        return out


def run(
    world: World,
    seconds: float,
    fault_every_s: float,
    every_s: float,
    warm_s: float,
    say: Callable[[str], None],
    faults: list[Fault] | None = None,
) -> Soak:
    """Let the box work for `seconds` from its first sample on, break something each `fault_every_s`, and return what was seen.

    `faults` are done by turns; without them all that the world has.
    """
    soak = Soak(world.cameras, seconds, warm_s)
    watch = Watch(world)
    with contextlib.closing(watch), (world.folder / "samples.jsonl").open("w") as lines:
        began = _wait_for_box(watch, world)
        turns = _Turns(faults or world.faults(), world.cameras, fault_every_s)
        due = began
        while (now := time.monotonic()) < began + seconds + SETTLE_S:
            at_s = now - began
            calm = at_s >= seconds - fault_every_s / 2
            turns.turn(at_s, calm, soak.faults, say)
            if now >= due:
                due += every_s
                _note(soak, watch.sample(began), at_s < seconds, lines.write)
                lines.flush()
                if at_s >= seconds and not soak.waiting_at_end and soak.live_at_end == world.cameras:
                    break
            time.sleep(0.05)
    return soak


def _note(
    soak: Soak, seen: tuple[int, dict[str, float]] | None, judged: bool, write: Callable[[str], int]
) -> None:
    if seen is None:
        return
    pid, sample = seen
    soak.workers.add(pid)
    soak.alerts = max(soak.alerts, int(sample["sent"]))
    soak.waiting_at_end, soak.live_at_end = int(sample["waiting"]), int(sample["live"])
    if judged:
        soak.samples.append(sample)
        write(json.dumps(sample) + "\n")


def _wait_for_box(watch: Watch, world: World, limit_s: float = 180.0) -> float:
    until = time.monotonic() + limit_s
    while watch.sample(0.0) is None:
        if world.box.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the box did not start; see the logs in {world.folder}")
        time.sleep(0.1)
    return time.monotonic()


class _Turns:
    """Begins the next fault when it is due and heals the one that is on."""

    def __init__(self, faults: list[Fault], cameras: int, every_s: float) -> None:
        self._faults, self._cameras, self._every_s = faults, cameras, every_s
        self._n, self._heal_at = 0, 0.0
        self._on: tuple[Fault, int] | None = None

    def turn(self, at_s: float, calm: bool, done: list[dict[str, Any]], say: Callable[[str], None]) -> None:
        if self._on is not None and at_s >= self._heal_at:
            self._on[0].heal(self._on[1])
            self._on = None
        if calm or self._on is not None or at_s < (self._n + 0.5) * self._every_s:
            return
        fault, victim = self._faults[self._n % len(self._faults)], self._n * VICTIM_STEP % self._cameras
        fault.begin(victim)
        self._on, self._heal_at = (fault, victim), at_s + min(fault.seconds, self._every_s * 0.7)
        done.append({"at_s": round(at_s, 1), "fault": fault.name, "camera": f"cam{victim}"})
        say(f"{at_s:7.0f} s  {fault.name} (cam{victim})")
        self._n += 1
