"""A box follows the centre's model over real HTTP: fetched, run on trial, kept, taken back; and a bundle that ends its worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import yaml
from fleet_parts import city
from release_parts import Box, released, wait
from sqlalchemy import select

from api.tables import HeartbeatRow
from contract import utc_now
from edge.fleet.state import read_state, write_state
from edge.log import get_logger


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


def test_a_real_box_fetches_runs_and_takes_back_what_the_centre_wishes(tmp_path: Path) -> None:
    """Supervisor, worker, centre, releases and a rollout as they are in service; the one camera is away, so that no trial is good."""
    releases = tmp_path / "centre" / "releases"
    (model,) = released(releases, tmp_path / "keys", "7")
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
