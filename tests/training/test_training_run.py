"""A run's folder: what goes on, what is another run, and what a kill leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training_parts import item, scene, write

from training.classes import street_of_coco
from training.dataset import Dataset, file_sha256, load_yolo, save_dataset
from training.fit import RunFolder, fit, note_run, stay_offline
from training.recipe import Recipe, RecipeError
from training.tracking import NoNotebook

NEW = ("garbage", "overflow")


def recipe(more: dict[str, Any] | None = None, **how: Any) -> Recipe:
    fit_of: dict[str, Any] = {"kind": "branch", "new_classes": NEW, "size": 64, "batch": 2, "steps": 2}
    fields: dict[str, Any] = {
        "name": "made",
        "version": "1.0.0",
        "sources": "x",
        "weights_about": "w",
        "weights_licence": "x",
        "threads": 1,
        "fit": {**fit_of, **how},
        **(more or {}),
    }
    return Recipe.model_validate(fields)


def dataset(folder: Path, seed: int = 0) -> Dataset:
    items = [
        item(
            write(folder / f"raw{seed}" / f"{n}.png", scene(seed + n, (64, 64))),
            [(n % 2, 0.5, 0.5, 0.5, 0.5)],
            split="train" if n < 4 else "val",
            known=frozenset(NEW),
        )
        for n in range(6)
    ]
    return save_dataset(Dataset(NEW, tuple(items)), folder / f"set{seed}")


@pytest.mark.parametrize(
    ("now", "digest", "differs"),
    [
        (recipe(), "a", None),
        (recipe(steps=3), "a", None),
        (recipe({"about": "words", "threads": 2, "sources": "/elsewhere/x"}), "a", None),
        (recipe(steps=1), "a", "fit.steps: 2, now 1"),
        (recipe(new_classes=NEW[::-1]), "a", "fit.new_classes"),
        (recipe({"seed": 8}), "a", "seed: 7, now 8"),
        (recipe({"version": "1.0.1"}), "a", "version: 1.0.0, now 1.0.1"),
        (recipe({"fit": {"kind": "ultralytics"}}), "a", "fit.kind: branch, now ultralytics"),
        (recipe(), "b", "weights_sha256: a, now b"),
    ],
)
def test_a_folder_keeps_the_run_that_it_was_begun_with(
    tmp_path: Path, now: Recipe, digest: str, differs: str | None
) -> None:
    data, run = dataset(tmp_path), tmp_path / "run"
    note_run(recipe(), data, "a", run)
    before = RunFolder(run).about
    if differs is None:
        note_run(now, data, digest, run)
        assert RunFolder(run).about["recipe"] == now.model_dump(mode="json")
        return
    with pytest.raises(RecipeError, match=differs) as told:
        note_run(now, data, digest, run)
    assert "name a new folder" in str(told.value)
    assert RunFolder(run).about == before


@pytest.mark.parametrize("plain", [False, True], ids=["a set of ours", "a plain YOLO folder"])
def test_other_data_is_another_run(tmp_path: Path, plain: bool) -> None:
    sets = [dataset(tmp_path), dataset(tmp_path, 100)]
    if plain:
        sets = [load_yolo(d.items[0].path.parents[2] / "data.yaml") for d in sets]
    note_run(recipe(), sets[0], "a", tmp_path / "run")
    note_run(recipe(), sets[0], "a", tmp_path / "run")
    with pytest.raises(RecipeError, match="data_version"):
        note_run(recipe(), sets[1], "a", tmp_path / "run")


@pytest.mark.training
def test_a_finished_branch_stays_until_it_is_made_longer(tmp_path: Path) -> None:
    stay_offline()
    from training.torchvision_ops import ensure

    ensure()
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    weights, known = tmp_path / "w.pt", list(street_of_coco())
    model = YOLO("yolo11n.yaml")
    model.model.names = dict(enumerate(known + [f"other{i}" for i in range(80 - len(known))]))
    model.save(str(weights))
    data, run = dataset(tmp_path), tmp_path / "run"

    def go(how: Recipe) -> int:
        fit(how, data, weights, run, NoNotebook(), lambda _: None)
        return int(torch.load(run / "last.pt", weights_only=True)["progress"]["step"])

    assert go(recipe()) == 2
    digest = file_sha256(run / "last.pt")
    assert go(recipe()) == 2
    assert file_sha256(run / "last.pt") == digest
    assert go(recipe(steps=3)) == 3
    with pytest.raises(RecipeError, match=r"fit\.lr"):
        go(recipe(steps=3, lr=0.01))
