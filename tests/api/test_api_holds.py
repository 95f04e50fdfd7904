"""A legal hold stays with the evidence through merges, splits and their undoing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, sha
from box_parts import SigningBox, picture
from fastapi.testclient import TestClient

from api.retention import sweep
from contract import new_id

DAY = 86400.0


def hold(sue: TestClient, case: str, reason: str) -> None:
    assert sue.put(f"/cases/{case}/hold", json={"reason": reason}).status_code == 204


def held(sue: TestClient, case: str) -> str | None:
    found: str | None = sue.get(f"/cases/{case}/custody").json()["held"]
    return found


def acts(house: Centre, case: str) -> list[tuple[str, dict[str, Any]]]:
    audit = house.person("aud", "auditor").get(f"/cases/{case}/audit").json()
    assert audit["intact"]
    return [(e["action"], e["body"]) for e in audit["entries"]]


def merge(who: TestClient, case: str, into: str) -> str:
    answer = who.post(f"/cases/{case}/verdicts", json={"kind": "merge", "into": into})
    assert answer.status_code == 200, answer.text
    return str(answer.headers["Verdict-Id"])


@pytest.mark.parametrize("how", ["merge", "split"])
def test_held_evidence_that_moves_to_another_case_stays(house: Centre, tmp_path: Path, how: str) -> None:
    box, sue, site = SigningBox(house, tmp_path), house.person("sue", "supervisor"), new_id()
    case = box.send(picture(1), key__site_id=site)
    if how == "split":
        assert box.send(picture(2), key__site_id=site) == case
    hold(sue, case, "court 7")
    if how == "merge":
        last = box.send(picture(3))
        merge(house.person(), case, last)
    else:
        first = sue.get(f"/cases/{case}").json()["alerts"][0]["id"]
        last = sue.post(f"/cases/{case}/split", json={"alerts": [first]}).json()["id"]
    assert ("case.held", {"reason": "court 7", "from": case}) in acts(house, last)
    assert held(sue, last) == held(sue, case) == "court 7"
    sue.post(f"/cases/{last}/verdicts", json={"kind": "reject", "reason": 1})
    house.clock.pass_s(400 * DAY)
    sue = house.person("sue", "supervisor")
    assert asyncio.run(sweep(house.core)).cases == 0
    assert asyncio.run(house.core.store.size(sha(picture(1)))) is not None
    assert sue.delete(f"/cases/{last}/hold", params={"reason": "judged"}).status_code == 204
    asyncio.run(sweep(house.core))
    assert asyncio.run(house.core.store.size(sha(picture(1)))) is None


def test_a_merge_that_is_taken_back_leaves_the_holds_as_they_were(house: Centre) -> None:
    sue = house.person("sue", "supervisor")
    one, two, three = house.case(), house.case(), house.case()
    hold(sue, one, "court 7")
    hold(sue, three, "the city's auditor")
    verdict = merge(sue, one, two)
    assert sue.delete(f"/cases/{one}/verdicts/{verdict}").status_code == 200
    assert (held(sue, one), held(sue, two)) == ("court 7", None)
    assert [a for a, _ in acts(house, two)][-2:] == ["case.gave_back", "case.released"]
    verdict = merge(sue, one, three)
    assert held(sue, three) == "the city's auditor; court 7"
    assert sue.delete(f"/cases/{one}/verdicts/{verdict}").status_code == 200
    assert held(sue, three) == "the city's auditor"
    verdict = merge(sue, one, two)
    house.clock.pass_s(5)
    hold(sue, two, "court 7")
    assert sue.delete(f"/cases/{one}/verdicts/{verdict}").status_code == 200
    assert held(sue, two) == "court 7", "a person has held it since"


@pytest.mark.parametrize("of_its_own", [False, True])
@pytest.mark.parametrize("there_before", [False, True])
def test_a_hold_that_came_after_the_merge_goes_back_with_the_evidence(
    house: Centre, of_its_own: bool, there_before: bool
) -> None:
    sue, one, two = house.person("sue", "supervisor"), house.case(), house.case()
    if of_its_own:
        hold(sue, one, "the city's auditor")
    if there_before:
        hold(sue, two, "court 1")
    house.clock.pass_s(1)
    verdict = merge(sue, one, two)
    house.clock.pass_s(2)
    if there_before:
        assert sue.delete(f"/cases/{two}/hold", params={"reason": "judged"}).status_code == 204
    hold(sue, two, "court 7")
    assert sue.delete(f"/cases/{one}/verdicts/{verdict}").status_code == 200
    assert held(sue, two) == "court 7"
    assert held(sue, one) == ("the city's auditor; court 7" if of_its_own else "court 7")
    assert acts(house, one)[-1] == ("verdict.undone", {"verdict": verdict})
    assert ("case.held", {"reason": "court 7", "from": two}) in acts(house, one)


def test_a_hold_that_the_target_had_before_stays_there_alone(house: Centre) -> None:
    sue, one, two = house.person("sue", "supervisor"), house.case(), house.case()
    hold(sue, two, "court 7")
    verdict = merge(sue, one, two)
    assert sue.delete(f"/cases/{one}/verdicts/{verdict}").status_code == 200
    assert (held(sue, one), held(sue, two)) == (None, "court 7")


def test_a_merged_case_cannot_be_held_in_place_of_the_one_with_its_evidence(house: Centre) -> None:
    sue, one, two = house.person("sue", "supervisor"), house.case(), house.case()
    merge(sue, one, two)
    refused = sue.put(f"/cases/{one}/hold", json={"reason": "court 7"})
    assert refused.status_code == 409
    assert sue.get(f"/cases/{two}").json()["number"] in refused.json()["detail"]


def test_two_long_reasons_fit(house: Centre) -> None:
    sue, one, two = house.person("sue", "supervisor"), house.case(), house.case()
    hold(sue, one, "a" * 300)
    hold(sue, two, "b" * 300)
    merge(sue, one, two)
    assert held(sue, two) == "b" * 300
    assert acts(house, two)[-1] == ("case.held", {"reason": "a" * 300, "from": one}), "in full in the audit"


def test_a_reports_case_takes_its_hold_along(house: Centre) -> None:
    sue, two = house.person("sue", "supervisor"), house.case()
    told: dict[str, Any] = {
        "channel": "hotline", "external_id": "7", "issue": "parking.motor", "lon": 112.1, "lat": 37.1,
        "reported_at": house.clock().isoformat(),
    }  # fmt: skip
    report = sue.post("/reports", json=told).json()
    hold(sue, report["case_id"], "court 7")
    assert sue.post(f"/reports/{report['id']}/link", json={"case_id": two}).status_code == 200
    assert held(sue, two) == "court 7"
