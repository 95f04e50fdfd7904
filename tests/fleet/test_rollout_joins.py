"""Boxes that enrol while, after or without a rollout; and a refusal that a person takes away."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import httpx
import pytest
from fleet_parts import City

from api.examples import HEARTBEAT
from api.rollouts import look, plan_of, state_of
from api.tables_fleet import FleetBox, Rollout, RolloutBox
from contract import new_id

OLD, NEW = "north/m@1", "north/m@2"
LIMITS = {"min_hours": 0, "min_camera_days": 0, "min_verdicts": 0, "arrived": 0.5}
PLAN = {
    "shadow": {"share": 0.5, "labels": {"ring": "late"}}, "limits": LIMITS,
    "rings": [{"name": "early", "labels": {"ring": "early"}}, {"name": "late", "labels": {"ring": "late"}}],
}  # fmt: skip


def enrolled(town: City, folder: Path, name: str, ring: str, tenant: str = "/north/") -> dict[str, Any]:
    """Enrol a box as a real one does, and return what it shall have."""
    town.enrolled(folder / name, name, labels={"ring": ring}, tenant=tenant).close()
    wish: dict[str, Any] = town.admin.get(f"/fleet/boxes/{name}").raise_for_status().json()["desired"]
    return wish


def begun(town: City, folder: Path, plan: dict[str, Any]) -> str:
    for name, ring in (("e0", "early"), ("l0", "late")):
        enrolled(town, folder, name, ring)
        town.admin.put(f"/fleet/boxes/{name}", json={"model": OLD}).raise_for_status()
    told = {"candidate": NEW, "plan": plan, "tenant": "/north/"}
    return str(town.admin.post("/fleet/rollouts", json=told).raise_for_status().json()["id"])


def let_on(town: City, rollout: str, stage: int) -> None:
    """Put the rollout into a stage, as the gates do."""
    with town.core.db.write() as session:
        row = session.get_one(Rollout, rollout)
        assert plan_of(row).stages[stage]
        row.state = {**row.state, "stage": stage}
        assert state_of(row).stage == stage


@pytest.mark.parametrize(
    ("stage", "ring", "model", "shadow"),
    [
        (0, "early", OLD, None), (0, "late", OLD, {"model": NEW, "share": 0.5}), (1, "early", NEW, None),
        (1, "late", OLD, None), (2, "late", NEW, None), (1, "none", None, None),
    ],
)  # fmt: skip
def test_a_box_that_enrols_in_a_rollout_gets_what_its_ring_has(
    town: City, tmp_path: Path, stage: int, ring: str, model: str | None, shadow: Any
) -> None:
    rollout = begun(town, tmp_path, PLAN)
    let_on(town, rollout, stage)
    wish = enrolled(town, tmp_path, "fresh", ring)
    assert (wish["model"], wish["shadow"]) == (model, shadow)
    assert enrolled(town, tmp_path, "elsewhere", ring, "/south/")["model"] is None
    with town.core.db.read() as session:
        member = session.get(RolloutBox, (rollout, "fresh"))
        assert (member is not None) == (ring != "none")
    town.admin.post(f"/fleet/rollouts/{rollout}/abort", json={"reason": "rain"}).raise_for_status()
    after = town.admin.get("/fleet/boxes/fresh").json()["desired"]
    assert (after["model"], after["shadow"]) == (model and OLD, None), "back with the others"


def test_after_a_rollout_a_box_gets_what_it_ended_with(town: City, tmp_path: Path) -> None:
    assert enrolled(town, tmp_path, "first", "late")["model"] is None
    rollout = begun(town, tmp_path, PLAN | {"shadow": None})
    town.admin.post(f"/fleet/rollouts/{rollout}/abort").raise_for_status()
    assert enrolled(town, tmp_path, "second", "late")["model"] == OLD
    assert enrolled(town, tmp_path, "second", "early")["model"] == OLD, (
        "a box that enrols again keeps its wish"
    )


def beat(town: City, folder: Path, name: str, **fleet: Any) -> dict[str, Any]:
    head = {"Authorization": f"Bearer {(folder / name / 'box.token').read_text()}"}
    message = {**copy.deepcopy(HEARTBEAT), "id": new_id(), "device_id": name, "at": town.clock().isoformat()}
    answer = httpx.post(
        f"{town.url}/heartbeats", json=message | {"fleet": fleet}, headers=head, timeout=60, trust_env=False
    )
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


def test_a_refusal_is_forgotten_when_a_person_says_so(town: City, tmp_path: Path) -> None:
    limits = LIMITS | {"taken_back": 1.0}
    rollout = begun(town, tmp_path, PLAN | {"shadow": None, "limits": limits})
    bad = {"model": OLD, "model_refused": NEW, "model_reason": "it is hot", "model_phase": "rolled_back"}
    assert town.admin.put("/fleet/boxes/e0", json={"again": "a fan"}).status_code == 409
    assert beat(town, tmp_path, "e0", **bad)["model_again"] == 0
    asked = town.admin.put("/fleet/boxes/e0", json={"again": "a fan"})
    assert "it is hot" in asked.raise_for_status().json()["drift"][0]
    # The box has not heard of it yet, and says once more what it said.
    assert beat(town, tmp_path, "e0", **bad)["model_again"] == 1
    with town.core.db.write() as session:
        assert session.get_one(RolloutBox, (rollout, "e0")).took_back == ""
        look(session, rollout, town.core)
    beat(town, tmp_path, "e0", **bad, model_again=1)
    with town.core.db.read() as session:
        assert session.get_one(RolloutBox, (rollout, "e0")).took_back == "it is hot", "it was no better"
        assert session.get_one(FleetBox, "e0").again == 1
