"""Rollouts in the store, over the routes, with heartbeats and decisions as they come: both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, centre, until_waiting
from rollout_parts import LIMITS, NEW, OLD, PLAN, Boxes, begin, desired, read, root_of, verdict_of
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import rollouts
from api.fleet import box_row
from api.rollouts import tick
from api.routes import fleet as routes
from api.tables_fleet import FleetBox, RolloutBox
from bench.servers import drop_database, new_database
from contract import new_id
from edge.fleet.enrol import enrol


def moves(house: Centre, rollout: dict[str, Any]) -> None:
    """The job's look moves it; when not, the gates say why."""
    moved = tick(house.core)
    assert moved == 1, read(house, rollout)["gates"]


@pytest.fixture(params=["sqlite"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Centre]:
    """As the rooms's own, but for heartbeats that come hours apart and no blind second readings."""
    told: dict[str, Any] = {"offline_s": 1e6, "second_share": 0.0, "session_hours": 168}
    if request.param == "sqlite":
        with centre(tmp_path / "data", **told) as made:
            yield made
        return
    url = new_database(request.getfixturevalue("pg_migrated"), f"cw_{new_id()}", "cw_migrated")
    with centre(tmp_path / "data", 2, database_url=url, migrate_at_start=False, pool_size=3, **told) as made:
        yield made
    drop_database(url)


BOTH = pytest.mark.parametrize("house", ["sqlite", "postgresql"], indirect=True)


def to_ring(boxes: Boxes, house: Centre, rollout: dict[str, Any]) -> None:
    """Through the shadow, with cases of the champion's decided."""
    for _ in range(4):
        boxes.case("b1", "confirm")
    boxes.hours(20)
    moves(house, rollout)
    assert read(house, rollout)["stage"] == "early"


@BOTH
def test_a_good_model_reaches_every_box(house: Centre) -> None:
    boxes = Boxes(house)
    made = begin(house)
    assert (made["champion"], made["stage"], made["boxes"]) == (OLD, "shadow", 3)
    told = boxes.beat("b1")
    assert (told["model"], told["shadow"]) == (OLD, {"model": NEW, "share": 0.1})
    wish = root_of(house).put("/fleet/boxes/b1", json={"model": NEW})
    assert wish.status_code == 409, "the rollout decides"
    assert tick(house.core) == 0
    assert verdict_of(read(house, made))["evidence"] == "wait"
    to_ring(boxes, house, made)
    assert desired(house) == {"b0": NEW, "b1": OLD, "b2": OLD}
    assert boxes.beat("b1")["shadow"] is None
    boxes.hours(20)
    assert tick(house.core) == 0, "nobody has decided a case of the candidate's"
    told = read(house, made)
    assert verdict_of(told)["precision"] == "wait"
    assert "confirmed 0 of 0" in next(g["reason"] for g in told["gates"] if g["name"] == "precision")
    for _ in range(4):
        boxes.case("b0", "confirm")
    moves(house, made)
    assert set(desired(house).values()) == {NEW}
    boxes.hours(20)
    for _ in range(4):
        boxes.case("b2", "confirm")
    moves(house, made)
    told = read(house, made)
    assert told["status"] == "done"
    assert [r["holding"] for r in told["rings"]] == [1, 2]
    actions = [h["action"] for h in told["history"]]
    assert actions == ["rollout.began", "rollout.advanced", "rollout.advanced", "rollout.done"]
    assert all(g["verdict"] == "pass" for h in told["history"][1:] for g in h["body"]["gates"])
    assert told["intact"]
    assert set(desired(house).values()) == {NEW}
    assert root_of(house).put("/fleet/boxes/b1", json={"model": OLD}).status_code == 200, "free again"


def test_a_worse_model_is_halted_by_peoples_decisions(house: Centre) -> None:
    boxes = Boxes(house)
    made = begin(house, plan=PLAN | {"limits": LIMITS | {"precision_margin": 0.05}})
    for _ in range(20):
        boxes.case("b1", "confirm")
    to_ring(boxes, house, made)
    boxes.hours(20)
    for _ in range(12):
        boxes.case("b0", "reject")
    moves(house, made)
    told = read(house, made)
    assert told["status"] == "halted"
    assert "people confirmed 0 of 12" in told["why"]
    assert told["history"][-1]["body"]["why"] == told["why"]
    assert set(desired(house).values()) == {OLD}
    assert tick(house.core) == 0


@BOTH
def test_a_box_that_takes_it_back_halts_at_its_heartbeat(house: Centre) -> None:
    boxes = Boxes(house)
    made = begin(house, plan=PLAN | {"shadow": None, "rings": [{"name": "all"}]})
    for name in boxes.names:
        boxes.has[name] = boxes.beat(name)["model"]
    assert set(boxes.has.values()) == {NEW}
    root_of(house).post(f"/fleet/rollouts/{made['id']}/pause", json={"reason": "lunch"}).raise_for_status()
    refused = {"model": OLD, "model_phase": "rolled_back", "model_refused": NEW, "model_reason": "it ended"}
    boxes.has["b1"] = OLD
    assert boxes.beat("b1", fleet=refused)["model"] == OLD, "its own answer already"
    told = read(house, made)
    assert (told["status"], "b1: it ended" in told["why"]) == ("halted", True)
    assert [boxes.beat(name)["model"] for name in ("b0", "b2")] == [OLD, OLD]
    assert told["intact"]


def test_safe_mode_and_unasked_starts_count_under_the_candidate_alone(house: Centre) -> None:
    boxes = Boxes(house)
    plan = PLAN | {"shadow": None, "rings": [{"name": "all"}]}
    made = begin(house, plan=plan)
    boxes.beat("b0", uptime_s=500)
    boxes.beat("b0", uptime_s=3)
    assert tick(house.core) == 0, "the champion's restart"
    boxes.has["b0"] = NEW
    boxes.beat("b0", uptime_s=1)
    for _ in range(2):
        boxes.beat("b0", uptime_s=500)
        boxes.beat("b0", uptime_s=3)
    moves(house, made)
    assert "2 unasked starts" in read(house, made)["why"]
    again = begin(house, plan=plan)
    boxes.has["b0"] = NEW
    boxes.beat("b0")
    boxes.beat("b1", mode="safe")
    assert read(house, again)["status"] == "running", "b1 never ran it"
    boxes.beat("b0", mode="safe")
    assert "safe mode" in read(house, again)["why"]


def test_a_person_pauses_resumes_lets_in_and_aborts(house: Centre) -> None:
    boxes, root = Boxes(house), root_of(house)
    rings = [PLAN["rings"][0], {"name": "rest", "hold": True}]
    made = begin(house, plan=PLAN | {"rings": rings})
    path = f"/fleet/rollouts/{made['id']}"
    root.post(f"{path}/pause", json={"reason": "a holiday"}).raise_for_status()
    boxes.hours(20)
    assert tick(house.core) == 0
    assert read(house, made)["why"] == "a holiday"
    refused = root.post(f"{path}/pause")
    assert (refused.status_code, refused.json()["allowed"]) == (409, ["abort", "resume"])
    root.post(f"{path}/resume").raise_for_status()
    to_ring(boxes, house, made)
    boxes.hours(20)
    for _ in range(4):
        boxes.case("b0", "confirm")
    moves(house, made)
    assert (read(house, made)["status"], desired(house)["b1"]) == ("paused", OLD)
    assert "waits for a person" in read(house, made)["why"]
    root.post(f"{path}/resume").raise_for_status()
    moves(house, made)
    assert desired(house)["b1"] == NEW
    told = root.post(f"{path}/abort", json={"reason": "a doubt"}).json()
    assert (told["status"], told["why"]) == ("aborted", "a doubt")
    assert set(desired(house).values()) == {OLD}
    said = [h["action"].removeprefix("rollout.") for h in told["history"]]
    assert said == ["began", "paused", "resumed", "advanced", "held", "resumed", "advanced", "aborted"]
    assert [h["actor"] for h in told["history"]][-3:] == ["user:root", "job:rollouts", "user:root"]


@BOTH
def test_a_person_finishes_what_a_small_site_can_never_show(house: Centre) -> None:
    boxes, root = Boxes(house, ("b0",)), root_of(house)
    rings = [{"name": "all"}]
    early = f"/fleet/rollouts/{begin(house, plan=PLAN | {'rings': rings})['id']}"
    refused = root.post(f"{early}/finish")
    assert (refused.status_code, refused.json()["allowed"]) == (409, ["abort", "pause"])
    root.post(f"{early}/abort").raise_for_status()
    for _ in range(4):
        boxes.case("b0", "confirm")
    house.clock.pass_s(60)
    limits = LIMITS | {"alerts_most": 2.0}
    made = begin(house, plan=PLAN | {"shadow": None, "rings": rings, "limits": limits})
    path = f"/fleet/rollouts/{made['id']}"
    boxes.hours(0.1)
    for _ in range(6):
        boxes.hours(20)
        boxes.case("b0", "confirm")
        assert tick(house.core) == 0
    waits = {gate for gate, verdict in verdict_of(read(house, made)).items() if verdict != "pass"}
    assert waits == {"alerts"}, "no champion is left whose sample could grow"
    told = root.post(f"{path}/finish", json={"reason": "one box, a good month"}).raise_for_status().json()
    assert (told["status"], told["why"], told["intact"]) == ("done", "one box, a good month", True)
    last = told["history"][-1]
    assert (last["actor"], last["action"], last["body"]["stage"]) == ("user:root", "rollout.finished", "all")
    assert desired(house) == {"b0": NEW}
    assert root.post(f"{path}/finish").status_code == 409
    assert root.put("/fleet/boxes/b0", json={"model": OLD}).status_code == 200, "free again"


@pytest.mark.parametrize("house", ["postgresql"], indirect=True)
def test_a_rollout_that_begins_while_a_box_is_wished_a_model_decides_over_it(
    house: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    Boxes(house)
    root, row_of = root_of(house), routes.box_row
    begins = threading.Thread(
        target=lambda: begin(house, plan=PLAN | {"shadow": None, "rings": [{"name": "all"}]})
    )

    def row(session: Session, device_id: str) -> FleetBox:
        found = row_of(session, device_id)
        begins.start()
        until_waiting(house)
        return found

    monkeypatch.setattr(routes, "box_row", row)
    answer = root.put("/fleet/boxes/b0", json={"model": "north/other@1"})
    begins.join(60)
    assert answer.status_code == 200
    assert set(desired(house).values()) == {NEW}
    with house.core.db.read() as session:
        assert {m.before_model for m in session.scalars(select(RolloutBox))} == {OLD, "north/other@1"}


@pytest.mark.parametrize("house", ["postgresql"], indirect=True)
def test_a_box_that_enrols_again_while_a_rollout_begins_waits_for_its_turn(
    house: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each held what the other wanted: the box its own row, the rollout the right to take boxes."""
    boxes, told = Boxes(house), {"device_id": "b0", "labels": {"street": "long"}, "hours": 1}
    boxes.hours(0.1)
    code = root_of(house).post("/fleet/codes", json=told).json()["code"]
    chosen, gathered, got = threading.Event(), rollouts._members, list[str]()

    def members(*args: Any) -> list[RolloutBox]:
        found = gathered(*args)
        chosen.set()
        until_waiting(house)
        return found

    def enrols() -> None:
        chosen.wait(60)
        got.append(enrol(tmp_path / "b0", house.anonymous(), code).token)

    monkeypatch.setattr(rollouts, "_members", members)
    box = threading.Thread(target=enrols)
    box.start()
    rollout = begin(house)
    box.join(120)
    assert len(got) == 1
    with house.core.db.read() as session:
        row = box_row(session, "b0")
        assert (row.rollout_id, row.labels) == (rollout["id"], {"ring": "early", "street": "long"})


def test_what_cannot_be_begun(house: Centre) -> None:
    boxes, root = Boxes(house), root_of(house)
    empty = PLAN | {"rings": [{"name": "x", "labels": {"ring": "none"}}]}
    answer = root.post("/fleet/rollouts", json={"candidate": NEW, "plan": empty})
    assert answer.status_code == 422
    assert "plan.rings[0].labels" in answer.json()["detail"]
    begin(house)
    second = root.post("/fleet/rollouts", json={"candidate": "north/m@3", "plan": PLAN})
    assert (second.status_code, "is in rollout" in second.json()["detail"]) == (409, True)
    north = house.person("nora", "admin", "/north/")
    assert (
        north.post("/fleet/rollouts", json={"candidate": NEW, "plan": PLAN, "tenant": "/"}).status_code == 403
    )
    assert len(root.get("/fleet/rollouts?status=running").json()) == 1
    assert root.get("/fleet/rollouts?status=done").json() == []
    assert boxes.names


def test_a_fleet_that_never_had_a_release_goes_back_to_its_own_model(house: Centre) -> None:
    boxes = Boxes(house)
    with house.core.db.write() as session:
        for name in boxes.names:
            box_row(session, name).model = None
    boxes.has = dict.fromkeys(boxes.names, "")
    made = begin(house, plan=PLAN | {"shadow": None})
    assert made["champion"] == "own"
    assert (boxes.beat("b0")["model"], boxes.beat("b1")["model"]) == (NEW, "own")
    root_of(house).post(f"/fleet/rollouts/{made['id']}/abort").raise_for_status()
    assert boxes.beat("b0")["model"] == "own"


def test_a_candidate_that_is_not_released_here_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "releases" / "metadata").mkdir(parents=True)
    with centre(tmp_path / "data") as house:
        Boxes(house)
        answer = root_of(house).post("/fleet/rollouts", json={"candidate": NEW, "plan": PLAN})
        assert answer.status_code == 422
        assert "fleet release publish north" in answer.json()["detail"]


def test_camera_days_end_where_a_box_is_silent(tmp_path: Path) -> None:
    with centre(tmp_path / "data", offline_s=90.0) as house:
        boxes = Boxes(house)
        made = begin(house)
        for seconds in (30, 5 * 3600):
            boxes.beat("b1")
            house.clock.pass_s(seconds)
        boxes.beat("b1")
        with house.core.db.read() as session:
            row = session.get_one(RolloutBox, (made["id"], "b1"))
            assert row.champion_camera_s == 4 * (30 + 90)
