"""Pictures in, boxes in the picture's own pixels out, for every family and shape."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from model_parts import bundle_of, yolo_output

from models.boxes import iou
from models.bundle import Family, load_bundle
from models.detections import Detections
from models.detector import BATCH_SIZES, Detector
from models.families import nms


def _grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def test_yolo_boxes_come_back_in_the_pictures_pixels(tmp_path: Path) -> None:
    # 128 x 64 in a 64 x 64 input: scale 0.5, 16 px of grey above and below.
    found = Detector(bundle_of(tmp_path, [yolo_output([(32, 32, 20, 10)], [1], [0.9])]), "cpu").detect(
        [_grey(128, 64)]
    )[0]
    assert found.boxes.tolist() == [[44.0, 22.0, 84.0, 42.0]]
    assert found.name_of(0) == "car"


@pytest.mark.parametrize(
    ("family", "outputs"),
    [
        (
            Family.YOLO_END2END,
            [np.array([[[22, 27, 42, 37, 0.9, 1], [0, 0, 9, 9, 0.1, 0]]], np.float32).repeat(4, 1)],
        ),
        (Family.YOLOX, [np.zeros((1, 84, 8), np.float32)]),
        (Family.CENTERNET, [np.zeros((1, 3, 16, 16), np.float32), np.zeros((1, 4, 16, 16), np.float32)]),
    ],
)
def test_every_family_finds_the_same_box(tmp_path: Path, family: Family, outputs: list[np.ndarray]) -> None:
    if family is Family.YOLO_END2END:
        outputs[0][0, 2:] = 0
    if family is Family.YOLOX:  # cell (4, 4) of the stride 8: 64 cells, row 4, column 4
        outputs[0][0, 4 * 8 + 4] = [0, 0, np.log(20 / 8), np.log(10 / 8), 0.9, 0, 1, 0]
    if family is Family.CENTERNET:
        outputs[0][0, 1, 8, 8] = 0.9
        outputs[0][0, 1, 8, 9] = 0.5  # no peak: its neighbour is higher
        outputs[1][0, :, 8, 8] = [10, 5, 10, 5]
    found = Detector(bundle_of(tmp_path, outputs, family), "cpu").detect([_grey(128, 64)])[0]
    assert np.allclose(found.boxes, [[44.0, 22.0, 84.0, 42.0]], atol=1e-3)
    assert (found.name_of(0), round(float(found.scores[0]), 4)) == ("car", 0.9)


def test_yolox_lies_in_the_corner(tmp_path: Path) -> None:
    out = np.zeros((1, 84, 8), np.float32)
    out[0, 0] = [1, 1, np.log(2), np.log(2), 1, 0, 1, 0]
    found = Detector(bundle_of(tmp_path, [out], Family.YOLOX, corner=True), "cpu").detect([_grey(128, 64)])[0]
    assert np.allclose(found.boxes, [[0, 0, 32, 32]], atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 17])
@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_any_number_of_pictures(tmp_path: Path, count: int, batch: int | str) -> None:
    detector = Detector(
        bundle_of(tmp_path, [yolo_output([(32, 32, 20, 20)], [0], [0.9])], batch=batch), "cpu", 2, max_batch=8
    )
    found = detector.detect([_grey(64, 64)] * count)
    assert [len(f) for f in found] == [1] * count


def test_only_fixed_batch_sizes_reach_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector(bundle_of(tmp_path, [yolo_output([], [], [])]), "cpu", 2, max_batch=16)
    seen: set[int] = set()
    run = detector._session.run
    monkeypatch.setattr(detector._session, "run", lambda t: seen.add(len(t)) or run(t))
    for count in range(1, 40):
        detector.detect([_grey(64, 64)] * count)
    assert seen == set(BATCH_SIZES)


@pytest.mark.parametrize("free", [True, False])
def test_a_wide_picture_is_padded_no_more_than_the_network_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: bool
) -> None:
    boxes = [yolo_output([(64, 48, 20, 10)], [1], [0.9])]
    detector = Detector(bundle_of(tmp_path, boxes, size=(128, 128), free=free), "cpu", 2, max_batch=4)
    seen: list[tuple[int, ...]] = []
    run = detector._session.run
    monkeypatch.setattr(detector._session, "run", lambda t: seen.append(t.shape) or run(t))
    wide, square = _grey(256, 144), _grey(128, 128)
    found = detector.detect([wide, square, wide])
    # The picture lies in the middle: 12 rows of padding above it in a wide input, 28 in a square one.
    high = 12 if free else 28
    assert found[0].boxes.tolist() == found[2].boxes.tolist() == [[108, 86 - 2 * high, 148, 106 - 2 * high]]
    assert found[1].boxes.tolist() == [[54, 43, 74, 53]]
    assert seen == ([(2, 3, 96, 128), (1, 3, 128, 128)] if free else [(4, 3, 128, 128)])
    seen.clear()
    detector.warm()
    assert {shape[2:] for shape in seen} == {(96, 128) if free else (128, 128)}
    assert {shape[0] for shape in seen} == {1, 2, 4}


@pytest.mark.parametrize(("stride", "rows"), [("", 160), ("32", 160), ("64", 192), ("8", 160), ("many", 160)])
def test_a_wide_input_is_a_multiple_of_the_networks_coarsest_stride(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: str, rows: int
) -> None:
    told = {"stride": stride} if stride else None
    bundle = bundle_of(tmp_path, [yolo_output([], [], [])], size=(256, 256), free=True, metadata=told)
    detector, seen = Detector(bundle, "cpu"), list[tuple[int, ...]]()
    run = detector._session.run
    monkeypatch.setattr(detector._session, "run", lambda t: seen.append(t.shape) or run(t))
    detector.detect([_grey(256, 144)])
    assert seen == [(1, 3, rows, 256)]


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((4, 4), np.uint8), "RGB uint8"),
        (np.zeros((4, 4, 3), np.float32), "RGB uint8"),
        (np.zeros((0, 4, 3), np.uint8), "RGB uint8"),
        (np.zeros((4, 4, 4), np.uint8), "RGB uint8"),
    ],
)
def test_no_picture(tmp_path: Path, picture: np.ndarray, words: str) -> None:
    detector = Detector(bundle_of(tmp_path, [yolo_output([], [], [])]), "cpu")
    with pytest.raises(ValueError, match=words):
        detector.detect([picture])


@given(width=st.integers(1, 4000), height=st.integers(1, 4000), at=st.tuples(*[st.floats(0.3, 0.7)] * 2))
@settings(max_examples=60, deadline=None)
def test_letterbox_goes_there_and_back(width: int, height: int, at: tuple[float, float]) -> None:
    """A box of the picture, moved into the input by the letterbox and read back, is the box."""
    detector = _default()
    wide, high = detector.input_size
    fit = detector._fill(np.empty((3, high, wide), np.float32), np.zeros((height, width, 3), np.uint8))
    box = np.array([0.2 * width, 0.2 * height, at[0] * width, at[1] * height], np.float32)
    scale = np.array([fit.scale_x, fit.scale_y] * 2, np.float32)
    moved = box * scale + np.array([fit.left, fit.top] * 2, np.float32)
    assert (moved >= -0.5).all()
    assert (moved <= max(wide, high) + 0.5).all()
    raw = (moved[None], np.ones(1, np.float32), np.zeros(1, np.int32))
    back = detector._finish(raw, fit, np.zeros((height, width, 3), np.uint8))
    if len(back):
        assert np.allclose(back.boxes[0], box, atol=0.01 + 1e-4 * max(width, height))


_kept: list[Detector] = []


def _default() -> Detector:
    if not _kept:
        _kept.append(Detector(load_bundle(), "cpu"))
    return _kept[0]


BOXES = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 40), st.just(4)), elements=st.floats(0, 100, width=32)
)


@given(raw=BOXES, seed=st.integers(0, 99), limit=st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=150, deadline=None)
def test_nms_keeps_the_best_and_nothing_twice(raw: np.ndarray, seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([raw[:, :2], raw[:, :2] + 1 + raw[:, 2:]], 1).astype(np.float32)
    scores = rng.random(len(boxes)).astype(np.float32)
    groups = rng.integers(0, 3, len(boxes)).astype(np.int32)
    kept = nms(boxes, scores, groups, limit, 300)
    assert list(scores[kept]) == sorted(scores[kept], reverse=True)
    overlaps = iou(boxes, boxes) * (groups[:, None] == groups[None, :])
    among = overlaps[np.ix_(kept, kept)] - np.eye(len(kept))
    assert (among <= limit + 1e-3).all()
    for i in set(range(len(boxes))) - set(kept.tolist()):  # each lost one has a better one over it
        assert any(overlaps[i, k] > limit - 1e-3 and scores[k] >= scores[i] for k in kept)


def test_nms_keeps_groups_apart_where_a_box_lies_outside() -> None:
    boxes = np.array([[20, 20, 60, 60], [-101, -101, -61, -61]], np.float32)
    scores, groups = np.array([0.9, 0.8], np.float32), np.array([0, 1], np.int32)
    for shift in np.linspace(-200, 200, 41):
        moved = boxes + np.array([[0] * 4, [shift] * 4], np.float32)
        assert nms(moved, scores, groups, 0.1, 300).tolist() == [0, 1]


def test_nms_leaves_out_what_is_no_box_and_lets_it_suppress_nothing() -> None:
    inf, nan = float("inf"), float("nan")
    boxes = [[0, 0, 10, 10], [5, 5, 5, 5], [5, 5, 5, 5], [9, 9, 1, 20], [nan, 0, 10, 10], [0, 0, inf, 10], [20, 0, 30, 10]]  # fmt: skip
    scores = np.array([0.5, 0.9, 0.8, 0.9, 0.9, 0.9, 0.4], np.float32)
    groups = np.zeros(len(boxes), np.int32)
    assert nms(np.array(boxes, np.float32), scores, groups, 0.5, 300).tolist() == [0, 6]
    assert nms(np.array(boxes, np.float32), scores, groups, 0.5, 1).tolist() == [0]
    nothing = nms(np.zeros((0, 4), np.float32), scores[:0], groups[:0], 0.5, 300)
    assert nothing.tolist() == []


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("shape", [(64, 64), (40, 64), (64, 31), (90, 160), (17, 200)])
def test_the_input_is_the_picture_by_the_scale_and_grey_around_it(
    tmp_path: Path, colour: str, shape: tuple[int, int]
) -> None:
    detector = Detector(bundle_of(tmp_path, [yolo_output([], [], [])], colour=colour, scale=255.0), "cpu")
    rng = np.random.default_rng(3)
    # The second picture comes into the memory of the first.
    for _ in range(2):
        picture = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        target = np.full((3, 64, 64), np.nan, np.float32)
        fit = detector._fill(target, picture)
        w, h = round(shape[1] * fit.scale_x), round(shape[0] * fit.scale_y)
        small = cv2.resize(picture, (w, h), interpolation=cv2.INTER_LINEAR) if (h, w) != shape else picture
        wanted = np.full((64, 64, 3), 114, np.uint8)
        wanted[fit.top : fit.top + h, fit.left : fit.left + w] = small
        if colour == "bgr":
            wanted = wanted[:, :, ::-1]
        assert np.array_equal(target, wanted.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


def test_300_objects_are_not_cut_short(tmp_path: Path) -> None:
    heat = np.zeros((1, 1, 60, 60), np.float32)
    heat[0, 0, ::3, ::3] = 0.9  # 400 peaks
    sides = np.full((1, 4, 60, 60), 2, np.float32)
    bundle = bundle_of(tmp_path, [heat, sides], Family.CENTERNET, ("person",), size=(240, 240))
    assert len(Detector(bundle, "cpu").detect([_grey(240, 240)])[0]) == 300


def test_a_van_seen_as_two_classes_is_one_vehicle(tmp_path: Path) -> None:
    out = yolo_output([(32, 32, 20, 20), (32.5, 32, 20, 20), (32, 32, 20, 20)], [2, 1, 0], [0.8, 0.6, 0.5])
    both = Detector(bundle_of(tmp_path / "a", [out]), "cpu").detect([_grey(64, 64)])[0]
    one = Detector(bundle_of(tmp_path / "b", [out], one_per_place=("vehicle",)), "cpu").detect(
        [_grey(64, 64)]
    )[0]
    assert [both.name_of(i) for i in range(3)] == ["truck", "car", "person"]
    assert [one.name_of(i) for i in range(len(one))] == ["truck", "person"]


def test_regions_are_merged_and_cut_boxes_left_out(tmp_path: Path) -> None:
    out = yolo_output([(32, 32, 20, 20), (2, 32, 4, 20)], [0, 1], [0.9, 0.8])
    detector = Detector(bundle_of(tmp_path, [out]), "cpu")
    regions = np.array([[0.5, 0.5, 1, 1]], np.float32)
    found = detector.detect_regions(_grey(128, 128), regions)
    rows = {tuple(b.tolist()): found.name_of(i) for i, b in enumerate(found.boxes)}
    # The region's own edge cuts its second box, whose place in the whole picture is at the border: kept there.
    assert rows == {
        (44.0, 44.0, 84.0, 84.0): "person",
        (86.0, 86.0, 106.0, 106.0): "person",
        (0.0, 44.0, 8.0, 84.0): "car",
    }


@pytest.mark.parametrize(
    "regions", [np.zeros((1, 3), np.float32), np.array([[0.5, 0.5, 0.5, 0.9]]), np.array([[np.nan, 0, 1, 1]])]
)
def test_regions_that_are_none(regions: np.ndarray) -> None:
    with pytest.raises(ValueError, match="regions"):
        _default().detect_regions(_grey(64, 64), regions)


@pytest.mark.parametrize(
    ("boxes", "scores", "classes"),
    [
        ([[0, 0, 0, 5]], [0.5], [0]),
        ([[0, 0, np.nan, 5]], [0.5], [0]),
        ([[0, 0, 5, 5]], [np.inf], [0]),
        ([[0, 0, 5, 5]], [0.5], [1]),
        ([[0, 0, 5, 5]], [0.5, 0.6], [0]),
    ],
)
def test_detections_refuse_nonsense(boxes: list, scores: list, classes: list) -> None:
    with pytest.raises(ValueError):
        Detections(
            np.array(boxes, np.float32), np.array(scores, np.float32), np.array(classes, np.int32), ("a",)
        )


def test_output_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    out = yolo_output([(32, 32, 20, 20), (np.nan, 32, 20, 20)], [0, 0], [0.9, 0.8])
    assert len(Detector(bundle_of(tmp_path, [out]), "cpu").detect([_grey(64, 64)])[0]) == 1


def test_memory_stays_where_warming_put_it() -> None:
    detector = Detector(load_bundle(), "cpu", 2, max_batch=4)
    detector.warm()
    for count in (1, 2, 4):  # the square, which the first picture that needs it makes
        detector.detect([_grey(64, 64)] * count)
    process, rng = psutil.Process(), np.random.default_rng(0)
    before = process.memory_info().rss
    for _ in range(25):
        sizes = rng.integers(60, 900, (int(rng.integers(1, 7)), 2)).tolist()
        detector.detect([_grey(w, h) for w, h in sizes])
    assert process.memory_info().rss - before < 40e6


def test_the_default_sees_a_picture_the_same_in_any_batch() -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 255, (300, 400, 3), np.uint8)
    detector = Detector(load_bundle(), "cpu", threads=2)
    alone = detector.detect([picture])[0]
    among = detector.detect([_grey(64, 48), picture, _grey(640, 480)])[1]
    assert len(alone) == len(among)
    assert np.allclose(alone.boxes, among.boxes, atol=0.1)
