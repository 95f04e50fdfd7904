"""From a run to a bundle with thresholds and a card. The card's figures by class come from `models/` afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Bundle, load_bundle, write_manifest
from models.session import available, has_bfloat16
from training.augment import Sample, letterbox
from training.classes import TEACHER_CLASSES
from training.dataset import Dataset
from training.export import ExportError
from training.fit import RunFolder, load_run
from training.fit_data import read_picture, sample_of
from training.judge_run import look_once
from training.make_bundle import BundleParts, best_threshold, make_bundle, provenance_of
from training.metrics import ap_by_class
from training.promote import open_for_judging

Chosen = tuple[float, float, float, float]
"""Threshold, precision and recall at it, and AP50, on the validation part."""
BFLOAT16_LOSS = 0.005
"""Mean AP50 that a bundle may lose where a processor computes in bfloat16."""


def _held_out(dataset: Dataset, names: Sequence[str]) -> list[Sample]:
    return [sample_of(i, read_picture(i), names, dataset.classes) for i in dataset.of("val")]


def choose_thresholds(net: Any, samples: Sequence[Sample], size: int, precision: float) -> dict[str, Chosen]:
    """By new class: threshold, precision, recall and AP50, all on the validation pictures that know the class."""
    from training.fit_branch import judged, predict, to_input

    predicted, truth = [], []
    for sample in samples:
        fitted = letterbox(sample, size)
        found = predict(net, to_input(fitted.picture[None]))[0]
        guess, labels = judged(fitted, found)
        predicted.append(guess)
        truth.append(labels)
    precise = {n: best_threshold(predicted, truth, k, precision) for k, n in enumerate(net.new)}
    areas = ap_by_class(predicted, truth, range(len(net.new)))
    return {n: (*precise[n], areas[k]) for k, n in enumerate(net.new)}


def _sheet(samples: Sequence[Sample], size: int, count: int = 8) -> Any:
    step = max(1, len(samples) // count)
    pictures = np.stack([letterbox(s, size).picture for s in samples[::step][:count]])
    return (pictures.transpose(0, 3, 1, 2) / 255).astype(np.float32)


def release(
    run: RunFolder,
    dataset: Dataset,
    weights: Path,
    out: Path,
    say: Callable[[str], None],
    precision: float = 0.8,
) -> Bundle:
    """Make the bundle `out` of a run; `precision` is what a threshold should keep on the validation part."""
    about = run.about
    if about["recipe"]["fit"]["kind"] == "ultralytics":
        return _release_ultralytics(run, dataset, out, say, precision)
    recipe = about["recipe"]
    size = int(recipe["fit"]["size"])
    net = load_run(run, weights)
    samples = _held_out(dataset, net.new)
    chosen = choose_thresholds(net, samples, size, precision)
    # The channels are the pretrained ones and then the recipe's, in its order.
    parts = replace(_parts(run, chosen, say), classes=(*TEACHER_CLASSES, *net.new))
    return in_bfloat16(make_bundle(net, parts, out, size, _sheet(samples, size)), dataset, say)


def in_bfloat16(bundle: Bundle, dataset: Dataset, say: Callable[[str], None]) -> Bundle:
    """Return the bundle with `bfloat16` set where its figures hold in it: mean AP50 of the validation part within `BFLOAT16_LOSS`.

    Where this machine cannot compute in bfloat16 nobody has measured it, and the bundle stays as it is.
    """
    if not (has_bfloat16() and "openvino" in available()):
        say("bfloat16: not measured, this machine has no OpenVINO on a processor with bfloat16")
        return bundle
    fast = Bundle(bundle.folder, bundle.manifest.model_copy(update={"bfloat16": True}))
    plain, quick = (
        _mean_ap(each, provider, dataset) for each, provider in ((bundle, "cpu"), (fast, "openvino"))
    )
    if not plain - quick <= BFLOAT16_LOSS:  # nor where there is nothing to judge
        say(f"bfloat16: not set, mean AP50 {plain:.4f} -> {quick:.4f}")
        return bundle
    say(f"bfloat16: set, mean AP50 {plain:.4f} -> {quick:.4f}")
    write_manifest(bundle.folder, fast.manifest)
    return load_bundle(bundle.folder)


def _mean_ap(bundle: Bundle, provider: str, dataset: Dataset) -> float:
    seen = look_once(dataset, "val", open_for_judging(bundle, provider))
    areas = ap_by_class([s[0] for s in seen], [s[1] for s in seen], range(len(dataset.classes)))
    known = [a for a in areas.values() if np.isfinite(a)]
    return float(np.mean(known)) if known else float("nan")


def _parts(run: RunFolder, chosen: Mapping[str, Chosen], say: Callable[[str], None]) -> BundleParts:
    about = run.about
    for name, (threshold, sure, found, area) in chosen.items():
        say(f"{name}: threshold {threshold:.2f}, precision {sure:.3f}, recall {found:.3f}, AP50 {area:.3f}")
    curve = run.path / "curve.png"
    return BundleParts(
        name=about["recipe"]["name"],
        version=about["recipe"]["version"],
        provenance=provenance_of(about),
        thresholds={n: v[0] for n, v in chosen.items()},
        metrics={f"val_ap50_{n}": v[3] for n, v in chosen.items() if np.isfinite(v[3])},
        card=_card(about, chosen),
        extra_files=(curve,) if curve.exists() else (),
    )


def _release_ultralytics(
    run: RunFolder, dataset: Dataset, out: Path, say: Callable[[str], None], precision: float
) -> Bundle:
    """One head for all classes. Thresholds come from the exported file through the edge's own detector."""
    from ultralytics import YOLO

    names = dataset.classes
    size = int(run.about["recipe"]["fit"]["size"])
    net = YOLO(str(run.best)).model.float().fuse(verbose=False).eval()
    if getattr(net, "end2end", False):
        raise ExportError(
            f"{run.best}: a head without NMS; export it with ultralytics, then `models convert onnx`"
        )
    if tuple(net.names[i] for i in sorted(net.names)) != names:
        raise ExportError(
            f"{run.best}: other classes than the data set's; name the data set it was trained on"
        )
    sheet = _sheet(_held_out(dataset, names), size)
    plain = replace(_parts(run, {}, say), classes=names)
    with tempfile.TemporaryDirectory() as work:
        make_bundle(net, plain, Path(work) / "bundle", size, sheet)
        seen = look_once(dataset, "val", open_for_judging(Path(work) / "bundle"))
    predicted, truth = [s[0] for s in seen], [s[1] for s in seen]
    areas = ap_by_class(predicted, truth, range(len(names)))
    chosen = {
        n: (*best_threshold(predicted, truth, k, precision), areas[k])
        for k, n in enumerate(names)
        if np.isfinite(areas[k])
    }
    made = make_bundle(net, replace(_parts(run, chosen, say), classes=names), out, size, sheet)
    return in_bfloat16(made, dataset, say)


def _card(about: dict[str, Any], chosen: Mapping[str, Chosen]) -> str:
    recipe = about["recipe"]
    rows = "\n".join(f"| {n} | {t:.2f} | {p:.3f} | {r:.3f} | {a:.3f} |" for n, (t, p, r, a) in chosen.items())
    data = "\n".join(
        f"- {s['name']}: {s.get('attribution') or 'no attribution asked for'}; licence: {s['licence']}"
        for s in about["data_sources"]
    )
    return f"""# {recipe["name"]} {recipe["version"]}

{recipe["about"]}

Started from: {recipe["weights_about"]}; licence {recipe["weights_licence"]}; SHA-256 `{about["weights_sha256"]}`.

## Data (version {about["data_version"]})

{data}

Pictures: {about["pictures"]["train"]} to train, {about["pictures"]["val"]} to validate. No picture is part of this bundle.

## Figures on the validation part, at this bundle's thresholds

| class | threshold | precision | recall | AP50 |
|---|---|---|---|---|
{rows}
"""
