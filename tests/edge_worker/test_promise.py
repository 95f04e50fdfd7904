"""A camera whose intervals are stretched as far as they go: the look that ends a dwell is not put off."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_adapters.clock import SystemClock
from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.ring import RingPacket, StreamParams
from camera_adapters.stream import StreamEvent, StreamState
from edge.admission import LINE
from edge.config import CameraConfig, SamplingConfig
from edge.judge import Change, Judge
from edge.lane import SHAPE_S, Lane, Rings
from edge.load import MAX_STRETCH
from edge.log import get_logger
from edge.pipeline import CameraPipeline, dense_pays
from edge.pump import LatestSlots
from edge.scheduler import LATEST, PAST_END_S, CameraScheduler
from models.detections import Detections

START = datetime(2026, 5, 6, 2, 0, tzinfo=UTC)
W, H = 64, 36
# In a picture ten times as large.
VAN = (260.0, 180.0, 350.0, 260.0)
QUIET_S = SamplingConfig().quiet_interval_s
PROMISE_S = SamplingConfig().promise_s


class Noted:
    """A recorder that keeps when each change was seen."""

    def __init__(self) -> None:
        self.confirmed: list[float] = []

    def record(self, change: Change, frame: Frame, *_size: Any) -> None:
        if change.kind == "confirmed":
            self.confirmed.append(frame.meta.mono_s)

    def prepare(self, *_: Any) -> None: ...
    def middle(self, *_: Any) -> None: ...
    def tick(self, *_: Any, **__: Any) -> None: ...
    def follow(self, *_: Any) -> None: ...

    def resume(self, *_: Any) -> bool:
        return True


class Street:
    """One camera of an overloaded box: key frames every `gop_s`, of which the plan takes what it asked for."""

    def __init__(self, confirm_s: float, gop_s: float, stretch: float = MAX_STRETCH, **more: Any) -> None:
        camera = CameraConfig.model_validate(
            {
                "id": "cam", "url": "rtsp://127.0.0.1:9/cam", "place": {"lon": 1, "lat": 2},
                "zones": [{"id": "kerb", "kind": "no_parking", "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.9], [0.3, 0.9]]}],
                "policy": {"parking.motor": {"candidate_s": 10, "confirm_s": confirm_s}}, **more,
            }
        )  # fmt: skip
        self.gop_s, self.noted, self.now, self.looks = gop_s, Noted(), 0.0, list[float]()
        self.slots: LatestSlots[Any] = LatestSlots(lambda: self.now)

        def pipeline(config: CameraConfig, _rings: Rings) -> CameraPipeline:
            judge = Judge("cam", config.zones, config.policy, config.place.point())
            return CameraPipeline(config, judge, self.noted, lambda: stretch)  # type: ignore[arg-type]

        self.lane = Lane(camera, pipeline, self.slots, SystemClock(), get_logger())
        # Without luck: nothing ends sooner.
        plan = CameraScheduler(camera.sampling, dense_pays(camera), lambda: stretch, lambda: 0.0)
        self.lane.pipeline.scheduler = plan
        self._given = float("-inf")

    def step(self, at: float, van: bool, box: tuple[float, ...] = VAN, late_s: float = 0.3) -> None:
        """A key frame comes; the detector gets to it `late_s` later, which moves no picture's time."""
        self.now = at
        asked = self.lane.stream.demand
        passed = at - self._given
        late = max(0.0, passed - asked.min_interval_s)
        if asked.early(passed) or (asked.room is not None and not asked.room(late)):
            return
        self._given = at
        moment = START + timedelta(seconds=at)
        meta = FrameMeta("cam", 1, moment, at, "rtcp_sender_report", 0.25, True, False, 0, W, H)
        self.lane.take(Frame.from_rgb(np.full((H, W, 3), 90, np.uint8), meta), "main")
        for _, look in self.slots.take(1, 0):
            self.looks.append(at)
            self.now = at + late_s
            seen = Detections(
                np.array([box], np.float32), np.full(1, 0.9, np.float32), np.zeros(1, np.int32), ("car",)
            )
            deque(self.lane.steps(look.frame, seen if van else Detections.empty(("car",)), 10 * W, 10 * H))

    def park(self, comes_s: float, until_s: float, missed: int | None = None) -> float:
        """Let a van come; `missed` is the number of the look at it that a lorry hides. Returns when it was confirmed."""
        at, looks_at_van = 0.0, 0
        while at < until_s and not self.noted.confirmed:
            van, before = at >= comes_s, len(self.looks)
            self.step(at, van and looks_at_van != missed)
            looks_at_van += van and len(self.looks) > before
            at += self.gop_s
        return self.noted.confirmed[0] if self.noted.confirmed else float("inf")


@settings(max_examples=60, deadline=None)
@given(
    comes=st.floats(20, 60),
    dwell=st.sampled_from([30.0, 47.0, 60.0, 180.0]),
    gop=st.sampled_from([0.5, 1.0, 1.92, 1.99, 2.0, 3.9]),
)
def test_a_van_is_reported_in_little_more_than_half_the_promise(
    comes: float, dwell: float, gop: float
) -> None:
    confirmed = Street(dwell, gop).park(comes, comes + dwell + 60)
    # One interval until it is seen, and a key frame each at its begin and its end.
    assert comes + dwell <= confirmed <= comes + dwell + LATEST * PROMISE_S + 2 * gop + PAST_END_S


@settings(max_examples=60, deadline=None)
@given(
    comes=st.floats(20, 60),
    dwell=st.sampled_from([30.0, 60.0, 180.0]),
    missed=st.integers(0, 15),
    gop=st.sampled_from([0.5, 1.0, 1.92, 1.99, 2.0]),
)
def test_one_look_that_sees_nothing_is_made_good_within_the_promise(
    comes: float, dwell: float, missed: int, gop: float
) -> None:
    confirmed = Street(dwell, gop).park(comes, comes + dwell + 60, missed)
    assert confirmed <= comes + dwell + PROMISE_S


def test_a_picture_that_nobody_judges_makes_room_for_the_next_camera() -> None:
    street = Street(30.0, 2.0)
    assert street.lane.stream.demand.room is not None, "the first picture of all asks too"
    street.step(0.0, van=False)
    room = street.lane.stream.demand.room
    assert room is not None
    others = [f"other {n}" for n in range(LINE - 1)]
    for name in (*others, "one more"):
        street.slots.offer(name, object())
    street.slots.take(99, 0)
    street.now = 10.0
    assert all(street.slots.has_room(name, 0.0) for name in others)
    assert room(0.0)
    assert not street.slots.has_room("one more", 0.0)
    # Not later than the one before, so it is not even planned.
    meta = FrameMeta("cam", 1, START, 0.0, "rtcp_sender_report", 0.25, True, False, 0, W, H)
    street.lane.take(Frame.from_rgb(np.full((H, W, 3), 90, np.uint8), meta), "main")
    assert street.slots.has_room("one more", 0.0)


@pytest.mark.parametrize(("promise", "longest"), [(PROMISE_S, LATEST * PROMISE_S), (600.0, 2 * MAX_STRETCH)])
@pytest.mark.parametrize("stretch", [1.0, MAX_STRETCH])
def test_a_camera_is_late_after_the_longest_interval_however_short_its_own_is(
    stretch: float, promise: float, longest: float
) -> None:
    """A start, or a stall: the factor is still 1 and all are later than they planned. All would decode beside the detector."""
    street = Street(30.0, 2.0, stretch, sampling={"promise_s": promise})
    street.step(0.0, van=False)
    street.now = 100.0
    for n in range(LINE):
        assert street.slots.has_room(f"other {n}", 0.0)
    asked = street.lane.stream.demand
    assert asked.room is not None
    assert not street.slots.has_room("rival", 1.0)
    street.slots.forget("other 0")
    # One place, for who is later.
    assert not asked.room(longest - asked.min_interval_s + 0.9)
    assert asked.room(longest - asked.min_interval_s + 1.1)


def test_a_shorter_promise_holds_for_what_was_asked_before_it() -> None:
    street = Street(300.0, 2.0, 1.0, sampling={"promise_s": 600.0, "quiet_interval_s": 20.0})
    street.step(0.0, van=False)
    street.now = 100.0
    for n in range(LINE):
        assert street.slots.has_room(f"other {n}", 0.0)
    room = street.lane.stream.demand.room
    assert room is not None
    assert not street.slots.has_room("rival", 1.0)
    street.slots.forget("other 0")
    assert not room(2.0)
    camera = street.lane.camera
    shorter = camera.model_copy(update={"sampling": camera.sampling.model_copy(update={"promise_s": 30.0})})
    street.lane.redraw(shorter)
    street.lane.pipeline.redraw(shorter, Judge("cam", camera.zones, camera.policy, camera.place.point()))
    assert room(2.0)


def test_the_stream_hears_of_the_end_as_soon_as_the_look_is_judged() -> None:
    street = Street(30.0, 2.0)
    street.step(0.0, van=True)
    assert street.lane.stream.demand.room is not None
    street.step(26.0, van=True)
    asked = street.lane.stream.demand
    # Not the stretched interval: what is left of the dwell, however many wait for the detector.
    assert (asked.mode, asked.urgent, asked.room) == ("key", True, None)
    assert asked.min_interval_s == pytest.approx(4.0 + PAST_END_S)
    street.step(32.0, van=True)
    assert street.noted.confirmed == [32.0]
    assert street.lane.stream.demand.min_interval_s >= 0.7 * LATEST * PROMISE_S, "a case is no dwell"


@pytest.mark.parametrize("confirm_s", [180.0, 10.0], ids=["key frames", "dense where it can"])
@pytest.mark.parametrize("stretch", [1.0, MAX_STRETCH])
def test_key_frames_of_the_main_stream_are_not_made_up_for_while_they_are_on_time(
    confirm_s: float, stretch: float
) -> None:
    """In place of a lost sub stream, an overloaded box decoded whole GOPs of 1080p when no key frame was asked for in 4 s."""
    street = Street(confirm_s, 2.0, stretch, sub_url="rtsp://127.0.0.1:9/sub")
    lane = street.lane
    lane.event(StreamEvent("cam", StreamState.STALLED, "no packets", START), "sub")
    assert lane.eyes == "main"
    for n in range(40):
        street.step(n * 2.0, van=True)
        asked = lane.stream.demand
        assert asked.mode == "key"
        assert asked.max_gap_s >= asked.min_interval_s + 2.0


@pytest.mark.parametrize(
    ("aim", "asked_s", "judged_at"),
    [
        (float("inf"), 11.4, 12.0),
        (5.0, 5.2, 6.0),
        (7.9, 8.1, 10.0),
        (0.5, QUIET_S, 2.0),
        (40.0, 11.4, 12.0),
    ],
    ids=["none", "before the interval", "just past a key frame", "at once", "long after"],
)
def test_a_look_is_aimed_at_the_end_of_a_dwell(aim: float, asked_s: float, judged_at: float) -> None:
    plan = CameraScheduler(SamplingConfig(), False, lambda: MAX_STRETCH, lambda: 0.0)
    assert plan.plan(0.0, False, True).judge
    plan.aim(aim)
    asked = plan.demand()
    assert asked.min_interval_s == pytest.approx(asked_s)
    assert asked.max_gap_s == pytest.approx(2 * 11.4)
    at = 2.0
    while at < asked.min_interval_s - 0.02:
        at += 2.0
    assert at == judged_at
    told = plan.plan(at, False, True)
    assert told.judge
    assert told.aimed is asked.urgent is (aim < 12)
    # Once is enough: until the judge has said where it stands, the same end brings no second look.
    assert not plan.plan(at + 2.0, False, True).judge


def test_a_frame_that_is_early_by_a_hair_is_the_one_that_was_aimed_at() -> None:
    plan = CameraScheduler(SamplingConfig(), False, lambda: MAX_STRETCH, lambda: 0.0)
    plan.plan(0.0, False, True)
    plan.aim(5.0)
    told = plan.plan(5.0 + PAST_END_S - 0.01, False, True)
    assert (told.aimed, told.demand.urgent) == (True, False)


def test_a_torn_picture_at_the_end_of_a_dwell_is_asked_for_again_at_once() -> None:
    plan = CameraScheduler(SamplingConfig(), False, lambda: MAX_STRETCH, lambda: 0.0)
    plan.plan(0.0, False, True)
    plan.aim(5.0)
    # The pipeline does not plan by a tainted frame, but asks what to decode after it.
    asked = plan.demand(6.0)
    assert (asked.min_interval_s, asked.urgent) == (QUIET_S, True)
    assert plan.plan(8.0, False, True).aimed


@pytest.mark.parametrize("main_tells", [True, False], ids=["its shape comes", "it gives nothing"])
def test_the_first_pictures_of_a_sub_stream_wait_for_the_main_streams_shape(
    monkeypatch: pytest.MonkeyPatch, main_tells: bool
) -> None:
    street = Street(30.0, 2.0, sub_url="rtsp://127.0.0.1:9/sub", sub_stretched=True)
    lane, now = street.lane, [1000.0]
    for stream in lane.streams:
        monkeypatch.setattr(stream, "start", lambda: None)
    monkeypatch.setattr(lane, "_clock", SimpleNamespace(monotonic=lambda: now[0]))
    lane.start()

    def shapes() -> list[tuple[int, int]]:
        meta = FrameMeta("cam", 1, START, now[0], "rtcp_sender_report", 0.25, True, False, 0, 352, 288)
        lane.take(Frame.from_rgb(np.full((288, 352, 3), 90, np.uint8), meta), "sub")
        return [(look.frame.meta.width, look.frame.meta.height) for _, look in street.slots.take(9, 0)]

    assert shapes() == []
    now[0] += SHAPE_S - 0.1
    assert shapes() == []
    if main_tells:
        params = StreamParams("h264", 1920, 1080, Fraction(1, 90_000), None, 1)
        assert lane.stream.ring is not None
        lane.stream.ring.push(RingPacket(START, True, 0, 0, b"\0", params, now[0]))
    else:
        now[0] += 0.1
    now[0] += 0.01
    assert shapes() == [(512, 288) if main_tells else (352, 288)]
