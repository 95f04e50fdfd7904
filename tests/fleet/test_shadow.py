"""The shadow: real networks made here, the candidate in its real process, a real box under its supervisor with a real centre."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import psutil
import pytest
import yaml
from fleet_parts import City, city
from hypothesis import given
from hypothesis import strategies as st
from model_parts import bundle_of, constant_onnx, yolo_output
from onnx import TensorProto, helper, numpy_helper
from street_clip import make_clip

from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.testing.loopcam import Camera
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam
from contract import utc_now
from contract.fleet import SHADOW_CLASSES, ShadowOrder, ShadowReport
from curbwatch.releasing.repository import Repository
from edge.fleet.enrol import ROOT
from edge.fleet.models import ModelFromCentre
from edge.fleet.settings import FleetConfig
from edge.fleet.shadow import ShadowFromCentre
from edge.fleet.state import write_bytes
from edge.log import get_logger
from edge.shadow import runner as runner_of
from edge.shadow.compare import OTHER, Seen, add_up, compare
from edge.shadow.line import AnswerError, read_answer
from edge.shadow.runner import Running, ShadowRunner
from models.bundle import Bundle, load_bundle, write_manifest
from models.detections import Detections

MODEL = "north/test@2"
PERSON, CAR = (16.0, 16.0, 16.0, 24.0), (44.0, 40.0, 20.0, 12.0)
PICTURE = np.full((64, 64, 3), 90, np.uint8)
FRAME = Frame.from_rgb(PICTURE, FrameMeta("gate", 1, utc_now(), 1.0, "arrival", None, True, False, 1, 64, 64))
CHAMPION = Detections(
    np.array([[8, 4, 24, 28]], np.float32), np.array([0.9], np.float32), np.array([0], np.int32), ("person",)
)


def until(met: Callable[[], Any], limit_s: float = 200.0) -> Any:
    end = time.monotonic() + limit_s
    while not (found := met()):
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.05)
    return found


def made(folder: Path, boxes: Sequence[tuple[float, float, float, float]], classes: Sequence[int], version: str) -> Bundle:  # fmt: skip
    bundle = bundle_of(folder, [yolo_output(list(boxes), list(classes), [0.9] * len(boxes))])
    write_manifest(folder, bundle.manifest.model_copy(update={"version": version}))
    return load_bundle(folder)


def seen(*objects: tuple[str, float, float, float, float]) -> Seen:
    boxes = np.array([o[1:] for o in objects], np.float32).reshape(-1, 4)
    return Seen(boxes, tuple(o[0] for o in objects))


A, NEAR, FAR = (0.1, 0.1, 0.3, 0.3), (0.12, 0.1, 0.32, 0.3), (0.22, 0.1, 0.42, 0.3)


@pytest.mark.parametrize(
    ("champion", "candidate", "expected"),
    [
        ([], [], {}),
        ([("car", *A)], [("car", *NEAR)], {"car": (1, 0, 0)}),
        ([("car", *A)], [("car", *FAR)], {"car": (0, 1, 1)}),
        ([("car", *A)], [("van", *A)], {"car": (0, 1, 0), "van": (0, 0, 1)}),
        ([("car", *A)], [("car", *A), ("car", *NEAR)], {"car": (1, 0, 1)}),
        # The closest pair finds each other, whatever the order.
        ([("car", *NEAR), ("car", *A)], [("car", *A)], {"car": (1, 1, 0)}),
    ],
)
def test_two_models_are_compared_by_class_and_place(
    champion: list[Any], candidate: list[Any], expected: dict[str, tuple[int, int, int]]
) -> None:
    assert compare(seen(*champion), seen(*candidate)) == expected


_sides = st.tuples(st.sampled_from("ab"), st.floats(0, 0.6), st.floats(0, 0.6)).map(
    lambda t: (t[0], t[1], t[2], t[1] + 0.3, t[2] + 0.3)
)


@given(st.lists(_sides, max_size=8), st.lists(_sides, max_size=8))
def test_every_object_is_counted_once_and_the_sides_may_change(left: list[Any], right: list[Any]) -> None:
    one, other = compare(seen(*left), seen(*right)), compare(seen(*right), seen(*left))
    for name, (both, champion, candidate) in one.items():
        assert both + champion == sum(o[0] == name for o in left)
        assert both + candidate == sum(o[0] == name for o in right)
        assert other[name] == (both, candidate, champion)
    assert all(c[1:] == (0, 0) for c in compare(seen(*left), seen(*left)).values())


def test_the_report_is_bounded_however_many_classes_a_candidate_knows() -> None:
    total: dict[str, tuple[int, int, int]] = {}
    for i in range(3 * SHADOW_CLASSES):
        total = add_up(total, {f"class{i}": (0, 0, 1)})
    assert len(total) == SHADOW_CLASSES
    assert total[OTHER] == (0, 0, 2 * SHADOW_CLASSES + 1)
    ShadowReport(model=MODEL, by_class=total)


@pytest.mark.parametrize(
    "answer",
    [b"[]", b"{", b'{"boxes": [[1, 2]], "names": ["a"], "ms": 1}', b'{"boxes": [], "names": ["a"], "ms": 1}',
     b'{"boxes": [[0, 0, NaN, 1]], "names": ["a"], "ms": 1}', b'{"boxes": [], "names": [], "ms": -1}', b'{"error": "x"}'],
)  # fmt: skip
def test_what_a_candidate_answers_is_not_believed_unread(answer: bytes) -> None:
    with pytest.raises(AnswerError):
        read_answer(answer)


class Stage:
    """A runner that is shown frames by the test."""

    def __init__(self) -> None:
        self.runner: ShadowRunner | None = None
        self.overloaded = False
        # What other tests left to this process (a tracker of shared memory, a server) is not the candidate's.
        self._before = set(psutil.Process().children())

    def children(self) -> list[psutil.Process]:
        return [c for c in psutil.Process().children() if c not in self._before]

    def begin(self, bundle: Bundle, share: float = 1.0, chance: Callable[[], float] = lambda: 0.5, **told: Any) -> ShadowRunner:  # fmt: skip
        running = Running(bundle, "cpu", 1, told.pop("memory_mib", 1024), timed=True)
        report = told.pop("report", ShadowReport(model=MODEL))
        self.runner = ShadowRunner(
            running, share, report, lambda: self.overloaded, get_logger(), chance, **told
        )
        self.runner.start()
        return self.runner

    def show(self, enough: Callable[[ShadowReport], bool]) -> ShadowReport:
        assert self.runner is not None
        runner = self.runner

        def once() -> ShadowReport | None:
            runner.offer(FRAME, None, CHAMPION, PICTURE, 2.0)
            return told if enough(told := runner.report()) else None

        return until(once)  # type: ignore[no-any-return]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(runner_of, "AGAIN_S", 0.05)
    made = Stage()
    yield made
    if made.runner is not None:
        made.runner.stop()


def test_a_candidate_is_counted_against_the_champion_and_takes_the_least_priority(
    stage: Stage, tmp_path: Path
) -> None:
    stage.begin(
        made(tmp_path / "b", [PERSON, CAR], [0, 1], "2"), report=ShadowReport(model=MODEL, frames=4, both=4)
    )
    told = stage.show(lambda r: r.frames >= 7)
    n = told.frames - 4
    assert told.by_class == {"person": (n, 0, 0), "car": (0, 0, n)}
    assert (told.both, told.champion_only, told.candidate_only) == (4 + n, 0, n), (
        "goes on from before the restart"
    )
    assert told.candidate_ms > 0
    assert told.skipped > 0, "the test shows frames faster than anybody may look at them"
    (child,) = stage.children()
    assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE
    assert child.nice() == 19
    assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "1000"
    assert stage.runner is not None
    stage.runner.stop()
    until(lambda: not child.is_running())


def test_a_share_is_a_share_and_an_overloaded_box_leaves_frames_out(stage: Stage, tmp_path: Path) -> None:
    chances = iter([0.05, 0.5] * 5000)
    runner = stage.begin(made(tmp_path / "b", [PERSON], [0], "2"), share=0.1, chance=lambda: next(chances))
    stage.overloaded = True
    for _ in range(10):
        runner.offer(FRAME, None, CHAMPION, PICTURE, 2.0)
    told = runner.report()
    assert (told.frames, told.skipped) == (0, 5)


def script(body: str) -> Callable[[int, Running], list[str]]:
    """A candidate's process that greets as the real one, then misbehaves."""
    text = (
        "import json, os, sys, time\nfrom multiprocessing.connection import Connection\nline = Connection(int(sys.argv[1]))\n"
        "line.send_bytes(json.dumps({'input': [64, 64], 'provider': 'cpu'}).encode())\n"
        f"while True:\n    line.recv_bytes()\n    {body}\n"
    )
    return lambda pipe, _: [sys.executable, "-c", text, str(pipe)]


@pytest.mark.parametrize(
    ("body", "failures", "reason"),
    [
        ("os.abort()", 3, "its process ended (signal 6), 3 times"),
        ("sys.exit(3)", 3, "its process ended (exit status 3), 3 times"),
        ("time.sleep(60)", 3, "its process gave no answer, 3 times"),
        ("exec('while True: pass')", 3, "its process gave no answer, 3 times"),
        ("line.send_bytes(b'{\"error\": \"ShapeError: bad\"}')", 8, "failed on 8 frames in a row: ShapeError: bad"),
        ("line.send_bytes(b'x' * 2**21)", 3, "its process"),
    ],
)  # fmt: skip
def test_a_candidate_that_crashes_hangs_or_fails_is_given_up(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, failures: int, reason: str
) -> None:
    if "no answer" in reason:
        monkeypatch.setattr(runner_of, "ANSWER_S", 0.4)
    stage.begin(made(tmp_path / "b", [PERSON], [0], "2"), command=script(body))
    told = stage.show(lambda r: bool(r.problem))
    assert (told.frames, told.failures) == (0, failures)
    assert told.problem.startswith("given up: ")
    assert reason in told.problem
    until(lambda: not stage.children())


def test_a_candidate_that_waits_for_a_core_is_not_taken_for_silent() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    asleep = subprocess.Popen(["sleep", "60"])
    try:
        asked = runner_of._Asked(time.monotonic() - 31, 0.0)
        until(lambda: psutil.Process(busy.pid).cpu_times().user > 0.05)
        assert not asked.silent(busy.pid, 30.0), "it runs, and has not had thirty seconds of a core"
        assert asked.silent(busy.pid, 0.01)
        assert asked.silent(asleep.pid, 30.0)
        assert not runner_of._Asked(time.monotonic(), 0.0).silent(asleep.pid, 30.0)
    finally:
        for process in (busy, asleep):
            process.kill()
            process.wait()


def test_a_candidate_that_nobody_can_load_is_given_up_at_once(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    bundle = made(folder, [PERSON], [0], "2")
    (folder / "model.onnx").write_bytes(b"rot")
    write_manifest(folder, bundle.manifest)
    stage.begin(load_bundle(folder))
    told = stage.show(lambda r: bool(r.problem))
    assert "cannot be loaded" in told.problem


def test_a_candidate_that_eats_memory_ends_by_its_own_bound(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    bundle = made(folder, [PERSON], [0], "2")
    _greedy(folder / "model.onnx")
    write_manifest(folder, bundle.manifest)
    stage.begin(load_bundle(folder), memory_mib=400)
    told = stage.show(lambda r: bool(r.problem))
    assert told.frames == 0
    assert "given up" in told.problem


def _greedy(path: Path) -> None:
    """The same answer as before, but by way of 2 GB."""
    model = onnx.load(str(constant_onnx(path, [yolo_output([PERSON], [0], [0.9])])))
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 13000, 13000], np.int64), "huge"))
    graph.initializer.append(numpy_helper.from_array(np.array([0, 1, 2, 3], np.int64), "all"))
    out = graph.output[0].name
    last = next(n for n in graph.node if out in n.output)
    last.output[0] = "plain"
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["images"], ["one"], axes=[0, 1, 2, 3], keepdims=0),
            helper.make_node("Expand", ["one", "huge"], ["big"]),
            helper.make_node("ReduceMean", ["big"], ["small"], axes=[0, 1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["small", "zero"], ["none"]),
            helper.make_node("Add", ["plain", "none"], [out]),
        ]
    )
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.save(model, str(path))


@pytest.fixture
def town(tmp_path: Path) -> Iterator[City]:
    releases = tmp_path / "centre" / "releases"
    signer = Repository(releases, tmp_path / "keys", datetime.now(UTC))
    signer.create()
    signer.delegate("north")
    made(tmp_path / "two", [PERSON, CAR], [0, 1], "2")
    assert signer.publish("north", tmp_path / "two") == MODEL
    with city(tmp_path / "centre", utc_now) as there:
        yield there


def test_a_shadow_that_is_on_its_way_waits_and_has_no_problem(tmp_path: Path) -> None:
    """What a rollout's gate would take for a fault is told only when waiting does not help."""
    data = tmp_path / "data"
    client = httpx.Client(timeout=60, base_url="http://127.0.0.1:9", trust_env=False)
    write_bytes(data / "fleet" / ROOT, b"{}")
    models = ModelFromCentre(data, FleetConfig(), "http://127.0.0.1:9", get_logger())
    shadow = ShadowFromCentre(data, FleetConfig(), models, get_logger())
    assert shadow.report() is None
    models.slots.switch(tmp_path / "a", "north/other@1")
    shadow.obey(ShadowOrder(model=MODEL), client)
    told = shadow.report()
    assert told is not None
    assert (told.problem, told.waits) == ("", "another model is being fetched or on trial")
    models.slots.keep()
    shadow.obey(ShadowOrder(model="north/other@1"), client)
    told = shadow.report()
    assert told is not None
    assert (told.problem, told.waits) == ("", "it is the model that counts")
    (data / "fleet" / ROOT).unlink()
    shadow.obey(ShadowOrder(model=MODEL), client)
    told = shadow.report()
    assert told is not None
    assert (told.problem, told.waits) == ("the box has no trust in releases; enrol it again", "")
    again = ShadowFromCentre(data, FleetConfig(), models, get_logger()).report()
    assert again is not None
    assert (again.model, again.problem) == (MODEL, ""), "the order outlives a restart, the hindrance does not"


@pytest.mark.timeout(700)
def test_a_real_box_shadows_as_ordered_through_a_restart_and_posts_nothing(
    town: City, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    town.enrolled(data).close()
    made(tmp_path / "one", [PERSON], [0], "1")

    def shadow() -> dict[str, Any]:
        time.sleep(0.3)  # the candidate has the least priority: asking in a loop would starve it
        told = town.admin.get("/fleet/boxes/box-1").json()["reported"] or {}
        return (told.get("fleet") or {}).get("shadow") or {}

    def wish(order: dict[str, Any] | None) -> None:
        town.admin.put("/fleet/boxes/box-1", json={"shadow": order}).raise_for_status()

    with ServedLoopCam(
        {"gate": Camera(RtpClip(make_clip(tmp_path / "street.mp4", 10)))}, ("v", "s")
    ) as street:
        zone = {"id": "kerb", "kind": "no_parking", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}
        camera = {
            "id": "gate", "url": street.url("gate"), "place": {"lon": 1, "lat": 2}, "zones": [zone],
            "policy": {"parking.motor": {"candidate_s": 1, "confirm_s": 2}},
            "sampling": {"quiet_interval_s": 0.2, "dense_interval_s": 0.2},
        }  # fmt: skip
        told = {
            "device": "box-1", "data_dir": str(data), "model": {"bundle": str(tmp_path / "one")}, "cameras": [camera],
            "api": {"url": town.url, "token_file": str(data / "box.token"), "heartbeat_s": 1},
        }  # fmt: skip
        (tmp_path / "box.yaml").write_text(yaml.safe_dump(told))
        command = [sys.executable, "-m", "curbwatch", "edge", "run", str(tmp_path / "box.yaml")]
        wish({"model": MODEL, "share": 1.0})
        box = subprocess.Popen(command)
        try:
            until(lambda: shadow().get("frames", 0) >= 3)
        finally:
            box.terminate()
            assert box.wait(60) == 0
        before = until(shadow)
        assert town.admin.get("/fleet/boxes/box-1").json()["drift"] == []
        box = subprocess.Popen(command)
        try:
            after = until(
                lambda: told if (told := shadow()).get("frames", 0) >= before["frames"] + 3 else None
            )
            n = after["frames"]
            assert after["by_class"] == {"person": [n, 0, 0], "car": [0, 0, n]}
            assert after["candidate_ms"] > 0 < after["champion_ms"]
            wish(None)
            until(lambda: not shadow())
            wish({"model": "north/test@9"})
            problem = until(lambda: told if "no trusted" in (told := shadow()).get("problem", "") else None)
            assert problem["frames"] == 0
            (drift,) = town.admin.get("/fleet/boxes/box-1").json()["drift"]
            assert drift.startswith("shadow: north/test@9 does not run (north/test@9: no trusted role")
        finally:
            box.terminate()
            assert box.wait(60) == 0
        # The car stood in the zone all the time: the candidate alone saw it.
        assert town.admin.get("/cases").json()["items"] == []
