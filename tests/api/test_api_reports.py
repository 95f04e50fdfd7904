"""Reports by others: linked with the machine's cases both ways, counted as missed or found."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from api_parts import Centre

LON, LAT = 112.5489, 37.8706


def place(metres: float, source: str = "homography", error: float = 3.0) -> dict[str, Any]:
    told = {"semi_major_m": error, "semi_minor_m": error, "bearing_deg": 0.0}
    return {"lon": LON, "lat": LAT + metres / 111_195, "error": told, "source": source}


def report(house: Centre, number: str = "1", metres: float = 0.0, **changes: Any) -> dict[str, Any]:
    return {
        "channel": "hotline", "external_id": number, "issue": "parking.motor", "lon": LON,
        "lat": LAT + metres / 111_195, "error_m": 20.0, "text": "a van on the kerb",
        "reported_at": house.clock().isoformat(),
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("metres", "changes", "linked"),
    [
        (15, {}, True),
        (40, {}, False),
        (45, {"error_m": 45}, True),
        (60, {"error_m": 200}, False),
        (5, {"issue": "dumping.exposed"}, False),
    ],
)
def test_a_report_joins_the_machines_case(
    house: Centre, metres: float, changes: dict[str, Any], linked: bool
) -> None:
    case, root = house.case(place=place(0)), house.person("root", "admin")
    house.clock.pass_s(600)
    answer = root.post("/reports", json=report(house, metres=metres, **changes))
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["case_id"] == case) is linked
    assert told["by_machine"] is linked
    assert told["ahead_s"] == (600 if linked else None)
    assert told["case_state"] == ("in_review" if linked else "confirmed")
    again = root.post("/reports", json=report(house, metres=metres, **changes))
    assert (again.status_code, again.json()["id"]) == (200, told["id"])


def test_an_alert_joins_what_people_reported_and_only_one_thing(house: Centre) -> None:
    root = house.person("root", "admin")
    told = root.post("/reports", json=report(house)).json()
    house.clock.pass_s(300)
    first, second = house.case(place=place(4)), house.case(place=place(9))
    assert first == told["case_id"]
    assert second != first, "the next car is another case"
    seen = root.get(f"/reports/{told['id']}").json()
    assert (seen["ahead_s"], seen["by_machine"]) == (-300, False)
    case = root.get(f"/cases/{first}").json()
    assert (case["source"], case["camera_id"], case["place"]["source"]) == ("hotline", "gate", "reported")
    assert [e["action"] for e in root.get(f"/cases/{first}/audit").json()["entries"]] == [
        "case.opened",
        "case.joined",
    ]


def test_the_miss_rate_counts_valid_reports_in_reach(house: Centre) -> None:
    root = house.person("root", "admin")
    found = house.case(place=place(0))
    root.post(f"/cases/{found}/verdicts", json={"kind": "confirm"})
    house.clock.pass_s(1200)
    root.post("/reports", json=report(house, "found"))
    root.post("/reports", json=report(house, "missed", 0, issue="dumping.exposed"))
    root.post("/reports", json=report(house, "far", 5000))
    wrong = root.post("/reports", json=report(house, "wrong", 0, issue="vendor.unlicensed")).json()
    void = {"step": "void", "reason": "nothing there"}
    assert root.post(f"/cases/{wrong['case_id']}/steps", json=void).is_success
    told = root.get("/stats/indicators", params={"by": "channel"}).json()
    assert told["total"]["miss_rate"] == 0.5
    assert told["total"]["median_ahead_min"] == 20
    assert {g["key"]: g["reported"] for g in told["groups"]} == {"camera_ai": 1, "hotline": 3}


def test_a_person_links_a_report_and_its_own_case_is_merged(house: Centre) -> None:
    root = house.person("root", "admin")
    case = house.case(place=place(0))
    told = root.post("/reports", json=report(house, metres=200)).json()
    linked = root.post(f"/reports/{told['id']}/link", json={"case_id": case})
    assert linked.json()["case_id"] == case
    assert root.get(f"/cases/{told['case_id']}").json()["state"] == "merged"
    assert [r["id"] for r in root.get("/reports", params={"case_id": case}).json()] == [told["id"]]
    other = house.case(place=place(900))
    root.post(f"/cases/{case}/verdicts", json={"kind": "merge", "into": other})
    assert root.get(f"/reports/{told['id']}").json()["case_id"] == other, "a merge takes its reports along"
    undo = root.get(f"/cases/{case}").json()["verdicts"][-1]["id"]
    assert root.delete(f"/cases/{case}/verdicts/{undo}").is_success
    assert root.get(f"/reports/{told['id']}").json()["case_id"] == case
    root.post(f"/cases/{other}/verdicts", json={"kind": "reject", "reason": 1})
    assert root.post(f"/reports/{told['id']}/link", json={"case_id": other}).status_code == 409


def test_a_report_that_moves_to_a_persons_case_was_not_found_by_a_camera(house: Centre) -> None:
    root = house.person("root", "admin")
    house.case(place=place(0))
    house.clock.pass_s(600)
    told = root.post("/reports", json=report(house)).json()
    assert (told["by_machine"], told["ahead_s"]) == (True, 600.0)
    other = root.post("/reports", json=report(house, "2", 900)).json()["case_id"]
    moved = root.post(f"/reports/{told['id']}/link", json={"case_id": other}).json()
    assert (moved["by_machine"], moved["ahead_s"]) == (False, None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"channel": "camera_ai"}, "channel"),
        ({"reported_at": "2036-01-01T00:00:00Z"}, "reported_at"),
        ({"reported_at": "2026-01-01T00:00:00"}, "reported_at"),
        ({"lat": 100}, "lat"),
        ({"phone": "1"}, "phone"),
        ({"text": "a\x01b"}, "text"),
        ({"external_id": "1\x0b"}, "external_id"),
        ({"text": "a\ufffe"}, "text"),
    ],
)
def test_a_wrong_report_names_the_field(house: Centre, changes: dict[str, Any], field: str) -> None:
    answer = house.person("root", "admin").post("/reports", json=report(house, **changes))
    assert answer.status_code == 422
    assert field in answer.json()["detail"]


def test_a_citizens_key_sends_and_asks_and_sees_nothing_else(house: Centre) -> None:
    root, house_key = house.person("root", "admin"), house.anonymous()
    secret = root.post("/keys", json={"name": "app", "kind": "citizen"}).json()["secret"]
    house_key.headers["Authorization"] = f"Bearer {secret}"
    told = report(house, channel="citizen", reported_at=(house.clock() - timedelta(minutes=3)).isoformat())
    made = house_key.post("/reports", json=told).json()
    assert house_key.get(f"/reports/{made['id']}").json()["case_state"] == "confirmed"
    assert house_key.get(f"/cases/{made['case_id']}").status_code == 403
    assert house_key.get("/reports").status_code == 403


def test_a_citizens_key_does_not_speak_as_the_hotline(house: Centre) -> None:
    root, keys = house.person("root", "admin"), {}
    for kind in ("citizen", "city"):
        keys[kind] = house.anonymous()
        secret = root.post("/keys", json={"name": kind, "kind": kind}).json()["secret"]
        keys[kind].headers["Authorization"] = f"Bearer {secret}"
    for channel in ("hotline", "collector"):
        refused = keys["citizen"].post("/reports", json=report(house, text="nothing", channel=channel))
        assert (refused.status_code, "channel" in refused.json()["detail"]) == (403, True)
        taken = keys["city"].post("/reports", json=report(house, text="the real one", channel=channel))
        assert (taken.status_code, taken.json()["text"]) == (201, "the real one")
