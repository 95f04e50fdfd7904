"""The detector's turns: several cameras are judged together, step by step, and none suffers by another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camera_adapters.frame import Frame, FrameMeta
from contract import utc_now
from edge.box import Box
from edge.config import BoxConfig
from edge.lane import Lane, Look
from edge.log import get_logger
from edge.worker import GATHER_S, TOGETHER
from models.detections import Detections

GREY = np.full((240, 320, 3), 90, np.uint8)
# What each step of the judgement asks.
STEPS = ("left", "rules", "evidence")


def box_of(folder: Path, max_batch: int) -> Box:
    cameras = [
        {"id": f"cam{i}", "url": "rtsp://127.0.0.1:1/x", "place": {"lon": 116.4, "lat": 39.9}}
        for i in range(TOGETHER + 2)
    ]
    config = {
        "device": "box",
        "data_dir": str(folder),
        "api": {"url": "http://127.0.0.1:1", "token": "t"},
        "model": {"bundle": "centernet", "max_batch": max_batch},
        "cameras": cameras,
    }
    return Box(BoxConfig.model_validate(config), get_logger())


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    # However slow the machine is that runs this.
    monkeypatch.setattr("edge.worker.GATHER_S", 600.0)
    made = box_of(tmp_path, 2)
    yield made
    made.stop()


class Steps:
    """Notes the steps that the cameras of a box take, and makes one of them fail for some."""

    def __init__(self, box: Box) -> None:
        self.taken: list[tuple[str, str]] = []
        self.fails: dict[str, str] = {}
        for lane in box.worker.lanes:
            p = lane.pipeline
            self._note(lane, p, "_seen", "left")
            self._note(lane, p.judge_, "observe", "rules")
            self._note(lane, p._recorder, "prepare", "evidence")

    def _note(self, lane: Lane, part: Any, name: str, step: str) -> None:
        own = getattr(part, name)

        def noted(*given: Any) -> Any:
            self.taken.append((step, lane.camera.id))
            if self.fails.get(lane.camera.id) == step:
                raise TypeError("a fault of this camera alone")
            return own(*given)

        setattr(part, name, noted)

    def of(self, camera: str) -> list[str]:
        return [step for step, c in self.taken if c == camera]


def look(box: Box, lane: Lane, after_s: float = 0.0) -> None:
    meta = FrameMeta(lane.camera.id, 1, utc_now(), 100.0 + after_s, "arrival", None, True, False, 0, 320, 240)
    box.worker._slots.offer(lane.camera.id, Look(lane, Frame.from_rgb(GREY, meta)))


def test_cameras_take_each_step_together(box: Box) -> None:
    steps = Steps(box)
    for lane in box.worker.lanes[:TOGETHER]:
        look(box, lane)
    # In four batches of the detector.
    assert box.worker.turn() == TOGETHER
    cameras = [lane.camera.id for lane in box.worker.lanes[:TOGETHER]]
    assert steps.taken == [(step, c) for step in STEPS for c in cameras]


def test_a_turn_ends_after_so_many_looks(box: Box) -> None:
    steps = Steps(box)
    for lane in box.worker.lanes:
        look(box, lane)
    assert [box.worker.turn() for _ in range(3)] == [TOGETHER, 2, 0]
    assert all(steps.of(lane.camera.id) == list(STEPS) for lane in box.worker.lanes)


@pytest.mark.parametrize("step", STEPS)
def test_one_camera_whose_judgement_fails_blinds_no_other_of_its_turn(box: Box, step: str) -> None:
    steps = Steps(box)
    lanes = box.worker.lanes[:3]
    steps.fails["cam0"] = step
    for lane in lanes:
        look(box, lane)
    box.worker.turn()
    assert steps.of("cam0") == list(STEPS[: STEPS.index(step) + 1])
    assert steps.of("cam1") == steps.of("cam2") == list(STEPS)
    assert box.worker.failures == 1
    # Nor is it blind itself from then on: nothing is held for it.
    steps.fails.clear()
    look(box, lanes[0], 1.0)
    assert box.worker.turn() == 1
    assert steps.of("cam0")[-3:] == list(STEPS)
    lanes[0].pipeline.redraw(lanes[0].camera, lanes[0].pipeline.judge_)


def test_a_camera_that_is_there_again_is_judged_in_order(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(box)
    lanes, found = box.worker.lanes, []
    detect = box.worker._detect

    def dense(*given: Any) -> Any:
        found.append(len(given[1]))
        if len(found) == 1:
            # While the first two are detected, the first of them comes again.
            look(box, lanes[0], 1.0)
        return detect(*given)

    monkeypatch.setattr(box.worker, "_detect", dense)
    for lane in lanes[:3]:
        look(box, lane)
    assert box.worker.turn() == 4
    assert found == [2, 2]
    assert [c for step, c in steps.taken if step == "left"] == ["cam0", "cam1", "cam2", "cam0"]
    assert steps.of("cam0") == [*STEPS, *STEPS]
    assert box.worker.failures == 0


def test_a_batch_on_which_the_detector_fails_costs_no_other_of_its_turn(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(box)
    detect, calls = box.worker._detect, []

    def fails_once(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return detect(*given)

    monkeypatch.setattr(box.worker, "_detect", fails_once)
    for lane in box.worker.lanes[:6]:
        look(box, lane)
    assert box.worker.turn() == 6
    assert [c for step, c in steps.taken if step == "evidence"] == ["cam0", "cam1", "cam4", "cam5"]
    assert box.worker.failures == 1


def test_a_camera_that_goes_while_it_waits_is_not_judged(box: Box) -> None:
    steps = Steps(box)
    lanes = box.worker.lanes[:2]
    for lane in lanes:
        look(box, lane)
    box.worker.remove([lanes[0].camera.id])
    assert box.worker.turn() == 1
    assert steps.of("cam0") == []
    assert steps.of("cam1") == list(STEPS)


def test_a_camera_that_went_during_a_turn_is_not_judged_after_its_end(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(box)
    lanes, detect, calls = box.worker.lanes, box.worker._detect, []

    def goes(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            (gone,) = box.worker.remove([lanes[0].camera.id])
            gone.pipeline.finish(utc_now(), 1.0)
        return detect(*given)

    monkeypatch.setattr(box.worker, "_detect", goes)
    for lane in lanes[:4]:
        look(box, lane)
    assert box.worker.turn() == 4
    assert steps.of("cam0") == []
    assert all(steps.of(f"cam{i}") == list(STEPS) for i in (1, 2, 3))
    # Whoever asks it all the same, once it is written down, changes nothing.
    frame = Frame.from_rgb(
        GREY, FrameMeta("cam0", 1, utc_now(), 200.0, "arrival", None, True, False, 0, 320, 240)
    )
    assert lanes[0].pipeline.judge(frame, Detections.empty(), 320, 240) == []
    assert steps.of("cam0") == []


def test_a_fault_of_the_model_beside_it_ends_nothing(box: Box) -> None:
    steps = Steps(box)
    shown = []

    def beside(frame: Frame, *_: object) -> None:
        shown.append(frame.meta.camera_id)
        if frame.meta.camera_id == "cam0":
            raise OSError(24, "Too many open files")

    box.worker.beside = lambda: beside
    for lane in box.worker.lanes[:3]:
        look(box, lane)
    assert box.worker.turn() == 3
    assert shown == ["cam0", "cam1", "cam2"]
    assert box.worker.failures == 1
    assert all(steps.of(f"cam{i}") == list(STEPS) for i in range(3))


def test_looks_of_a_slow_detector_do_not_wait_for_a_full_turn(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, detect = [50.0], box.worker._detect
    monkeypatch.setattr("edge.worker.GATHER_S", GATHER_S)

    def slow(*given: Any) -> Any:
        now[0] += 0.6 * GATHER_S
        return detect(*given)

    monkeypatch.setattr("edge.worker.time.monotonic", lambda: now[0])
    monkeypatch.setattr(box.worker, "_detect", slow)
    for lane in box.worker.lanes[:6]:
        look(box, lane)
    assert [box.worker.turn() for _ in range(3)] == [4, 2, 0]


@pytest.mark.parametrize("max_batch", [3, 16])
def test_no_turn_is_longer_than_it_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_batch: int
) -> None:
    monkeypatch.setattr("edge.worker.GATHER_S", 600.0)
    other = box_of(tmp_path, max_batch)
    for lane in other.worker.lanes:
        look(other, lane)
    turns = [other.worker.turn() for _ in range(2)]
    other.stop()
    # One batch may be more.
    assert turns == ([TOGETHER, 2] if max_batch < TOGETHER else [TOGETHER + 2, 0])
