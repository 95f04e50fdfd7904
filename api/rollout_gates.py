"""The gates of a rollout: pure judgements of evidence, each with its figures in words.

A gate passes on a 95 % interval, so that a lucky day does not pass; it halts on a stricter one (three standard errors), since it
is asked again and again, and each asking is another chance to be unlucky.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from api.figures import wilson
from api.rollout import Gate, State
from api.rollout_plan import Limits, Plan

Verdict = Literal["pass", "wait", "halt"]
SURE, VERY_SURE = 1.96, 3.0
# Below this a later picture is nothing that a reviewer or a rule would notice.
AGE_SLACK_S, TIME_SLACK_MS = 0.25, 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What cameras under one model raised, and what people said of it."""

    alerts: int = 0
    camera_days: float = 0.0
    confirmed: int = 0
    rejected: int = 0

    @property
    def judged(self) -> int:
        """Cases that people decided."""
        return self.confirmed + self.rejected


@dataclass(frozen=True, slots=True)
class ShadowSum:
    """The reports of the boxes that run the candidate in the shadow, together."""

    boxes: int = 0
    asked: int = 0
    frames: int = 0
    failures: int = 0
    both: int = 0
    champion_only: int = 0
    candidate_only: int = 0
    champion_ms: float = 0.0
    candidate_ms: float = 0.0
    trouble: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BoxSum:
    """Boxes that shall have the candidate, and `later` those that wait for it and were heard since the rollout began.

    Ages are medians over boxes of the 95th percentile of a picture's age, seconds.
    """

    wished: int = 0
    holding: int = 0
    taken_back: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()
    restarts: int = 0
    running: int = 0
    silent: int = 0
    later: int = 0
    later_silent: int = 0
    champion_age_s: float | None = None
    candidate_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the gates look at. `ring` is of the present ring's boxes, `candidate` of all rings so far."""

    shadow: ShadowSum = field(default_factory=ShadowSum)
    boxes: BoxSum = field(default_factory=BoxSum)
    ring: Sample = field(default_factory=Sample)
    candidate: Sample = field(default_factory=Sample)
    champion: Sample = field(default_factory=Sample)


def judge(plan: Plan, state: State, seen: Evidence, now: datetime) -> tuple[Gate, ...]:
    """Return the gates of the present stage."""
    limits = plan.limits_of(state.stage)
    gates = [_time(limits, state, now)]
    if plan.ring_of(state.stage) < 0:
        return (*gates, *_shadow(limits, seen.shadow))
    boxes = seen.boxes
    gates += [
        _arrived(limits, boxes),
        _taken_back(limits, boxes),
        _running(limits, boxes),
        _age(limits, boxes),
    ]
    gates.append(
        _worst(_alerts(limits, seen.ring, seen.champion), _alerts(limits, seen.candidate, seen.champion))
    )
    gates.append(
        _worst(
            _precision(limits, seen.ring, seen.champion), _precision(limits, seen.candidate, seen.champion)
        )
    )
    return tuple(gates)


def rate_ratio(a: Sample, b: Sample, z: float) -> tuple[float, float] | None:
    """Return the interval of a's alerts per camera-day over b's; None where one of them has no camera-days.

    The logarithm of a ratio of two Poisson rates is nearly normal, with variance 1/x + 1/y; a half is added to each count,
    so that none may be nought (Rothman, Greenland, Lash, Modern Epidemiology, 3rd ed., ch. 14).
    """
    if a.camera_days <= 0 or b.camera_days <= 0:
        return None
    x, y = a.alerts + 0.5, b.alerts + 0.5
    middle, spread = math.log(x / a.camera_days) - math.log(y / b.camera_days), z * math.sqrt(1 / x + 1 / y)
    return math.exp(middle - spread), math.exp(middle + spread)


def surely_more(x: int, n: int, y: int, m: int, z: float) -> bool:
    """True when the share x of n is above y of m by an interval of the difference; False where there is nothing to compare.

    Newcombe's hybrid score interval (R. G. Newcombe, Statistics in Medicine 17, 1998, method 10).
    """
    if n == 0 or m == 0:
        return False
    p, q = x / n, y / m
    return p - q > math.hypot(p - wilson(x, n, z)[0], wilson(y, m, z)[1] - q)


def _worst(ring: Gate, all_rings: Gate) -> Gate:
    return all_rings if all_rings.verdict == "halt" else ring


def _time(limits: Limits, state: State, now: datetime) -> Gate:
    hours = (now - state.entered_at) / timedelta(hours=1)
    return Gate(
        "time", "pass" if hours >= limits.min_hours else "wait",
        f"{hours:.1f} of {limits.min_hours:g} h in this stage",
    )  # fmt: skip


def _shadow(limits: Limits, s: ShadowSum) -> Iterable[Gate]:
    objects = s.both + s.champion_only + s.candidate_only
    enough = s.frames >= limits.min_frames and objects >= limits.min_objects
    yield Gate(
        "evidence", "pass" if enough else "wait",
        f"{s.frames} of {limits.min_frames} frames, {objects} of {limits.min_objects} objects, "
        f"from {s.boxes} of {s.asked} boxes",
    )  # fmt: skip
    apart = s.champion_only + s.candidate_only
    low, high = wilson(apart, objects, VERY_SURE)[0], wilson(apart, objects, SURE)[1]
    yield Gate(
        "disagreement", _bounded(low, high, limits.disagreement, enough),
        f"the models differ on {_percent(apart, objects)} of {objects} objects (at most {limits.disagreement:.0%}): "
        f"{s.champion_only} the champion's alone, {s.candidate_only} the candidate's alone",
    )  # fmt: skip
    seen = s.frames + s.failures
    broken = wilson(s.failures, seen, VERY_SURE)[0] > limits.failures
    failed: Verdict = (
        "halt" if broken else "pass" if enough and s.failures <= limits.failures * seen else "wait"
    )
    reason = f"it failed on {s.failures} of {seen} frames (at most {limits.failures:.2%})"
    if s.trouble:
        many = len(s.trouble) > limits.taken_back * s.asked
        failed = "halt" if many else failed
        reason += f"; it does not run on {len(s.trouble)} boxes, such as {s.trouble[0]}"
    yield Gate("failures", failed, reason)
    if s.champion_ms == 0:
        untimed = "no box has timed it (where the champion runs on a GPU none does); the rings judge how old pictures are"
        yield Gate("latency", "pass" if enough else "wait", untimed)
        return
    slow = s.candidate_ms > limits.latency * s.champion_ms + TIME_SLACK_MS
    yield Gate(
        "latency", "wait" if not enough else "halt" if slow else "pass",
        f"{s.candidate_ms:.1f} ms a frame, the champion {s.champion_ms:.1f} ms (at most {limits.latency:g} times)",
    )  # fmt: skip


def _bounded(low: float, high: float, limit: float, enough: bool) -> Verdict:
    if enough and low > limit:
        return "halt"
    return "pass" if enough and high <= limit else "wait"


def _arrived(limits: Limits, b: BoxSum) -> Gate:
    ready = b.wished > 0 and b.holding >= math.ceil(limits.arrived * b.wished)
    refused = f"; {len(b.refused)} cannot take it, such as {b.refused[0]}" if b.refused else ""
    return Gate(
        "arrived", "pass" if ready else "wait",
        f"{b.holding} of {b.wished} boxes hold the candidate (at least {limits.arrived:.0%}){refused}",
    )  # fmt: skip


def _taken_back(limits: Limits, b: BoxSum) -> Gate:
    broken = [*b.taken_back, *b.safe]
    verdict: Verdict = "halt" if len(broken) > limits.taken_back * b.wished else "pass"
    such = f", such as {broken[0]}" if broken else ""
    return Gate(
        "health", verdict,
        f"{len(b.taken_back)} of {b.wished} boxes took it back, {len(b.safe)} are in safe mode{such}",
    )  # fmt: skip


def _running(limits: Limits, b: BoxSum) -> Gate:
    # Two boxes at least: one that is carried away, or whose power fails, is no fault of the model.
    restless = b.restarts >= 2 and b.restarts > limits.restarts * max(1, b.holding)
    many = b.silent > limits.silent * b.wished
    # A network that is out takes the champion's boxes along.
    gone = many and b.silent >= 2 and surely_more(b.silent, b.running, b.later_silent, b.later, VERY_SURE)
    others = (
        f"; {b.later_silent} of {b.later} boxes that wait for it are silent, too"
        if b.silent and b.later
        else ""
    )
    verdict: Verdict = "halt" if restless or gone else "wait" if many else "pass"
    return Gate(
        "running", verdict,
        f"{b.restarts} unasked starts, {b.silent} boxes silent since they run it (at most {limits.restarts:g} starts a box, "
        f"{limits.silent:.0%} silent){others}",
    )  # fmt: skip


def _age(limits: Limits, b: BoxSum) -> Gate:
    if b.candidate_age_s is None or b.champion_age_s is None:
        return Gate("latency", "wait", "no box has said yet how old its pictures are under both models")
    slow = b.candidate_age_s > limits.latency * b.champion_age_s + AGE_SLACK_S
    sure = b.wished > 0 and b.holding >= math.ceil(limits.arrived * b.wished)
    return Gate(
        "latency", ("halt" if sure else "wait") if slow else "pass",
        f"pictures are {b.candidate_age_s:.2f} s old, the champion's {b.champion_age_s:.2f} s "
        f"(at most {limits.latency:g} times)",
    )  # fmt: skip


def _alerts(limits: Limits, new: Sample, old: Sample) -> Gate:
    told = (
        f"{_rate(new)} alerts a camera-day in {new.camera_days:.1f} of {limits.min_camera_days:g} camera-days, "
        f"the champion {_rate(old)} in {old.camera_days:.1f}"
    )
    sure, very = rate_ratio(new, old, SURE), rate_ratio(new, old, VERY_SURE)
    if sure is None or very is None:
        return Gate("alerts", "wait", told)
    told += (
        f": {sure[0]:.2f} to {sure[1]:.2f} times ({limits.alerts_least:g} to {limits.alerts_most:g} allowed)"
    )
    if very[0] > limits.alerts_most or very[1] < limits.alerts_least:
        return Gate("alerts", "halt", told)
    good = limits.alerts_least <= sure[0] and sure[1] <= limits.alerts_most
    return Gate("alerts", "pass" if good and new.camera_days >= limits.min_camera_days else "wait", told)


def _precision(limits: Limits, new: Sample, old: Sample) -> Gate:
    low, high = wilson(new.confirmed, new.judged, SURE)
    floor = wilson(old.confirmed, old.judged, SURE)[0]
    told = (
        f"people confirmed {new.confirmed} of {new.judged} (at least {limits.min_verdicts} decided): {low:.2f} to "
        f"{high:.2f}; the champion's {old.confirmed} of {old.judged}, lower bound {floor:.2f}, less "
        f"{limits.precision_margin:g}"
    )
    if not old.judged:
        return Gate("precision", "wait", f"{told}; nobody has decided a case of the champion's")
    # As sure that the candidate is under the champion as one can be of two samples, each with its own doubt.
    top, bottom = wilson(new.confirmed, new.judged, VERY_SURE)[1], wilson(old.confirmed, old.judged, SURE)[0]
    if new.judged and top < bottom - limits.precision_margin:
        return Gate("precision", "halt", told)
    good = low >= floor - limits.precision_margin
    return Gate("precision", "pass" if good and new.judged >= limits.min_verdicts else "wait", told)


def _rate(sample: Sample) -> str:
    return f"{sample.alerts / sample.camera_days:.2f}" if sample.camera_days > 0 else "no"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
