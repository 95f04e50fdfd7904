"""Run a recipe: sources or a data set -> a run folder with checkpoints, curve and what it was made of.

The folder holds `run.json` (recipe, data version, weights' hash), `curve.jsonl`, `curve.png`, `last.pt`, `best.pt`.
Starting the same run again goes on from `last.pt`; other weights, data or settings are refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contract.durable import whole_file
from training.augment import AugmentConfig
from training.dataset import Dataset, file_sha256, version_of
from training.plots import plot_curve, read_curve
from training.recipe import BranchRecipe, Recipe, RecipeError
from training.tracking import Notebook

OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
"""Ultralytics looks for updates and installs packages by itself unless told otherwise."""


def stay_offline() -> None:
    """Set ultralytics' offline switches where the user has not set them. Call before it is imported."""
    for key, value in OFFLINE.items():
        os.environ.setdefault(key, value)


PLAIN_MOSAIC = 0.1
"""Share of mosaics in the plain end of a run, at most: the network ends with pictures as a camera gives them."""


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


_SAME_RUN = frozenset({"about", "sources", "weights_about", "weights_licence", "weights_sha256", "threads"})
"""Recipe fields that may differ when a run goes on: words, the machine, and what the hashes say."""
_LONGER = frozenset({"steps", "minutes", "epochs"})


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What makes `now` another run than the noted one, in words: field, noted value, value now."""
    try:
        noted = Recipe.model_validate(before["recipe"]).model_dump(mode="json")
    except (KeyError, ValidationError) as error:
        raise RecipeError(f"the noted recipe can't be read: {error}; name a new run folder") from error
    pairs = [(k, before.get(k), now[k]) for k in ("weights_sha256", "data_version")]
    pairs += [(k, noted[k], v) for k, v in now["recipe"].items() if k not in {*_SAME_RUN, "fit"}]
    fits = noted["fit"], now["recipe"]["fit"]
    pairs += [(f"fit.{k}", *(f.get(k) for f in fits)) for k in dict.fromkeys([*fits[0], *fits[1]])]
    return [f"{k}: {old}, now {new}" for k, old, new in pairs if old != new and not _goes_on(k, old, new)]


def _goes_on(field: str, old: Any, new: Any) -> bool:
    """True for a budget made longer, and for another device."""
    name = field.removeprefix("fit.")
    return name == "device" or (name in _LONGER and None not in (old, new) and new > old)


def note_run(recipe: Recipe, dataset: Dataset, digest: str, folder: Path) -> None:
    """Write `run.json`: what the run is made of.

    Raises RecipeError where the folder holds a run of other weights, data or settings: going on would mix the two.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "recipe": recipe.model_dump(mode="json"),
        "weights_sha256": digest,
        "data_version": dataset.version or version_of(dataset.items),
        "data_sources": list(dataset.sources),
        "pictures": {s: len(dataset.of(s)) for s in ("train", "val", "test")},
    }
    noted = folder / "run.json"
    if noted.exists() and (found := _differences(RunFolder(folder).about, about)):
        raise RecipeError(
            f"{folder}: holds another run ({'; '.join(found)}); name a new folder, or start it as it was begun "
            "(steps, minutes or epochs may be longer)"
        )
    with whole_file(noted) as file:
        file.write((json.dumps(about, ensure_ascii=False, indent=1) + "\n").encode())


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

    `share` hears how much of the run is done, 0-1. Ultralytics draws its own bars and doesn't call it. Raises
    RecipeError where the folder holds another run, or the data set has no pictures for training or for validation.
    """
    stay_offline()
    digest = check_weights(recipe, weights)
    if not dataset.of("train") or not dataset.of("val"):
        raise RecipeError("the data set needs pictures for training and for validation")
    if isinstance(recipe.fit, BranchRecipe):
        note_run(recipe, dataset, digest, folder)
        _fit_branch(recipe, recipe.fit, dataset, weights, folder, notes, say, stop, share)
    else:
        from training.fit_ultralytics import check_epochs, fit_ultralytics

        check_epochs(recipe.fit, folder)
        note_run(recipe, dataset, digest, folder)
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
        if trainer.share >= 1:
            return
    train, val = dataset.of("train"), dataset.of("val")
    repeat = {str(s["name"]): float(s.get("repeat", 1.0)) for s in dataset.sources if "name" in s}
    often = sampling_weights(train, how.new_classes, dataset.classes, repeat)
    say(f"reading {len(train) + len(val)} pictures")
    samples = prepare_samples(train, how.new_classes, dataset.classes)
    held_out = prepare_samples(val, how.new_classes, dataset.classes)
    if not any(s.known[s.classes].any() for s in held_out):
        say("the validation part has no box of a new class: the last checkpoint counts as the best")
    augment = AugmentConfig(**how.augment.model_dump())

    def make(plain: bool) -> Batches:
        config = replace(augment, mosaic=min(augment.mosaic, PLAIN_MOSAIC)) if plain else augment
        return Batches(samples, often, how.size, how.batch, config, recipe.seed + trainer.progress.step)

    trainer.fit(make, held_out, recipe.class_weights, stop)
    say(json.dumps(asdict(trainer.progress)))
