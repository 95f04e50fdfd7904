"""Our letterbox, NMS and way back to the picture against ultralytics' own, at the shapes that cameras have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_parts import bundle_of, yolo_output

from models.detector import Detector

pytestmark = pytest.mark.training

SIZES = [(1920, 1080), (1280, 719), (640, 480), (480, 854), (333, 517), (96, 72), (17, 400), (640, 640)]


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """Ultralytics' own functions."""
    pytest.importorskip("torch")
    pytest.importorskip("ultralytics")
    from training.torchvision_ops import ensure

    ensure()
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils.nms import non_max_suppression
    from ultralytics.utils.ops import scale_boxes

    return {"letterbox": LetterBox, "nms": non_max_suppression, "scale": scale_boxes}


@pytest.mark.parametrize("size", SIZES)
def test_the_input_is_the_same_to_the_pixel(
    tmp_path: Path, parts: dict[str, Any], size: tuple[int, int]
) -> None:
    detector = Detector(bundle_of(tmp_path, [yolo_output([], [], [])], size=(64, 64)), "cpu")
    picture = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    theirs = parts["letterbox"](new_shape=(64, 64), auto=False)(image=picture)
    ours = detector.tensor([picture])[0]
    assert np.array_equal(np.rint(ours * 255), theirs.transpose(2, 0, 1))


@pytest.mark.parametrize("size", SIZES)
def test_boxes_and_scores_are_the_same(tmp_path: Path, parts: dict[str, Any], size: tuple[int, int]) -> None:
    import torch

    rng = np.random.default_rng(size[0])
    # 84 anchors crowded into the middle, so that many overlap; scores all different.
    boxes = np.concatenate([rng.uniform(22, 42, (84, 2)), rng.uniform(4, 18, (84, 2))], 1)
    scores = rng.permutation(np.linspace(0.1, 0.95, 84))
    raw = yolo_output([tuple(b) for b in boxes], rng.integers(0, 3, 84).tolist(), scores.tolist())
    found = Detector(bundle_of(tmp_path, [raw]), "cpu").detect([np.zeros((size[1], size[0], 3), np.uint8)])[0]
    kept = parts["nms"](torch.from_numpy(raw), conf_thres=0.25, iou_thres=0.5, max_det=300)[0]
    theirs = parts["scale"]((64, 64), kept[:, :4].clone(), (size[1], size[0])).numpy()
    flat = (theirs[:, 2:] - theirs[:, :2] > 0.5).all(1)  # what no pixel is left of is no detection of ours
    assert len(found) == int(flat.sum()) > 0
    assert np.abs(found.boxes - theirs[flat]).max() < 0.01
    assert np.abs(found.scores - kept[:, 4].numpy()[flat]).max() < 1e-5
    assert found.classes.tolist() == kept[:, 5].int().numpy()[flat].tolist()
