"""What counts as evidence in a rollout, by alerts and decisions over the routes."""

from __future__ import annotations

from api_parts import Centre, event
from rollout_parts import PLAN, Boxes, begin, read, root_of

from api.rollouts import tick
from contract import new_id


def joined(house: Centre, boxes: Boxes, site: str, version: str) -> str:
    """Return the case that an alert of a model's version at a known site comes to."""
    ref = {"name": "m", "version": version, "sha256": "0" * 64, "class_name": "car", "score": 0.9}
    told = event(house.clock(), device_id="b0", camera_id="b0-0", model=ref, key__site_id=site)
    return str(boxes.clients["b0"].post("/alerts", json=told).json()["case_id"])


def precision(house: Centre, rollout: dict[str, object]) -> str:
    assert tick(house.core) == 0
    return str(next(g["reason"] for g in read(house, rollout)["gates"] if g["name"] == "precision"))


def test_a_case_decided_before_the_candidates_alert_says_nothing_of_it(house: Centre) -> None:
    boxes, sites = Boxes(house), [new_id() for _ in range(3)]
    rita = root_of(house, "rita", "reviewer")
    old = [joined(house, boxes, site, "1") for site in sites]
    for case in old[:2]:
        rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).raise_for_status()
    house.clock.pass_s(3600)
    made = begin(house, plan=PLAN | {"shadow": None, "rings": [{"name": "all"}]})
    house.clock.pass_s(3600)
    assert [joined(house, boxes, site, "2") for site in sites] == old
    assert "people confirmed 0 of 0" in precision(house, made)
    house.clock.pass_s(60)
    said = rita.post(f"/cases/{old[2]}/verdicts", json={"kind": "reject", "reason": 1})
    assert "people confirmed 0 of 1" in precision(house, made)
    assert "the champion's 2 of 3" in precision(house, made)
    rita.delete(f"/cases/{old[2]}/verdicts/{said.headers['Verdict-Id']}").raise_for_status()
    assert "people confirmed 0 of 0" in precision(house, made)
