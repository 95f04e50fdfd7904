"""Run a recipe: sources or a data set -> a run folder with checkpoints, curve and what it was made of.

The folder holds `run.json` (recipe, data version, weights' hash), `curve.jsonl`, `curve.png`, `last.pt`, `best.pt`.
Starting the same run again goes on from `last.pt`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.augment import AugmentConfig
from training.dataset import Dataset, file_sha256
from training.plots import plot_curve, read_curve
from training.recipe import BranchRecipe, Recipe, RecipeError
from training.tracking import Notebook

OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
"""Ultralytics looks for updates and installs packages by itself unless told otherwise."""


def stay_offline() -> None:
    """Set ultralytics' offline switches where the user has not set them. Call before it is imported."""
    for key, value in OFFLINE.items():
        os.environ.setdefault(key, value)


@dataclass(frozen=True)
class RunFolder:
    """A run on disk."""

    path: Path

    @property
    def best(self) -> Path:
        return self.path / "best.pt"

    @property
    def about(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.path / "run.json").read_text("utf-8"))
        return loaded


def check_weights(recipe: Recipe, weights: Path) -> str:
    """SHA-256 of the pretrained weights. Raises RecipeError where the recipe pins another."""
    digest = file_sha256(weights)
    if recipe.weights_sha256 and digest != recipe.weights_sha256:
        raise RecipeError(
            f"{weights}: sha256 {digest}, but the recipe pins {recipe.weights_sha256}; "
            "use the pinned file or change weights_sha256"
        )
    return digest


def _note_run(recipe: Recipe, dataset: Dataset, digest: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "recipe": recipe.model_dump(mode="json"),
        "weights_sha256": digest,
        "data_version": dataset.version,
        "data_sources": list(dataset.sources),
        "pictures": {s: len(dataset.of(s)) for s in ("train", "val", "test")},
    }
    (folder / "run.json").write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", "utf-8")


def fit(
    recipe: Recipe,
    dataset: Dataset,
    weights: Path,
    folder: Path,
    notes: Notebook,
    say: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
    share: Callable[[float], None] = lambda _: None,
) -> RunFolder:
    """Train as the recipe says; resumes a run that was stopped. Returns the run's folder.

    `share` hears how much of the run is done, 0-1. Ultralytics draws its own bars and doesn't call it.
    """
    stay_offline()
    digest = check_weights(recipe, weights)
    _note_run(recipe, dataset, digest, folder)
    if isinstance(recipe.fit, BranchRecipe):
        _fit_branch(recipe, recipe.fit, dataset, weights, folder, notes, say, stop, share)
    else:
        from training.fit_ultralytics import fit_ultralytics

        fit_ultralytics(recipe, recipe.fit, dataset, weights, folder, notes, say, stop)
    curve = folder / "curve.jsonl"
    if curve.exists():
        plot_curve(read_curve(curve), folder / "curve.png", f"{recipe.name} {recipe.version}")
        notes.artefact(folder / "curve.png")
    return RunFolder(folder)


def build_branch(weights: Path, new_classes: Sequence[str], split: int) -> Any:
    """A fresh `BranchNet` over the pretrained weights."""
    from training.branch import BranchNet, load_teacher

    teacher, names = load_teacher(weights)
    return BranchNet(teacher, names, new_classes, split)


def load_run(run: RunFolder, weights: Path) -> Any:
    """The best network of a branch run. Raises RecipeError where `weights` aren't those it was trained from."""
    import torch

    about = run.about
    if file_sha256(weights) != about["weights_sha256"]:
        raise RecipeError(f"{weights}: not the weights that {run.path} was trained from")
    state = torch.load(run.best, map_location="cpu", weights_only=True)
    net = build_branch(weights, state["new"], state["split"])
    net.load_trained(state["average"])
    return net.eval()


def _fit_branch(
    recipe: Recipe,
    how: BranchRecipe,
    dataset: Dataset,
    weights: Path,
    folder: Path,
    notes: Notebook,
    say: Callable[[str], None],
    stop: Callable[[], bool],
    share: Callable[[float], None],
) -> None:
    import torch

    from training.fit_branch import BranchFit, BranchTrainer, prepare_samples
    from training.fit_data import Batches, sampling_weights

    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads or os.cpu_count() or 1)
    net = build_branch(weights, how.new_classes, how.split)
    given = how.model_dump(exclude={"kind", "split", "new_classes", "augment"})
    config = BranchFit(**given, seed=recipe.seed)
    trainer = BranchTrainer(net, config, folder, say, notes=notes, share=share)
    if trainer.resume():
        say(f"going on after {trainer.progress.step} steps")
    train, val = dataset.of("train"), dataset.of("val")
    if not train or not val:
        raise RecipeError("the data set needs pictures for training and for validation")
    repeat = {str(s["name"]): float(s.get("repeat", 1.0)) for s in dataset.sources if "name" in s}
    often = sampling_weights(train, how.new_classes, dataset.classes, repeat)
    say(f"reading {len(train) + len(val)} pictures")
    samples = prepare_samples(train, how.new_classes, dataset.classes)
    held_out = prepare_samples(val, how.new_classes, dataset.classes)
    augment = AugmentConfig(**how.augment.model_dump())
    batches = Batches(samples, often, how.size, how.batch, augment, recipe.seed + trainer.progress.step)
    try:
        trainer.fit(batches, held_out, recipe.class_weights, stop)
    finally:
        batches.close()
    say(json.dumps(asdict(trainer.progress)))
