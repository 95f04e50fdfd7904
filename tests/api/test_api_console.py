"""What the console asks of the centre: leases, order, batches, blind readings, places, setups, charts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, centre
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from api.agreement import cohen_kappa, upheld
from api.calendar import LimitUnit
from api.pack import Limit
from api.priority import look_by, rank, uncertainty
from api.reading import chosen
from api.tables import Audit
from api.weeks import FORBIDS, LAPSED, PERMITS, holds
from contract import IssueClass, StreetClass, new_id
from contract.setup import CameraSetup, SetupZone
from edge.config import CameraConfig
from edge.rules import ALL_RULES
from edge.zones import ZoneConfig

AT = datetime(2026, 3, 4, 8, 0, tzinfo=UTC)
TWO_HOURS = Limit(amount=2, unit=LimitUnit.URGENT_HOUR)
SQUARE = [[0.5, 0.1], [0.95, 0.1], [0.95, 0.6], [0.5, 0.6]]


@pytest.mark.parametrize(
    ("pairs", "kappa"),
    [
        ([], None),
        ([("c", "c")] * 4, None),
        ([("c", "c"), ("r", "r")], 1.0),
        ([("c", "r"), ("r", "c")], -1.0),
        # The example of Cohen's paper as it is usually taught: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no.
        ([("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15, 0.4),
    ],
)
def test_kappa(pairs: list[tuple[str, str]], kappa: float | None) -> None:
    found = cohen_kappa(pairs)
    assert found == (pytest.approx(kappa) if kappa is not None else None)


@given(st.lists(st.tuples(st.sampled_from("cr"), st.sampled_from("cr")), max_size=60))
def test_kappa_is_symmetric_and_bounded(pairs: list[tuple[str, str]]) -> None:
    found = cohen_kappa(pairs)
    assert found is None or -1.0 <= found <= 1.0
    back = cohen_kappa([(b, a) for a, b in pairs])
    assert found == (pytest.approx(back) if back is not None else None)
    share = upheld(pairs, "c")
    assert share is None or 0.0 <= share <= 1.0


@given(st.floats(0, 1), st.sampled_from(list(IssueClass)), st.sampled_from(list(StreetClass)))
def test_the_order_of_the_queue(score: float, issue: IssueClass, street: StreetClass) -> None:
    due = look_by(issue, street, AT, TWO_HOURS, score)
    assert AT < due <= AT + timedelta(hours=2)
    assert look_by(issue, StreetClass.PROHIBIT, AT, TWO_HOURS, score) <= due
    assert look_by(IssueClass.FIRE_LANE, street, AT, TWO_HOURS, score) <= due
    assert look_by(issue, street, AT, TWO_HOURS, 0.5) <= due, "the least certain comes first"
    assert 0 < rank(due) < 2**31
    assert uncertainty(None) == 0


def test_a_fire_lane_overtakes_but_nobody_starves(house: Centre) -> None:
    lane = house.case(zone__street_class="regulate")
    house.clock.pass_s(60)
    fire = house.case(issue="parking.fire_lane", zone__street_class="prohibit")
    rita = house.person()
    assert [c["id"] for c in rita.get("/queue/waiting").json()] == [fire, lane]
    house.clock.pass_s(3 * 3600)
    late = house.case(issue="parking.fire_lane", zone__street_class="prohibit")
    assert [c["id"] for c in rita.get("/queue/waiting").json()] == [fire, lane, late]


def test_leases_are_taken_extended_and_given_back(house: Centre) -> None:
    one, two = house.case(), house.case()
    rita, omar = house.person(), house.person("omar")
    assert rita.post("/queue/leases", json={"cases": [one]}).json()["refused"] == {}
    gone = new_id()
    told = omar.post("/queue/leases", json={"cases": [one, two, gone]}).json()
    assert told["refused"] == {one: "rita", gone: ""}
    held = {c["id"]: c["held_by"] for c in rita.get("/queue/waiting").json()}
    assert held == {one: None, two: "omar"}
    house.clock.pass_s(60)
    rita.post("/queue/leases", json={"cases": [one]})
    house.clock.pass_s(60)
    assert omar.post("/queue/leases", json={"cases": [one, two]}).json()["refused"] == {one: "rita"}
    assert rita.delete("/queue/leases", params={"case": one}).status_code == 204
    assert omar.post("/queue/leases", json={"cases": [one]}).json()["refused"] == {}
    assert omar.delete("/queue/leases").status_code == 204
    assert rita.get("/queue").json()["leased"] == 0


def test_many_doubts_of_one_reviewer_do_not_hide_the_rest_from_her(house: Centre) -> None:
    doubted = [house.case() for _ in range(22)]
    rita, omar = house.person(), house.person("omar")
    for case in doubted:
        rita.post(f"/cases/{case}/verdicts", json={"kind": "unsure"}).raise_for_status()
    assert rita.get("/queue/next").status_code == 204
    fresh = house.case()
    assert rita.get("/queue/next").json()["id"] == fresh
    assert omar.get("/queue/next").json()["id"] == doubted[0]


def test_a_deferred_case_goes_to_others(house: Centre) -> None:
    case, rita, omar = house.case(), house.person(), house.person("omar")
    assert rita.get("/queue/next").json()["id"] == case
    assert rita.post(f"/cases/{case}/defer", json={"minutes": 5}).status_code == 200
    assert rita.get("/queue/next").status_code == 204
    assert omar.get("/queue/next").json()["id"] == case
    house.clock.pass_s(301)
    assert rita.get("/queue/next").json()["id"] == case
    omar.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    assert rita.post(f"/cases/{case}/defer", json={}).status_code == 409


def test_the_queue_by_class_and_camera(house: Centre) -> None:
    house.case()
    bin_case = house.case(issue="dumping.bin_overflow", camera_id="corner")
    rita = house.person()
    assert rita.get("/queue/next", params={"issue": "dumping.bin_overflow"}).json()["id"] == bin_case
    assert rita.get("/queue/next", params={"camera": "nowhere"}).status_code == 204
    assert [c["id"] for c in rita.get("/queue/waiting", params={"camera": "corner"}).json()] == [bin_case]


def test_a_stale_verdict_is_refused(house: Centre) -> None:
    case, rita, omar = house.case(), house.person(), house.person("omar")
    seen = rita.get(f"/cases/{case}").headers["ETag"]
    omar.post(f"/cases/{case}/verdicts", json={"kind": "unsure"})
    late = rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}, headers={"If-Match": seen})
    assert late.status_code == 412


def test_a_corrected_box_goes_to_the_labels_with_the_alert_that_was_shown(house: Centre) -> None:
    site = new_id()
    house.case(key__site_id=site)
    house.clock.pass_s(60)
    case, sue = house.case(key__site_id=site), house.person("sue", "supervisor")
    box = [0.6, 0.2, 0.8, 0.5]
    wrong = sue.post(f"/cases/{case}/verdicts", json={"kind": "reject", "reason": 1, "box": box})
    assert wrong.status_code == 422
    assert (
        sue.post(f"/cases/{case}/verdicts", json={"kind": "confirm", "box": box}).json()["verdicts"][0]["box"]
        == box
    )
    house.clock.pass_s(60)
    assert house.case(key__site_id=site) == case
    told = json.loads(sue.get("/exports/labels").text)
    (verdict,) = told["verdicts"]
    assert verdict["box"] == box
    assert [a["id"] for a in told["alerts"]].index(verdict["box_of"]) == 1


def test_blind_readings(tmp_path: Path) -> None:
    with centre(tmp_path, second_share=1.0, reading_mix=0.0) as house:
        rita, omar, sue = house.person(), house.person("omar"), house.person("sue", "supervisor")
        ids = [house.case() for _ in range(4)]
        for n, case in enumerate(ids):
            told: dict[str, Any] = {"kind": "confirm"} if n % 2 == 0 else {"kind": "reject", "reason": 1}
            rita.post(f"/cases/{case}/verdicts", json=told | {"seconds": 2.0})
        assert rita.get("/queue/next", params={"readings": True}).status_code == 204, "never one's own"
        assert omar.get("/queue/next").status_code == 204, "only who asks for readings gets them"
        answers: list[dict[str, Any]] = [
            {"kind": "confirm"}, {"kind": "confirm"}, {"kind": "confirm", "issue": "parking.fire_lane"}, {"kind": "reject", "reason": 2}
        ]  # fmt: skip
        for told in answers:
            shown = omar.get("/queue/next", params={"readings": True})
            assert (shown.json()["state"], shown.json()["verdicts"]) == ("in_review", [])
            path = f"/readings/{shown.headers['Reading-Id']}"
            assert rita.post(path, json=told).status_code == 404
            assert omar.post(path, json={"kind": "unsure"}).status_code == 200
            assert omar.delete(path).status_code == 204
            assert omar.post(path, json=told).status_code == 200
            assert omar.post(path, json=told).status_code == 409
        assert omar.get("/queue/next", params={"readings": True}).status_code == 204
        found = sue.get("/quality").json()
        mine = next(r for r in found["reviewers"] if r["reviewer"] == "rita")
        assert (mine["decisions"], mine["read_again"], mine["median_s"]) == (4, 4, 2.0)
        assert mine["precision"] == 1.0, "both confirmed cases were confirmed again"
        assert mine["kappa"] == pytest.approx(0.5)
        assert found["pairs"][0] | {"kappa": 0.5} == {
            "first": "rita",
            "second": "omar",
            "cases": 4,
            "agreed": 2,
            "kappa": 0.5,
        }
        assert len(sue.get("/quality/disagreements").json()) == 2
        assert rita.get(f"/cases/{ids[0]}").json()["state"] == "confirmed", "a reading changes no case"


def test_gold_items(tmp_path: Path) -> None:
    with centre(tmp_path, second_share=0.0, reading_mix=0.0) as house:
        rita, sue = house.person(), house.person("sue", "supervisor")
        case = house.case()
        sue.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
        assert rita.put(f"/cases/{case}/gold", json={"kind": "confirm"}).status_code == 403
        assert sue.put(f"/cases/{case}/gold", json={"kind": "reject"}).status_code == 422
        assert sue.put(f"/cases/{case}/gold", json={"kind": "confirm"}).status_code == 204
        shown = rita.get("/queue/next", params={"readings": True})
        assert shown.json()["id"] == case
        rita.post(f"/readings/{shown.headers['Reading-Id']}", json={"kind": "reject", "reason": 3})
        assert rita.get("/queue/next", params={"readings": True}).status_code == 204, "each person once"
        assert sue.get("/queue/next", params={"readings": True}).status_code == 204
        mine = next(r for r in sue.get("/quality").json()["reviewers"] if r["reviewer"] == "rita")
        assert (mine["gold"], mine["gold_right"]) == (1, 0)
        assert sue.delete(f"/cases/{case}/gold").status_code == 204


def test_the_share_of_second_readings() -> None:
    assert 350 < sum(chosen(new_id(), 0.05) for _ in range(10_000)) < 650
    assert not chosen(new_id(), 0.0)


def test_place_map_and_views(house: Centre) -> None:
    first = house.case(key__ground_cell="here")
    rita = house.person()
    rita.post(f"/cases/{first}/verdicts", json={"kind": "reject", "reason": 1})
    house.clock.pass_s(25 * 3600)
    again = house.case(key__ground_cell="here")
    rita, ann = house.person(), house.person("ann", "auditor")  # the sessions of yesterday are over
    found = rita.get(f"/cases/{again}/place").json()
    assert [c["id"] for c in found["history"]] == [first]
    assert found["recurrence"] == {"1h": 0, "7d": 1, "30d": 1}
    assert [c["id"] for c in found["near"]] == [first]
    assert [c["id"] for c in rita.get("/map", params={"hours": 48}).json()] == [again, first]
    assert [c["id"] for c in rita.get("/map", params={"state": "rejected", "hours": 48}).json()] == [first]
    assert rita.get("/map", params={"bbox": "0,0,1,1"}).json() == []
    assert rita.post(f"/cases/{again}/views").status_code == 204
    assert ann.post(f"/cases/{again}/views").status_code == 204


def test_preferences_follow_the_person(house: Centre) -> None:
    rita = house.person()
    assert rita.get("/session/preferences").json() == {"keys": {}, "hidden": []}
    told = {"keys": {"confirm": "Enter"}, "hidden": ["zone"]}
    assert rita.put("/session/preferences", json=told).json() == told
    assert house.person().get("/session/preferences").json() == told
    twice = rita.put("/session/preferences", json={"keys": {"confirm": "x", "reject": "x"}})
    assert twice.status_code == 422
    assert rita.get("/session").json()["timezone"] == "Asia/Shanghai"


def test_a_key_is_not_the_person_of_its_name(house: Centre) -> None:
    rita, key, case = house.person(), house.anonymous(), house.case()
    made = house.person("root", "admin").post("/keys", json={"name": "rita", "kind": "export"})
    key.headers["Authorization"] = f"Bearer {made.json()['secret']}"
    swapped = {"keys": {"confirm": "r", "reject": "c"}, "hidden": []}
    assert key.put("/session/preferences", json=swapped).status_code == 403
    assert rita.get("/session/preferences").json()["keys"] == {}
    assert (
        key.post(f"/cases/{case}/views").status_code == rita.post(f"/cases/{case}/views").status_code == 204
    )
    with house.core.db.read() as session:
        actors = session.scalars(select(Audit.actor).where(Audit.action == "case.viewed").order_by(Audit.seq))
        assert list(actors) == ["key:rita", "user:rita"]


def zone(**more: Any) -> dict[str, Any]:
    return {"id": "kerb", "kind": "no_parking", "street_class": "control", "polygon": SQUARE, **more}


def test_a_setup_is_saved_in_versions_and_tried(house: Centre) -> None:
    house.case()
    ada = house.person("ada", "admin")
    path = "/cameras/gate/setup"
    assert ada.get(path).json()["version"] == 0
    saved = ada.put(path, json={"setup": {"zones": [zone()]}, "note": "first"}, headers={"If-Match": '"0"'})
    assert (saved.status_code, saved.json()["version"]) == (201, 1)
    assert ada.put(path, json={"setup": {}}, headers={"If-Match": '"0"'}).status_code == 412
    crossed = zone(polygon=[[0, 0], [1, 1], [1, 0], [0, 1]])
    refused = ada.put(path, json={"setup": {"zones": [crossed]}})
    assert (refused.status_code, "zones.kerb.polygon" in refused.json()["detail"]) == (422, True)
    assert ada.get(f"{path}/1").json()["zones"][0]["id"] == "kerb"
    assert ada.get(f"{path}/9").status_code == 404
    with house.core.db.read() as session:
        from api.tables import Device

        assert session.get_one(Device, "box-1").desired["config_sha256"]  # type: ignore[index]

    def tried(*zones: dict[str, Any]) -> tuple[int, int, str]:
        found = ada.post(f"{path}/try", json={"setup": {"zones": zones}, "hours": 1}).json()
        return found["seen"], found["raised"], found["tried"][0]["outcome"]

    bay = zone(id="bay", kind="parking_bay")
    assert tried(zone()) == (1, 1, "raised")
    assert tried() == (1, 0, "outside")
    assert tried(zone(), bay) == (1, 0, "permitted")
    # 08:00 UTC is 16:00 in the city, on a Wednesday.
    assert tried(zone(), bay | {"schedule": [{"begin": "08:00", "end": "16:00"}]}) == (1, 1, "raised")
    assert tried(zone(schedule=[{"days": ["mon"]}])) == (1, 0, "not_now")


def test_what_is_drawn_fits_the_box() -> None:
    week = [
        {
            "days": ["workday"],
            "begin": "22:00",
            "end": "06:00",
            "valid_from": "2026-01-01",
            "valid_to": "2026-12-31",
        }
    ]
    pairs = [
        {"picture": [x, y], "lon": 112 + x / 1e4, "lat": 37 + y / 1e4} for x in (0.1, 0.9) for y in (0.2, 0.8)
    ]
    setup = CameraSetup.model_validate(
        {"zones": [zone(schedule=week, holder="Li")], "ground": {"pairs": pairs}}
    )
    made = CameraConfig.model_validate(
        {"id": "gate", "url": "rtsp://x/y", "place": {"lon": 112, "lat": 37}, **setup.wire()}
    )
    assert made.zones[0].holder == "Li"
    assert made.ground is not None


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda r: r.name)
def test_the_tables_of_the_try_are_those_of_the_box(rule: Any) -> None:
    assert FORBIDS[rule.issue] == rule.zones
    assert PERMITS.get(rule.issue, frozenset()) == rule.permits
    assert (rule.issue in LAPSED) == rule.lapsed


WINDOWS = st.fixed_dictionaries(
    {
        "days": st.lists(st.sampled_from(["mon", "wed", "sat", "workday", "restday"]), min_size=1, max_size=3, unique=True),
        "begin": st.times().map(lambda t: t.strftime("%H:%M")),
        "end": st.times().map(lambda t: t.strftime("%H:%M")),
    }
)  # fmt: skip


LOCAL = st.datetimes(AT.replace(month=1, tzinfo=None), AT.replace(month=12, tzinfo=None))


@given(st.lists(WINDOWS, max_size=3), LOCAL)
def test_weeks_mean_what_they_mean_on_the_box(week: list[dict[str, Any]], local: datetime) -> None:
    from edge.zones import is_workday

    drawn, there = (
        SetupZone.model_validate(zone(schedule=week)),
        ZoneConfig.model_validate(zone(schedule=week)),
    )
    assert holds(drawn, local, is_workday) == there.active(local)


def test_charts_count_in_the_citys_hours(house: Centre) -> None:
    cases = [house.case() for _ in range(3)]
    rita, sue = house.person(), house.person("sue", "supervisor")
    rita.post(f"/cases/{cases[0]}/verdicts", json={"kind": "confirm", "seconds": 3})
    rita.post(f"/cases/{cases[1]}/verdicts", json={"kind": "reject", "reason": 1, "seconds": 5})
    heat = sue.get("/charts/heat").json()
    assert heat["rows"][0]["hours"][16] == 3, "08:00 UTC is 16:00 in Shanghai"
    (model,) = sue.get("/charts/models").json()
    assert (model["alerts"], model["confirmed"], model["rejected"]) == (3, 1, 1)
    (load,) = sue.get("/charts/load").json()
    assert (load["reviewer"], load["decisions"], load["median_s"]) == ("rita", 2, 4.0)


def test_the_start_page_counts(house: Centre) -> None:
    assert house.person().get("/start").json()["cases"] == 0
    house.case()
    found = house.person().get("/start").json()
    assert (found["cases"], found["boxes"], found["cameras"], found["reviewers"]) == (1, 1, 1, 1)


def test_an_unknown_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timezone: Mars/Base"):
        centre(tmp_path, timezone="Mars/Base").__enter__()
