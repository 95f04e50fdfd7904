"""A thousand cameras on paper: the real scheduler, slots and governor, with recorded costs.

`costs.json` is what `curbwatch bench throughput --json` wrote on the machine that it names.

Time runs in steps. Each camera gives key frames on its own grid; decoding and the gate share the decode cores, the detector has one
of its own. In each camera's view a van stops and stays; it is found by the third look that sees it, when its dwell is over.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from edge.config import SamplingConfig
from edge.load import LoadGovernor
from edge.pump import LatestSlots
from edge.scheduler import CameraScheduler
from edge.sites import LEAST_HITS

DWELL_S = 60.0
RECORDED = Path(__file__).with_name("costs.json")


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds of one core by stage, and the cores that are there."""

    network_s: float  # a second of a camera
    key_decode_s: float  # a key frame
    gate_s: float  # a key frame
    detect_s: float  # a look
    judge_s: float  # a look: left objects, rules, places
    decode_cores: float = 15.0
    detectors: float = 1.0
    max_batch: int = 4

    @classmethod
    def recorded(cls, path: Path = RECORDED) -> Costs:
        """Read what `curbwatch bench throughput --json` wrote; of several trials the one with the most cameras.

        What one picture costs does not depend on whether the promise held.

        Raises:
            ValueError: nothing was looked at in any trial.
        """
        told = json.loads(path.read_text())
        good = [t for t in told["trials"] if t["offered"] and t["judged"]]
        if not good:
            raise ValueError(f"{path}: no picture was judged in any trial; record one that runs longer")
        trial = max(good, key=lambda t: t["cameras"])
        used = {
            k: v * trial["cameras"] * trial["seconds"] / 3600
            for k, v in trial["cpu_s_per_camera_hour"].items()
        }
        return cls(
            network_s=used["network"] / trial["cameras"] / trial["seconds"],
            key_decode_s=used["decode"] / trial["offered"],
            gate_s=used["gate"] / trial["offered"],
            detect_s=used["detect"] / trial["judged"],
            judge_s=(used["left"] + used["rules"]) / trial["judged"],
        )


@dataclass(frozen=True, slots=True)
class SimResult:
    """What came of it. Gaps are seconds between two looks at one camera, after the first minute.

    `promise_kept` is the share of vans found within the promised delay after their dwell; `late_s` that delay's median and worst.
    """

    cameras: int
    looks: int
    stretch: float
    overloads: int
    median_gap_s: float
    worst_gap_s: float
    fairness: float
    promise_kept: float
    median_late_s: float
    worst_late_s: float
    blind: int
    decode_share: float
    detect_share: float
    dropped: int


class _Van:
    """A van that comes at `at` and stays, as the judge of its camera sees it."""

    def __init__(self, at: float) -> None:
        self._at, self._first, self._seen = at, float("inf"), 0
        self.late_s = float("inf")

    def look(self, picture_s: float, judged_s: float) -> float:
        """Take a look; return when the next dwell can end, as `Judge.next_end` does."""
        if picture_s < self._at or self.late_s < float("inf"):
            return float("inf")
        self._first, self._seen = min(self._first, picture_s), self._seen + 1
        end = self._first + DWELL_S
        if self._seen >= LEAST_HITS and picture_s >= end:
            self.late_s = judged_s - self._at - DWELL_S
        elif self._seen >= LEAST_HITS - 1:
            return max(end, picture_s)
        return float("inf")


def simulate(
    cameras: int,
    costs: Costs,
    seconds: float = 300.0,
    moving: float = 0.1,
    gop_s: float = 2.0,
    seed: int = 1,
    on_time: Callable[[float], None] = lambda _s: None,
) -> SimResult:
    """Run `cameras` for `seconds`; `moving` is the share of looks at which the gate sees motion.

    Fairness is Jain's index of the cameras' looks: 1 when all got the same.
    """
    rng, governor = random.Random(seed), LoadGovernor()
    numbers = SamplingConfig()
    plans = [CameraScheduler(numbers, False, lambda: governor.stretch, rng.random) for _ in range(cameras)]
    clock = [0.0]
    slots: LatestSlots[float] = LatestSlots(lambda: clock[0])
    vans = [_Van(rng.uniform(0.2, 0.4) * seconds) for _ in range(cameras)]
    asked = [plan.demand(0.0) for plan in plans]
    heap = [(rng.uniform(0, gop_s), i) for i in range(cameras)]
    heapq.heapify(heap)
    delivered, looked = [-1e9] * cameras, [[0.0] for _ in range(cameras)]
    decode_due = detector_free = 0.0
    window, busy, decoded, all_decoded, all_busy = 0.0, 0.0, 0.0, 0.0, 0.0
    while heap[0][0] < seconds:
        now, camera = heapq.heappop(heap)
        clock[0] = now
        heapq.heappush(heap, (now + gop_s, camera))
        demand = asked[camera]
        passed = now - delivered[camera]
        late = max(0.0, passed - demand.min_interval_s)
        if not demand.early(passed) and (demand.urgent or slots.has_room(f"{camera}", late)):
            delivered[camera] = now
            cost = (costs.key_decode_s + costs.gate_s) / costs.decode_cores
            # The cores work through what came; a frame that comes while they are behind is late by the backlog.
            decode_due = max(decode_due, now) + cost
            decoded += cost
            plan = plans[camera].plan(now, rng.random() < moving, True)
            asked[camera] = plan.demand
            slots.arrived(f"{camera}")
            if plan.judge:
                slots.offer(f"{camera}", now, plan.aimed)
        while detector_free <= now and (work := slots.take(costs.max_batch, 0)):
            cost = len(work) * (costs.detect_s + costs.judge_s) / costs.detectors
            detector_free = max(detector_free, now) + cost
            busy += cost
            for name, picture_s in work:
                i = int(name)
                looked[i].append(detector_free)
                plans[i].aim(vans[i].look(picture_s, detector_free))
                asked[i] = plans[i].demand()
        if now - window >= 1.0:
            took = now - window
            decoded += cameras * costs.network_s * took / costs.decode_cores
            # Work that was begun in a second may end in the next one.
            governor.observe(min(1.0, busy / took), min(1.0, decoded / took), slots.longest_wait_s(), took)
            all_busy, all_decoded, window, busy, decoded = (
                all_busy + busy,
                all_decoded + decoded,
                now,
                0.0,
                0.0,
            )
            on_time(now)
    dropped = sum(slots.dropped(f"{i}") for i in range(cameras))
    delays = sorted(van.late_s for van in vans)
    return _result(looked, delays, governor, numbers, seconds, all_decoded, all_busy, dropped)


def _result(
    looked: list[list[float]],
    late: list[float],
    governor: LoadGovernor,
    numbers: SamplingConfig,
    seconds: float,
    decoded: float,
    busy: float,
    dropped: int,
) -> SimResult:
    settled = 60.0
    gaps: list[float] = []
    worst_of: list[float] = []
    counts = []
    for times in looked:
        after = [t for t in times if t >= settled]
        mine = [b - a for a, b in pairwise(after)] or [seconds - settled]
        gaps += mine
        worst_of.append(max(*mine, seconds - (after[-1] if after else settled)) if mine else seconds)
        counts.append(len(after))
    total = sum(counts)
    jain = total**2 / (len(counts) * sum(c * c for c in counts)) if total else 0.0
    gaps.sort()
    return SimResult(
        cameras=len(looked),
        looks=total,
        stretch=round(governor.stretch, 2),
        overloads=governor.load().overloads,
        median_gap_s=round(gaps[len(gaps) // 2], 2),
        worst_gap_s=round(max(worst_of), 2),
        fairness=round(jain, 4),
        promise_kept=round(sum(s <= numbers.promise_s for s in late) / len(late), 4),
        median_late_s=round(late[len(late) // 2], 2),
        worst_late_s=round(late[-1], 2),
        blind=sum(c == 0 for c in counts),
        decode_share=round(decoded / seconds, 3),
        detect_share=round(busy / seconds, 3),
        dropped=dropped,
    )
