"""A trained run becomes a bundle that `models/` loads: ONNX, manifest with thresholds and provenance, card, curve."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import (
    Bundle,
    ClassSpec,
    Family,
    InputSpec,
    Manifest,
    Provenance,
    load_bundle,
    write_manifest,
)
from models.roles import role_of
from training.classes import STREET_CLASSES, TEACHER_CLASSES
from training.export import (
    ExportError,
    about_json,
    check_parity,
    export_onnx,
    halve_weights,
    in_shapes,
    parity,
    run_onnx,
)
from training.metrics import Boxes, match

KNOWN_THRESHOLDS: Mapping[str, float] = {
    "person": 0.3,
    "bicycle": 0.3,
    "motorcycle": 0.3,
    "car": 0.3,
    "bus": 0.3,
    "truck": 0.3,
    "umbrella": 0.35,
    "chair": 0.4,
    "table": 0.4,
    "bag": 0.3,
}
"""Thresholds of the classes that come unchanged from the pretrained weights."""


@dataclass(frozen=True)
class BundleParts:
    """What a bundle is made of beside the network."""

    name: str
    version: str
    provenance: tuple[Provenance, ...]
    thresholds: Mapping[str, float]
    metrics: Mapping[str, float]
    card: str
    extra_files: tuple[Path, ...] = ()
    classes: tuple[str, ...] = STREET_CLASSES


def best_threshold(
    predicted: Sequence[Boxes], truth: Sequence[Boxes], kind: int, precision: float = 0.85
) -> tuple[float, float, float]:
    """(threshold, precision, recall): the best F1 among the scores at which `precision` is kept, or the best F1 of all
    where it is reached nowhere. Choose it on validation pictures, never on the test set."""
    pairs = [match(p, t, kind, 0.5) for p, t in zip(predicted, truth, strict=True)]
    scores = np.concatenate([s for s, _ in pairs])
    hit = np.concatenate([h for _, h in pairs])
    total = sum(int((t.classes == kind).sum()) for t in truth)
    if not len(scores) or not total:
        return 0.5, float("nan"), float("nan")
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(hit[order])
    sure = true / np.arange(1, len(order) + 1)
    found = true / total
    f1 = 2 * sure * found / np.maximum(sure + found, 1e-9)
    allowed = np.flatnonzero(sure >= precision)
    best = int(allowed[f1[allowed].argmax()] if allowed.size else f1.argmax())
    value = float(np.clip(np.floor(scores[order][best] * 100) / 100, 0.05, 0.9))
    # What is told is what holds at the threshold as it is written.
    count = int((scores >= np.float32(value)).sum())
    if not count:
        return value, float("nan"), 0.0
    return value, float(sure[count - 1]), float(found[count - 1])


def make_bundle(
    net: Any, parts: BundleParts, folder: Path, size: int, samples: np.ndarray[Any, np.dtype[np.float32]]
) -> Bundle:
    """Export, check against the network on `samples` (B, 3, size, size), square and wide, write and load the bundle.

    Raises ExportError where ONNX and network differ by more than 1 px or 0.01 score.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ExportError(f"{folder}: not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "whole.onnx"
    about = about_json({"author": "Curbwatch", "version": parts.version, "license": "AGPL-3.0-or-later"})
    export_onnx(net, whole, size, parts.classes, about)
    check_parity(net, whole, samples)
    target = folder / "model.onnx"
    halve_weights(whole, target)
    found = [parity(run_onnx(whole, s), run_onnx(target, s)) for s in in_shapes(whole, samples)]
    # float16 loses too much: keep the float32 file
    if any(f.scores > 0.01 or f.boxes_px > 1.0 for f in found):
        shutil.copyfile(whole, target)
    whole.unlink()
    (folder / "CARD.md").write_text(parts.card, "utf-8")
    for extra in parts.extra_files:
        shutil.copyfile(extra, folder / extra.name)
    classes = tuple(
        ClassSpec(name=name, index=i, role=role_of(name), threshold=_threshold(name, parts.thresholds))
        for i, name in enumerate(parts.classes)
    )
    manifest = Manifest(
        name=parts.name,
        version=parts.version,
        family=Family.YOLO,
        input=InputSpec(name="images", width=size, height=size),
        classes=classes,
        nms_iou=0.5,
        # A head of its own for each branch sees a van as car and as truck.
        one_per_place=("vehicle",) if any(c.role == "vehicle" for c in classes) else (),
        provenance=parts.provenance,
        metrics={k: round(v, 4) for k, v in parts.metrics.items()},
        files={"model.onnx": "0" * 64},
    )
    write_manifest(folder, manifest)
    return load_bundle(folder)


def _threshold(name: str, chosen: Mapping[str, float]) -> float:
    return float(chosen.get(name, KNOWN_THRESHOLDS.get(name, 0.4)))


def provenance_of(about: Mapping[str, Any]) -> tuple[Provenance, ...]:
    """Weights and data of a run (`run.json`) as the manifest lists them."""
    recipe = about["recipe"]
    weights = Provenance(
        what="pretrained weights",
        source=f"{recipe['weights_about']}, sha256 {about['weights_sha256']}",
        licence=recipe["weights_licence"],
    )
    data = [
        Provenance(what="training data", source=s.get("attribution") or s["name"], licence=s["licence"])
        for s in about["data_sources"]
    ]
    return (
        weights,
        *data,
        Provenance(what="trained branch", source="Curbwatch", licence="AGPL-3.0-or-later"),
    )


def known_from_teacher() -> tuple[str, ...]:
    """Classes that the pretrained branch gives."""
    return tuple(TEACHER_CLASSES)
