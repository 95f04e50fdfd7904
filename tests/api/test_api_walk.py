"""The walk of a case: a box sends, a reviewer judges."""

from __future__ import annotations

import pytest
from api_parts import JPEG, Centre, event, evidence_item, sha
from sqlalchemy import select

from api.tables import Event
from contract import Case, new_id


def test_an_alert_becomes_a_case_and_is_confirmed(house: Centre) -> None:
    box, rita = house.box(), house.person()
    message = event(house.clock(), evidence=[evidence_item(JPEG)])
    answer = box.post("/alerts", json=message)
    assert answer.status_code == 201
    assert answer.json()["missing_evidence"] == [sha(JPEG)]
    assert (
        box.put(f"/evidence/{sha(JPEG)}", content=JPEG, headers={"Content-Type": "image/jpeg"}).status_code
        == 201
    )
    assert box.put(f"/evidence/{sha(JPEG)}", content=JPEG).status_code == 200
    again = box.post("/alerts", json=message)
    assert again.status_code == 200
    assert again.json() == {**answer.json(), "outcome": "again", "missing_evidence": []}

    listed = rita.get("/cases", params={"state": "in_review"}).json()
    assert [c["id"] for c in listed["items"]] == [answer.json()["case_id"]]
    assert listed["next"] is None
    case = Case.model_validate(rita.get(f"/cases/{answer.json()['case_id']}").json())
    assert case.number == "2026-000001"
    assert str(case.alerts[0].id) == message["subject"]
    picture = rita.get(f"/evidence/{sha(JPEG)}")
    assert picture.content == JPEG
    assert picture.headers["content-type"] == "image/jpeg"
    judged = rita.post(f"/cases/{case.id}/verdicts", json={"kind": "confirm", "seconds": 2.5})
    assert judged.status_code == 200
    assert judged.json()["state"] == "confirmed"
    assert judged.json()["verdicts"][0]["reviewer"] == "rita"
    assert rita.get("/cases", params={"state": "in_review"}).json()["items"] == []


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        ({"kind": "confirm"}, 200),
        ({"kind": "reject", "reason": 2}, 200),
        ({"kind": "reject"}, 422),
        ({"kind": "confirm", "reason": 2}, 422),
        ({"kind": "reject", "reason": 9}, 422),
        ({"kind": "reject", "reason": 9, "text": "a parade"}, 200),
        ({"kind": "reject", "reason": 10}, 422),
        ({"kind": "merge"}, 422),
        ({"kind": "unsure", "colour": "red"}, 422),
    ],
)
def test_verdicts(house: Centre, verdict: dict[str, object], status: int) -> None:
    case = house.case()
    assert house.person().post(f"/cases/{case}/verdicts", json=verdict).status_code == status


def test_an_illegal_step_names_the_allowed_ones(house: Centre) -> None:
    case, rita = house.case(), house.person()
    rita.post(f"/cases/{case}/verdicts", json={"kind": "reject", "reason": 1})
    answer = rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    assert answer.status_code == 409
    assert answer.json()["allowed"] == ["appeal", "reopen"]


def test_undo_within_its_time_by_its_reviewer_alone(house: Centre) -> None:
    case, rita, omar = house.case(), house.person(), house.person("omar")
    told = rita.post(f"/cases/{case}/verdicts", json={"kind": "reject", "reason": 1})
    verdict = told.headers["Verdict-Id"]
    assert omar.delete(f"/cases/{case}/verdicts/{verdict}").status_code == 403
    undone = rita.delete(f"/cases/{case}/verdicts/{verdict}")
    assert undone.json()["state"] == "in_review"
    assert undone.json()["verdicts"] == []
    assert rita.delete(f"/cases/{case}/verdicts/{verdict}").status_code == 404
    verdict = rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).headers["Verdict-Id"]
    house.clock.pass_s(31)
    assert rita.delete(f"/cases/{case}/verdicts/{verdict}").status_code == 409


def test_a_second_review_is_another_persons(house: Centre) -> None:
    case, rita, omar = house.case(), house.person(), house.person("omar")
    assert rita.post(f"/cases/{case}/verdicts", json={"kind": "unsure"}).json()["state"] == "second_review"
    assert rita.get("/queue/next").status_code == 204
    assert rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).status_code == 409
    assert omar.get("/queue/next").json()["id"] == case
    assert omar.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).json()["state"] == "confirmed"


def test_queue_order_and_leases(house: Centre) -> None:
    lane = house.case(zone__street_class="regulate")
    house.clock.pass_s(1)
    old = house.case(zone__street_class="prohibit")
    house.clock.pass_s(1)
    new = house.case(zone__street_class="prohibit")
    rita, omar = house.person(), house.person("omar")
    assert rita.get("/queue/next").json()["id"] == old
    assert rita.get("/queue/next").json()["id"] == old, "my lease is mine"
    assert rita.get("/queue/next", params={"exclude": old}).json()["id"] == new
    assert omar.get("/queue/next").json()["id"] == lane
    assert omar.post(f"/cases/{old}/verdicts", json={"kind": "confirm"}).status_code == 409
    house.clock.pass_s(91)
    assert omar.get("/queue/next").json()["id"] == old
    ordered = rita.get("/cases", params={"order": "queue"}).json()["items"]
    assert [c["id"] for c in ordered] == [old, new, lane]


@pytest.mark.parametrize("order", ["newest", "queue"])
def test_pages_hold_each_case_once(house: Centre, order: str) -> None:
    classes = ("prohibit", "control", "regulate")
    made = {house.case(zone__street_class=classes[i % 3]) for i in range(11)}
    rita, seen, cursor = house.person(), [], None
    for _ in range(6):
        page = rita.get(
            "/cases", params={"limit": 3, "order": order} | ({"cursor": cursor} if cursor else {})
        ).json()
        seen += [c["id"] for c in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == 11
    assert set(seen) == made
    assert rita.get("/cases", params={"cursor": "zzz", "order": order}).status_code == 400


def test_an_old_version_is_refused(house: Centre) -> None:
    case, rita = house.case(), house.person()
    answer = rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}, headers={"If-Match": '"7"'})
    assert answer.status_code == 412
    assert rita.post(
        f"/cases/{case}/verdicts", json={"kind": "confirm"}, headers={"If-Match": '"1"'}
    ).is_success  # fmt: skip


def test_heartbeats_tell_the_cameras_state(house: Centre) -> None:
    from api.examples import HEARTBEAT

    box, rita = house.box(), house.person()
    assert box.post("/heartbeats", json=HEARTBEAT).json()["version"] == 0
    assert box.post("/heartbeats", json=HEARTBEAT).status_code == 200
    assert [(c["id"], c["state"]) for c in rita.get("/cameras").json()] == [("gate", "live")]
    house.clock.pass_s(100)
    assert rita.get("/cameras").json()[0]["state"] == "offline"
    stranger = house.box("box-2")
    assert stranger.post("/heartbeats", json=HEARTBEAT).status_code == 403


def test_a_view_that_became_bad_is_told_once(house: Centre) -> None:
    from api.examples import HEARTBEAT

    box, rita = house.box(), house.person()

    def beat(view: str, since: str | None, *events: dict[str, str]) -> None:
        camera = {"camera_id": "gate", "state": "live", "view": view}
        camera |= {"view_since": since} if since else {}
        body = HEARTBEAT | {"id": new_id(), "cameras": [camera], "camera_events": list(events)}
        answer = box.post("/heartbeats", json=body)
        assert answer.status_code == 200, answer.text

    def told() -> list[tuple[str, str]]:
        with house.core.db.read() as session:
            rows = session.scalars(select(Event).where(Event.kind == "camera.view").order_by(Event.seq))
            return [(row.body["camera_id"], row.body["view"]) for row in rows]

    moved = {"camera_id": "gate", "at": "2026-03-04T08:00:10Z", "was": "good", "view": "moved"}
    good = {"camera_id": "gate", "at": "2026-03-04T08:09:00Z", "was": "moved", "view": "good"}
    stranger = {"camera_id": "nobody", "at": "2026-03-04T08:09:00Z", "was": "good", "view": "dark"}
    beat("good", "2026-03-04T08:00:00Z")
    beat("moved", moved["at"], moved, stranger)
    assert told() == [("gate", "moved")]
    assert rita.get("/cameras").json()[0]["health"]["view"] == "moved"
    assert 'curbwatch_camera_events_total{view="moved"} 1.0' in house.core.metrics.text().decode()
    # The box had no answer, and says it again together with what came after.
    beat("good", good["at"], moved, good)
    assert told() == [("gate", "moved"), ("gate", "good")]
    gauges = house.person("ann", "admin").get("/metrics").text
    assert 'curbwatch_camera_views{view="good"} 1.0' in gauges
    assert 'curbwatch_camera_views{view="moved"} 0.0' in gauges
