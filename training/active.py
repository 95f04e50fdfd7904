"""What to label next, as a queue.

Each picture gets a score from four signals, all 0–1: how near a box is to the threshold at which a rule would act on
it; how far two models disagree; how rare its hour and its camera are among what is labelled already. The best go first,
but after each pick what looks like it (same camera and hour, or a near-duplicate) counts less, so that a queue of
twenty is not twenty frames of one corner.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from training.dataset_items import iou_matrix
from training.metrics import Boxes
from training.phash import NEAR, distance


@dataclass(frozen=True)
class Seen:
    """A picture with what one or two models saw in it. `key` names it: a case id or a file."""

    key: str
    camera_id: str
    hour: int
    first: Boxes
    second: Boxes | None = None
    phash: int | None = None
    case_id: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class QueueRule:
    """Weights of the signals; `width` is how far from a threshold still counts as uncertain."""

    uncertainty: float = 0.4
    disagreement: float = 0.35
    rare_hour: float = 0.1
    rare_camera: float = 0.15
    width: float = 0.2
    repeat_penalty: float = 0.5


@dataclass(frozen=True)
class QueueEntry:
    """One line of the queue, best first. `why` tells the signals in words for the console."""

    key: str
    camera_id: str
    hour: int
    score: float
    signals: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    case_id: str | None = None
    sha256: str | None = None


def uncertainty(boxes: Boxes, thresholds: Mapping[int, float], width: float) -> float:
    """1 where a box's score lies on its class's threshold, 0 from `width` away."""
    limits = np.array([thresholds.get(int(c), 0.5) for c in boxes.classes], np.float32)
    near = 1 - np.abs(boxes.scores - limits) / width
    return float(np.clip(near, 0, 1).max(initial=0.0))


def disagreement(first: Boxes, second: Boxes, thresholds: Mapping[int, float]) -> float:
    """Share of boxes above their thresholds that the other model doesn't have (IoU 0.5, same class)."""

    def lonely(mine: Boxes, theirs: Boxes) -> tuple[int, int]:
        sure = np.array(
            [s >= thresholds.get(int(c), 0.5) for s, c in zip(mine.scores, mine.classes, strict=True)], bool
        )
        possible = iou_matrix(mine.corners[sure], theirs.corners) >= 0.5
        same = mine.classes[sure][:, None] == theirs.classes[None, :]
        heard = theirs.scores >= np.array(
            [0.5 * thresholds.get(int(c), 0.5) for c in theirs.classes], np.float32
        )
        return int((~(possible & same & heard[None, :]).any(axis=1)).sum()), int(sure.sum())

    alone, total = (a + b for a, b in zip(lonely(first, second), lonely(second, first), strict=True))
    return alone / total if total else 0.0


def _rarity(count: int, total: int, kinds: int) -> float:
    """1 for what was never labelled, 0.5 at its fair share, towards 0 above."""
    fair = total / max(kinds, 1)
    return float(1 / (1 + count / fair)) if fair else 1.0


_WORDS = {
    "uncertainty": "near a rule's threshold",
    "disagreement": "two models disagree",
    "rare_hour": "an hour with few labels",
    "rare_camera": "a camera with few labels",
}


def build_queue(
    seen: Iterable[Seen],
    labelled: Iterable[tuple[str, int]],
    thresholds: Mapping[int, float],
    count: int = 100,
    rule: QueueRule | None = None,
) -> list[QueueEntry]:
    """The `count` pictures most worth labelling. `labelled` gives (camera, hour) of what has labels already."""
    rule = rule or QueueRule()
    pairs = list(labelled)
    cameras, hours = Counter(c for c, _ in pairs), Counter(h for _, h in pairs)
    pool = list(seen)
    kinds = len({s.camera_id for s in pool} | set(cameras))
    scored: list[tuple[float, dict[str, float], Seen]] = []
    for one in pool:
        signals = {
            "uncertainty": uncertainty(one.first, thresholds, rule.width),
            "disagreement": disagreement(one.first, one.second, thresholds) if one.second else 0.0,
            "rare_hour": _rarity(hours[one.hour], len(pairs), 24),
            "rare_camera": _rarity(cameras[one.camera_id], len(pairs), kinds),
        }
        scored.append((sum(v * getattr(rule, k) for k, v in signals.items()), signals, one))
    return _pick(scored, count, rule)


def _alike(first: Seen, second: Seen) -> bool:
    if first.phash is not None and second.phash is not None and distance(first.phash, second.phash) <= NEAR:
        return True
    return first.camera_id == second.camera_id and first.hour == second.hour


def _pick(
    scored: Sequence[tuple[float, dict[str, float], Seen]], count: int, rule: QueueRule
) -> list[QueueEntry]:
    left = sorted(scored, key=lambda s: (-s[0], s[2].key))
    values = [s[0] for s in left]
    queue: list[QueueEntry] = []
    while left and len(queue) < count:
        best = max(range(len(left)), key=lambda i: values[i])
        _, signals, one = left.pop(best)
        value = values.pop(best)
        why = ", ".join(_WORDS[k] for k, v in sorted(signals.items(), key=lambda s: -s[1]) if v >= 0.5)
        rounded = {k: round(v, 3) for k, v in signals.items()}
        queue.append(
            QueueEntry(
                one.key, one.camera_id, one.hour, round(value, 4), rounded, why, one.case_id, one.sha256
            )
        )
        values = [
            v * (1 - rule.repeat_penalty) if _alike(one, s[2]) else v
            for v, s in zip(values, left, strict=True)
        ]
    return queue


def write_queue(queue: Sequence[QueueEntry], path: Path, model: str = "") -> None:
    """JSON that `curbwatch api label-queue` and `PUT /labels` take: `{"version": 1, "model": ..., "items": [...]}`."""
    body = {"version": 1, "model": model, "items": [asdict(e) for e in queue]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", "utf-8")
