"""Judge a bundle on labelled pictures through the detector that the edge runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ap import ClassFigures, Judged, calibration, class_figures, gather, judge
from models.boxes import iou
from models.bundle import Bundle
from models.coverage import Coverage, CoverageCount
from models.detections import Detections, Floats, Ints
from models.detector import Detector
from models.yolo_data import Labelled, YoloData, read_rgb

LOWEST = 0.001
"""Average precision needs the whole curve, so detections are read from this score on."""

SIDES = (0.05, 0.1, 0.2, 0.4)
"""Bounds between sizes: the square root of a box's area, as a share of the picture's longer side."""

TIMED = 64
"""Pictures whose latency is taken, at the bundle's own thresholds: at `LOWEST` the NMS sees far more boxes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One class of the report."""

    name: str
    threshold: float
    figures: ClassFigures
    ece: float
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Look:
    """One picture with detections at the bundle's thresholds, for the pictures of the report.

    Attributes:
        found: in pixels, classes as rows of the bundle that the data names too.
        wrong: false and missed boxes together.
    """

    item: Labelled
    found: Detections
    wrong: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the evaluation found.

    Attributes:
        confusion: int32 (C + 1, C + 1), row truth, column detection, last is "nothing", at the bundle's thresholds
            and IoU 0.5.
        by_size: int32 (C, 2, 5), labelled boxes found and all of them, by class and size (`SIDES`), matched as in `confusion`.
        latency_ms: ms of `Detector.detect` on one picture, for the first `TIMED` pictures.
    """

    bundle: Bundle
    provider: str
    rows: tuple[Row, ...]
    confusion: Ints
    by_size: Ints
    bins: Sequence[dict[str, float]]
    ece: float
    latency_ms: Floats
    images: int
    not_in_bundle: tuple[str, ...]
    not_in_data: tuple[str, ...]
    worst: tuple[Look, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a figure that has no meaning (no box, no detection) is null."""
        classes = [_row_json(r) for r in self.rows]
        ref = self.bundle.manifest
        return {
            "bundle": {"name": ref.name, "version": ref.version, "sha256": self.bundle.sha256},
            "provider": self.provider,
            "images": self.images,
            "boxes": sum(r.figures.boxes for r in self.rows),
            "map50": _mean([r.figures.map50 for r in self.rows]),
            "map50_95": _mean([r.figures.map50_95 for r in self.rows]),
            "precision": _mean([r.figures.precision for r in self.rows if r.figures.boxes]),
            "recall": _mean([r.figures.recall for r in self.rows]),
            "classes": classes,
            "coverage": {r.name: _coverage_json(r.coverage) for r in self.rows},
            "by_size": {
                "bounds": list(SIDES),
                **{
                    r.name: {"found": found.tolist(), "boxes": boxes.tolist()}
                    for r, (found, boxes) in zip(self.rows, self.by_size, strict=True)
                },
            },
            "thresholds": {r.name: r.threshold for r in self.rows},
            "calibration": {
                "ece": _number(self.ece),
                "by_class": {r.name: _number(r.ece) for r in self.rows},
                "bins": list(self.bins),
            },
            "latency_ms": {
                "p50": _number(float(np.percentile(self.latency_ms, 50)), 2),
                "p95": _number(float(np.percentile(self.latency_ms, 95)), 2),
            },
            "not_in_bundle": list(self.not_in_bundle),
            "not_in_data": list(self.not_in_data),
        }


def _number(value: float, digits: int = 4) -> float | None:
    return None if math.isnan(value) else round(value, digits)


def _mean(values: Sequence[float]) -> float | None:
    good = [v for v in values if not math.isnan(v)]
    return _number(sum(good) / len(good)) if good else None


def _row_json(row: Row) -> dict[str, Any]:
    f = row.figures
    return {
        "name": row.name,
        "map50": _number(f.map50),
        "map50_95": _number(f.map50_95),
        "precision": _number(f.precision),
        "recall": _number(f.recall),
        "images": f.images,
        "boxes": f.boxes,
    }


def _coverage_json(found: Coverage) -> dict[str, float | None]:
    return {k: _number(getattr(found, k)) for k in ("recall", "precision", "dice", "found")}


def plain_name(name: str) -> str:
    """Return a class name as it is compared: `Dining_Table` and `dining table` are one."""
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())


def shared_classes(bundle: Bundle, names: Mapping[int, str]) -> dict[int, int]:
    """Return class of the data -> row of the bundle, by name."""
    rows = {plain_name(n): i for i, n in enumerate(bundle.names)}
    return {k: rows[plain_name(n)] for k, n in names.items() if plain_name(n) in rows}


def for_judging(bundle: Bundle) -> Bundle:
    """Return the bundle with every threshold at `LOWEST`; all classes stay, as they compete on the edge too."""
    classes = tuple(c.model_copy(update={"threshold": LOWEST}) for c in bundle.manifest.classes)
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"classes": classes}))


def evaluate(
    bundle: Bundle,
    data: YoloData,
    provider: str = "auto",
    threads: int = 0,
    tick: Callable[[], None] = lambda: None,
    timer: Callable[[], float] = time.perf_counter,
) -> Report:
    """Judge `bundle` on every picture of `data`, the classes matched by name.

    Raises:
        ValueError: bundle and data share no class.
        DataError: a picture cannot be read.
    """
    shared = shared_classes(bundle, data.names)
    if not shared:
        raise ValueError(
            f"the data's classes {sorted(data.names.values())} and the bundle's {sorted(bundle.names)} "
            "have no name in common; name the data's classes as the bundle does"
        )
    rows = sorted(set(shared.values()))
    detector = Detector(for_judging(bundle), provider, threads, max_batch=1)
    edge = Detector(bundle, provider, threads, max_batch=1)
    for each in (detector, edge):
        each.warm()
    place = np.full(len(bundle.names), -1, np.int32)
    place[rows] = np.arange(len(rows))
    names = tuple(bundle.names[r] for r in rows)
    thresholds = np.array([bundle.manifest.classes[r].threshold for r in rows], np.float32)
    judged: list[Judged] = []
    looks: list[Look] = []
    times: list[float] = []
    covered = [CoverageCount() for _ in rows]
    by_size = np.zeros((len(rows), 2, len(SIDES) + 1), np.int32)
    confusion = np.zeros((len(rows) + 1, len(rows) + 1), np.int32)
    for item in data.items:
        picture = read_rgb(item.path)
        everything = detector.detect([picture])[0]
        if len(times) < TIMED:
            started = timer()
            edge.detect([picture])
            times.append((timer() - started) * 1e3)
        kept = everything.select(place[everything.classes] >= 0)
        found = Detections(kept.boxes, kept.scores, place[kept.classes], names)
        size = (picture.shape[1], picture.shape[0])
        boxes, classes = _truth(item, shared, place, size)
        judged.append(judge(found.boxes, found.scores, found.classes, boxes, classes))
        shown = found.select(found.scores >= thresholds[found.classes])
        for kind, count in enumerate(covered):
            count.add(shown.boxes[shown.classes == kind], boxes[classes == kind], size)
        wrong, right = _confuse(confusion, shown, boxes, classes)
        place_of = np.digitize(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)) / max(size), SIDES)
        for kind, bin_, found_it in zip(classes.tolist(), place_of.tolist(), right.tolist(), strict=True):
            by_size[kind, :, bin_] += (int(found_it), 1)
        looks.append(Look(item, shown, wrong))
        looks = sorted(looks, key=lambda look: -look.wrong)[:8]
        tick()
    return Report(
        bundle=bundle,
        provider=detector.provider,
        rows=tuple(_row(judged, bundle, row, kind, covered[kind].result()) for kind, row in enumerate(rows)),
        confusion=confusion,
        by_size=by_size,
        bins=(pooled := _pooled(judged, len(rows)))[1],
        ece=pooled[0],
        latency_ms=np.array(times, np.float32),
        images=len(data.items),
        not_in_bundle=tuple(n for k, n in data.names.items() if k not in shared),
        not_in_data=tuple(n for i, n in enumerate(bundle.names) if i not in rows),
        worst=tuple(look for look in looks if look.wrong),
    )


def _row(judged: Sequence[Judged], bundle: Bundle, row: int, kind: int, covered: Coverage) -> Row:
    spec = bundle.manifest.classes[row]
    scores, hits = gather(judged, kind)
    seen = scores >= 0.05
    return Row(
        spec.name,
        spec.threshold,
        class_figures(judged, kind, spec.threshold),
        calibration(scores[seen], hits[seen])[0],
        covered,
    )


def _pooled(judged: Sequence[Judged], kinds: int) -> tuple[float, list[dict[str, float]]]:
    """Calibration over all classes, of detections from 0.05 on: below it lies only noise that nobody shows."""
    parts = [gather(judged, k) for k in range(kinds)]
    scores, hits = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    seen = scores >= 0.05
    return calibration(scores[seen], hits[seen])


def _truth(
    item: Labelled, shared: Mapping[int, int], place: Ints, size: tuple[int, int]
) -> tuple[Floats, Ints]:
    known = np.array([int(c) in shared for c in item.classes], bool)
    boxes = item.boxes[known] * np.array(size * 2, np.float32)
    classes = np.array([place[shared[int(c)]] for c in item.classes[known]], np.int32)
    return boxes, classes


def _confuse(
    confusion: Ints, found: Detections, boxes: Floats, classes: Ints
) -> tuple[int, NDArray[np.bool_]]:
    """Add one picture to the matrix, matched whatever the class, best overlap first; return false plus missed, and which
    labelled boxes were found as what they are."""
    nothing = len(confusion) - 1
    overlaps = iou(boxes, found.boxes)
    # Of equal boxes the one of the right class first, so that a second class on it counts as the false one.
    right = classes[:, None] == found.classes[None, :]
    truths, shown = np.nonzero(overlaps >= 0.5)
    order = np.argsort(-(overlaps[truths, shown] + right[truths, shown]), kind="stable")
    taken_truth, taken_shown = np.zeros(len(boxes), bool), np.zeros(len(found), bool)
    wrong, good = 0, np.zeros(len(boxes), bool)
    for t, s in zip(truths[order], shown[order], strict=True):
        if taken_truth[t] or taken_shown[s]:
            continue
        taken_truth[t] = taken_shown[s] = True
        confusion[classes[t], found.classes[s]] += 1
        good[t] = classes[t] == found.classes[s]
        wrong += int(not good[t])
    confusion[:nothing, nothing] += np.bincount(classes[~taken_truth], minlength=nothing)
    confusion[nothing, :nothing] += np.bincount(found.classes[~taken_shown], minlength=nothing)
    return wrong + int((~taken_truth).sum() + (~taken_shown).sum()), good
