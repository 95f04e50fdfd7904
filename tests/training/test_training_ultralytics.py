"""Ultralytics' own trainer behind a recipe: stopped between epochs, gone on, noted in MLflow, made a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_parts import item, scene, write

from models.detector import Detector
from training.dataset import Dataset, save_dataset
from training.recipe import Recipe, RecipeError, UltralyticsRecipe

pytestmark = pytest.mark.training
CLASSES = ("person", "overflow")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO11n with random weights that knows COCO's first names: nothing is fetched."""
    from training.fit import stay_offline

    stay_offline()
    from training.torchvision_ops import ensure

    ensure()
    from ultralytics import YOLO

    path = tmp_path_factory.mktemp("weights") / "yolo11n.pt"
    model = YOLO("yolo11n.yaml")
    model.model.names = {0: "person", **{i: f"other{i}" for i in range(1, 80)}}
    model.save(str(path))
    return path


def _dataset(folder: Path) -> Dataset:
    rng = np.random.default_rng(3)
    items = []
    for number in range(10):
        picture = scene(number)
        x, y = rng.integers(10, 60, 2)
        picture[y : y + 30, x : x + 40] = (20, 200, 40)
        path = write(folder / "raw" / f"{number}.jpg", picture)
        box = (1, (x + 20) / 128, (y + 15) / 96, 40 / 128, 30 / 96)
        split = "val" if number >= 7 else "train"
        items.append(item(path, [box], split=split, known=frozenset(CLASSES), group=str(number)))
    return save_dataset(
        Dataset(CLASSES, tuple(items), ({"name": "made", "licence": "none"},)), folder / "set"
    )


def _recipe(epochs: int = 2, **fit: Any) -> Recipe:
    how = UltralyticsRecipe(
        kind="ultralytics",
        epochs=epochs,
        size=64,
        batch=4,
        freeze=10,
        device="cpu",
        extra={"workers": 0},
        **fit,
    )
    return Recipe(
        name="made",
        version="1.0.0",
        sources=Path("x"),
        weights_about="random",
        weights_licence="none",
        fit=how,
    )


def test_a_stopped_run_goes_on_as_the_same_and_becomes_a_bundle(weights: Path, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    from training.fit import RunFolder, fit
    from training.release import release
    from training.tracking import notebook

    dataset, run, store = _dataset(tmp_path), tmp_path / "run", tmp_path / "mlruns"
    said: list[str] = []

    def go(stop: bool) -> RunFolder:
        with notebook(store, "made", {"recipe": "made"}, run) as notes:
            return fit(_recipe(), dataset, weights, run, notes, said.append, lambda: stop)

    def steps() -> list[int]:
        return [json.loads(line)["step"] for line in (run / "curve.jsonl").read_text().splitlines()]

    go(stop=True)
    assert steps() == [1]
    go(stop=False)
    assert steps() == [1, 2], "the second call went on, it did not begin again"
    assert "going on after 1 epochs" in said
    done = go(stop=False)
    assert steps() == [1, 2]
    assert "finished before: 2 epochs" in said
    assert done.best.stat().st_size
    assert (run / "curve.png").stat().st_size

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "made"]
    (noted,) = client.search_runs([experiment.experiment_id])
    assert noted.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(noted.info.run_id, "fitness")] == [1, 2]
    assert {"curve.png", "results.png"} <= {a.path for a in client.list_artifacts(noted.info.run_id)}

    bundle = release(done, dataset, weights, tmp_path / "bundle", said.append)
    assert bundle.names == CLASSES
    assert "overflow" in (tmp_path / "bundle" / "CARD.md").read_text()
    detector = Detector(bundle, "cpu")
    assert detector.input_size == (64, 64)
    assert len(detector.detect([scene(1)])) == 1


def test_a_run_killed_while_it_copied_goes_on_and_may_be_made_longer_until_it_ends(
    weights: Path, tmp_path: Path
) -> None:
    from training.fit import fit
    from training.tracking import NoNotebook

    dataset, run = _dataset(tmp_path), tmp_path / "run"
    half = run / "data.part" / "images" / "train"
    half.mkdir(parents=True)  # what a killed run had copied
    (half / "of another set.jpg").write_bytes(b"")

    def go(epochs: int, stop: bool) -> list[int]:
        fit(_recipe(epochs), dataset, weights, run, NoNotebook(), lambda _: None, lambda: stop)
        return [json.loads(line)["step"] for line in (run / "curve.jsonl").read_text().splitlines()]

    assert go(2, stop=True) == [1]
    assert not (run / "data.part").exists()
    assert len(list((run / "data" / "images").rglob("*.jpg"))) == len(dataset.items)
    assert go(3, stop=False) == [1, 2, 3]
    before = (run / "run.json").read_text()
    with pytest.raises(RecipeError, match="finished with 3 epochs"):
        go(4, stop=False)
    assert (run / "run.json").read_text() == before


def test_the_teacher_labels_what_the_set_leaves_out(weights: Path, tmp_path: Path) -> None:
    from training.fit_ultralytics import _filled
    from training.recipe import TeacherRecipe
    from training.teacher_ultralytics import UltralyticsTeacher

    picture = scene(0)
    labeller = UltralyticsTeacher(weights, CLASSES, size=64, conf=0.0001)
    found = labeller.label(picture)
    assert labeller.names == {"person"}
    path = write(tmp_path / "a.png", picture)
    half = Dataset(CLASSES, (item(path, [(1, 0.5, 0.5, 0.2, 0.2)], known=frozenset({"overflow"})),))
    recipe = _recipe().model_copy(update={"teacher": TeacherRecipe(sure=0.9999, doubt=0.9998)})
    (filled,) = _filled(recipe, half, weights, lambda _: None).items
    # A network of random weights is sure of nothing: then no box is added, and the class counts as known.
    assert len(filled.boxes) == 1 + int((found.scores >= 0.9999).sum())
    assert filled.known == frozenset(CLASSES)
    untouched = _filled(_recipe(), half, weights, lambda _: None)
    assert untouched is half
