"""Boxes that fall silent while a rollout is under way: by the model, by the network, by the centre's own absence."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, centre
from rollout_parts import NEW, OLD, Boxes, begin, desired, read

from api.fleet import box_row
from api.rollouts import tick

NAMES = tuple(f"b{i}" for i in range(10))
EARLY = NAMES[:5]
PLAN = {
    "shadow": None,
    "rings": [{"name": "a", "labels": {"ring": "a"}}, {"name": "b", "labels": {"ring": "b"}}],
}


def started(house: Centre, dead: Collection[str] = ()) -> tuple[Boxes, dict[str, Any]]:
    """A rollout whose first ring runs the candidate, under the settings by default."""
    boxes = Boxes(house, NAMES)
    with house.core.db.write() as session:
        for name in NAMES:
            box_row(session, name).labels = {"ring": "a" if name in EARLY else "b"}
    made = begin(house, plan=PLAN)
    for _ in range(3):
        minutes(boxes, 1, set(NAMES) - set(dead))
    assert desired(house) == {name: NEW if name in EARLY else OLD for name in NAMES}
    return boxes, made


def minutes(boxes: Boxes, count: int, heard: Collection[str], every: int = 1) -> None:
    for i in range(count):
        boxes.house.clock.pass_s(60)
        for name in heard if i % every == 0 else ():
            boxes.beat(name)
            boxes.has[name] = boxes.wished[name]["model"]
        tick(boxes.house.core)


def running(told: dict[str, Any]) -> dict[str, Any]:
    return next(dict(g) for g in told["gates"] if g["name"] == "running")


@pytest.mark.parametrize("first", [NAMES, ("b0", "b1", "b2", "b3", "b5", "b6", "b7", "b8")])
@pytest.mark.parametrize("looks", [True, False])
def test_an_outage_takes_no_rollout_back(tmp_path: Path, first: Collection[str], looks: bool) -> None:
    """Of the network, or of the centre, which looks for the first time when some boxes are back."""
    with centre(tmp_path) as house:
        boxes, made = started(house)
        if looks:
            minutes(boxes, 60, ())
            told = read(house, made)
            assert (told["status"], running(told)["verdict"]) == ("running", "wait")
            assert "; 5 of 5 boxes that wait for it are silent, too" in running(told)["reason"]
        else:
            house.clock.pass_s(3600)
        minutes(boxes, 1, first)
        minutes(boxes, 1, NAMES)
        told = read(house, made)
        assert (told["status"], running(told)["verdict"]) == ("running", "pass")


def test_a_box_that_beats_every_ten_minutes_is_not_silent(tmp_path: Path) -> None:
    with centre(tmp_path) as house:
        boxes, made = started(house)
        for _ in range(4):
            minutes(boxes, 10, NAMES, every=10)
            assert running(read(house, made))["reason"].startswith("0 unasked starts, 0 boxes silent")


@pytest.mark.parametrize("dead", [(), ("b9",)])
def test_boxes_that_fall_silent_with_the_candidate_alone_halt_it(
    tmp_path: Path, dead: Collection[str]
) -> None:
    """A box that was dead before the rollout excuses none."""
    with centre(tmp_path) as house:
        boxes, made = started(house, dead)
        heard = set(NAMES) - set(EARLY) - set(dead)
        minutes(boxes, 24, heard)
        assert read(house, made)["status"] == "running"
        minutes(boxes, 4, heard)
        told = read(house, made)
        assert (told["status"], desired(house)["b0"]) == ("halted", OLD)
        assert f"0 of {len(heard)} boxes that wait for it are silent, too" in running(told)["reason"]
