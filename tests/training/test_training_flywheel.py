"""The whole loop on made pictures: weak model, alerts at a real centre, verdicts, export, training, gate, bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from training_parts import scene, write

pytestmark = pytest.mark.training
COLOURS = {"garbage": (20, 210, 30), "overflow": (220, 30, 200)}


def _weights(path: Path) -> Path:
    """A YOLO11n of random weights. One look at the street's pictures sets its normalisation: without it hardly anything
    comes through to the layers that learn."""
    from training.fit import stay_offline

    stay_offline()
    from training.torchvision_ops import ensure

    ensure()
    import torch
    from ultralytics import YOLO

    from training.classes import street_of_coco

    torch.manual_seed(0)
    known = list(street_of_coco())
    model = YOLO("yolo11n.yaml")
    model.model.names = dict(enumerate(known + [f"other{i}" for i in range(80 - len(known))]))
    net = model.model.train()
    layers = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = 1.0
    shots = np.stack([_picture(n, (8 + n, 60 - n), n % 2) for n in range(16)])
    with torch.no_grad():
        net(torch.from_numpy(shots.transpose(0, 3, 1, 2)).float() / 255)
    model.save(str(path))
    return path


def _picture(number: int, corner: tuple[int, int], kind: int) -> NDArray[np.uint8]:
    """128 x 128, one block of 48 px in the colour of its class."""
    x, y = corner
    picture = scene(1000 + number, (128, 128)) // 3
    picture[y : y + 48, x : x + 48] = list(COLOURS.values())[kind]
    return picture


def _street(folder: Path, trained: int, held_out: int) -> Path:
    """Pictures with one coloured block each, in ultralytics' form."""
    rng = np.random.default_rng(5)
    for number in range(trained + held_out):
        split, kind = "train" if number < trained else "val", number % 2
        x, y = (int(v) for v in rng.integers(8, 70, 2))
        write(folder / split / "images" / f"{number}.jpg", _picture(number, (x, y), kind))
        labels = folder / split / "labels" / f"{number}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(f"{kind} {(x + 24) / 128} {(y + 24) / 128} 0.375 0.375\n")
    path = folder / "data.yaml"
    path.write_text("path: .\ntrain: train/images\nval: val/images\nnames: [garbage, overflow]\n")
    return path


def test_verdicts_of_a_real_centre_make_a_new_model_that_the_gate_judges(tmp_path: Path) -> None:
    weights = _weights(tmp_path / "w.pt")
    from bench.flywheel.report import curve, table
    from bench.flywheel.wheel import Wheel, turn
    from models.bundle import load_bundle
    from training.classes import NEW_CLASSES, STREET_CLASSES
    from training.dataset import load_dataset, load_yolo
    from training.join import in_classes
    from training.recipe import AugmentRecipe, BranchRecipe, Recipe

    how = BranchRecipe(
        kind="branch", split=3, new_classes=NEW_CLASSES, size=96, batch=8, steps=40, lr=5e-3, warmup_steps=3,
        validate_every=40, ema=0.9, bf16=False, augment=AugmentRecipe(mosaic=0, plain=1.0),
    )  # fmt: skip
    recipe = Recipe(
        name="wheel", version="1.0.0", sources=tmp_path, weights_about="random", weights_licence="none", threads=1, fit=how
    )  # fmt: skip
    data = in_classes(load_yolo(_street(tmp_path / "street", 44, 16)), STREET_CLASSES)
    said: list[str] = []
    turns, given = turn(
        Wheel(recipe, weights, start=16, check=6, verdicts=(12,), see=0.02),
        data,
        tmp_path / "work",
        said.append,
    )
    assert sum(given.values()) == 12, said
    (one,) = turns
    assert one.verdicts == 12
    assert one.boxes + one.negatives > 0, "the verdicts taught something"
    work = tmp_path / "work"
    before, after = load_dataset(work / "start"), load_dataset(work / "data_12")
    assert len(after.of("train")) > len(before.of("train"))
    held = [{i.notes["sha256"] for i in d.of("test")} for d in (before, after)]
    assert held[0] == held[1], "the test part is frozen"
    whole = {s.class_name: s for s in one.slices if s.slice == "all"}
    assert set(whole) == {"garbage", "overflow"}
    assert all(s.low <= s.difference <= s.high for s in whole.values())
    assert one.decision == "not_enough", "eight boxes a class are no evidence"
    assert load_bundle(one.bundle).manifest.name == "wheel"
    assert "| 12 |" in table(turns)
    curve(turns, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size
