"""The two-branch network, on a YOLO11n with random weights: no file is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.training
NEW = ("bin", "heap")
COCO = 80


@pytest.fixture(scope="module")
def net() -> Any:
    from training.fit import stay_offline

    stay_offline()
    from training.torchvision_ops import ensure

    ensure()
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from training.branch import BranchNet
    from training.classes import street_of_coco

    torch.manual_seed(0)
    teacher = DetectionModel("yolo11n.yaml", nc=COCO, verbose=False).eval().fuse(verbose=False).eval()
    known = list(street_of_coco())
    names = known + [f"other{i}" for i in range(COCO - len(known))]
    return BranchNet(teacher, names, NEW, split=3)


def pictures(count: int, size: int = 96) -> Any:
    import torch

    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, size, size, generator=generator)


def test_the_own_nms_is_an_nms() -> None:
    import torch

    from training.torchvision_ops import _nms

    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [0, 0, 10, 4]]).float()
    scores = torch.tensor([0.8, 0.9, 0.3, 0.1])
    assert _nms(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert _nms(boxes[:0], scores[:0], 0.5).tolist() == []


def test_known_classes_stay_as_the_teacher_has_them(net: Any) -> None:
    import torch

    from training.classes import TEACHER_CLASSES

    x = pictures(2)
    net.eval()
    with torch.no_grad():
        whole = net(x)
        kept: dict[int, Any] = {}
        from training.branch import _apply

        shared = _apply(net.trunk, x, kept, net.save)
        teacher = _apply(net.old, shared, kept, net.save)[0]
    anchors = teacher.shape[2]
    assert whole.shape == (2, 4 + len(TEACHER_CLASSES) + len(NEW), 2 * anchors)
    assert torch.equal(whole[:, :4, :anchors], teacher[:, :4])
    person = list(TEACHER_CLASSES).index("person")
    assert torch.equal(whole[:, 4 + person, :anchors], teacher[:, 4 + net.rows[person][0]])
    assert not whole[:, 4 + len(TEACHER_CLASSES) :, :anchors].any(), "the old half knows no new class"
    assert not whole[:, 4 : 4 + len(TEACHER_CLASSES), anchors:].any(), "the new half knows no old class"


def test_training_moves_the_branch_alone_learns_and_goes_on(net: Any, tmp_path: Path) -> None:
    import torch

    from training.fit_branch import BranchFit, BranchTrainer

    config = BranchFit(size=96, batch=4, minutes=5, lr=2e-3, warmup_steps=1, bf16=False)
    trainer = BranchTrainer(net, config, tmp_path, say=lambda _: None)
    before = {k: v.clone() for k, v in (*net.trunk.state_dict().items(), *net.old.state_dict().items())}
    rng = np.random.default_rng(0)
    shots = rng.integers(60, 90, (4, 96, 96, 3)).astype(np.uint8)
    shots[:, 30:66, 30:66] = (230, 40, 40)
    rows = np.array([[i, 0, 0.5, 0.5, 0.375, 0.375] for i in range(4)], np.float32)
    known = np.ones((4, 2), bool)
    losses = [trainer.step(shots, rows, known)["cls_loss"] for _ in range(25)]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    after = dict((*net.trunk.state_dict().items(), *net.old.state_dict().items()))
    assert all(torch.equal(before[k], after[k]) for k in before)

    trainer.save(best=True)
    weights = net.trained_state()
    trainer.step(shots, rows, known)
    again = BranchTrainer(net, config, tmp_path, say=lambda _: None)
    assert again.resume()
    assert again.progress.step == 25
    assert all(torch.equal(weights[k], v) for k, v in net.trained_state().items())


def test_background_counts_only_where_the_labels_are_complete() -> None:
    import torch

    from training.fit_branch import _MaskedBce

    bce = _MaskedBce()
    bce.known = torch.tensor([[True, False]])
    target = torch.tensor([[[0.0, 0.0], [0.0, 0.9]]])
    loss = bce(torch.ones(1, 2, 2), target)
    assert (loss > 0).tolist() == [[[True, False], [True, True]]]


def test_the_onnx_is_the_network_and_float16_weights_cost_little(net: Any, tmp_path: Path) -> None:
    from training.export import check_parity, export_onnx, halve_weights, parity, read_meta, run_onnx

    samples = pictures(2).numpy()
    names = [f"c{i}" for i in range(12)]
    export_onnx(net, tmp_path / "whole.onnx", 96, names, {"author": "test"})
    found = check_parity(net, tmp_path / "whole.onnx", samples, boxes_px=0.05, scores=1e-3)
    assert found.pictures == 2
    assert halve_weights(tmp_path / "whole.onnx", tmp_path / "half.onnx") > 5_000_000
    both = parity(run_onnx(tmp_path / "whole.onnx", samples), run_onnx(tmp_path / "half.onnx", samples))
    assert both.scores < 0.02
    assert "c11" in read_meta(tmp_path / "half.onnx")["names"]
