"""Data sets joined into one: pictures that several of them have, and what a later verdict takes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_parts import alert, case, item, picture_evidence, scene, write

from contract import Case, EvidenceKind
from training.dataset import Dataset, check_frozen, load_dataset, save_dataset
from training.dataset_items import DatasetError
from training.join import join
from training.verdicts import VerdictRule, take_cases, write_export

CLASSES = ("garbage", "overflow")


def base(folder: Path) -> Path:
    """A first set with one picture in each split, in another order of the classes."""
    items = [
        item(write(folder / f"{n}.png", scene(50 + n)), [(0, 0.5, 0.5, 0.2, 0.2)], split=s, source="base")
        for n, s in enumerate(("train", "val", "test"))
    ]
    save_dataset(Dataset(CLASSES[::-1], tuple(items)), folder / "base")
    return folder / "base"


def verdicts(folder: Path, name: str, cases: Sequence[Case]) -> Path:
    rule = VerdictRule(classes=CLASSES)
    taken = take_cases(cases, folder / "evidence", folder / "work" / name, rule)
    save_dataset(Dataset(CLASSES, tuple(taken.items)), folder / name, how="copy")
    return folder / name


def test_exports_that_share_a_picture_become_one_with_all_boxes(tmp_path: Path) -> None:
    shared = picture_evidence(write_export([], tmp_path), 1, EvidenceKind.CONTEXT)
    first = case((alert((shared,), box=(0.1, 0.1, 0.3, 0.3)),), ({"kind": "confirm"},))
    second = case((alert((shared,), box=(0.6, 0.6, 0.9, 0.9)),), ({"kind": "confirm"},))
    folders = [verdicts(tmp_path, "b", [first]), verdicts(tmp_path, "a", [first, second])]
    joined = join(base(tmp_path), folders).dataset
    save_dataset(joined, tmp_path / "out")
    check_frozen(tmp_path / "out")
    back = load_dataset(tmp_path / "out")
    (found,) = [i for i in back.items if i.source == "verdicts"]
    assert {back.classes[c] for c in found.classes} == {"overflow"}
    assert len(found.boxes) == 2
    assert found.notes["case_ids"] == sorted([first.id, second.id])


def test_a_rejection_that_a_later_export_takes_back_is_no_background(tmp_path: Path) -> None:
    part = picture_evidence(write_export([], tmp_path), 1)
    made = case((alert((part,)),), ({"kind": "reject", "reason": 1},))
    before = verdicts(tmp_path, "before", [made])
    (cut,) = load_dataset(before).items
    assert cut.notes["negative"]
    appeal = made.verdicts[0].model_copy(update={"kind": "confirm", "reason": None, "on_appeal": True})
    after = verdicts(tmp_path, "after", [made.model_copy(update={"verdicts": (appeal,)})])
    joined = join(base(tmp_path), [before, after]).dataset
    assert [bool(i.notes.get("negative")) for i in joined.items if i.source == "verdicts"] == [False]


@pytest.mark.parametrize(("boxes", "kept"), [([(0, 0.5, 0.5, 0.2, 0.2)], 1), ([], None)])
def test_a_picture_twice_is_written_once_or_refused(
    tmp_path: Path, boxes: list[tuple[int, float, float, float, float]], kept: int | None
) -> None:
    first = item(write(tmp_path / "a" / "1.png", scene(1)), [(0, 0.5, 0.5, 0.2, 0.2)])
    second = replace(item(write(tmp_path / "b" / "1.png", scene(1)), boxes), group="other")
    dataset = Dataset(("a", "b"), (first, second))
    if kept is None:
        with pytest.raises(
            DatasetError, match=r"b/1\.png: the same picture as .*a/1\.png, with other labels"
        ):
            save_dataset(dataset, tmp_path / "out")
        assert not (tmp_path / "out").exists(), "nothing of a refused set stays in the way of the next try"
        return
    saved = save_dataset(dataset, tmp_path / "out")
    assert len(saved.items) == kept
    check_frozen(tmp_path / "out")
    np.testing.assert_allclose(load_dataset(tmp_path / "out").items[0].boxes, first.boxes)


def test_a_picture_that_comes_once_keeps_its_labels(tmp_path: Path) -> None:
    crowd = [(0, 0.5, 0.5, 0.2, 0.2), (0, 0.5, 0.51, 0.2, 0.2), (0, 0.2, 0.2, 0.1, 0.1)]
    made = item(write(tmp_path / "9.png", scene(9)), crowd, source="base", known=frozenset(CLASSES))
    save_dataset(Dataset(CLASSES, (made,)), tmp_path / "more")
    joined = join(base(tmp_path), [tmp_path / "more"]).dataset
    assert sorted(len(i.boxes) for i in joined.of("train")) == [1, 3]


def test_an_exact_double_may_be_rounded_otherwise(tmp_path: Path) -> None:
    first = item(
        write(tmp_path / "a" / "1.png", scene(1)), [(0, 0.5, 0.5, 0.2, 0.2), (1, 0.3, 0.3, 0.1, 0.1)]
    )
    rows = [(1, 0.30004, 0.3, 0.1, 0.1), (0, 0.5, 0.5, 0.2001, 0.2)]
    second = item(write(tmp_path / "b" / "1.png", scene(1)), rows)
    assert len(save_dataset(Dataset(("a", "b"), (first, second)), tmp_path / "out").items) == 1
