"""One place, one case."""

from __future__ import annotations

from typing import Any

import pytest
from api_parts import JPEG, Centre, event, evidence_item

from contract import new_id

SITE, CELL = new_id(), "cell-1"


def send(house: Centre, **changes: Any) -> dict[str, Any]:
    answer = house.box().post("/alerts", json=event(house.clock(), **changes))
    assert answer.status_code in {200, 201}, answer.text
    return dict(answer.json())


def shifted(metres: float, error_m: float = 3.0, source: str = "homography") -> dict[str, Any]:
    return {
        "lon": 112.5489,
        "lat": 37.8706 + metres / 111_195,
        "error": {"semi_major_m": error_m, "semi_minor_m": error_m, "bearing_deg": 0.0},
        "source": source,
    }


@pytest.mark.parametrize(
    ("second", "one_case"),
    [
        ({"key__site_id": SITE}, True),
        ({"key__site_id": SITE, "issue": "parking.fire_lane"}, True),
        ({"key__ground_cell": CELL}, True),
        ({"key__ground_cell": CELL, "issue": "dumping.exposed"}, False),
        ({"place": shifted(3), "camera_id": "corner"}, True),
        ({"place": shifted(3)}, False),
        ({"place": shifted(12), "camera_id": "corner"}, False),
        ({"place": shifted(3, 60), "camera_id": "corner"}, False),
        ({"place": shifted(3, source="camera_point"), "camera_id": "corner"}, False),
        ({}, False),
    ],
)
def test_to_which_case_an_alert_belongs(house: Centre, second: dict[str, Any], one_case: bool) -> None:
    first = send(house, key__site_id=SITE, key__ground_cell=CELL, place=shifted(0))
    house.clock.pass_s(60)
    found = send(house, **({"place": shifted(900)} | second))
    assert (found["case_id"] == first["case_id"]) is one_case
    assert found["outcome"] == ("joined" if one_case else "case")


def test_a_later_thing_in_the_same_cell_is_a_new_case(house: Centre) -> None:
    alert = new_id()
    first = send(house, id=alert, key__ground_cell=CELL)
    house.clock.pass_s(60)
    send(house, id=alert, key__ground_cell=CELL, stage="cleared", revision=1)
    house.clock.pass_s(3600)
    assert send(house, key__ground_cell=CELL)["case_id"] != first["case_id"]


def test_a_neighbour_seen_by_the_same_camera_stays_apart(house: Centre) -> None:
    a = send(house, place=shifted(0), camera_id="left")
    b = send(house, place=shifted(3), camera_id="left")
    assert a["case_id"] != b["case_id"]
    # The right camera sees both; each of its alerts goes to the nearer case, none to one that it has already.
    c = send(house, place=shifted(0.5), camera_id="right")
    d = send(house, place=shifted(3.5), camera_id="right")
    assert (c["case_id"], d["case_id"]) == (a["case_id"], b["case_id"])


@pytest.mark.parametrize(
    ("verdict", "hours", "outcome"),
    [
        ({"kind": "reject", "reason": 2}, 1, "joined"),
        ({"kind": "reject", "reason": 2}, 25, "case"),
        ({"kind": "confirm"}, 30, "joined"),
    ],
)
def test_the_place_alerts_again(house: Centre, verdict: dict[str, Any], hours: float, outcome: str) -> None:
    first = send(house, key__site_id=SITE)
    house.person().post(f"/cases/{first['case_id']}/verdicts", json=verdict)
    house.clock.pass_s(hours * 3600)
    again = send(house, key__site_id=SITE)
    assert again["outcome"] == outcome
    state = house.person().get(f"/cases/{again['case_id']}").json()["state"]
    assert (
        state == {"case": "in_review", "joined": "rejected" if "reason" in verdict else "confirmed"}[outcome]
    )


def test_late_messages_change_no_newer_state(house: Centre) -> None:
    alert = new_id()
    send(house, id=alert, revision=0)
    send(house, id=alert, revision=2, stage="cleared")
    late = send(house, id=alert, revision=1, stage="updated")
    case = house.person().get(f"/cases/{late['case_id']}").json()
    assert case["alerts"][0]["stage"] == "cleared"


@pytest.mark.parametrize(
    ("tenant", "camera", "taken"),
    [("/south/", "gate", False), ("/north/", "yard", False), ("/north/", "gate", True)],
)
def test_an_alert_is_its_boxs_and_goes_with_its_camera_within_the_tenant(
    house: Centre, tenant: str, camera: str, taken: bool
) -> None:
    first = event(house.clock())
    case = house.box("box-1", "/north/").post("/alerts", json=first).json()["case_id"]
    house.clock.pass_s(60)
    told = event(
        house.clock(), "cleared", id=first["data"]["id"], key=first["data"]["key"], revision=9,
        device_id="box-2", camera_id=camera, camera_name="Elsewhere", evidence=[evidence_item(JPEG)],
    )  # fmt: skip
    answer = house.box("box-2", tenant).post("/alerts", json=told)
    assert answer.status_code == (200 if taken else 422), answer.text
    reader = house.person("ann", tenant="/north/")
    (alert,) = reader.get(f"/cases/{case}").json()["alerts"]
    assert (alert["stage"], alert["device_id"]) == (("cleared", "box-2") if taken else ("opened", "box-1"))
    assert len(reader.get(f"/cases/{case}/custody").json()["files"]) == taken


def test_merge_by_hand_and_back(house: Centre) -> None:
    a, b = house.case(), house.case()
    rita = house.person()
    assert rita.post(f"/cases/{a}/verdicts", json={"kind": "merge", "into": a}).status_code == 422
    told = rita.post(f"/cases/{b}/verdicts", json={"kind": "merge", "into": a})
    assert told.json()["state"] == "merged"
    assert len(rita.get(f"/cases/{a}").json()["alerts"]) == 2
    rita.delete(f"/cases/{b}/verdicts/{told.headers['Verdict-Id']}")
    assert len(rita.get(f"/cases/{a}").json()["alerts"]) == 1
    assert rita.get(f"/cases/{b}").json()["state"] == "in_review"
