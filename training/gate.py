"""The gate: may a candidate replace the champion?

Both models have looked at the same frozen pictures. For each class, and within it for day and night and each camera,
the difference of AP50 gets a paired bootstrap interval over *scenes*: the pictures of a scene are drawn together, since
ten frames of one heap are not ten observations. The verdict of a slice follows from the interval alone:

- `not_enough`: fewer boxes or scenes than the minimum, or an interval that excludes neither harm nor harmlessness
- `worse`: the whole interval lies below zero
- `no_worse`: the interval lies above minus `margin`; `better`: above zero

One worse slice stops the candidate. A class that isn't known well enough makes the whole "not enough", never "passed".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.metrics import Boxes, match

SliceVerdict = Literal["better", "no_worse", "worse", "not_enough"]
Decision = Literal["passed", "stopped", "not_enough"]
OVERALL = "all"


@dataclass(frozen=True)
class GateRule:
    """Numbers of the gate. `required` classes must be judged; without it all classes that have boxes. With
    `needs_events` nothing passes that the event benchmark hasn't seen."""

    iou: float = 0.5
    margin: float = 0.03
    confidence: float = 0.95
    draws: int = 1000
    min_boxes: int = 30
    min_scenes: int = 15
    required: tuple[str, ...] = ()
    needs_events: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Judged:
    """One picture seen by both. `known`: class numbers its labels are complete for. `slices`: such as `night`,
    `camera:gate`."""

    truth: Boxes
    candidate: Boxes
    champion: Boxes
    scene: str
    known: frozenset[int]
    slices: frozenset[str] = frozenset()
    name: str = ""


@dataclass(frozen=True)
class SliceResult:
    """Candidate against champion in one slice; `low` and `high` bound the difference of AP50."""

    class_name: str
    slice: str
    boxes: int
    scenes: int
    champion: float
    candidate: float
    difference: float
    low: float
    high: float
    verdict: SliceVerdict
    why: str = ""


@dataclass(frozen=True)
class EventResult:
    """One issue family of the event benchmark."""

    family: str
    expected: int
    champion_found: int
    candidate_found: int
    champion_false: int
    candidate_false: int
    verdict: SliceVerdict


@dataclass(frozen=True)
class GateReport:
    """The decision and everything behind it. `not_judged`: slices with too little to say, whatever the decision."""

    decision: Decision
    reasons: tuple[str, ...]
    slices: tuple[SliceResult, ...]
    events: tuple[EventResult, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    not_judged: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Table:
    """Detections of one class over pictures, sorted by falling score."""

    picture: NDArray[np.int64]
    hit: NDArray[np.bool_]
    totals: NDArray[np.int64]

    def ap(self, weights: NDArray[np.float64]) -> float:
        """AP with each picture counted `weights` times."""
        total = float(self.totals @ weights)
        if total <= 0:
            return float("nan")
        share = weights[self.picture]
        true = np.cumsum(share * self.hit)
        seen = np.cumsum(share)
        precision = np.maximum.accumulate((true / np.maximum(seen, 1e-12))[::-1])[::-1]
        recall = np.concatenate([[0.0], true / total])
        return float(np.sum(np.diff(recall) * precision))


def _table(predicted: Sequence[Boxes], truth: Sequence[Boxes], kind: int, iou: float) -> _Table:
    pairs = [match(p, t, kind, iou) for p, t in zip(predicted, truth, strict=True)]
    scores = np.concatenate([s for s, _ in pairs]) if pairs else np.zeros(0, np.float32)
    picture = np.repeat(np.arange(len(pairs)), [len(s) for s, _ in pairs])
    hit = np.concatenate([h for _, h in pairs]) if pairs else np.zeros(0, bool)
    order = np.argsort(-scores, kind="stable")
    totals = np.array([int((t.classes == kind).sum()) for t in truth], np.int64)
    return _Table(picture[order], hit[order], totals)


def _judge(low: float, high: float, boxes: int, scenes: int, rule: GateRule) -> tuple[SliceVerdict, str]:
    if boxes < rule.min_boxes or scenes < rule.min_scenes:
        return (
            "not_enough",
            f"{boxes} boxes in {scenes} scenes; {rule.min_boxes} in {rule.min_scenes} are needed",
        )
    if high < 0:
        return "worse", "the whole interval lies below zero"
    if low > 0:
        return "better", ""
    if low >= -rule.margin:
        return "no_worse", ""
    return "not_enough", f"a loss of more than {rule.margin:g} is not excluded"


def compare_slice(
    pictures: Sequence[Judged], kind: int, name: str, part: str, rule: GateRule
) -> SliceResult | None:
    """One class in one slice; None where the slice has no box of the class."""
    mine = [p for p in pictures if kind in p.known and (part == OVERALL or part in p.slices)]
    truth = [p.truth for p in mine]
    boxes = sum(int((t.classes == kind).sum()) for t in truth)
    if boxes == 0:
        return None
    champion = _table([p.champion for p in mine], truth, kind, rule.iou)
    candidate = _table([p.candidate for p in mine], truth, kind, rule.iou)
    names = sorted({p.scene for p in mine})
    number = {s: i for i, s in enumerate(names)}
    scene = np.array([number[p.scene] for p in mine])
    with_boxes = len({p.scene for p in mine if (p.truth.classes == kind).any()})
    ones = np.ones(len(mine))
    before, after = champion.ap(ones), candidate.ap(ones)
    rng = np.random.default_rng(rule.seed)
    draws = []
    for _ in range(rule.draws):
        weights = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[scene].astype(
            float
        )
        difference = candidate.ap(weights) - champion.ap(weights)
        if np.isfinite(difference):
            draws.append(difference)
    tail = (1 - rule.confidence) / 2
    low, high = (float(v) for v in np.quantile(draws, [tail, 1 - tail])) if draws else (-1.0, 1.0)
    verdict, why = _judge(low, high, boxes, with_boxes, rule)
    return SliceResult(
        class_name=name,
        slice=part,
        boxes=boxes,
        scenes=with_boxes,
        champion=round(before, 4),
        candidate=round(after, 4),
        difference=round(after - before, 4),
        low=round(low, 4),
        high=round(high, 4),
        verdict=verdict,
        why=why,
    )


def _judged_all(told: Mapping[str, Any]) -> None:
    clips = told.get("clips", ()) if isinstance(told, Mapping) else ()
    for clip in clips:
        if not clip.get("unscored") and (clip.get("error") or not clip.get("judged")):
            why = clip.get("error") or "no picture of it was judged"
            raise ValueError(
                f"events: clip {clip.get('id')}: {why}; mend the manifest or the file and run both again"
            )


def compare_events(champion: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[EventResult]:
    """Families of two `bench events --json` results: a family is worse where less is found or more is false, and
    unknown where neither found or raised anything.

    Raises ValueError where a result has no `families`, or lacks one that the other has, or a clip could not be judged.
    """
    for told in (champion, candidate):
        _judged_all(told)
    try:
        before, after = dict(champion["families"]), dict(candidate["families"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "events: needs two files of `curbwatch bench events --json`, with `families`"
        ) from error
    if before.keys() != after.keys():
        raise ValueError("events: the two results have other families; run both on one manifest")
    result = []
    for family, now in after.items():
        old = before[family]
        if now["expected"] != old["expected"]:
            raise ValueError(
                f"events: {family} expects {now['expected']} and {old['expected']}; run both on one manifest"
            )
        less, more = now["found"] < old["found"], now["false"] > old["false"]
        gain = now["found"] > old["found"] or now["false"] < old["false"]
        # Of clips in which neither found anything nobody learns whether one of them still could.
        nothing = not any((now["found"], old["found"], now["false"], old["false"]))
        verdict: SliceVerdict = (
            "worse" if less or more else "better" if gain else "not_enough" if nothing else "no_worse"
        )
        result.append(
            EventResult(
                family=str(family),
                expected=int(now["expected"]),
                champion_found=int(old["found"]),
                candidate_found=int(now["found"]),
                champion_false=int(old["false"]),
                candidate_false=int(now["false"]),
                verdict=verdict,
            )
        )
    return result


def decide(
    pictures: Sequence[Judged],
    classes: Sequence[str],
    rule: GateRule | None = None,
    events: Iterable[EventResult] = (),
    about: Mapping[str, Any] | None = None,
    lost: Sequence[str] = (),
) -> GateReport:
    """Judge all slices and draw the conclusion. Of the champion's classes that the candidate has not (`lost`) those count
    that are required, which are all where nothing is said."""
    rule = rule or GateRule()
    parts = [OVERALL, *sorted({s for p in pictures for s in p.slices})]
    slices = [
        r
        for kind, name in enumerate(classes)
        for part in parts
        if (r := compare_slice(pictures, kind, name, part, rule)) is not None
    ]
    happened = tuple(events)
    worse = [
        f"{r.class_name} ({r.slice}): AP50 {r.champion:.3f} -> {r.candidate:.3f}"
        for r in slices
        if r.verdict == "worse"
    ]
    worse += [
        f"events {e.family}: found {e.champion_found} -> {e.candidate_found}, false {e.champion_false} -> {e.candidate_false}"
        for e in happened
        if e.verdict == "worse"
    ]
    whole = {r.class_name: r for r in slices if r.slice == OVERALL}
    required = rule.required or tuple(whole)
    lacking = [f"{n}: no box of it in the test set" for n in required if n not in whole]
    lacking += [f"{n}: {whole[n].why}" for n in required if n in whole and whole[n].verdict == "not_enough"]
    lacking += [
        f"{n}: the champion has this class, the candidate has not; to do without it, name the others with --require"
        for n in lost
        if not rule.required or n in rule.required
    ]
    if not whole:
        lacking.append("no class could be judged")
    if rule.needs_events and all(e.verdict == "not_enough" for e in happened):
        lacking.append(
            "events: not compared; give --manifest MANIFEST, or --events NEW OLD, or say --no-events"
            if not happened
            else "events: the clips expect nothing"
        )
    unknown = [f"{r.class_name} ({r.slice}): {r.why}" for r in slices if r.verdict == "not_enough"]
    unknown += [
        f"events {e.family}: {'neither found any' if e.expected else 'nothing expected'}"
        for e in happened
        if e.verdict == "not_enough"
    ]
    if unseen := [n for n in classes if n not in whole]:
        unknown.append(f"no box in the test set: {', '.join(unseen)}")
    decision: Decision = "stopped" if worse else "not_enough" if lacking else "passed"
    return GateReport(
        decision, tuple(worse or lacking), tuple(slices), happened, dict(about or {}), tuple(unknown)
    )
