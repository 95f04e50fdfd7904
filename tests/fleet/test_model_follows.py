"""A box follows the centre's model over real HTTP: fetched, run on trial, kept, taken back; and a bundle that ends its worker."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, ClassVar

import httpx
import pytest
import yaml
from fleet_parts import city
from sqlalchemy import select

from api.tables import HeartbeatRow
from contract import utc_now
from curbwatch.releasing.repository import Repository
from edge.box import Box as RunningBox
from edge.config import BoxConfig
from edge.fleet.enrol import ROOT
from edge.fleet.health_window import Look
from edge.fleet.models import WRONG, ModelFromCentre
from edge.fleet.settings import FleetConfig
from edge.fleet.state import read_state, write_bytes, write_state
from edge.log import get_logger
from models.bundle import Bundle, embedded, write_manifest
from models.bundle import load_bundle as load
from models.detector import Detector


class Quiet(SimpleHTTPRequestHandler):
    """A file server that can answer with a page instead, as long as the file where it `fills`."""

    page, fills = "", False
    pages: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if not self.page or self.page not in self.path:
            super().do_GET()
            return
        self.pages.append(self.path)
        text = b"<html>Please sign in</html>"
        text = text.ljust(Path(self.translate_path(self.path)).stat().st_size) if self.fills else text
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: object) -> None:
        return


def wait(met: Callable[[], Any], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.02)


class Box:
    """A box that starts again as the supervisor lets it, and asks its model."""

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        self.data, self.url = folder / "data", url
        write_bytes(self.data / "fleet" / ROOT, root)
        self.asked, self.centre = Event(), httpx.Client(timeout=60, trust_env=False)
        self.start()

    def start(self, opened: Callable[[Bundle], Bundle] = lambda bundle: bundle) -> None:
        settings = FleetConfig(window_s=10.0, releases_url=self.url)
        self.models = ModelFromCentre(self.data, settings, "http://127.0.0.1:9", get_logger())
        self.asked.clear()
        bundle = self.models.load("centernet", opened)
        self.runs = f"{bundle.manifest.name}@{bundle.manifest.version}"

    def wish(self, model: str | None) -> None:
        self.models.obey(model, self.centre, lambda: self.look(0.0), self.asked.set)

    def look(self, at_s: float, live: str = "ab") -> Look:
        return Look(at_s, frozenset(live), frozenset("ab"))

    def watch(self, at_s: float, live: str = "ab") -> None:
        self.models.watch(self.look(at_s, live), self.asked.set)

    def on_trial(self, model: str) -> None:
        self.wish(model)
        wait(self.asked.is_set)
        self.start()
        assert (self.runs, self.models.slots.phase) == (model.partition("/")[2], "trial")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    repo, keys = tmp_path / "repo", tmp_path / "keys"
    signer = Repository(repo, keys, datetime.now(UTC))
    signer.create()
    signer.delegate("north")
    for version in ("7", "8"):
        folder = tmp_path / f"bundle{version}"
        shutil.copytree(embedded().parent / "centernet", folder)
        write_manifest(folder, load(folder).manifest.model_copy(update={"version": version}))
        signer.publish("north", folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(repo)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield Box(
        tmp_path, f"http://127.0.0.1:{server.server_port}", (repo / "metadata" / "1.root.json").read_bytes()
    )
    server.shutdown()
    server.server_close()


def test_a_good_model_is_kept_and_stays(box: Box) -> None:
    own = box.runs
    box.on_trial("north/centernet-mbv3-coco@7")
    assert box.runs != own
    for at in (0.0, 6.0, 11.0):
        box.watch(at)
    assert box.models.slots.phase == "held"
    assert not box.asked.is_set()
    box.start()
    assert box.runs == "centernet-mbv3-coco@7"
    box.wish("north/centernet-mbv3-coco@7")
    box.wish(None)
    assert not box.asked.wait(0.3)


def test_a_model_under_which_cameras_go_down_is_taken_back_and_not_tried_again(box: Box) -> None:
    own = box.runs
    box.on_trial("north/centernet-mbv3-coco@7")
    for at in (0.0, 6.0, 8.0):
        box.watch(at, "a")
    assert box.asked.is_set()
    box.start()
    assert box.runs == own
    assert box.models.slots.phase == "rolled_back"
    assert box.models.slots.refused[0] == "north/centernet-mbv3-coco@7"
    assert "cameras that were live are down" in box.models.slots.refused[1]
    box.wish("north/centernet-mbv3-coco@7")
    assert not box.models.busy
    box.on_trial("north/centernet-mbv3-coco@8")
    assert box.models.slots.refused == ("", ""), "a newer release clears it"


def test_what_was_taken_back_is_tried_again_when_a_person_says_so(box: Box) -> None:
    box.on_trial("north/centernet-mbv3-coco@7")
    for at in (0.0, 6.0, 8.0):
        box.watch(at, "a")
    box.start()
    assert not box.models.forgive(0)
    assert box.models.forgive(2)
    assert (box.models.slots.refused, box.models.again) == (("", ""), 2)
    assert not box.models.forgive(2), "once"
    box.on_trial("north/centernet-mbv3-coco@7")
    assert not box.models.forgive(2), "a start does not forget it"
    for at in (0.0, 6.0, 11.0):
        box.watch(at)
    assert box.models.slots.phase == "held"


def test_a_worker_that_is_ending_does_not_judge_the_model_that_comes_after_it(box: Box) -> None:
    box.wish("north/centernet-mbv3-coco@7")
    wait(box.asked.is_set)
    for at in (0.0, 6.0, 8.0, 11.0):
        box.watch(at, "")
    assert box.models.slots.phase == "trial"


def test_a_model_that_ends_its_worker_twice_is_gone_at_the_next_start(box: Box) -> None:
    own = box.runs
    box.on_trial("north/centernet-mbv3-coco@7")
    box.start()  # a power cut, perhaps: nobody judged the trial
    assert (box.runs, box.models.slots.phase) == ("centernet-mbv3-coco@7", "trial")
    box.start()
    assert (box.runs, box.models.slots.phase) == (own, "rolled_back")


def test_a_model_that_was_kept_needs_no_second_trial_to_come_back(box: Box) -> None:
    good, bad = "north/centernet-mbv3-coco@7", "north/centernet-mbv3-coco@8"
    for model in (good, bad):
        box.on_trial(model)
        for at in (0.0, 6.0, 11.0):
            box.watch(at)
        assert box.models.slots.phase == "held"
        box.asked.clear()
    box.wish(good)  # the rollout of the other one was halted
    wait(box.asked.is_set)
    for _ in range(3):
        box.start()  # the power fails again and again
        box.watch(0.0, "")
        box.watch(11.0, "")
        assert (box.runs, box.models.slots.phase) == ("centernet-mbv3-coco@7", "held")
    assert box.models.slots.refused == ("", "")


def test_the_centre_calls_a_model_back_in_the_middle_of_its_trial(box: Box) -> None:
    own, kept = box.runs, "north/centernet-mbv3-coco@7"
    box.on_trial(kept)
    box.wish("own")
    assert box.asked.is_set(), "at once, not after the trial"
    box.start()
    assert (box.runs, box.models.slots.phase, box.models.slots.refused[0]) == (own, "none", "")
    box.wish("own")
    assert not box.asked.is_set()
    box.on_trial(kept)
    for at in (0.0, 6.0, 11.0):
        box.watch(at)
    box.on_trial("north/centernet-mbv3-coco@8")
    box.wish(kept)
    assert box.asked.is_set()
    box.start()
    assert (box.runs, box.models.slots.phase) == ("centernet-mbv3-coco@7", "held")
    box.wish("own")
    box.start()
    assert box.runs == own, "a model that was kept goes too"


def test_a_box_in_safe_mode_lets_go_of_the_model_that_the_centre_takes_back(tmp_path: Path) -> None:
    from edge.config import load_box
    from edge.safe import SafeBox

    data, bad = tmp_path / "data", "north/bad@1"
    write_state(data / "models" / "slots.json", {"active": {"slot": "a", "model": bad}})
    with city(tmp_path / "centre", utc_now) as town:
        town.enrolled(data).close()
        town.admin.put("/fleet/boxes/box-1", json={"model": bad}).raise_for_status()
        told = {
            "device": "box-1", "data_dir": str(data),
            "api": {"url": town.url, "token_file": str(data / "box.token"), "heartbeat_s": 1},
            "cameras": [
                {"id": "away", "url": "rtsp://127.0.0.1:9/none", "place": {"lon": 0.0, "lat": 0.0}}
            ],
        }  # fmt: skip
        (tmp_path / "box.yaml").write_text(yaml.safe_dump(told))
        resting, asked = SafeBox(load_box(tmp_path / "box.yaml"), get_logger()), Event()
        resting.on_restart(asked.set)
        resting.start()
        try:
            wait(
                lambda: (town.admin.get("/fleet/boxes/box-1").json()["reported"] or {}).get("mode") == "safe"
            )
            assert not asked.is_set()
            town.admin.put("/fleet/boxes/box-1", json={"model": "own"}).raise_for_status()
            wait(asked.is_set)
        finally:
            resting.stop()
    assert read_state(data / "models" / "slots.json") == {}


def test_a_release_that_nobody_signed_is_refused_once(box: Box) -> None:
    box.wish("north/centernet-mbv3-coco@9")
    wait(lambda: box.models.slots.phase == "refused")
    assert "no trusted role" in box.models.slots.refused[1]
    assert not box.asked.is_set()


@pytest.mark.parametrize("phase", ["trial", "held"])
def test_a_release_that_does_not_load_on_this_machine_gives_way_and_is_not_fetched_again(
    box: Box, phase: str
) -> None:
    model, slot = "north/centernet-mbv3-coco@7", box.data / "models" / "a"
    shutil.copytree(embedded().parent / "centernet", slot)
    manifest = load(slot).manifest
    (slot / manifest.onnx).write_bytes(b"an operator set that this runtime does not know")
    files = manifest.files | {manifest.onnx: sha256((slot / manifest.onnx).read_bytes()).hexdigest()}
    write_manifest(slot, manifest.model_copy(update={"version": "7", "files": files}))
    at = {"slot": "a", "model": model}
    state = {"trial": at, "boots": 0} if phase == "trial" else {"active": at, "kept": [model]}
    write_state(box.data / "models" / "slots.json", state)
    box.start(lambda bundle: Detector(bundle, "cpu").bundle)
    assert (box.runs, box.models.slots.phase) == ("centernet-mbv3-coco@1", "rolled_back")
    assert box.models.slots.refused[0] == model
    assert "cannot load it" in box.models.slots.refused[1]
    box.wish(model)
    assert not box.models.busy
    assert box.models.forgive(1)
    box.on_trial(model)


def full(state: Path) -> Path:
    """Let a state be written no more."""
    part = state.with_name(f"{state.name}.part")
    part.mkdir(parents=True)
    return part


def test_a_full_disk_holds_up_neither_a_start_nor_the_way_back(box: Box) -> None:
    own, model = box.runs, "north/centernet-mbv3-coco@7"
    box.on_trial(model)
    part = full(box.data / "models" / "slots.json")
    for at in (0.0, 6.0, 8.0):
        box.watch(at, "a")
    assert box.asked.is_set()
    assert box.models.slots.phase == "rolled_back"
    for _ in range(3):
        box.start()  # the disk says still that a model is on trial, and no start can be counted
        assert (box.runs, box.models.slots.phase) == (own, "none")
        box.wish(model)
        wait(lambda: not box.models.busy)
        assert not box.asked.is_set(), "a new start would find the same"
    part.rmdir()
    box.on_trial(model)
    full(box.data / "models" / "slots.json")
    for at in (0.0, 6.0, 11.0):
        box.watch(at)
    assert box.models.slots.phase == "held"
    part.rmdir()
    box.watch(12.0)
    box.start()
    assert (box.runs, box.models.slots.phase) == ("centernet-mbv3-coco@7", "held")


def test_a_box_whose_disk_is_full_at_a_trials_end_goes_back_and_is_still_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[str] = []

    class Centre(Quiet):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/heartbeats":
                beats.append(told["fleet"]["model_phase"])
            self.send_response(503)
            self.end_headers()

        do_PUT = do_POST  # noqa: N815

    data = tmp_path / "data"
    shutil.copytree(embedded().parent / "centernet", data / "models" / "a")
    trial = {"trial": {"slot": "a", "model": "north/x@7"}, "boots": 0}
    write_state(data / "models" / "slots.json", trial)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Centre)
    Thread(target=server.serve_forever, daemon=True).start()
    camera = {"id": "away", "url": "rtsp://127.0.0.1:9/none", "place": {"lon": 0.0, "lat": 0.0}}
    told = {
        "device": "box-1", "data_dir": data, "fleet": {"window_s": 5}, "cameras": [camera],
        "api": {"url": f"http://127.0.0.1:{server.server_port}", "token": "none-needed", "heartbeat_s": 1},
    }  # fmt: skip
    running, asked = RunningBox(BoxConfig.model_validate(told), get_logger()), Event()
    running.on_restart(asked.set)
    full(data / "models" / "slots.json")

    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(running._fleet.central, "watch", fails)
    running.start()
    try:
        wait(asked.is_set)
        wait(lambda: beats and beats[-1] == "rolled_back")
        assert beats[0] == "trial"
    finally:
        running.stop()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("where", ["metadata", ".onnx"])
def test_a_page_in_a_releases_place_is_waited_out(box: Box, where: str) -> None:
    model = "north/centernet-mbv3-coco@7"
    Quiet.page = where
    try:
        for _ in range(3):
            box.wish(model)
            wait(lambda: not box.models.busy)
        assert box.models.slots.phase == "none"
        assert box.models.waits
        asked = len(Quiet.pages)
        box.wish(model)
        assert not box.models.busy, "it is asked for rarer and rarer"
        assert asked == len(Quiet.pages)
    finally:
        Quiet.page = ""
    box.start()
    box.on_trial(model)
    assert box.models.waits == ""


def test_the_same_wrong_bytes_again_and_again_are_refused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.fleet.models.REST_S", 0.0)
    monkeypatch.setattr(Quiet, "page", ".onnx")
    monkeypatch.setattr(Quiet, "fills", True)
    model = "north/centernet-mbv3-coco@7"
    for turn in range(WRONG):
        assert box.models.slots.phase == "none", turn
        box.wish(model)
        wait(lambda: not box.models.busy)
    assert (box.models.slots.phase, box.models.slots.refused[0]) == ("refused", model)
    assert "released hash" in box.models.slots.refused[1]


def test_a_slot_that_rots_on_the_disk_gives_way_to_the_files_own(box: Box) -> None:
    own = box.runs
    box.on_trial("north/centernet-mbv3-coco@7")
    for at in (0.0, 6.0, 11.0):
        box.watch(at)
    onnx = next((box.data / "models").rglob("*.onnx"))
    onnx.write_bytes(b"rot" + onnx.read_bytes()[3:])
    box.start()
    assert box.runs == own


def test_a_real_box_fetches_runs_and_takes_back_what_the_centre_wishes(tmp_path: Path) -> None:
    """Supervisor, worker, centre, releases and a rollout as they are in service; the one camera is away, so that no trial is good."""
    releases = tmp_path / "centre" / "releases"
    signer = Repository(releases, tmp_path / "keys", datetime.now(UTC))
    signer.create()
    signer.delegate("north")
    folder = tmp_path / "bundle"
    shutil.copytree(embedded().parent / "centernet", folder)
    write_manifest(folder, load(folder).manifest.model_copy(update={"version": "7"}))
    model = signer.publish("north", folder)
    with city(tmp_path / "centre", utc_now) as town:
        data = tmp_path / "data"
        town.enrolled(data).close()
        camera = {
            "id": "away", "url": "rtsp://127.0.0.1:9/none", "place": {"lon": 0.0, "lat": 0.0},
            "zones": [{"id": "kerb", "kind": "no_parking", "polygon": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]}],
        }  # fmt: skip
        told = {
            "device": "box-1", "data_dir": str(data), "fleet": {"window_s": 5},
            "api": {"url": town.url, "token_file": str(data / "box.token"), "heartbeat_s": 1},
            "cameras": [camera],
        }  # fmt: skip
        (tmp_path / "box.yaml").write_text(yaml.safe_dump(told))
        seen: list[str] = []

        def reported() -> dict[str, Any]:
            state = town.admin.get("/fleet/boxes/box-1").json()["reported"] or {}
            now = f"{state.get('model_name', '')} {(state.get('fleet') or {}).get('model_phase', '')}"
            if state and (not seen or seen[-1] != now):
                seen.append(now)
            return state.get("fleet") or {}

        process = subprocess.Popen(
            [sys.executable, "-m", "curbwatch", "edge", "run", str(tmp_path / "box.yaml")]
        )
        try:
            wait(lambda: bool(reported()), 90)
            plan = {"shadow": None, "rings": [{"name": "all"}]}
            begun = town.admin.post("/fleet/rollouts", json={"candidate": model, "plan": plan})
            rollout = f"/fleet/rollouts/{begun.raise_for_status().json()['id']}"
            wait(lambda: reported().get("model_phase") == "rolled_back", 120)
            assert reported()["model_refused"] == model
            assert "no camera is live" in reported()["model_reason"]
            with town.core.db.read() as session:
                beats = [row.body for row in session.scalars(select(HeartbeatRow))]
            tried = {b["model_name"] for b in beats if b["fleet"]["model_phase"] == "trial"}
            assert "centernet-mbv3-coco" in tried
            told = town.admin.get(rollout).json()
            assert (told["status"], told["champion"]) == ("halted", "own")
            assert "box-1: no camera is live" in told["why"]
            assert town.admin.get("/fleet/boxes/box-1").json()["desired"]["model"] == "own"
            own = seen[0].split(" ")[0]
            wait(lambda: bool(reported()) and seen[-1] == f"{own} rolled_back", 60)
        finally:
            process.terminate()
            assert process.wait(60) == 0
