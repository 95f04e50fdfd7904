"""Cameras come, go and change while the box runs: over real RTSP on loopback, and by the box's own file."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from street_clip import make_clip

from camera_adapters.stream import StreamState
from camera_adapters.testing.loopcam import Camera, Faults
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam
from edge.box import Box
from edge.changes import Changes, RefusedConfigError, compare
from edge.config import BoxConfig, CameraConfig
from edge.leftovers import Leftovers
from edge.log import get_logger
from edge.reload import ConfigWatch
from edge.site_store import SiteStore
from edge.stills import Still, StillStore
from edge.yaml_source import ConfigError, read_env

ZONE = {"id": "kerb", "kind": "no_parking", "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]]}


def camera(camera_id: str, url: str, **more: Any) -> dict[str, Any]:
    return {"id": camera_id, "url": url, "place": {"lon": 1, "lat": 2}, "zones": [ZONE], **more}


def config_of(folder: Path, *cameras: dict[str, Any], **more: Any) -> BoxConfig:
    return BoxConfig.model_validate(
        {
            "device": "box",
            "data_dir": str(folder / "box"),
            "api": {"url": "http://127.0.0.1:1", "token": "t"},
            "model": {"bundle": "centernet", "max_batch": 1},
            "cameras": list(cameras),
            **more,
        }
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLoopCam]:
    clip = RtpClip(make_clip(tmp_path_factory.mktemp("street") / "street.mp4", 12))
    with ServedLoopCam({name: Camera(clip) for name in "abcd"}, ("viewer", "s3cr3t")) as server:
        yield server


def wait(met: Callable[[], object], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.05)


def threads_of(name: str) -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == f"camera-{name}"]


def fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def live(box: Box, name: str) -> bool:
    lane = box.worker.lane(name)
    return lane is not None and lane.stream.state is StreamState.LIVE


def test_ground_pairs_that_fit_no_view_cost_a_start_neither_the_box_nor_the_camera(tmp_path: Path) -> None:
    """A release that knows more faults of them meets boxes that ran with them."""
    corners = [(0.1, 0.9), (0.9, 0.9), (0.9, 0.5), (0.1, 0.5)]
    places = [(0.0, 0.0), (1e-4, 0.0), (0.0, 3e-4), (1e-4, 3e-4)]
    pairs = [{"picture": p, "lon": lon, "lat": lat} for p, (lon, lat) in zip(corners, places, strict=True)]
    good, wrong = (
        camera("a", "rtsp://127.0.0.1:9/a"),
        camera("b", "rtsp://127.0.0.1:9/b", ground={"pairs": pairs}),
    )
    told: list[tuple[str, dict[str, Any]]] = []

    class Log:
        def warning(self, event: str, **facts: Any) -> None:
            told.append((event, facts))

        def info(self, event: str, **facts: Any) -> None:
            """What is no trouble."""

        debug = error = info

    box = Box(config_of(tmp_path, good, wrong), Log())
    try:
        assert [lane.camera.id for lane in box.worker.lanes] == ["a", "b"]
        refused = [facts for event, facts in told if event == "camera.ground_refused"]
        assert [f["camera"] for f in refused] == ["b"]
        assert "exchanged" in refused[0]["reason"]
        # What comes new is refused by name.
        other = camera("c", "rtsp://127.0.0.1:9/c", ground={"pairs": pairs})
        failed = box.worker.add([CameraConfig.model_validate(other)])
        assert "exchanged" in failed["c"]
    finally:
        box.stop()


def test_a_camera_that_does_not_change_loses_nothing_and_one_that_goes_leaves_nothing(
    tmp_path: Path, served: ServedLoopCam
) -> None:
    one = {name: camera(name, served.url(name)) for name in "abcd"}
    box = Box(config_of(tmp_path, one["a"], one["b"]), get_logger())
    box.start()
    try:
        wait(lambda: live(box, "a") and live(box, "b"))
        kept = box.worker.lane("a")
        assert kept is not None
        before, ring = fds(), kept.stream.ring
        changes = box.apply(config_of(tmp_path, one["a"], one["c"]))
        assert changes == Changes(removed=("b",), added=("c",), kept=("a",))
        assert threads_of("b") == []
        wait(lambda: live(box, "c") and served.cameras["b"].clients == 0)
        assert [lane.camera.id for lane in box.worker.lanes] == ["a", "c"]
        # Another address of the same camera: its stream is another one.
        box.apply(config_of(tmp_path, one["a"], camera("c", served.url("d"))))
        wait(lambda: live(box, "c") and served.cameras["d"].clients == 1 and served.cameras["c"].clients == 0)
        # Others come and go, some of them silent; nothing grows.
        served.cameras["b"].faults = Faults(status="503 Service Unavailable")
        for _ in range(6):
            box.apply(config_of(tmp_path, *[one[n] for n in "ab"], camera("c", served.url("d"))))
            box.apply(config_of(tmp_path, one["a"], camera("c", served.url("d"))))
        wait(lambda: fds() <= before and not threads_of("b"))
        assert box.worker.lane("a") is kept
        assert kept.stream.ring is ring
        assert kept.stream.health().connects == 1
        assert served.cameras["a"].plays == 1
        wait(lambda: ring is not None and len(ring.held()) > 40)
        stamps = [p.pts for p in ring.held() if p.pts is not None] if ring else []
        assert {b - a for a, b in itertools.pairwise(stamps)} == {9000}, (
            "90 kHz, ten pictures a second, none lost"
        )
        assert set(box._fitting.stills) == {"a", "c"}
        assert box.worker.dropped("b") == 0
        assert [c.camera_id for c in box._heartbeat(psutil.Process()).cameras] == ["a", "c"]
    finally:
        served.cameras["b"].faults = Faults()
        box.stop()
    assert threads_of("a") == threads_of("c") == []


def test_other_zones_leave_the_stream_and_its_ring_alone(tmp_path: Path, served: ServedLoopCam) -> None:
    box = Box(config_of(tmp_path, camera("a", served.url("a"))), get_logger())
    box.start()
    try:
        wait(lambda: live(box, "a"))
        lane = box.worker.lane("a")
        assert lane is not None
        plays, stream, watch = served.cameras["a"].plays, lane.stream, lane.pipeline.watch
        wider = {**ZONE, "polygon": [[0.2, 0.4], [0.8, 0.4], [0.8, 0.8], [0.2, 0.8]]}
        changes = box.apply(config_of(tmp_path, camera("a", served.url("a"), zones=[wider], name="Gate")))
        assert changes == Changes(redrawn=("a",))
        assert box.worker.lane("a") is lane
        assert (lane.stream, lane.pipeline.watch, served.cameras["a"].plays) == (stream, watch, plays)
        assert lane.camera.name == lane.pipeline.camera.name == "Gate"
        assert lane.pipeline.camera.zones[0].polygon[0] == (0.2, 0.4)
        box.apply(
            config_of(tmp_path, camera("a", served.url("a"), enabled=False), camera("b", served.url("b")))
        )
        assert [x.camera.id for x in box.worker.lanes] == ["b"]
    finally:
        box.stop()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"device": "other"}, "device: a running box cannot change it"),
        ({"model": {"bundle": "default"}}, "model: a running box cannot change it"),
        ({"url": "ftp://viewer:s3cr3t@host/x"}, "cameras[1].url: camera b: no adapter for ftp://"),
        ({"url": "/nowhere/clip.mp4"}, "cameras[1].url: camera b: /nowhere/clip.mp4 is no file"),
    ],
)
def test_a_configuration_that_cannot_be_taken_up_changes_nothing(
    tmp_path: Path, served: ServedLoopCam, change: dict[str, Any], problem: str
) -> None:
    old = config_of(tmp_path, camera("a", served.url("a")))
    box = Box(old, get_logger())
    lanes = box.worker.lanes
    other = camera("b", change.get("url", served.url("b")))
    fields = {k: v for k, v in change.items() if k != "url"}
    new = config_of(tmp_path, camera("a", served.url("c")), other, **fields)
    with pytest.raises(RefusedConfigError) as refused:
        box.apply(new)
    assert refused.value.problems[0].startswith(problem)
    assert "s3cr3t" not in str(refused.value)
    assert (box.config, box.worker.lanes) == (old, lanes)
    box.stop()
    with pytest.raises(RefusedConfigError, match="stopping"):
        box.apply(old)


A, B = camera("a", "rtsp://h/a"), camera("b", "rtsp://h/b")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([A], [A], Changes(kept=("a",))),
        ([A], [A, B], Changes(added=("b",), kept=("a",))),
        ([A, B], [B], Changes(removed=("a",), kept=("b",))),
        ([A], [{**A, "transport": "udp"}], Changes(restarted=("a",))),
        ([A], [{**A, "hardware": "none"}], Changes(restarted=("a",))),
        ([A], [{**A, "sub_url": "rtsp://h/s"}], Changes(restarted=("a",))),
        ([A], [{**A, "clip": {"pre_s": 5}}], Changes(restarted=("a",))),
        ([A], [{**A, "zones": []}], Changes(redrawn=("a",))),
        ([A], [{**A, "sampling": {"hold_s": 1}}], Changes(redrawn=("a",))),
        ([A, B], [{**A, "enabled": False}, B], Changes(removed=("a",), kept=("b",))),
    ],
)
def test_what_a_configuration_changes(
    tmp_path: Path, old: list[dict[str, Any]], new: list[dict[str, Any]], expected: Changes
) -> None:
    found = compare(config_of(tmp_path, *old), config_of(tmp_path, *new))
    assert found == expected
    assert bool(found) is (old != new)


class _Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda event, **facts: self.lines.append((event, facts))


def test_the_file_is_watched_and_a_bad_one_is_refused_by_field(tmp_path: Path) -> None:
    path, log, applied = tmp_path / "box.yaml", _Log(), list[BoxConfig]()

    def write(**more: Any) -> None:
        entry = camera("a", "rtsp://viewer:${GATE}@h/a", **more)
        whole = {"device": "box", "api": {"url": "http://c", "token": "t"}, "cameras": [entry]}
        path.write_text(yaml.safe_dump(whole))

    (tmp_path / "box.env").write_text("# secrets\nGATE='first'\n")
    (tmp_path / "box.env").chmod(0o600)
    write()
    watch = ConfigWatch(path, lambda c: (applied.append(c), Changes())[1], log)
    assert not watch.look()
    write(name="Gate")
    assert not watch.look(), "it may still be written"
    assert watch.look()
    assert applied[-1].cameras[0].name == "Gate"
    assert applied[-1].cameras[0].url.get_secret_value() == "rtsp://viewer:first@h/a"
    write(naem="Gate")
    watch.look()
    watch.look()
    assert len(applied) == 1
    assert log.lines[-1][0] == "config.refused"
    assert "cameras[0].naem" in watch.problem
    assert not watch.look(), "it is told once"
    (tmp_path / "box.env").write_text("GATE=second-word\n")
    write(name="Gate")
    watch.poke()
    assert watch.look()
    assert applied[-1].cameras[0].url.get_secret_value() == "rtsp://viewer:second-word@h/a"
    assert watch.problem == ""
    path.unlink()
    watch.look()
    watch.look()
    assert "cannot be read" in watch.problem
    assert "second-word" not in str(log.lines)


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [("A=1\nrubbish\n", 0o600, "box.env:2: not NAME=value"), ("A=1\n", 0o644, "chmod 600")],
)
def test_a_file_of_secrets_is_for_the_box_alone(tmp_path: Path, text: str, mode: int, problem: str) -> None:
    path = tmp_path / "box.env"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=problem):
        read_env(path)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ('A="a b"', "a b"),
        ("A='x'", "x"),
        ("A=pa'", "pa'"),
        ('A="x', '"x'),
        ("A=", ""),
        ("A='", "'"),
    ],
)
def test_a_secret_loses_a_pair_of_quotes_and_nothing_else(tmp_path: Path, line: str, value: str) -> None:
    path = tmp_path / "box.env"
    path.write_text(line + "\n")
    path.chmod(0o600)
    assert read_env(path) == {"A": value}


def test_a_running_process_takes_a_camera_up_by_its_file_and_by_a_signal(
    tmp_path: Path, served: ServedLoopCam
) -> None:
    path = tmp_path / "box.yaml"

    def write(*cameras: dict[str, Any], **more: Any) -> None:
        path.write_text(
            json.dumps({**json.loads(config_of(tmp_path, A).model_dump_json()), **more, "cameras": cameras})
        )

    api = {"url": "http://127.0.0.1:1", "token": "t"}
    write(camera("a", served.url("a")), api=api)
    out = (tmp_path / "log").open("w+")
    box = subprocess.Popen([sys.executable, "-m", "curbwatch", "edge", "run", str(path)], stderr=out)
    log = lambda: Path(out.name).read_text()  # noqa: E731
    try:
        wait(lambda: '"state": "live"' in log())
        write(camera("a", served.url("a")), camera("b", served.url("b")), api=api)
        wait(lambda: served.cameras["b"].clients == 1)
        write(camera("a", "gopher://x"), api=api)
        box.send_signal(signal.SIGHUP)
        wait(lambda: "config.refused" in log())
        assert "cameras[0].url: camera a: no adapter for gopher://" in log()
        assert served.cameras["a"].clients == served.cameras["b"].clients == 1
        write(camera("b", served.url("b")), api=api)
        box.send_signal(signal.SIGHUP)
        wait(lambda: served.cameras["a"].clients == 0)
        assert served.cameras["b"].clients == 1
    finally:
        box.send_signal(signal.SIGTERM)
        assert box.wait(120) == 0
        out.close()
    assert "s3cr3t" not in log()


def test_what_a_camera_leaves_on_the_disk_has_an_end(tmp_path: Path) -> None:
    sites = SiteStore(tmp_path / "sites.db")
    now = datetime(2026, 5, 1, tzinfo=UTC)
    for name in ("here", "gone"):
        StillStore(tmp_path / "stills" / name).put(
            "s", "first", Still(b"\xff\xd8\xff\xd9", now - timedelta(days=3), 1, 1)
        )
        body = json.dumps({"first": [(now - timedelta(days=3)).timestamp(), 0.0], "last": None})
        sites._db.execute("INSERT INTO sites VALUES (?, ?, ?)", (f"site-{name}", name, body))
    leftovers = Leftovers(tmp_path, sites, lambda: ["here"])
    assert leftovers.expire(now - timedelta(days=4)) == 0
    assert leftovers.expire(now - timedelta(days=2)) == 2
    assert sites._db.execute("SELECT camera FROM sites").fetchall() == [("here",)]
    assert [p.name for p in (tmp_path / "stills").iterdir()] == ["here"]
    sites.close()
