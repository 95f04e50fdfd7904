"""Ultralytics' own trainer behind a recipe: figures for every epoch, plots in the run's folder, and a run that goes on.

Ultralytics writes `last.pt` after each epoch, so a run that was killed loses the epoch it was in. When it ends by
itself it strips the optimiser out of `last.pt`, and then nothing can go on: a wish to stop therefore leaves the loop
between two epochs instead of asking ultralytics to finish early.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from training.dataset import Dataset, save_dataset
from training.plots import read_curve
from training.recipe import Recipe, RecipeError, UltralyticsRecipe
from training.torchvision_ops import ensure
from training.tracking import Notebook

PLOTS = ("results.png", "BoxPR_curve.png", "confusion_matrix.png", "labels.jpg", "val_batch0_pred.jpg")
"""What ultralytics draws and is worth keeping beside the curve."""


class _LeftEarlyError(Exception):
    """Somebody asked to stop; `last.pt` is whole."""


def fit_ultralytics(
    recipe: Recipe,
    how: UltralyticsRecipe,
    dataset: Dataset,
    weights: Path,
    folder: Path,
    notes: Notebook,
    say: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train, or go on from `folder/ultralytics/weights/last.pt`; a finished run is left as it is."""
    ensure()
    import torch
    from ultralytics import YOLO
    from ultralytics.utils import SETTINGS

    # Ultralytics would note the run a second time, in a database in the current folder. For this process alone: its own
    # way of setting this writes the user's settings file.
    dict.__setitem__(SETTINGS, "mlflow", False)
    data = folder / "data"
    if not data.exists():
        # A run that was killed while it wrote leaves a part, which is no data set.
        part = folder / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        save_dataset(_filled(recipe, dataset, weights, say), part)
        part.rename(data)
    _absolute(data / "data.yaml")
    last = _last(folder)
    done = _epochs_done(last)
    if done is not None and done >= how.epochs:
        say(f"finished before: {done} epochs")
        _keep(folder, last, notes)
        return
    device = how.device if how.device != "auto" else ("0" if torch.cuda.is_available() else "cpu")
    if done:
        _set_epochs(last, how.epochs)
    model = YOLO(str(last if done else weights))
    model.add_callback("on_fit_epoch_end", _Epochs(folder, notes, say, stop))
    say(f"going on after {done} epochs" if done else f"ultralytics on {device}, {how.epochs} epochs")
    try:
        model.train(
            data=str(data / "data.yaml"),
            epochs=how.epochs,
            imgsz=how.size,
            batch=how.batch,
            freeze=how.freeze or None,
            device=device,
            seed=recipe.seed,
            project=str(folder.resolve()),
            name="ultralytics",
            exist_ok=True,
            resume=bool(done),
            plots=True,
            **how.extra,
        )
    except _LeftEarlyError:
        say("stopped between two epochs; the same command goes on")
    _keep(folder, last, notes)


def _filled(recipe: Recipe, dataset: Dataset, weights: Path, say: Callable[[str], None]) -> Dataset:
    """With `teacher` in the recipe: its labels for what the pictures leave unlabelled. One head for all classes takes
    every unlabelled person for background."""
    if recipe.teacher is None:
        return dataset
    from training.teacher import TeacherRule, fill_all
    from training.teacher_ultralytics import UltralyticsTeacher

    labeller = UltralyticsTeacher(weights, dataset.classes, conf=recipe.teacher.doubt)
    items = fill_all(
        dataset.items, dataset.classes, labeller, TeacherRule(recipe.teacher.sure, recipe.teacher.doubt)
    )
    added = sum(len(a.boxes) - len(b.boxes) for a, b in zip(items, dataset.items, strict=True))
    say(f"the teacher added {added} boxes")
    return replace(dataset, items=tuple(items))


def _last(folder: Path) -> Path:
    return folder / "ultralytics" / "weights" / "last.pt"


def _loaded(last: Path) -> dict[str, Any]:
    ensure()
    import torch

    # Our own run wrote this file; it holds ultralytics' classes, which a weights-only load refuses.
    state: dict[str, Any] = torch.load(last, map_location="cpu", weights_only=False)
    return state


def check_epochs(how: UltralyticsRecipe, folder: Path) -> None:
    """Raise RecipeError where more epochs are wished of a finished run: its optimiser is gone."""
    last = _last(folder)
    if not last.exists():
        return
    state = _loaded(last)
    if int(state["epoch"]) < 0 and int(state["train_args"]["epochs"]) < how.epochs:
        raise RecipeError(
            f"{folder}: finished with {state['train_args']['epochs']} epochs and can't be made longer; "
            "name a new folder, with its best.pt as weights"
        )


def _set_epochs(last: Path, epochs: int) -> None:
    """Ultralytics goes on to the epochs that the checkpoint was begun with, whatever it is told."""
    import torch

    state = _loaded(last)
    if int(state["train_args"]["epochs"]) == epochs:
        return
    state["train_args"]["epochs"] = epochs
    part = last.with_suffix(".part")
    torch.save(state, part)
    part.replace(last)


def _epochs_done(last: Path) -> int | None:
    """Epochs in a checkpoint; None where there is none. A finished one is stripped and says so in its arguments."""
    if not last.exists():
        return None
    state = _loaded(last)
    if int(state["epoch"]) >= 0:
        return int(state["epoch"]) + 1
    return int(state["train_args"]["epochs"])


class _Epochs:
    """Called by ultralytics after each epoch's validation and saving, and once more after the last evaluation."""

    def __init__(
        self, folder: Path, notes: Notebook, say: Callable[[str], None], stop: Callable[[], bool]
    ) -> None:
        self._folder, self._notes, self._say, self._stop = folder, notes, say, stop
        self._begun, self._over = time.monotonic(), False
        curve = folder / "curve.jsonl"
        self._before = float(read_curve(curve)[-1]["minutes"]) if curve.exists() else 0.0

    def __call__(self, trainer: Any) -> None:
        if self._over:  # the last evaluation, of the best checkpoint: no epoch of its own
            return
        self._over = bool(trainer.stop)
        box = trainer.validator.metrics.box
        names = trainer.data["names"]
        found = {names[int(k)]: float(v) for k, v in zip(box.ap_class_index, box.ap50, strict=True)}
        loss = {
            k: round(float(v), 4) for k, v in trainer.label_loss_items(trainer.tloss, prefix="train").items()
        }
        row = {
            "step": trainer.epoch + 1,
            "images": (trainer.epoch + 1) * len(trainer.train_loader.dataset),
            "minutes": round(self._before + (time.monotonic() - self._begun) / 60, 2),
            "lr": float(trainer.optimizer.param_groups[0]["lr"]),
            "fitness": round(float(trainer.fitness or 0.0), 4),
            "map50": {n: round(found[n], 4) if n in found else None for n in names.values()},
            "loss": loss,
        }
        with (self._folder / "curve.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._say(json.dumps(row))
        figures = {"fitness": row["fitness"], **{f"map50/{n}": v for n, v in found.items()}, **loss}
        self._notes.figures(trainer.epoch + 1, figures)
        if self._stop() and not self._over:
            raise _LeftEarlyError


def _keep(folder: Path, last: Path, notes: Notebook) -> None:
    """The best checkpoint and the plots, where every run has them."""
    best = last.with_name("best.pt")
    if best.exists():
        shutil.copyfile(best, folder / "best.pt")
    for name in PLOTS:
        made = folder / "ultralytics" / name
        if made.exists():
            notes.artefact(made)


def _absolute(data: Path) -> None:
    """Ultralytics counts a relative `path` from its own settings' folder: name it in full for this run."""
    config = yaml.safe_load(data.read_text("utf-8"))
    config["path"] = str(data.parent.resolve())
    data.write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), "utf-8")
