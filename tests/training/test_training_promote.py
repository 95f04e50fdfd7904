"""The gate on real bundles: scenes, names however they are spelt, classes that are gone, and whose events they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from model_parts import bundle_of, yolo_output
from training_parts import item, scene, write

from models.bundle import load_bundle
from models.detections import Detections
from training.dataset import Dataset, save_dataset
from training.dataset_items import Item
from training.gate import GateReport, GateRule
from training.judge_run import look
from training.promote import promote

RIGHT, WRONG = (32, 32, 32, 32), (8, 8, 6, 6)


def _set(folder: Path, classes: tuple[str, ...], known: frozenset[str], alike: bool = False) -> Path:
    rng = np.random.default_rng(1)
    items: list[Item] = []
    for i in range(40):
        # Sensor noise over one view, or forty views.
        grain = rng.integers(-3, 4, (64, 64, 3))
        picture = np.clip(scene(5 if alike else i, (64, 64)) + grain, 0, 255).astype(np.uint8)
        path = write(folder / f"{i}.png", picture)
        items.append(item(path, [(0, 0.5, 0.5, 0.5, 0.5)], split="test", known=known, source="s"))
    save_dataset(Dataset(classes, tuple(items)), folder / "set")
    return folder / "set"


def _bundle(folder: Path, names: tuple[str, ...], good: bool = True, **more: Any) -> str:
    boxes = [RIGHT] if good else [WRONG, RIGHT]
    scores = [0.9] if good else [0.9, 0.2]
    bundle_of(folder, [yolo_output(boxes, [0] * len(boxes), scores, len(names))], names=names, **more)
    return str(folder)


def _promote(tmp_path: Path, candidate: str, champion: str, data: Path, **more: Any) -> GateReport:
    return promote(
        candidate, champion, data, "test", more.pop("events", None), GateRule(**more), tmp_path / "out"
    )


def test_forty_pictures_of_one_view_are_one_scene(tmp_path: Path) -> None:
    champion, candidate = _bundle(tmp_path / "a", ("car",), good=False), _bundle(tmp_path / "b", ("car",))
    views = _set(tmp_path / "views", ("car",), frozenset({"car"}))
    report = _promote(tmp_path, candidate, champion, views)
    assert (report.decision, report.slices[0].scenes) == ("passed", 40)
    one = _set(tmp_path / "one", ("car",), frozenset({"car"}), alike=True)
    report = _promote(tmp_path, candidate, champion, one)
    assert (report.decision, report.slices[0].scenes) == ("not_enough", 1)


@pytest.mark.parametrize(
    ("in_set", "champion"),
    [("garbage_bin", "Garbage Bin"), ("garbage_bin", "garbage-bin"), ("bag", "handbag")],
)
def test_a_class_that_is_spelt_otherwise_is_the_same_class(
    tmp_path: Path, in_set: str, champion: str
) -> None:
    data = _set(tmp_path, (in_set,), frozenset({in_set}))
    worse, good = _bundle(tmp_path / "a", (in_set,), good=False), _bundle(tmp_path / "b", (champion,))
    report = _promote(tmp_path, worse, good, data)
    assert (report.decision, report.slices[0].champion, report.slices[0].verdict) == ("stopped", 1.0, "worse")


def test_a_class_that_the_candidate_lost_is_asked_for(tmp_path: Path) -> None:
    data = _set(tmp_path, ("car", "garbage"), frozenset({"car", "garbage"}))
    both, one = _bundle(tmp_path / "a", ("car", "garbage")), _bundle(tmp_path / "b", ("car", "heap"))
    report = _promote(tmp_path, one, both, data)
    assert report.decision == "not_enough"
    assert report.reasons[0].startswith("garbage: the champion has this class, the candidate has not")
    assert "no box in the test set: garbage" in report.not_judged
    assert _promote(tmp_path, one, both, data, required=("car",)).decision == "passed"
    # What no rule uses is not missed.
    assert _promote(tmp_path, both, _bundle(tmp_path / "c", ("car", "zebra")), data).decision == "passed"


def _events(path: Path, bundle: str, found: int, **clip: Any) -> Path:
    counts = {"expected": 5, "found": found, "false": 0}
    told = {"families": {"parking": counts}, "model_sha256": load_bundle(bundle).sha256}
    told["clips"] = [{"id": "a", "unscored": False, "judged": 9, "error": "", **clip}]
    path.write_text(json.dumps(told), "utf-8")
    return path


def test_events_count_for_the_bundle_that_they_are_of(tmp_path: Path) -> None:
    data = _set(tmp_path, ("car",), frozenset({"car"}))
    champion, candidate = _bundle(tmp_path / "a", ("car",)), _bundle(tmp_path / "b", ("car",), good=False)
    was, now = _events(tmp_path / "a.json", champion, 5), _events(tmp_path / "b.json", candidate, 1)
    assert _promote(tmp_path, candidate, champion, data, events=(now, was)).decision == "stopped"
    with pytest.raises(ValueError, match=r"a\.json: is not of the candidate"):
        _promote(tmp_path, candidate, champion, data, events=(was, now))
    nobody = tmp_path / "c.json"
    nobody.write_text('{"families": {}}')
    with pytest.raises(ValueError, match="a bundle that it does not name"):
        _promote(tmp_path, candidate, champion, data, events=(nobody, was))


@pytest.mark.parametrize("clip", [{"error": "no such file"}, {"judged": 0}])
def test_events_of_a_clip_that_could_not_be_judged_are_refused(tmp_path: Path, clip: dict[str, Any]) -> None:
    data, bundle = _set(tmp_path, ("car",), frozenset({"car"})), _bundle(tmp_path / "a", ("car",))
    blind = _events(tmp_path / "a.json", bundle, 0, **clip)
    with pytest.raises(ValueError, match="events: clip a:"):
        _promote(tmp_path, bundle, bundle, data, events=(blind, blind))
    # One that is not scored may be away.
    away = _events(tmp_path / "b.json", bundle, 5, **clip, unscored=True)
    assert (
        _promote(tmp_path, bundle, bundle, data, events=(away, away), needs_events=True).decision == "passed"
    )


def test_events_of_which_neither_found_any_prove_nothing(tmp_path: Path) -> None:
    data, bundle = _set(tmp_path, ("car",), frozenset({"car"})), _bundle(tmp_path / "a", ("car",))
    none = _events(tmp_path / "a.json", bundle, 0)
    report = _promote(tmp_path, bundle, bundle, data, events=(none, none), needs_events=True)
    assert (report.decision, report.events[0].verdict) == ("not_enough", "not_enough")


def test_a_large_input_is_judged_on_large_pictures(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    class Sees:
        def detect(self, pictures: Any) -> Any:
            seen.append(pictures[0].shape)
            return [Detections.empty(("car",))]

    path = write(tmp_path / "a.png", scene(1, (720, 1280)))
    data = Dataset(("car",), (item(path, split="test", known=frozenset({"car"})),))
    look(data, "test", Sees(), Sees(), side=1280)
    look(data, "test", Sees(), Sees())
    assert {s[1] for s in seen[:2]} == {1280}
    assert {s[1] for s in seen[2:]} == {640}
