"""Call-outs with the look after them, and what merges and splits leave behind."""

from __future__ import annotations

from datetime import datetime, timedelta

from api_parts import Centre, event

from api.examples import HEARTBEAT


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
