"""YOLO text, boxes and the data set on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from training_parts import item, scene, write

from training.dataset import Dataset, hash_of, load_dataset, load_yolo, save_dataset
from training.dataset_items import (
    DatasetError,
    format_yolo,
    iou_matrix,
    label_path,
    parse_yolo,
    read_yolo,
    to_centres,
    to_corners,
)
from training.fit_data import read_picture
from training.formats_coco import picture_size


@pytest.mark.parametrize(
    ("text", "classes", "boxes", "error"),
    [
        ("", [], [], None),
        ("1 0.5 0.5 0.2 0.4\n", [1], [[0.5, 0.5, 0.2, 0.4]], None),
        ("0 0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5", [0], [[0.2, 0.3, 0.2, 0.4]], None),  # a polygon
        ("0 0.0 0.5 0.4 0.2", [0], [[0.1, 0.5, 0.2, 0.2]], None),  # clipped at the edge
        ("0 0.5 0.5 0 0.2", [], [], None),  # no area
        ("0 0.5 0.5 0.2", None, None, "a box has 4 numbers"),
        ("a 0.5 0.5 0.2 0.2", None, None, "not numbers"),
        ("0 nan 0.5 0.2 0.2", None, None, "finite"),
        ("-1 0.5 0.5 0.2 0.2", None, None, "x.txt:1: class -1 is no number of a name"),
        ("inf 0.5 0.5 0.2 0.2", None, None, "class inf"),
        ("1.5 0.5 0.5 0.2 0.2", None, None, r"class 1\.5"),
    ],
)
def test_parse_yolo(
    text: str, classes: list[int] | None, boxes: list[list[float]] | None, error: str | None
) -> None:
    if error:
        with pytest.raises(DatasetError, match=error):
            parse_yolo(text, "x.txt")
        return
    found, places = parse_yolo(text)
    assert found.tolist() == classes
    np.testing.assert_allclose(places, np.array(boxes).reshape(-1, 4), atol=1e-6)


inside = st.floats(0.25, 0.75, width=32)
side = st.floats(0.015625, 0.25, width=32)


@given(st.lists(st.tuples(st.integers(0, 20), inside, inside, side, side), max_size=8))
def test_yolo_text_keeps_boxes(rows: list[tuple[int, float, float, float, float]]) -> None:
    classes = np.array([r[0] for r in rows], np.int32)
    boxes = np.array([r[1:] for r in rows], np.float32).reshape(-1, 4)
    again, places = parse_yolo(format_yolo(classes, boxes))
    assert again.tolist() == classes.tolist()
    np.testing.assert_allclose(places, boxes, atol=2e-6)
    np.testing.assert_allclose(to_centres(to_corners(boxes)), boxes, atol=1e-6)


def test_a_label_file_may_begin_with_a_mark_and_one_that_is_no_text_is_named(tmp_path: Path) -> None:
    label = tmp_path / "a.txt"
    label.write_bytes(b"\xef\xbb\xbf3 0.5 0.5 0.2 0.2\r\n")
    found, boxes = read_yolo(label)
    assert found.tolist() == [3]
    assert boxes[0] == pytest.approx((0.5, 0.5, 0.2, 0.2))
    label.write_bytes(b"\xff\xfe3\x00")
    with pytest.raises(DatasetError, match=r"a\.txt: cannot be read as text"):
        read_yolo(label)
    label.unlink()
    assert read_yolo(label)[0].size == 0
    with pytest.raises(DatasetError, match=r"a\.txt: cannot be read as text"):
        read_yolo(label, optional=False)


def test_iou() -> None:
    first = np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    second = np.array([[1, 0, 3, 2], [5, 5, 6, 6]], np.float32)
    np.testing.assert_allclose(iou_matrix(first, second), [[1 / 3, 0], [0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("a/images/train/x.jpg", "a/labels/train/x.txt"),
        ("images/b/images/x.png", "images/b/labels/x.txt"),
        ("a/x.jpg", "a/x.txt"),
    ],
)
def test_label_path(picture: str, label: str) -> None:
    assert label_path(Path(picture)) == Path(label)


def test_a_data_set_comes_back_and_its_version_follows_the_content(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"in/{i}.png", scene(i)) for i in range(3)]
    items = [
        item(paths[0], [(0, 0.5, 0.5, 0.2, 0.2)], group="g", taken_at="2026-03-02T08:00:00+00:00"),
        item(paths[1], [(1, 0.4, 0.4, 0.2, 0.2)], split="val", notes={"camera_id": "gate"}),
        item(paths[2], split="val", known=frozenset({"a"})),
    ]
    saved = save_dataset(Dataset(("a", "b"), tuple(items)), tmp_path / "out")
    loaded = load_dataset(tmp_path / "out")
    assert loaded.version == saved.version
    assert loaded.classes == ("a", "b")
    assert [len(loaded.of(s)) for s in ("train", "val", "test")] == [1, 2, 0]
    by_group = next(i for i in loaded.items if i.group == "g")
    assert by_group.taken_at.startswith("2026-03-02")
    np.testing.assert_allclose(by_group.boxes, [[0.5, 0.5, 0.2, 0.2]])
    assert {i.known for i in loaded.of("val")} == {frozenset({"a", "b"}), frozenset({"a"})}

    again = save_dataset(Dataset(("a", "b"), tuple(reversed(items))), tmp_path / "again", how="copy")
    assert again.version == saved.version, "the order of the pictures changes nothing"
    other = save_dataset(Dataset(("a", "b"), tuple(items[:2])), tmp_path / "other")
    assert other.version != saved.version

    plain = load_yolo(tmp_path / "out" / "data.yaml")
    assert len(plain.items) == 3
    assert plain.classes == ("a", "b")
    with pytest.raises(DatasetError, match="not empty"):
        save_dataset(saved, tmp_path / "out")


def test_yolo_names_may_be_a_mapping_and_a_class_must_have_a_name(tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", scene(1))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: {0: x, 1: y}\n")
    assert load_yolo(tmp_path / "data.yaml").items[0].classes.tolist() == [1]
    (tmp_path / "data.yaml").write_text("train: images\nnames: [x]\n")
    with pytest.raises(DatasetError, match="only 1 names"):
        load_yolo(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text("train: images\n")
    with pytest.raises(DatasetError, match="needs `names`"):
        load_yolo(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text("train: images\nnames: {1: x, 2: y}\n")
    with pytest.raises(DatasetError, match="must run from 0"):
        load_yolo(tmp_path / "data.yaml")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff nothing"], ids=["empty", "broken"])
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (hash_of, picture_size):
        with pytest.raises(DatasetError, match=r"a\.jpg: not a picture"):
            read(path)


def test_the_size_is_that_of_the_turned_picture(tmp_path: Path) -> None:
    """A phone's portrait is stored lying down, with an EXIF mark; boxes are drawn on what stands."""
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(scene(3, (80, 200))).save(tmp_path / "a.jpg", exif=turned)
    assert picture_size(tmp_path / "a.jpg") == (80, 200)
    assert read_picture(item(tmp_path / "a.jpg")).shape[:2] == (200, 80)
