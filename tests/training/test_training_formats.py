"""COCO, Label Studio and CVAT keep pictures, boxes, classes and splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from training_parts import item, scene, write

from training.dataset import Dataset
from training.dataset_items import DatasetError
from training.formats_coco import from_coco, to_coco
from training.formats_cvat import from_cvat, to_cvat
from training.formats_labelstudio import config_xml, from_tasks, to_tasks


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    first = item(write(tmp_path / "a.png", scene(1)), [(0, 0.5, 0.5, 0.2, 0.3), (1, 0.2, 0.3, 0.1, 0.1)])
    second = item(write(tmp_path / "b.png", scene(2, (120, 80))))
    return Dataset(("a", "b"), (first, second))


def same(found: Dataset, wanted: Dataset, tolerance: float) -> None:
    assert found.classes == wanted.classes
    assert [i.path for i in found.items] == [i.path for i in wanted.items]
    for one, other in zip(found.items, wanted.items, strict=True):
        assert one.classes.tolist() == other.classes.tolist()
        assert one.split == other.split
        np.testing.assert_allclose(one.boxes, other.boxes, atol=tolerance)


def test_coco(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(to_coco(dataset, "train", tmp_path)))
    same(from_coco(path, tmp_path), dataset, 1e-3)


def test_cvat(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "cvat.xml"
    path.write_text(to_cvat(dataset))
    same(from_cvat(path, tmp_path), dataset, 1e-3)


def test_label_studio(dataset: Dataset, tmp_path: Path) -> None:
    tasks = to_tasks(dataset)
    for task in tasks:  # a labeller accepts what was predicted
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(tasks))
    same(from_tasks(path, tmp_path, dataset.classes), dataset, 1e-5)
    assert '<Label value="a"/>' in config_xml(dataset.classes)


def test_a_turned_rectangle_becomes_its_box(dataset: Dataset, tmp_path: Path) -> None:
    task = to_tasks(dataset)[0]
    result = task["predictions"][0]["result"][0]
    result["value"].update(x=50, y=50, width=25, height=12.5, rotation=90)
    task["annotations"] = [{"result": [result]}]
    (tmp_path / "t.json").write_text(json.dumps([task]))
    (found,) = from_tasks(tmp_path / "t.json", tmp_path, dataset.classes).items
    # 128 x 96 px: 32 x 12 px turned by 90 degrees about (64, 48) is 12 x 32 px to its lower left
    np.testing.assert_allclose(found.boxes * [128, 96, 128, 96], [[58, 64, 12, 32]], atol=1e-3)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "<annotations><image name='a.png' width='9' height='9'><box label='x'/></image></annotations>",
            "no class",
        ),
        ("<annotations><image name='a.png' width='0' height='9'/></annotations>", "must be positive"),
        ("<task/>", "root element"),
        ("<annotations", "not a CVAT XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "not a CVAT XML"),
    ],
)
def test_wrong_cvat(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "c.xml").write_text(text)
    with pytest.raises(DatasetError, match=error):
        from_cvat(tmp_path / "c.xml", tmp_path, ("a",))


@pytest.mark.parametrize(
    "text", ["{}", "[]", "no", '{"images": [], "annotations": [{"image_id": 1}], "categories": []}']
)
def test_wrong_coco(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(DatasetError, match="not COCO"):
        from_coco(tmp_path / "c.json", tmp_path)
