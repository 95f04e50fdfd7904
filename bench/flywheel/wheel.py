"""One turn of the flywheel after the other: weak model -> alerts -> verdicts by a real API -> data set -> retrained -> gate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.flywheel.centre import ISSUES, Sight, centre
from contract import ModelRef
from models.bundle import load_bundle
from models.detector import Detector
from training.dataset import Dataset, load_dataset, save_dataset
from training.dataset_items import Item
from training.fit import RunFolder, fit
from training.fit_data import read_picture
from training.gate import GateRule, SliceResult
from training.join import join
from training.judge_run import boxes_of
from training.merge import drop_leaks
from training.promote import open_for_judging, promote
from training.recipe import Recipe
from training.release import release
from training.split import SplitRule, scenes_of, split_items
from training.tracking import NoNotebook
from training.verdicts import VerdictRule, read_cases, take_cases


@dataclass(frozen=True)
class Wheel:
    """How to turn. `start` pictures with labels make the weak model, `check` choose its checkpoints and thresholds;
    what is left is the street that it watches. `see` is the score from which it raises an alert: a city that wants to
    learn shows its reviewers what the model doubts. `verdicts` are the numbers after which to train again."""

    recipe: Recipe
    weights: Path
    start: int
    check: int
    verdicts: tuple[int, ...]
    see: float = 0.1
    required: tuple[str, ...] = ("garbage", "overflow")


@dataclass(frozen=True)
class Turn:
    """What came of one retraining. `verdicts` 0 is the control: the same steps again, another seed, no verdict."""

    verdicts: int
    boxes: int
    negatives: int
    decision: str
    slices: tuple[SliceResult, ...]
    bundle: Path

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "bundle": str(self.bundle)}


def deal(dataset: Dataset, wheel: Wheel) -> tuple[Dataset, tuple[Item, ...]]:
    """The starting set (train, val, test) and the pictures of the street, by scene; `test` is the given held-out part."""
    kept, _ = drop_leaks(list(dataset.items))
    held_out = [replace(i, split="test") for i in kept if i.split != "train"]
    pool = [i for i in kept if i.split == "train"]
    order = sorted(scenes_of(pool, SplitRule()), key=lambda scene: _mixed(pool[scene[0]].path.name))
    train: list[Item] = []
    val: list[Item] = []
    street: list[Item] = []
    for scene in order:
        target = train if len(train) < wheel.start else val if len(val) < wheel.check else street
        target += [replace(pool[n], split="val" if target is val else "train") for n in scene]
    return Dataset(dataset.classes, (*train, *val, *held_out), dataset.sources), tuple(street)


def _mixed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def sights(bundle: Path, street: Sequence[Item], see: float) -> list[Sight]:
    """What the weak model sees on the street, in a fixed mixed order."""
    detector: Detector = open_for_judging(bundle)
    names = load_bundle(bundle).names
    found = []
    for item in street:
        picture = read_picture(item)
        height, width = picture.shape[:2]
        seen = boxes_of(detector.detect([picture])[0], names)
        scale = np.array([width, height, width, height], np.float32)
        for corners, score, kind in zip(seen.corners / scale, seen.scores, seen.classes, strict=True):
            x1, y1, x2, y2 = (float(v) for v in np.clip(corners, 0, 1))
            if names[kind] in ISSUES and score >= see and x2 - x1 > 0.01 and y2 - y1 > 0.01:
                found.append(Sight(item, (x1, y1, x2, y2), names[kind], float(score)))
    return sorted(found, key=lambda s: _mixed(f"{s.item.path.name} {s.box}"))


def train(wheel: Wheel, folder: Path, run: Path, seed: int, say: Callable[[str], None]) -> Path:
    """Fit and bundle; returns the bundle's folder."""
    recipe = wheel.recipe.model_copy(update={"seed": seed})
    dataset = load_dataset(folder)
    fit(recipe, dataset, wheel.weights, run, NoNotebook(), lambda _: None)
    bundle = run / "bundle"
    if not bundle.exists():
        release(RunFolder(run), dataset, wheel.weights, bundle, say)
    return bundle


def verdict_set(export: Path, classes: tuple[str, ...], out: Path) -> Dataset:
    """The export as a data set, as `curbwatch train data verdicts --allow-unblurred` makes it."""
    rule = VerdictRule(blurred_only=False, classes=classes)
    taken = take_cases(
        read_cases(export / "cases.jsonl"), export / "evidence", out.with_name(f"{out.name}_cut"), rule
    )
    return save_dataset(Dataset(classes, tuple(split_items(taken.items))), out, how="copy")


def turn(
    wheel: Wheel, dataset: Dataset, folder: Path, say: Callable[[str], None]
) -> tuple[list[Turn], dict[str, int]]:
    """All turns, in `folder`; with them what the reviewer said, by kind."""
    begun, street = deal(dataset, wheel)
    start = folder / "start"
    save_dataset(begun, start)
    say(f"{ {s: len(begun.of(s)) for s in ('train', 'val', 'test')} }, {len(street)} pictures on the street")
    weak = train(wheel, start, folder / "weak", 1, say)
    seen = sights(weak, street, wheel.see)
    say(f"the weak model raises {len(seen)} alerts")
    if not seen:
        raise ValueError("see: the weak model raises no alert at this score; lower it, or train longer")
    turns = []
    if 0 in wheel.verdicts:
        control = train(wheel, start, folder / "control", 2, say)
        turns.append(_judge(wheel, 0, (0, 0), control, weak, start, folder / "gate_0"))
        say(summary(turns[-1]))
    exports, given = review(wheel, seen, weak, dataset.classes, folder)
    say(f"the reviewer said {given}")
    for count, export in exports.items():
        lessons = verdict_set(export, dataset.classes, folder / f"verdicts_{count}")
        joined = folder / f"data_{count}"
        save_dataset(join(start, [folder / f"verdicts_{count}"]).dataset, joined)
        bundle = train(wheel, joined, folder / f"run_{count}", 1, say)
        learnt = (
            sum(len(i.boxes) for i in lessons.items if not i.notes.get("negative")),
            sum(bool(i.notes.get("negative")) for i in lessons.items),
        )
        turns.append(_judge(wheel, count, learnt, bundle, weak, start, folder / f"gate_{count}"))
        say(summary(turns[-1]))
    return turns, given


def review(
    wheel: Wheel, seen: Sequence[Sight], weak: Path, classes: tuple[str, ...], folder: Path
) -> tuple[dict[int, Path], dict[str, int]]:
    """File all alerts, judge them in the order of the queue, export at each wanted number of verdicts."""
    bundle = load_bundle(weak)
    model = ModelRef(name=bundle.manifest.name, version=bundle.manifest.version, sha256=bundle.sha256)
    exports: dict[int, Path] = {}
    with centre(folder / "centre", classes) as house:
        for number, sight in enumerate(seen[: max(wheel.verdicts)]):
            house.file(sight, model, number)
        done = 0
        for wanted in sorted(v for v in wheel.verdicts if v):
            done += house.review(wanted - done)
            if done not in exports:
                exports[done] = folder / f"export_{done}"
                house.export(exports[done])
        return exports, dict(house.given)


def _judge(
    wheel: Wheel, verdicts: int, learnt: tuple[int, int], candidate: Path, weak: Path, start: Path, out: Path
) -> Turn:
    report = promote(str(candidate), str(weak), start, "test", None, GateRule(required=wheel.required), out)
    return Turn(verdicts, *learnt, report.decision, report.slices, candidate)


def summary(turn: Turn) -> str:
    """One line a turn."""
    whole = [s for s in turn.slices if s.slice == "all"]
    gains = ", ".join(
        f"{s.class_name} {s.champion:.3f} -> {s.candidate:.3f} ({s.low:+.3f} … {s.high:+.3f})" for s in whole
    )
    return f"{turn.verdicts} verdicts: {turn.decision}; {gains}"
