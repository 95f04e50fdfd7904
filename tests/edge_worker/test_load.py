"""Under load all cameras are looked at later, none is forgotten, and the promise bounds how late."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ports import free_port
from camera_adapters.meter import StageMeter
from edge.box import Box
from edge.config import BoxConfig, CameraConfig, SamplingConfig
from edge.load import MAX_STRETCH, LoadGovernor
from edge.log import get_logger
from edge.pipeline import dense_pays
from edge.pump import LatestSlots
from edge.scheduler import LATEST, CameraScheduler
from edge.worker import _Shares

ZONE = {"id": "z", "polygon": [[0, 0], [1, 0], [1, 1]]}


def camera(kind: str, **policy: object) -> CameraConfig:
    return CameraConfig.model_validate(
        {
            "id": "c",
            "url": "rtsp://127.0.0.1/c",
            "place": {"lon": 0, "lat": 0},
            "zones": [{**ZONE, "kind": kind}],
            "policy": policy,
        }
    )


@pytest.mark.parametrize(
    ("kind", "policy", "pays"),
    [
        ("no_parking", {}, False),
        ("no_parking", {"parking.motor": {"confirm_s": 10}}, True),
        ("no_dumping", {}, True),
        ("no_dumping", {"dumping.act": {"enabled": False}, "dumping.exposed": {"confirm_s": 600}}, False),
    ],
)
def test_the_dense_rate_is_for_acts_and_short_dwells(
    kind: str, policy: dict[str, object], pays: bool
) -> None:
    assert dense_pays(camera(kind, **policy)) is pays


def test_overload_stretches_and_room_brings_it_back() -> None:
    governor = LoadGovernor()
    for _ in range(60):
        governor.observe(1.0, 0.5, 0.2)
    assert governor.stretch == MAX_STRETCH
    assert governor.load().overloaded
    for _ in range(120):
        governor.observe(0.3, 0.3, 0.0)
    assert governor.stretch == 1.0
    assert not governor.load().overloaded
    assert governor.load().overloads == 1


@pytest.mark.parametrize(("busy", "cpu", "wait"), [(0.95, 0.1, 0.0), (0.1, 0.95, 0.0), (0.1, 0.1, 3.0)])
def test_each_sign_of_overload_is_enough(busy: float, cpu: float, wait: float) -> None:
    governor = LoadGovernor()
    assert governor.observe(busy, cpu, wait) > 1.0


@given(
    stretch=st.floats(1, MAX_STRETCH),
    quiet=st.floats(0.2, 10),
    dense=st.floats(0.04, 5),
    promise=st.floats(3, 120),
    gop=st.floats(0.2, 12),
    moving=st.lists(st.booleans(), min_size=30, max_size=60),
    pays=st.booleans(),
)
def test_a_stretched_camera_is_still_looked_at_twice_in_its_promise(
    stretch: float, quiet: float, dense: float, promise: float, gop: float, moving: list[bool], pays: bool
) -> None:
    numbers = SamplingConfig(
        quiet_interval_s=quiet, dense_interval_s=min(dense, quiet), heartbeat_s=10, promise_s=promise
    )
    scheduler = CameraScheduler(numbers, pays, lambda: stretch)
    longest, last, now = 0.0, 0.0, 0.0
    for is_moving in moving:
        demand = scheduler.demand(now)
        grid = gop if demand.mode == "key" else 0.04
        now += min(grid * max(1, math.ceil(demand.min_interval_s / grid)), demand.max_gap_s + 0.04)
        if scheduler.plan(now, is_moving, True).judge:
            longest, last = max(longest, now - last), now
    # One interval of the plan, and one step of what the stream gives.
    late = max(quiet, min(quiet * stretch, promise * LATEST))
    # At the end of a dense time one step of the dense rate may pass without a look.
    assert longest <= late + gop + 0.04 + (late if pays else 0.0)
    if not pays and gop <= 0.1 * promise and quiet <= LATEST * promise:
        assert longest <= promise / 2


@pytest.mark.parametrize(
    ("stretch", "mode", "interval"),
    [(1.0, "all", 0.5), (3.9, "all", 1.95), (4.0, "key", 2.0), (MAX_STRETCH, "key", 4.0)],
)
def test_acts_are_watched_by_key_frames_where_load_leaves_no_more_looks(
    stretch: float, mode: str, interval: float
) -> None:
    scheduler = CameraScheduler(SamplingConfig(), True, lambda: stretch, lambda: 0.0)
    plan = scheduler.plan(100.0, True, False)
    assert plan.judge
    assert (plan.demand.mode, plan.demand.min_interval_s) == (mode, pytest.approx(interval))
    # Without motion it is looked at as all others are, less often.
    calm = scheduler.demand(100.0 + SamplingConfig().hold_s)
    assert calm.mode == "key"
    assert calm.min_interval_s > plan.demand.min_interval_s


def test_the_longest_wait_counts_those_who_still_wait() -> None:
    now = [0.0]
    slots: LatestSlots[int] = LatestSlots(lambda: now[0])
    slots.offer("a", 1)
    now[0] = 2.0
    slots.offer("a", 2)
    slots.offer("b", 1)
    assert slots.longest_wait_s() == 2.0
    now[0] = 3.0
    assert [c for c, _ in slots.take(1, 0)] == ["a"]
    assert slots.longest_wait_s() == 3.0
    assert slots.longest_wait_s() == 1.0


def spin(turns: int) -> int:
    return sum(i * i for i in range(turns))


def test_an_inner_stage_stops_the_outer_ones_clock_and_threads_add_up() -> None:
    meter = StageMeter()

    def work() -> None:
        with meter.stage("network"):
            spin(20_000)
            with meter.stage("decode"):
                spin(400_000)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seconds = meter.seconds()
    assert seconds["decode"] > 5 * seconds["network"] > 0
    with pytest.raises(ValueError, match="stage: 'paint' is not one of"):
        meter.stage("paint")


def test_a_stage_that_goes_on_is_counted_by_the_lap() -> None:
    meter = StageMeter()
    meter.lap()
    with meter.stage("network"):
        spin(100_000)
        assert meter.seconds()["network"] == 0
        meter.lap()
        first = meter.seconds()["network"]
        with meter.stage("decode"):
            meter.lap()
        spin(100_000)
    assert first > 0
    assert 1.2 * first < meter.seconds()["network"] < 20 * first


def test_a_stage_may_turn_into_another_and_back() -> None:
    meter = StageMeter()
    with meter.stage("rules") as stage:
        spin(50_000)
        stage.then("evidence")
        spin(400_000)
        stage.then("evidence")
        stage.then("rules")
        before = meter.seconds()
        with pytest.raises(ValueError, match="stage: 'paint' is not one of"):
            stage.then("paint")
        with meter.stage("left"):
            spin(50_000)
    after = meter.seconds()
    assert before["evidence"] > 2 * before["rules"] > 0
    assert after["evidence"] == before["evidence"]
    assert after["left"] > 0


def test_the_metrics_page_names_cameras_and_never_their_passwords(tmp_path: Path) -> None:
    port, gone = free_port(), free_port()
    config = BoxConfig.model_validate(
        {
            "device": "box",
            "data_dir": str(tmp_path),
            "api": {"url": f"http://127.0.0.1:{gone}", "token": "t0ken"},
            "model": {"max_batch": 1},
            "metrics_port": port,
            "cameras": [
                {
                    "id": "gate",
                    "url": f"rtsp://viewer:secret@127.0.0.1:{gone}/gate",
                    "place": {"lon": 0, "lat": 0},
                    "zones": [{**ZONE, "kind": "no_parking"}],
                }
            ],
        }
    )
    box = Box(config, get_logger())
    box.start()
    try:
        page = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
    finally:
        box.stop()
    assert 'curbwatch_edge_stage_cpu_seconds_total{stage="decode"}' in page
    assert 'curbwatch_edge_camera_state{camera="gate",state="' in page
    assert "curbwatch_edge_outbox_bytes" in page
    assert "secret" not in page
    assert "t0ken" not in page
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60)


@pytest.mark.parametrize(("behind_s", "share"), [(0.0, 1.0), (10.0, 0.0)])
def test_work_that_stands_back_is_no_load(behind_s: float, share: float) -> None:
    shares = _Shares(0.0)
    # As if ten seconds had passed in which one core was full.
    shares._since -= 10.0
    shares._cpu -= 10.0
    taken = shares.take(lambda: behind_s)
    assert taken is not None
    assert taken.cpu * len(os.sched_getaffinity(0)) == pytest.approx(share, abs=0.1)
