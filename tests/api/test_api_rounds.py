"""Call-outs with the look after them, looks before a deadline, and what merges and splits leave behind."""

from __future__ import annotations

from datetime import datetime, timedelta

from api_parts import Centre, event

from api import inspections
from api.examples import HEARTBEAT
from api.tables import CaseRow


def _moved(house: Centre) -> None:
    house.clock.pass_s(5 * 3600 + 59 * 60 + 30)  # 21:59:30 in the city


def test_the_look_after_a_call_out_waits_its_three_minutes(house: Centre) -> None:
    root, case, box = house.person("root", "admin"), house.case(), house.box()
    asked = root.post(f"/cases/{case}/inspections").json()
    root.post(f"/cases/{case}/callouts", json={"message": "move_vehicle"})
    (order,) = box.post("/heartbeats", json=HEARTBEAT).json()["callouts"]
    report = {
        "order_id": order["id"], "camera_id": "gate", "device_id": "box-1", "played": True,
        "at": house.clock().isoformat(),
    }  # fmt: skip
    assert box.post(f"/callouts/{order['id']}/report", json=report).status_code == 204
    looks = {x["why"]: x for x in root.get(f"/cases/{case}/inspections").json()}
    assert len(looks) == 2, "the look that waited may come too soon"
    with house.core.db.read() as session:
        from api.tables import Inspection

        row = session.get_one(Inspection, looks["callout"]["id"])
        assert row.not_before == house.clock() + timedelta(minutes=3)
    assert root.post(f"/cases/{case}/inspections").json()["id"] == asked["id"], "and no third one"


def test_a_call_out_does_not_reach_into_quiet_hours(house: Centre) -> None:
    root, case, box = house.person("root", "admin"), house.case(), house.box()
    _moved(house)
    assert root.post(f"/cases/{case}/callouts", json={"message": "move_vehicle"}).status_code == 201
    (order,) = box.post("/heartbeats", json=HEARTBEAT).json()["callouts"]
    assert 0 < (datetime.fromisoformat(order["expires_at"]) - house.clock()).total_seconds() < 30
    house.clock.pass_s(30)
    assert box.post("/heartbeats", json=HEARTBEAT).json()["callouts"] == []
    refused = root.post(f"/cases/{case}/callouts", json={"message": "move_vehicle"})
    assert refused.status_code == 409
    assert "22:00 to 07:00" in refused.json()["detail"]


def test_a_split_case_has_its_own_unit_and_an_undone_merge_its_trace(house: Centre) -> None:
    root, box = house.person("root", "admin"), house.box()
    ring = [[112.0, 37.0], [112.1, 37.0], [112.1, 37.1], [112.0, 37.1], [112.0, 37.0]]
    cell = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    cell["properties"] = {"code": "g-1", "unit": "sanitation"}
    root.put("/geo/grid", json={"type": "FeatureCollection", "features": [cell]})
    there = {"place__lon": 112.05, "place__lat": 37.05}
    one, two = house.case(), house.case(box, **there)
    merged = root.post(f"/cases/{two}/verdicts", json={"kind": "merge", "into": one})
    assert root.delete(f"/cases/{two}/verdicts/{merged.headers['Verdict-Id']}").status_code == 200
    entries = root.get(f"/cases/{one}/audit").json()["entries"]
    assert [e["action"] for e in entries] == ["case.opened", "case.took_in", "case.gave_back"]
    alerts = [a["id"] for a in root.get(f"/cases/{two}").json()["alerts"]]
    assert entries[1]["body"] == {"case": two, "alerts": alerts, "reports": []}
    root.post(f"/cases/{two}/verdicts", json={"kind": "merge", "into": one})
    made = root.post(f"/cases/{one}/split", json={"alerts": alerts}).json()
    assert root.get(f"/cases/{made['id']}/terms").json()["unit"] == "sanitation"
    later = event(house.clock(), key__site_id=made["alerts"][0]["key"]["site_id"], **there)
    assert box.post("/alerts", json=later).json()["case_id"] == made["id"]


def test_cases_that_no_camera_sees_hold_up_no_look_before_a_deadline(house: Centre) -> None:
    """Two that were reported and one of a box that is gone are due first; a turn takes two cases."""
    root = house.person("root", "admin")
    lone = []
    for i in range(2):
        told = {"channel": "hotline", "external_id": f"h{i}", "issue": "dumping.exposed", "lat": 37.0}
        answer = root.post(
            "/reports", json=told | {"lon": 112.0 + i, "reported_at": house.clock().isoformat()}
        )
        lone.append(answer.json()["case_id"])
    gone = house.case(house.box("box-9"), device_id="box-9", camera_id="lost", place__lon=111.0)
    seen = [house.case(place__lon=113.0 + i) for i in range(3)]
    site = root.get(f"/cases/{seen[2]}").json()["alerts"][0]["key"]["site_id"]
    later = event(house.clock(), device_id="box-9", camera_id="lost-2", key__site_id=site, place__lon=115.0)
    house.clock.pass_s(1)
    assert house.box("box-9").post("/alerts", json=later).json()["case_id"] == seen[2]
    assert root.delete("/devices/box-9").is_success
    with house.core.db.write() as session:
        for i, case_id in enumerate((*lone, gone, *seen)):
            case = session.get_one(CaseRow, case_id)
            case.state, case.filed_at = "handling", house.clock()
            case.deadline_at = house.clock() + timedelta(minutes=10 + i)

    def turn() -> int:
        with house.core.db.write() as session:
            return inspections.sweep(session, house.clock(), house.core.pack, most=2)

    assert [turn(), turn(), turn()] == [2, 1, 0]
    asked = {case_id: root.get(f"/cases/{case_id}/inspections").json() for case_id in (*lone, gone, *seen)}
    assert [case_id for case_id, orders in asked.items() if orders] == seen
    assert asked[seen[2]][0]["camera_id"] == "gate", "its last alert's box is gone; the one before has a box"
    assert root.get(f"/cases/{seen[2]}/audit").json()["intact"]
