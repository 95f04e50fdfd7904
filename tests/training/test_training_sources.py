"""Source files, their rules, teacher labels and merging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from training_parts import item, scene, write

from training.dataset import load_dataset
from training.dataset_items import DatasetError
from training.dataset_sources import load_sources, read_source
from training.merge import merge
from training.recipe import RecipeError, load_recipe
from training.split import leaks
from training.teacher import TeacherBoxes, TeacherRule, fill

RECIPES = Path(__file__).parents[2] / "training" / "recipes"


def make_set(folder: Path, split: str, labels: dict[str, str]) -> None:
    for number, (name, text) in enumerate(labels.items()):
        write(folder / split / "images" / f"{name}.png", scene(sum(name.encode()) * 7 + number))
        path = folder / split / "labels" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def source_file(folder: Path, **more: object) -> Path:
    source = {
        "name": "s",
        "path": "s",
        "names": ["rubbish", "dog"],
        "rename": {"rubbish": "garbage", "dog": None},
        "complete": ["garbage"],
        "licence": "CC0",
        **more,
    }
    path = folder / "sources.yaml"
    path.write_text(yaml.safe_dump({"classes": ["person", "garbage"], "sources": [source]}))
    return path


def test_a_source_is_renamed_dropped_held_out_and_ignored(tmp_path: Path) -> None:
    make_set(tmp_path / "s", "train", {f"p{i}": "0 .5 .5 .2 .2\n1 .5 .5 .2 .2\n" for i in range(4)})
    make_set(tmp_path / "s", "val", {"v1": "0 .5 .5 .2 .2\n0 .9 .9 .01 .01\n"})
    path = source_file(tmp_path, hold_out={"every": 4, "offset": 3}, ignore=["p1*"], min_side=0.05)
    config = load_sources(path)
    items = {i.path.stem: i for i in read_source(config.sources[0], config.classes)}
    assert {n: i.split for n, i in items.items()} == {"p0": "train", "p2": "train", "p3": "val", "v1": "val"}
    assert all(i.classes.tolist() == [1] for i in items.values())
    assert items["p0"].known == {"garbage"}


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"complete": ["bin"]}, "are no classes"),
        ({"rename": {"rubbish": "heap"}}, "are no classes"),
        ({"camera": "x.*"}, "exactly one group"),
        ({"colour": "red"}, "colour"),
        ({"licence": ""}, "licence"),
    ],
)
def test_a_wrong_source_file_says_where(tmp_path: Path, more: dict[str, object], error: str) -> None:
    with pytest.raises(DatasetError, match=error):
        load_sources(source_file(tmp_path, **more))


class FixedTeacher:
    """Sees the same boxes everywhere: a sure person, a doubtful one, garbage."""

    names = frozenset({"person"})

    def __init__(self, scores: tuple[float, ...] = (0.9,)) -> None:
        self._scores = scores

    def label(self, picture: NDArray[np.uint8]) -> TeacherBoxes:
        count = len(self._scores)
        corners = np.array([[0.1 + 0.2 * i, 0.1, 0.2 + 0.2 * i, 0.4] for i in range(count)], np.float32)
        return TeacherBoxes(corners, np.array(self._scores, np.float32), np.zeros(count, np.int32))


@pytest.mark.parametrize(
    ("scores", "known", "boxes", "then_known"),
    [
        ((0.9,), {"garbage"}, 1, {"garbage", "person"}),
        ((0.9, 0.3), {"garbage"}, 1, {"garbage"}),  # a doubtful box: absence of people teaches nothing here
        ((0.1,), {"garbage"}, 0, {"garbage", "person"}),
        ((0.9,), {"garbage", "person"}, 0, {"garbage", "person"}),  # people's labels win
    ],
)
def test_the_teacher_fills_what_a_set_leaves_open(
    tmp_path: Path, scores: tuple[float, ...], known: set[str], boxes: int, then_known: set[str]
) -> None:
    bare = item(write(tmp_path / "a.png", scene(1)), known=frozenset(known))
    teacher = FixedTeacher(scores)
    filled = fill(bare, teacher.label(scene(1)), ("person", "garbage"), teacher.names, TeacherRule())
    assert len(filled.boxes) == boxes
    assert filled.known == then_known


def test_a_box_that_a_person_drew_is_not_doubled(tmp_path: Path) -> None:
    drawn = item(write(tmp_path / "a.png", scene(1)), [(0, 0.15, 0.25, 0.1, 0.3)], known=frozenset())
    filled = fill(
        drawn, FixedTeacher().label(scene(1)), ("person", "garbage"), frozenset({"person"}), TeacherRule()
    )
    assert len(filled.boxes) == 1


def test_merging_leaves_out_training_pictures_that_show_a_held_out_scene(tmp_path: Path) -> None:
    make_set(tmp_path / "s", "train", {"p0": "0 .5 .5 .2 .2\n", "p1": ""})
    make_set(tmp_path / "s", "val", {"v0": "0 .5 .5 .2 .2\n"})
    copied = (tmp_path / "s/train/images/p0.png").read_bytes()
    (tmp_path / "s/val/images/v0.png").write_bytes(copied)
    merged = merge(load_sources(source_file(tmp_path)), FixedTeacher())
    assert [i.path.stem for i in merged.dataset.items] == ["p1", "v0"]
    assert merged.dropped == {"s": 1}
    assert all((i.classes == 0).any() for i in merged.dataset.items), (
        "the teacher's person is in every picture"
    )


def test_pictures_that_folders_number_alike_are_no_scene(tmp_path: Path) -> None:
    labels = {"0001": "0 .5 .5 .2 .2\n", "0002": ""}
    make_set(tmp_path / "s", "train", labels)
    for number, name in enumerate(labels):
        write(tmp_path / "s/val/images" / f"{name}.png", scene(100 + number))
    merged = merge(load_sources(source_file(tmp_path)))
    assert not merged.dropped
    assert [len(merged.dataset.of(s)) for s in ("train", "val")] == [2, 2]
    (tmp_path / "s/data.yaml").write_text("train: train/images\nval: val/images\nnames: [a]\n")
    plain = load_dataset(tmp_path / "s").items
    assert len(plain) == 4
    assert leaks(plain) == []


def test_a_pattern_names_the_scene(tmp_path: Path) -> None:
    make_set(tmp_path / "s", "train", {"gate_1": "", "gate_2": "", "other": ""})
    make_set(tmp_path / "s", "val", {"yard_1": ""})
    config = load_sources(source_file(tmp_path, camera="^(.*)_"))
    found = {i.path.stem: i.group for i in read_source(config.sources[0], config.classes)}
    assert found == {"gate_1": "s:gate", "gate_2": "s:gate", "other": "", "yard_1": "s:yard"}


@pytest.mark.parametrize(
    "name", sorted(p.name for p in RECIPES.glob("street*.yaml") if "sources" not in p.name)
)
def test_the_shipped_recipes_are_valid(name: str) -> None:
    recipe = load_recipe(RECIPES / name)
    config = load_sources(recipe.sources)
    assert recipe.sources.exists()
    if recipe.fit.kind == "branch":
        assert set(recipe.fit.new_classes) < set(config.classes)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"fit": {"kind": "forest"}}, "fit"),
        ({"fit": {"kind": "branch", "new_classes": [], "size": 650}}, "size"),
        ({"speed": 1}, "speed"),
    ],
)
def test_a_wrong_recipe_names_the_field(tmp_path: Path, change: dict[str, object], error: str) -> None:
    whole = yaml.safe_load((RECIPES / "street.yaml").read_text())
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({**whole, **change}))
    with pytest.raises(RecipeError, match=error):
        load_recipe(path)
