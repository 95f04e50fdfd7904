"""Figures of an evaluation: against values worked out by hand, and the command from its arguments to its one JSON line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from model_parts import bundle_of, yolo_output

from curbwatch.commands.models import cli
from models.ap import IOUS, average_precision, calibration, judge
from models.coverage import CoverageCount
from models.evaluate import plain_name
from models.yolo_data import DataError, load_yolo_data

SQUARE = np.array([[0, 0, 10, 10]], np.float32)


def _ap(hits: list[bool], total: int) -> float:
    column = np.array(hits, bool)[:, None].repeat(len(IOUS), 1)
    scores = np.linspace(0.9, 0.1, len(hits), dtype=np.float32)
    return float(average_precision(scores, column, total)[0])


@pytest.mark.parametrize(
    ("hits", "total", "ap"),
    [
        ([True], 1, 1.0),
        ([False], 1, 0.0),
        ([], 3, 0.0),
        ([True, False], 1, 1.0),
        ([False, True], 1, 0.5),
        ([True, True], 4, 0.5),
        # precision 1 up to recall 1/2, then the envelope at 2/3
        ([True, False, True], 2, 0.5 + 0.5 * 2 / 3),
    ],
)
def test_average_precision(hits: list[bool], total: int, ap: float) -> None:
    # 101-point interpolation is within a point's width of the area.
    assert _ap(hits, total) == pytest.approx(ap, abs=0.011)


def test_average_precision_without_truth_is_no_figure() -> None:
    assert math.isnan(_ap([True], 0))


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 10))
@settings(max_examples=100, deadline=None)
def test_a_hit_put_before_everything_never_lowers_ap(hits: list[bool], missed: int) -> None:
    total = sum(hits) + missed + 1
    assert _ap([True, *hits], total) >= _ap(hits, total) - 1e-9
    assert 0 <= _ap(hits, total) <= 1 + 1e-9


def test_one_truth_is_hit_once_by_the_better_score() -> None:
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10]], np.float32)
    judged = judge(
        boxes, np.array([0.6, 0.9], np.float32), np.zeros(2, np.int32), SQUARE, np.zeros(1, np.int32)
    )
    assert judged.scores.tolist() == pytest.approx([0.9, 0.6])
    assert judged.hits[:, 0].tolist() == [True, False]


@pytest.mark.parametrize(("kind", "hit"), [(0, True), (1, False)])
def test_another_class_is_no_hit(kind: int, hit: bool) -> None:
    judged = judge(SQUARE, np.ones(1, np.float32), np.array([kind], np.int32), SQUARE, np.zeros(1, np.int32))
    assert bool(judged.hits[0, 0]) is hit


def test_hits_end_where_the_overlap_ends() -> None:
    box = np.array([[0, 0, 10, 7.2]], np.float32)  # IoU 0.72
    judged = judge(box, np.ones(1, np.float32), np.zeros(1, np.int32), SQUARE, np.zeros(1, np.int32))
    assert judged.hits[0].tolist() == [iou <= 0.72 for iou in IOUS]


def test_calibration() -> None:
    scores = np.array([0.75] * 4 + [0.15] * 4, np.float32)
    hits = np.zeros((8, len(IOUS)), bool)
    hits[:3] = True  # 3 of 4 right at 0.75: calibrated; 0 of 4 at 0.15: 0.15 off
    error, bins = calibration(scores, hits)
    assert error == pytest.approx(0.075)
    assert [b["count"] for b in bins] == [4, 4]
    assert math.isnan(calibration(scores[:0], hits[:0])[0])


@pytest.mark.parametrize(("a", "b"), [("Dining_Table", "dining table"), ("garbage-bin", "garbage_bin")])
def test_names_are_compared_plainly(a: str, b: str) -> None:
    assert plain_name(a) == plain_name(b)


def _data(folder: Path, labels: dict[str, str], names: str = "[truck, person, unicorn]") -> Path:
    for sub in ("images", "labels"):
        (folder / "val" / sub).mkdir(parents=True)
    for name, text in labels.items():
        cv2.imwrite(str(folder / "val" / "images" / f"{name}.png"), np.full((64, 64, 3), 90, np.uint8))
        (folder / "val" / "labels" / f"{name}.txt").write_text(text)
    path = folder / "data.yaml"
    path.write_text(f"path: .\nval: val/images\nnames: {names}\n")
    return path


def test_the_command_prints_one_json_line(tmp_path: Path) -> None:
    # Everywhere a truck at 0.9 and a person at 0.2 (below the threshold); the truth has them in one of two pictures.
    out = yolo_output([(32, 32, 20, 20), (10, 10, 8, 8)], [2, 0], [0.9, 0.2])
    bundle_of(tmp_path / "b", [out])
    labels = {
        "a": "0 0.5 0.5 0.3125 0.3125\n1 0.15625 0.15625 0.125 0.125\n2 0.5 0.5 0.1 0.1\n",
        "b": "1 0.8 0.8 0.1 0.1\n",
    }
    data = _data(tmp_path / "d", labels)
    args = ["evaluate", str(tmp_path / "b"), str(data), "--json", "--provider", "cpu"]
    result = CliRunner().invoke(cli, [*args, "--pictures", str(tmp_path / "p")])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    figures = json.loads(result.stdout)
    rows = {c["name"]: c for c in figures["classes"]}
    assert set(rows) == {"person", "truck"}
    shape = ["name", "map50", "map50_95", "precision", "recall", "images", "boxes"]
    assert all(list(row) == shape for row in figures["classes"])
    assert figures["coverage"]["truck"] == {"recall": 1.0, "precision": 0.5, "dice": 0.6667, "found": 1.0}
    assert rows["truck"]["precision"] == 0.5
    assert rows["truck"]["recall"] == 1.0
    assert rows["truck"]["map50"] == pytest.approx(1.0, abs=0.011)
    assert (rows["truck"]["images"], rows["truck"]["boxes"]) == (1, 1)
    assert rows["person"]["recall"] == 0.0
    assert rows["person"]["precision"] is None  # nothing is shown at the bundle's threshold
    assert rows["person"]["map50"] == pytest.approx(0.5, abs=0.011)
    assert figures["not_in_bundle"] == ["unicorn"]
    assert figures["not_in_data"] == ["car"]
    assert figures["latency_ms"]["p50"] > 0
    made = {p.name for p in (tmp_path / "p").iterdir()}
    assert {"confusion.png", "calibration.png", "sizes.png", "worst-1.jpg"} <= made
    # The truck's 20 px of 64 lie between 0.2 and 0.4; the person's 8 px box is shown by nothing.
    assert figures["by_size"]["truck"] == {"found": [0, 0, 0, 1, 0], "boxes": [0, 0, 0, 1, 0]}
    assert sum(figures["by_size"]["person"]["boxes"]) == 2
    assert sum(figures["by_size"]["person"]["found"]) == 0
    table = CliRunner().invoke(cli, args[:3] + args[4:])
    assert table.exit_code == 0, table.output
    assert "truck" in table.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: [a]", "no split"),
        ("val: nowhere\nnames: [a]", "neither a folder"),
        ("val: .\nnames: []", "names"),
        ("val: [\nnames", "no YAML"),
    ],
)
def test_data_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "d.yaml").write_text(text)
    with pytest.raises(DataError, match=words):
        load_yolo_data(tmp_path / "d.yaml")


@pytest.mark.parametrize(
    ("line", "words"),
    [("9 0 0 1 1", "class 9"), ("0 0.5 0.5 0.1", "3 values"), ("0 a b c d", "not numbers")],
)
def test_a_bad_label_names_file_and_line(tmp_path: Path, line: str, words: str) -> None:
    path = _data(tmp_path, {"a": f"0 0.5 0.5 0.1 0.1\n{line}\n"})
    with pytest.raises(DataError, match=f"a.txt:2: .*{words}"):
        load_yolo_data(path)


def test_labels_polygons_doubles_and_empty_pictures(tmp_path: Path) -> None:
    polygon = "1 0.1 0.1 0.5 0.1 0.5 0.4\n"
    data = load_yolo_data(_data(tmp_path, {"a": polygon + polygon, "b": ""}))
    assert np.allclose(data.items[0].boxes, [[0.1, 0.1, 0.5, 0.4]])
    assert [len(i.classes) for i in data.items] == [1, 0]


def test_no_class_in_common_is_an_error(tmp_path: Path) -> None:
    bundle_of(tmp_path / "b", [yolo_output([], [], [])])
    data = _data(tmp_path / "d", {"a": ""}, "[unicorn]")
    result = CliRunner().invoke(cli, ["evaluate", str(tmp_path / "b"), str(data)])
    assert result.exit_code == 1
    assert "no name in common" in result.output


@pytest.mark.parametrize(
    ("seen", "truth", "wanted"),
    [
        # One box over two labels that touch: nothing is wrong, though no box matches another.
        ([(0, 0, 64, 32)], [(0, 0, 32, 32), (32, 0, 64, 32)], (1.0, 1.0, 1.0, 1.0)),
        ([(0, 0, 32, 32)], [(0, 0, 64, 32)], (0.5, 1.0, 2 / 3, 1.0)),
        ([(0, 0, 64, 64)], [(0, 0, 32, 32)], (1.0, 0.25, 0.4, 1.0)),
        ([(0, 0, 16, 16), (0, 0, 16, 16)], [(0, 0, 32, 32)], (0.25, 1.0, 0.4, 0.0)),
        ([], [(0, 0, 32, 32)], (0.0, float("nan"), 0.0, 0.0)),
        ([], [], (float("nan"),) * 4),
    ],
)
def test_coverage_compares_areas(
    seen: list[tuple[int, ...]], truth: list[tuple[int, ...]], wanted: tuple[float, ...]
) -> None:
    count = CoverageCount()
    count.add(np.array(seen, np.float32).reshape(-1, 4), np.array(truth, np.float32).reshape(-1, 4), (64, 64))
    found = count.result()
    got = (found.recall, found.precision, found.dice, found.found)
    assert got == pytest.approx(wanted, nan_ok=True)
