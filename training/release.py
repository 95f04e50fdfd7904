"""From a run to a bundle with thresholds and a card. The card's figures by class come from `models/` afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Bundle
from training.augment import Sample, letterbox
from training.dataset import Dataset
from training.fit import RunFolder, load_run
from training.fit_data import read_picture, sample_of
from training.make_bundle import BundleParts, best_threshold, make_bundle, provenance_of
from training.metrics import ap_by_class


def _held_out(dataset: Dataset, names: Sequence[str]) -> list[Sample]:
    return [sample_of(i, read_picture(i), names, dataset.classes) for i in dataset.of("val")]


def choose_thresholds(
    net: Any, samples: Sequence[Sample], size: int, precision: float
) -> dict[str, tuple[float, float, float, float]]:
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
    """Make the bundle `out` of a branch run; `precision` is what a threshold should keep on the validation part."""
    about = run.about
    recipe = about["recipe"]
    size = int(recipe["fit"]["size"])
    net = load_run(run, weights)
    samples = _held_out(dataset, net.new)
    chosen = choose_thresholds(net, samples, size, precision)
    for name, (threshold, sure, found, area) in chosen.items():
        say(f"{name}: threshold {threshold:.2f}, precision {sure:.3f}, recall {found:.3f}, AP50 {area:.3f}")
    metrics = {f"val_ap50_{n}": v[3] for n, v in chosen.items() if np.isfinite(v[3])}
    curve = run.path / "curve.png"
    parts = BundleParts(
        name=recipe["name"],
        version=recipe["version"],
        provenance=provenance_of(about),
        thresholds={n: v[0] for n, v in chosen.items()},
        metrics=metrics,
        card=_card(about, chosen),
        extra_files=(curve,) if curve.exists() else (),
    )
    return make_bundle(net, parts, out, size, _sheet(samples, size))


def _card(about: dict[str, Any], chosen: dict[str, tuple[float, float, float, float]]) -> str:
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
