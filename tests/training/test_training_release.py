"""A branch's bundle names its channels as the recipe does, and keeps what the street model has."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_training_flywheel import _weights
from training_parts import item, scene, write

pytestmark = pytest.mark.training
NEW = ("cart", "tent", "garbage")


def test_the_new_classes_keep_the_recipes_order(tmp_path: Path) -> None:
    weights = _weights(tmp_path / "w.pt")
    from training.classes import STREET_CLASSES, TEACHER_CLASSES
    from training.dataset import Dataset, save_dataset
    from training.fit import RunFolder, fit
    from training.recipe import Recipe
    from training.release import release
    from training.tracking import NoNotebook

    items = tuple(
        item(
            write(tmp_path / f"{i}.png", scene(i, (64, 64))),
            [(STREET_CLASSES.index(NEW[i % 3]), 0.5, 0.5, 0.5, 0.5)],
            split="train" if i < 6 else "val", known=frozenset(NEW), source="s",
        )
        for i in range(12)
    )  # fmt: skip
    data = save_dataset(Dataset(STREET_CLASSES, items, ({"name": "s", "licence": "x"},)), tmp_path / "set")
    recipe = Recipe.model_validate(
        {
            "name": "made", "version": "1.0.0", "sources": "x", "weights_about": "w", "weights_licence": "x", "threads": 1,
            "fit": {"kind": "branch", "new_classes": NEW, "size": 64, "batch": 2, "steps": 1, "validate_every": 1},
        }
    )  # fmt: skip
    run, said = tmp_path / "run", list[str]()
    fit(recipe, data, weights, run, NoNotebook(), said.append)
    bundle = release(RunFolder(run), data, weights, tmp_path / "bundle", said.append)
    assert bundle.names == (*TEACHER_CLASSES, *NEW)
    assert [c.role for c in bundle.manifest.classes[-3:]] == ["stall_part", "stall_part", "garbage"]
    assert bundle.manifest.one_per_place == ("vehicle",)
    (word,) = [s for s in said if s.startswith("bfloat16: ")]
    assert bundle.manifest.bfloat16 == word.startswith("bfloat16: set")
