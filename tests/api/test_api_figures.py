"""Figures: hidden counts, bounds, proposals, recurrence; and the statistics over cases, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, centre, event
from hypothesis import given
from hypothesis import strategies as st

from api.figures import KEEP, LEAST, TARGET, hide_small, propose, wilson_low
from api.pack import load_pack
from api.proposals import of_bands
from api.recurrence import counts, rung
from bench.servers import new_database
from contract import new_id


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 40), max_size=12))
def test_nobody_can_work_out_a_hidden_count(counts_: dict[str, int]) -> None:
    shown = hide_small(counts_)
    hidden = [k for k, n in shown.items() if n is None]
    assert all(n is None or n >= 5 for n in shown.values())
    assert set(shown) == {k for k, n in counts_.items() if n}
    assert len(hidden) != 1 or len(shown) == 1, "a total gives a single hidden count away"
    assert all(shown[k] in {None, counts_[k]} for k in shown)


@given(st.integers(0, 300), st.integers(0, 300))
def test_wilsons_bound_lies_below_the_share(yes: int, no: int) -> None:
    low = wilson_low(yes, yes + no)
    assert 0 <= low <= (yes / (yes + no) if yes + no else 0) + 1e-12
    assert low <= wilson_low(yes * 4, (yes + no) * 4) + 1e-12


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=120))
def test_a_proposal_keeps_its_promise(scored: list[tuple[float, bool]]) -> None:
    made = propose(scored)
    good = sum(ok for _, ok in scored)
    if made is None:
        return
    assert len(scored) >= LEAST
    assert good / len(scored) < TARGET
    kept = [ok for s, ok in scored if s >= made.min_score]
    assert made.precision_after == pytest.approx(sum(kept) / len(kept), abs=1e-4)
    assert made.precision_after > made.precision_before
    assert not good or sum(kept) / good >= KEEP
    assert made.false_dropped == (len(scored) - good) - kept.count(False)


def test_a_proposal_takes_the_hours_that_err() -> None:
    day = [(10, 0.8, True)] * 40
    night = [(2, 0.4, False)] * 30 + [(2, 0.8, True)] * 30
    found = of_bands(day + night)
    assert [(band, p.min_score, p.precision_after) for band, p in found] == [((0, 6), 0.8, 1.0)]
    few = [(h, 0.4, False) for h in range(0, 24, 2)] + [(h, 0.8, True) for h in range(0, 24, 2)]
    assert [band for band, _ in of_bands(few)] == [(0, 24)]


NOW = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours_before", "step", "sheet"),
    [
        ([], "persuade", "none"),
        ([0.5], "warn", "blue"),
        ([24 * 6], "warn", "blue"),
        ([24 * 20], "persuade", "none"),
        ([24, 48, 72], "hand_over", "yellow"),
        ([24 * 10, 24 * 12, 24 * 20, 24 * 29], "hand_over", "yellow"),
        ([20, 40, 60, 80, 100], "ban", "red"),
        ([24 * 31] * 9, "persuade", "none"),
    ],
)
def test_the_ladder(hours_before: list[float], step: str, sheet: str) -> None:
    found = rung(counts([NOW - timedelta(hours=h) for h in hours_before], NOW), load_pack("example"))
    assert (found.step, found.sheet) == (step, sheet)


@pytest.fixture(params=["sqlite", "postgresql"])
def city(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Centre]:
    more = {}
    if request.param == "postgresql":
        more = {"database_url": new_database(request.getfixturevalue("pg_url"), f"cw_{new_id()}")}
    with centre(tmp_path / "data", **more) as made:
        yield made


def at(lon: float, lat: float) -> dict[str, Any]:
    error = {"semi_major_m": 2.0, "semi_minor_m": 1.0, "bearing_deg": 0.0}
    return {"lon": lon, "lat": lat, "error": error, "source": "homography"}


def test_indicators_count_what_the_city_did(city: Centre) -> None:
    rita, root = city.person(), city.person("root", "admin")
    han, zone = city.person("han", "handler"), "Asia/Shanghai"
    assert city.core.pack.timezone == zone
    cases = [city.case(place=at(112.5 + i / 100, 37.8)) for i in range(6)]
    for case in cases[:5]:
        rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm", "seconds": 2.0})
    rita.post(f"/cases/{cases[5]}/verdicts", json={"kind": "reject", "reason": 1, "seconds": 4.0})

    def go(case: str, *steps: str) -> None:
        for step in steps:
            by = han if step in {"start", "done"} else root
            told = {"step": step, **({"reason": "half"} if step == "rework" else {})}
            assert by.post(f"/cases/{case}/steps", json=told).is_success, step

    for case in cases[:4]:
        go(case, "file", "accept", "dispatch", "start")
    city.clock.pass_s(3600)
    go(cases[0], "done", "close")
    go(cases[1], "done", "rework", "start")
    city.clock.pass_s(2 * 3600)  # past the two urgent hours
    go(cases[1], "done", "close")
    go(cases[2], "done")
    told = root.get("/stats/indicators", params={"by": "hour"}).json()
    assert [g["key"] for g in told["groups"]] == ["16"], "08:00 UTC is 16:00 in Shanghai"
    total = told["total"]
    assert (total["reported"], total["judged"], total["confirmed"]) == (6, 6, 5)
    assert total["precision"] == pytest.approx(5 / 6, abs=1e-4)
    assert (total["filed"], total["should_handle"], total["handled"]) == (4, 4, 3)
    assert total["handling_rate"] == 0.75
    assert total["on_time_handling_rate"] == 0.25
    assert (total["should_close"], total["closed"], total["settlement_rate"]) == (4, 2, 0.5)
    assert total["overdue"] == 1
    assert total["rework_rate"] == pytest.approx(1 / 3, abs=1e-4)
    assert total["mean_handling_h"] == pytest.approx((1 + 3 + 3) / 3, abs=0.01)
    assert total["median_decision_s"] == 2.0
    for by in ("issue", "camera", "unit", "district", "grid", "street_class", "channel"):
        groups = root.get("/stats/indicators", params={"by": by}).json()["groups"]
        assert sum(g["reported"] for g in groups) == 6, by
    assert total["alerts_per_camera_day"] == 6.0, "one camera, in its first day"
    assert total["false_alerts_per_camera_day"] == 1.0
    cell = root.get("/stats/precision").json()["cells"]
    assert [(c["camera_id"], c["hour"], c["confirmed"], c["rejected"]) for c in cell] == [("gate", 16, 5, 1)]
    heat = root.get("/stats/hours").json()["cells"]
    assert [(c["weekday"], c["hour"], c["reported"]) for c in heat] == [(2, 16, 6)], "a Wednesday"
    assert root.get("/stats/reviewers").json()["reviewers"][0]["reviewer"] == "rita"
    shown = city.anonymous().get("/stats/public").json()
    assert shown["counts"] == {"parking.motor": 5}
    assert {c["cases"] for c in shown["cells"]} == {None}


@pytest.mark.parametrize(
    ("days", "span", "rate"),
    [(0.0, 30, 4.0), (4.0, 30, 1.0), (60.0, 30, 0.1), (4.0, 2, 1.5)],
    ids=["its first day", "four days", "longer than the span", "longer than a short span"],
)
def test_a_rate_a_camera_and_day_is_of_the_days_it_was_there(
    city: Centre, days: float, span: int, rate: float
) -> None:
    city.case(place=at(112.0, 37.8))
    city.clock.pass_s(days * 86400)
    for i in range(3):
        city.case(place=at(112.5 + i / 100, 37.8))
    told = city.person("root", "admin").get("/stats/indicators", params={"days": span, "by": "camera"}).json()
    assert told["total"]["alerts_per_camera_day"] == rate
    assert [g["alerts_per_camera_day"] for g in told["groups"]] == [rate]


def test_a_place_that_comes_again(city: Centre) -> None:
    spot, ids = at(112.5, 37.8), []
    for day in range(4):
        root = city.person("root", "admin")  # the session of the day before is over
        case = city.case(place=spot)
        ids.append(case)
        root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
        for step in ("file", "accept", "dispatch"):
            root.post(f"/cases/{case}/steps", json={"step": step})
        city.clock.pass_s(86400 * (2 if day == 1 else 1))
        with city.core.db.write() as session:  # the thing has gone, so the next one is another
            from api.tables import AlertRow

            for row in session.query(AlertRow).filter_by(case_id=case):
                row.ends_at = city.clock() - timedelta(hours=20)
    root = city.person("root", "admin")
    told = root.get(f"/cases/{ids[-1]}/recurrence").json()
    assert told["within"] == {"1h": 0, "7d": 3, "30d": 3}
    assert (told["suggested_step"], told["sheet"]) == ("hand_over", "yellow")
    assert [c["case_id"] for c in told["earlier"]] == ids[2::-1]
    total = root.get("/stats/indicators").json()["total"]
    assert total["repeat_rate"] == 0.75
    far = root.get("/stats/hotspots").json()["spots"]
    assert [(s["cases"], s["days_hit_week"], s["likely_again"]) for s in far] == [(4, 4, True)]
    assert far[0]["peak_hours"][0] in {14, 15, 16}
    assert sum(far[0]["hours"]) == 4


def test_a_person_applies_a_proposal_and_the_box_hears_of_it(city: Centre) -> None:
    from api.examples import HEARTBEAT

    root, box = city.person("root", "admin"), city.box()
    for i in range(24):
        good = i % 2 == 0
        case = city.case(box, model__score=0.8 if good else 0.4, place=at(112.5 + i / 100, 37.8))
        told = {"kind": "confirm"} if good else {"kind": "reject", "reason": 1}
        root.post(f"/cases/{case}/verdicts", json=told)
    (found,) = root.get("/stats/proposals").json()
    assert (found["camera_id"], found["min_score"], found["false_dropped"]) == ("gate", 0.8, 12)
    assert (found["precision_before"], found["precision_after"], found["true_kept"]) == (0.5, 1.0, 1.0)
    assert box.post("/heartbeats", json=HEARTBEAT).json().get("thresholds", []) == []
    keys = ("camera_id", "issue", "from_hour", "to_hour", "min_score")
    wanted = {k: found[k] for k in keys}
    assert root.post("/thresholds", json=wanted | {"camera_id": "nowhere"}).status_code == 404
    assert root.post("/thresholds", json=wanted | {"from_hour": 24}).status_code == 422
    made = root.post("/thresholds", json=wanted)
    assert made.status_code == 201, made.text
    again = root.post("/thresholds", json=wanted | {"min_score": 0.5}).json()
    assert [t["min_score"] for t in root.get("/thresholds").json()] == [0.5], "the same hours replace"
    beat = box.post("/heartbeats", json=HEARTBEAT | {"id": new_id()}).json()
    assert beat["thresholds"] == [wanted | {"min_score": 0.5}]
    assert root.delete(f"/thresholds/{again['id']}").status_code == 204
    assert root.get("/thresholds").json() == []
    chain = city.core
    with chain.db.read() as session:
        from api.audit import verify

        assert verify(session, "thresholds") is None


def test_agreement_of_two_reviewers(house: Centre) -> None:
    rita, omar, root = house.person(), house.person("omar"), house.person("root", "admin")
    case = house.case()
    rita.post(f"/cases/{case}/verdicts", json={"kind": "reject", "reason": 1})
    root.post(f"/cases/{case}/steps", json={"step": "appeal", "reason": "look again"})
    omar.post(f"/cases/{case}/verdicts", json={"kind": "confirm", "seconds": 3})
    rows = {r["reviewer"]: r for r in root.get("/stats/reviewers").json()["reviewers"]}
    assert (rows["rita"]["second_readings"], rows["rita"]["agreement"]) == (1, 0.0)
    assert rows["omar"]["median_decision_s"] == 3


def test_public_counts_below_five_are_hidden(house: Centre) -> None:
    rita = house.person()
    for i in range(6):
        issue = "dumping.exposed" if i == 5 else "parking.motor"
        case = house.box().post("/alerts", json=event(house.clock(), issue=issue)).json()["case_id"]
        rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    counts_ = house.anonymous().get("/stats/public").json()["counts"]
    assert counts_ == {"dumping.exposed": None, "parking.motor": None}, "one hidden takes one with it"
