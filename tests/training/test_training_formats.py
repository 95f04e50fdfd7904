"""COCO, Label Studio and CVAT keep pictures, boxes, classes and splits."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from training_parts import START, item, scene, write

from training.dataset import SPLITS, Dataset, load_dataset, save_dataset
from training.dataset_items import DatasetError, PictureFinder, pictures_in, suffix_of
from training.formats_coco import from_coco, to_coco
from training.formats_cvat import from_cvat, to_cvat
from training.formats_labelstudio import config_xml, from_tasks, to_tasks
from training.split import SplitRule, scenes_of


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
        (
            "<annotations><image name='a.png' width='9' height='9' subset='gold'/></annotations>",
            "subset 'gold'",
        ),
        ("<annotations><track id='0' label='a'/></annotations>", "no <image>"),
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
    ("attribute", "task", "split"),
    [
        ("", "", "train"),
        ("subset='default'", "", "train"),
        ("subset='Validation'", "", "val"),
        ("subset='valid'", "", "val"),
        ("subset='Test'", "Train", "test"),
        ("", "Validation", "val"),
    ],
)
def test_cvat_has_other_names_for_the_splits(tmp_path: Path, attribute: str, task: str, split: str) -> None:
    write(tmp_path / "a.png", scene(1))
    meta = f"<meta><task><subset>{task}</subset></task></meta>" if task else ""
    image = f"<image name='a.png' width='128' height='96' {attribute}/>"
    (tmp_path / "c.xml").write_text(f"<annotations>{meta}{image}</annotations>")
    assert [i.split for i in from_cvat(tmp_path / "c.xml", tmp_path, ("a",)).items] == [split]


def test_what_was_held_out_stays_so_where_cvat_names_no_subset(tmp_path: Path) -> None:
    made = [item(write(tmp_path / f"{s}.png", scene(n)), split=s) for n, s in enumerate(SPLITS)]
    sent = save_dataset(Dataset(("a",), tuple(made)), tmp_path / "set")
    text = to_cvat(sent)
    for split in SPLITS:
        text = text.replace(f'subset="{split}"', "")
    (tmp_path / "c.xml").write_text(text)
    back = from_cvat(tmp_path / "c.xml", tmp_path / "set", ("a",))
    assert {i.path: i.split for i in back.items} == {i.path: i.split for i in sent.items}


def test_cvat_pictures_of_one_name_in_several_folders(tmp_path: Path) -> None:
    names = ["0001.png", "cam2/0001.png", "cam3/0002.png", "cam4/0002.png"]
    paths = [write(tmp_path / "im" / n, scene(k)) for k, n in enumerate(names)]
    images = "".join(f"<image name='{n}' width='128' height='96'/>" for n in names)
    (tmp_path / "c.xml").write_text(f"<annotations>{images}</annotations>")
    assert [i.path for i in from_cvat(tmp_path / "c.xml", tmp_path / "im", ("a",)).items] == paths


@pytest.mark.parametrize("kind", ["cvat", "labelstudio", "coco"])
@pytest.mark.parametrize("inside", ["", "images", "images/train"])
def test_a_scene_stays_one_through_a_labelling_tool(tmp_path: Path, kind: str, inside: str) -> None:
    """A site's pictures of one camera, to the tool and back, split anew: none of them leaks."""
    made = [
        item(
            write(tmp_path / "raw" / f"{n}.png", scene(n)),
            [(0, 0.5, 0.5, 0.2, 0.2)],
            group=f"site:{n // 2}",
            taken_at=(START + timedelta(hours=n)).isoformat(),
            notes={"camera_id": "gate"},
        )
        for n in range(6)
    ]
    sent = save_dataset(Dataset(("a",), tuple(made)), tmp_path / "set")
    path, images = tmp_path / "labels", tmp_path / "set" / inside
    if kind == "cvat":
        path.write_text(to_cvat(sent))
        back = from_cvat(path, images, ("a",))
    elif kind == "coco":
        path.write_text(json.dumps(to_coco(sent, "train", images)))
        back = from_coco(path, images)
    else:
        tasks = [
            {**t, "annotations": [{"result": t["predictions"][0]["result"]}]}
            for t in json.loads(json.dumps(to_tasks(sent)))
        ]
        path.write_text(json.dumps(tasks))
        back = from_tasks(path, images, ("a",))
    found = {i.path.name: (i.group, i.taken_at, i.notes.get("camera_id")) for i in back.items}
    assert found == {i.path.name: (i.group, i.taken_at, "gate") for i in sent.items}
    assert len(scenes_of(back.items, SplitRule())) == 1


@pytest.mark.parametrize("kind", ["labelstudio", "coco"])
def test_a_scene_comes_back_with_pictures_that_lie_elsewhere(tmp_path: Path, kind: str) -> None:
    notes = {"camera_id": "gate"}
    one = item(write(tmp_path / "a.png", scene(1)), group="g", taken_at=START.isoformat(), notes=notes)
    sent, path = Dataset(("a",), (one,)), tmp_path / "labels"
    if kind == "coco":
        path.write_text(json.dumps(to_coco(sent, "train", tmp_path)))
        (back,) = from_coco(path, tmp_path).items
    else:
        path.write_text(json.dumps([{**to_tasks(sent)[0], "annotations": [{"result": []}]}]))
        (back,) = from_tasks(path, tmp_path, ("a",)).items
    assert (back.group, back.taken_at, back.notes["camera_id"]) == ("g", START.isoformat(), "gate")


@pytest.mark.parametrize(
    "text", ["{}", "[]", "no", '{"images": [], "annotations": [{"image_id": 1}], "categories": []}']
)
def test_wrong_coco(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(DatasetError, match="not COCO"):
        from_coco(tmp_path / "c.json", tmp_path)


@pytest.mark.parametrize("kind", ["cvat", "labelstudio", "coco"])
def test_evidence_without_suffix_goes_out_and_comes_back(tmp_path: Path, kind: str) -> None:
    """Evidence is named by its hash alone; the data set gives it a suffix, and a tool's file names no folders."""
    made = item(write(tmp_path / "x.png", scene(3)), [(0, 0.5, 0.5, 0.2, 0.3)], split="val")
    bare = made.path.rename(tmp_path / ("ab" * 32))
    saved = save_dataset(Dataset(("a", "b"), (replace(made, path=bare),)), tmp_path / "set", how="copy")
    (one,) = saved.items
    assert one.path.suffix == ".png"
    assert pictures_in(tmp_path / "set" / "images" / "val") == [one.path]
    labels, out = tmp_path / "labels", tmp_path / "back"
    run = CliRunner()
    from curbwatch.__main__ import cli

    sent = ["train", "data", "export", str(tmp_path / "set"), str(labels), "--to", kind, "--split", "val"]
    assert run.invoke(cli, sent).exit_code == 0
    if kind == "labelstudio":
        tasks = json.loads(labels.read_text())
        for task in tasks:
            task["annotations"] = [{"result": task["predictions"][0]["result"]}]
            task["data"]["image"] = f"/data/upload/1/0a1b2c3d-{Path(task['data']['image']).name}"
        labels.write_text(json.dumps(tasks))
    back = [
        "train",
        "data",
        "import",
        str(labels),
        str(tmp_path / "set"),
        str(out),
        "--from",
        kind,
        "--classes",
        "a,b",
    ]
    told = run.invoke(cli, back)
    assert told.exit_code == 0, told.output
    (again,) = load_dataset(out).items
    np.testing.assert_allclose(again.boxes, one.boxes, atol=1e-3)


@pytest.mark.parametrize("copies", [0, 2])
def test_a_picture_that_is_not_there_or_there_twice_is_refused(tmp_path: Path, copies: int) -> None:
    for number in range(copies):
        write(tmp_path / str(number) / "a.png", scene(number))
    with pytest.raises(DatasetError, match=f"a.png: {copies} files"):
        PictureFinder(tmp_path)("a.png")


@pytest.mark.parametrize("name", ["../a.png", "{}/a.png", "x/../../a.png"])
def test_a_picture_outside_the_folder_is_not_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.png", scene(1))
    (tmp_path / "in" / "x").mkdir(parents=True)
    find = PictureFinder(tmp_path / "in")
    with pytest.raises(DatasetError, match="0 files"):
        find(name.format(tmp_path))
    inside = write(tmp_path / "in" / "x" / "a.png", scene(2))
    assert PictureFinder(tmp_path / "in")(name.format(tmp_path)) == inside


def test_as_much_of_a_name_as_tells_pictures_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / "deep" / cam / "1.png", scene(n)) for n, cam in enumerate(("cam1", "cam2"))]
    find = PictureFinder(tmp_path)
    assert [find("cam1/1.png"), find("deep/cam2/1.png")] == paths


def test_what_is_no_picture_gets_no_suffix(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"GIF89a..")
    with pytest.raises(DatasetError, match="those of a picture"):
        suffix_of(tmp_path / "x")
