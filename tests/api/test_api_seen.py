"""When a case was seen, where its box was offline and told it hours later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from api_parts import START, Centre, event
from sqlalchemy import select

from api.migrate import migrate
from api.tables import CaseRow

HOURS = 9
SEEN_AT = 16  # 08:00 UTC in Shanghai


def _late(house: Centre, cases: int) -> list[str]:
    """Cases that were seen at 16:00 of the city, and told nine hours later."""
    told = [event(house.clock()) for _ in range(cases)]
    house.clock.pass_s(HOURS * 3600)
    return [str(house.box().post("/alerts", json=one).json()["case_id"]) for one in told]


def _seen(house: Centre) -> list[Any]:
    with house.core.db.read() as session:
        return [c.seen_at for c in session.scalars(select(CaseRow).order_by(CaseRow.id))]


def test_a_late_alert_is_counted_in_the_hour_in_which_it_was_seen(house: Centre) -> None:
    cases = _late(house, 2)
    root = house.person("root", "admin")
    for case in cases:
        assert root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).is_success
    assert root.get(f"/cases/{cases[0]}").json()["opened_at"] == "2026-03-04T17:00:00Z", (
        "limits run from here"
    )

    def get(path: str, **query: Any) -> Any:
        return root.get(path, params=query).raise_for_status().json()

    assert [g["key"] for g in get("/stats/indicators", by="hour")["groups"]] == [str(SEEN_AT)]
    assert [c["hour"] for c in get("/stats/precision")["cells"]] == [SEEN_AT]
    assert [(c["weekday"], c["hour"]) for c in get("/stats/hours")["cells"]] == [(2, SEEN_AT)]
    (spot,), (row,) = get("/stats/hotspots", least=2)["spots"], get("/charts/heat")["rows"]
    for hours in (spot["hours"], row["hours"]):
        assert [(h, n) for h, n in enumerate(hours) if n] == [(SEEN_AT, 2)]


def test_late_alerts_of_one_place_are_in_the_order_in_which_they_were_seen(house: Centre) -> None:
    root = house.person("root", "admin")
    place = {
        "lon": 112.5489, "lat": 37.8706, "source": "homography",
        "error": {"semi_major_m": 2.0, "semi_minor_m": 1.0, "bearing_deg": 0.0},
    }  # fmt: skip
    early = event(house.clock(), place=place)
    house.clock.pass_s(3600)
    second = house.case(place=place)
    assert root.post(f"/cases/{second}/verdicts", json={"kind": "confirm"}).is_success
    assert root.post(f"/cases/{second}/steps", json={"step": "self_resolve"}).is_success
    house.clock.pass_s(HOURS * 3600)
    first = house.box().post("/alerts", json=early).json()["case_id"]
    root = house.person("root", "admin")
    assert root.get(f"/cases/{first}/recurrence").json()["earlier"] == []
    assert [c["case_id"] for c in root.get(f"/cases/{second}/recurrence").json()["earlier"]] == [first]


def test_a_part_that_is_split_off_was_seen_when_its_alerts_were(house: Centre) -> None:
    first = event(house.clock())
    house.clock.pass_s(60)
    second = event(house.clock(), key=first["data"]["key"], place=first["data"]["place"])
    house.clock.pass_s(5 * 3600)
    case = [house.box().post("/alerts", json=told).json()["case_id"] for told in (first, second)][1]
    split = house.person().post(f"/cases/{case}/split", json={"alerts": [second["data"]["id"]]})
    assert split.status_code == 201
    assert _seen(house) == [START, START + timedelta(seconds=60)]


def test_nothing_is_seen_in_the_future(house: Centre) -> None:
    ahead = event(house.clock() + timedelta(hours=2))
    assert house.box().post("/alerts", json=ahead).status_code == 201
    assert _seen(house) == [START]


@pytest.mark.parametrize("told", ["alert", "report"])
def test_cases_of_before_are_filled_from_their_alerts(house: Centre, told: str) -> None:
    if told == "alert":
        _late(house, 1)
    else:
        report = {
            "channel": "hotline",
            "external_id": "1",
            "issue": "parking.motor",
            "lon": 112.5,
            "lat": 37.8,
        }
        root = house.person("root", "admin")
        assert root.post("/reports", json=report | {"reported_at": START.isoformat()}).status_code == 201
    migrate(house.core.db.engine, "f4")
    migrate(house.core.db.engine)
    assert _seen(house) == [START]
