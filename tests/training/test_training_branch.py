"""The two-branch network, on a YOLO11n with random weights: no file is needed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.recipe import RecipeError

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
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save({**state, "new": list(NEW[::-1])}, tmp_path / "last.pt")
    with pytest.raises(RecipeError, match="name a new run folder"):
        again.resume()


def test_one_seed_gives_one_order_of_batches_however_fast_they_are_used(net: Any, tmp_path: Path) -> None:
    from training.augment import AugmentConfig, Sample
    from training.fit_branch import BranchFit, BranchTrainer
    from training.fit_data import Batches

    rng = np.random.default_rng(0)
    samples = [
        Sample(
            rng.integers(0, 255, (64, 64, 3)).astype(np.uint8),
            np.zeros(1, np.int32),
            np.array([[8, 8, 40, 40]], np.float32),
            np.ones(2, bool),
        )
        for _ in range(8)
    ]

    class Reader(BranchTrainer):
        """Takes the batches, and trains nothing."""

        seen: list[bytes]
        wait_s: float

        def step(self, pictures: Any, rows: Any, known: Any) -> dict[str, float]:
            self.seen.append(pictures.tobytes())
            self.progress.step += 1
            time.sleep(self.wait_s)
            return {}

    def order(wait_s: float) -> list[bytes]:
        trainer = Reader(net, BranchFit(size=64, steps=12, plain_share=0.5), tmp_path, say=lambda _: None)
        trainer.seen, trainer.wait_s = [], wait_s

        def make(plain: bool) -> Batches:
            config = AugmentConfig(mosaic=0.0 if plain else 1.0)
            return Batches(samples, np.full(8, 1 / 8), 64, 2, config, trainer.progress.step)

        trainer.fit(make, [], {}, lambda: False)
        return trainer.seen

    quick = order(0.0)
    assert len(quick) == 12
    assert quick == order(0.03)


def test_without_a_box_to_be_measured_on_the_last_checkpoint_is_the_best(net: Any, tmp_path: Path) -> None:
    import torch

    from training.fit_branch import BranchFit, BranchTrainer

    trainer = BranchTrainer(net, BranchFit(), tmp_path, say=lambda _: None)
    for step, figures in ((1, {"bin": float("nan")}), (2, {"bin": float("nan")})):
        trainer.progress.step = step
        trainer._note(figures, [], {})
        assert torch.load(tmp_path / "best.pt", weights_only=True)["progress"]["step"] == step
    for step, value, best in ((3, 0.5, 3), (4, 0.4, 3)):
        trainer.progress.step = step
        trainer._note({"bin": value}, [], {})
        assert torch.load(tmp_path / "best.pt", weights_only=True)["progress"]["step"] == best


def test_background_counts_only_where_the_labels_are_complete() -> None:
    import torch

    from training.fit_branch import _MaskedBce

    bce = _MaskedBce()
    bce.known = torch.tensor([[True, False]])
    target = torch.tensor([[[0.0, 0.0], [0.0, 0.9]]])
    loss = bce(torch.ones(1, 2, 2), target)
    assert (loss > 0).tolist() == [[[True, False], [True, True]]]


def test_the_onnx_is_the_network_and_float16_weights_cost_little(net: Any, tmp_path: Path) -> None:
    from training.export import (
        check_parity,
        export_onnx,
        halve_weights,
        in_shapes,
        parity,
        read_meta,
        run_onnx,
    )

    samples = pictures(2).numpy()
    names = [f"c{i}" for i in range(12)]
    whole, half = tmp_path / "whole.onnx", tmp_path / "half.onnx"
    export_onnx(net, whole, 96, names, {"author": "test"})
    found = check_parity(net, whole, samples, boxes_px=0.05, scores=1e-3)
    assert [f.pictures for f in found] == [2, 2]
    assert halve_weights(whole, half) > 5_000_000
    shaped = in_shapes(half, samples)
    assert [s.shape[2:] for s in shaped] == [(96, 96), (64, 96)]
    assert all(parity(run_onnx(whole, s), run_onnx(half, s)).scores < 0.02 for s in shaped)
    meta = read_meta(half)
    assert "c11" in meta["names"]
    assert (meta["imgsz"], meta["args"]) == ("[96, 96]", "{'dynamic': True}")


class _Made:
    """Small networks of the YOLO form on 96 x 96: what of their shape they keep."""

    @staticmethod
    def net(keeps: str) -> Any:
        import torch

        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.cells = torch.nn.Conv2d(3, 6, 32, 32)
                self.over_all = torch.nn.Linear(9, 9)

            def forward(self, x: Any) -> Any:
                out = self.cells(x).sigmoid().flatten(2)
                if keeps == "layer":
                    return self.over_all(out).sigmoid()
                return out + torch.linspace(0, 1, int(out.shape[2])) if keeps == "constant" else out

        torch.manual_seed(0)
        return Net()


@pytest.mark.parametrize(("keeps", "free"), [("nothing", True), ("layer", False)])
def test_sides_are_free_where_the_network_takes_them(tmp_path: Path, keeps: str, free: bool) -> None:
    from training.export import check_parity, export_onnx, read_meta

    path, made = tmp_path / "made.onnx", _Made.net(keeps)
    export_onnx(made, path, 96, ["a", "b"], {})
    assert read_meta(path)["args"] == repr({"dynamic": free})
    assert len(check_parity(made, path, pictures(2).numpy(), 1e-4, 1e-5)) == (2 if free else 1)


def test_a_shape_that_the_export_froze_is_found(tmp_path: Path) -> None:
    from training.export import ExportError, check_parity, export_onnx

    path, made = tmp_path / "made.onnx", _Made.net("constant")
    export_onnx(made, path, 96, ["a", "b"], {})
    with pytest.raises(ExportError, match=r"\(3, 64, 96\) fails"):
        check_parity(made, path, pictures(1).numpy())
