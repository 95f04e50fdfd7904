"""The jobs of a replica outlive what goes wrong within them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, centre
from box_parts import SigningBox
from sqlalchemy import select
from structlog.testing import capture_logs

from api.app import _roll
from api.city_loop import exchange_forever
from api.core import Core
from api.examples import HEARTBEAT
from api.log import going_on
from api.pack import CityService
from api.rollouts import tick
from api.stamps import stamp_forever
from api.tables_fleet import Rollout, RolloutBox
from contract import IssueClass, new_id

BAD_PORT = "http://city.example:s3cret/v2"


def lives(job: Callable[[Core], Awaitable[None]], core: Core, seconds: float = 1.5) -> list[Any]:
    """Run a job for a moment; it must not end. Return what it logged."""

    async def run() -> None:
        task = asyncio.ensure_future(job(core))
        done, _ = await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not done, "the job has ended"

    with capture_logs() as logs:
        asyncio.run(run())
    return list(logs)


def two_rollouts(house: Centre) -> tuple[str, str]:
    """Begin a rollout each for two boxes; the report of the first's box is what no contract lets in."""
    root = house.person("root", "admin")
    made = []
    for box in ("b0", "b1"):
        house.box(box)
        assert root.put(f"/fleet/boxes/{box}", json={"labels": {"box": box}, "model": "own"}).is_success
        plan = {"rings": [{"name": "all", "labels": {"box": box}}]}
        answer = root.post("/fleet/rollouts", json={"candidate": "north/m@2", "plan": plan})
        assert answer.status_code == 201, answer.text
        made.append(str(answer.json()["id"]))
    with house.core.db.write() as session:
        row = session.scalars(select(RolloutBox).where(RolloutBox.rollout_id == made[0])).one()
        row.report = {"model": "north/m@2", "frames": -1}
    return made[0], made[1]


def looked_at(house: Centre, rollout: str) -> bool:
    with house.core.db.read() as session:
        return session.get_one(Rollout, rollout).evidence is not None


def test_one_broken_rollout_stops_no_other(house: Centre) -> None:
    broken, sound = two_rollouts(house)
    with capture_logs() as logs:
        tick(house.core)
    assert (looked_at(house, broken), looked_at(house, sound)) == (False, True)
    (told,) = [line for line in logs if line["log_level"] == "error"]
    assert (told["event"], told["rollout"], told["error"]) == ("rollout.failed", broken, "ValidationError")


def test_the_rollouts_job_goes_on(tmp_path: Path) -> None:
    with centre(tmp_path, rollout_every_s=0.2) as house:
        _, sound = two_rollouts(house)
        lives(_roll, house.core)
        assert looked_at(house, sound)


@pytest.mark.parametrize(
    ("field", "value"), [("frames", 10**400), ("champion_ms", float("inf")), ("candidate_ms", float("nan"))]
)
def test_a_heartbeat_with_numbers_that_nothing_can_hold_is_refused(
    house: Centre, field: str, value: Any
) -> None:
    fleet = {"fleet": {"shadow": {"model": "north/m@2", field: value}}}
    body = json.dumps(HEARTBEAT | {"id": new_id(), "device_id": "box-1"} | fleet)
    answer = house.box().post("/heartbeats", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert field in answer.text


def test_an_address_that_is_none_ends_no_job(tmp_path: Path) -> None:
    """The client's own fault about an address is neither of HTTP nor of the store; its text would show the address."""
    with centre(tmp_path / "data", open311_url=BAD_PORT, tsa_url=BAD_PORT, open311_pull=True) as house:
        box = SigningBox(house, tmp_path)
        box.enrol()
        box.send()
        told = {IssueClass.PARKING_MOTOR: CityService(code="7")}
        house.core.__dict__["pack"] = house.core.pack.model_copy(update={"open311": told})
        for job, name in ((exchange_forever, "open311.failed"), (stamp_forever, "stamps.failed")):
            logs = lives(job, house.core)
            assert [line["event"] for line in logs] == [name]
            assert "s3cret" not in str(logs)


def test_what_is_caught_is_named_and_where_but_not_its_words() -> None:
    with capture_logs() as logs:
        for fault in (RuntimeError("https://u:s3cret@city"), OSError("disk")):
            with going_on("job.failed", OSError, row=7):
                raise fault
    assert [(line["log_level"], line["error"], line["row"]) for line in logs] == [
        ("error", "RuntimeError", 7),
        ("warning", "OSError", 7),
    ]
    assert logs[0]["where"][-1].startswith("test_api_jobs.py:")
    assert "s3cret" not in str(logs)
    with pytest.raises(asyncio.CancelledError), going_on("job.failed"):
        raise asyncio.CancelledError
