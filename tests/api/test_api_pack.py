"""City packs: clear errors, codes that are never bare, permits with their calendars, streets, components, terms."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, centre
from hypothesis import given, settings
from hypothesis import strategies as st

from api.pack import HERE, PackError, load_pack
from api.permits import Permit
from contract import IssueClass, StreetClass

GOOD = (HERE / "example.yaml").read_text(encoding="utf-8")
MOTOR = "  parking.motor:\n    limit: {amount: 2, unit: urgent_hour}\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("timezone: Asia/Shanghai", "timezone: Mars/Olympus"), "timezone: Mars/Olympus is unknown"),
        (('["08:00", "12:00"]', '["12:00", "08:00"]'), "work_hours: spans must be in order"),
        (("unit: urgent_hour}", "unit: fortnight}"), "issues.street_occupation.shopfront.limit.unit: Input should be"),
        (("parking.motor:\n", "parking.moto:\n"), "issues.parking.moto"),
        (("name: example", "name: example\nextra: 1"), "extra: Extra inputs"),
        (("    unit: sanitation\n", "    unit: sanitaton\n"), "issues.dumping.act.unit: sanitaton is not among units"),
        (("  regulate: {zh", "  regulated: {zh"), "street_classes.regulated"),
        (("number_with: shanxi", "number_with: cjt2014"), "number_with: cjt2014 is not among"),
        (("[cjt214, shanxi]", "[cjt214, shanxi, beijing]"), "beijing.yaml: cannot be read"),
        (("valid_to: 2026-12-31", "valid_to: 2025-12-31"), "permits.0: valid_to: lies before"),
        (("- id: night-market", "- id: breakfast-1"), "permits: the id breakfast-1 is used twice"),
        (("    areas: {street: [night-market-street]}\n", ""), "permits.1: area: give either"),
        (("[112.5606, 37.8700], [112.5606, 37.8704]", "[112.5606, 37.8704], [112.5606, 37.8700]"), "crosses itself"),
        (("days: {}", "days: {2026-13-01: rest}"), "month must be in 1..12"),
        (("name: example", "name: ["), "cannot be read as YAML"),
    ],
)  # fmt: skip
def test_a_wrong_pack_names_file_field_and_mend(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    assert change[0] in GOOD
    path = tmp_path / "city.yaml"
    path.write_text(GOOD.replace(change[0], change[1], 1), encoding="utf-8")
    with pytest.raises(PackError) as caught:
        load_pack(str(path))
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value) or "beijing" in words


def test_a_pack_of_ones_own_with_a_table_beside_it(tmp_path: Path) -> None:
    table = "name: own\nversion: '3'\ntitle: Own\ncodes: {parking.motor: ['9001', '9002']}\n"
    (tmp_path / "own.yaml").write_text(table, encoding="utf-8")
    text = GOOD.replace("[cjt214, shanxi]", "[cjt214, own.yaml]").replace(
        "number_with: shanxi", "number_with: own"
    )
    path = tmp_path / "city.yaml"
    path.write_text(text, encoding="utf-8")
    found = load_pack(str(path))
    assert [str(c) for c in found.codes(IssueClass.PARKING_MOTOR)] == [
        "own@3:9001",
        "own@3:9002",
        "cjt214@2007:0505",
    ]
    (tmp_path / "own.yaml").write_text(table.replace("9002", "90-2"), encoding="utf-8")
    with pytest.raises(PackError, match=r"own\.yaml: codes\.parking\.motor\.1"):
        load_pack(str(path))


def test_two_tables_clash_and_no_code_is_bare() -> None:
    found = load_pack("example")
    shanxi, cjt = found.tables["shanxi"], found.tables["cjt214"]
    assert shanxi.classes("0401") == cjt.classes("0501") == (IssueClass.VENDOR_UNLICENSED,)
    assert shanxi.classes("0501") == ()
    assert set(shanxi.classes("0110")) == {IssueClass.DUMPING_ACT, IssueClass.DUMPING_EXPOSED}
    assert [str(c) for c in found.codes(IssueClass.VENDOR_OUT_OF_PERMIT)] == [
        "shanxi@2026:0402", "shanxi@2026:0491", "shanxi@2026:0492",
    ]  # fmt: skip


PACK = load_pack("example")
CALENDAR = PACK.work_calendar()


@pytest.mark.parametrize(
    ("permit", "local", "holds"),
    [
        (0, "2026-03-04T05:30+08:00", True),
        (0, "2026-03-04T08:29+08:00", True),
        (0, "2026-03-04T08:30+08:00", False),
        (0, "2027-03-04T06:00+08:00", False),
        (1, "2026-03-06T18:00+08:00", True),  # a Friday
        (1, "2026-03-07T00:59+08:00", True),
        (1, "2026-03-08T00:59+08:00", True),  # Saturday's hours run over midnight
        (1, "2026-03-09T00:30+08:00", False),
        (1, "2026-03-05T20:00+08:00", False),
    ],
)
def test_hours_of_a_permit(permit: int, local: str, holds: bool) -> None:
    assert PACK.permits[permit].holds(datetime.fromisoformat(local), CALENDAR) is holds


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "workday", "restday")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from(DAYS), min_size=1), st.integers(0, 23), st.integers(0, 23)),
        max_size=3,
    ),
    st.integers(0, 60 * 24 * 400),
)
def test_a_permit_holds_like_the_slow_way(spans: list[tuple[set[str], int, int]], minute: int) -> None:
    told = [{"days": sorted(d), "from": f"{a:02d}:00", "to": f"{b:02d}:00"} for d, a, b in spans]
    permit = Permit.model_validate(
        {"id": "p", "name": "p", "issues": ["vendor.unlicensed"], "areas": {"grid": ["g"]}, "hours": told}
    )
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    local = when.astimezone(CALENDAR.zone)
    slow = not spans
    for days, begin, end in spans:
        for back in (0, 1):  # walk hour by hour from the beginning on this day and on the day before
            day: date = local.date() - timedelta(days=back)
            name = "workday" if CALENDAR.works(day) else "restday"
            if not {DAYS[day.weekday()], name} & days:
                continue
            start = datetime(day.year, day.month, day.day, begin, tzinfo=CALENDAR.zone)
            length = (end - begin) % 24 or 24
            slow = slow or any(
                start + timedelta(hours=h) <= local < start + timedelta(hours=h + 1) for h in range(length)
            )
    assert permit.holds(when, CALENDAR) is slow


def test_a_street_class_may_have_its_own_limit(tmp_path: Path) -> None:
    path = tmp_path / "city.yaml"
    more = MOTOR + "    limits: {regulate: {amount: 1, unit: work_day}}\n"
    assert MOTOR in GOOD
    path.write_text(GOOD.replace(MOTOR, more), encoding="utf-8")
    with centre(tmp_path / "data", pack=str(path)) as house:
        root = house.person("root", "admin")
        due = {}
        for i, street in enumerate(StreetClass):
            case = house.case(zone__street_class=street.value, place__lat=37 + i / 100)
            root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
            due[street] = root.post(f"/cases/{case}/steps", json={"step": "file"}).json()["deadline_at"]
        # 16:00 in the city: two urgent hours, or 2 work hours today and 6 tomorrow.
        assert due[StreetClass.PROHIBIT] == due[StreetClass.CONTROL] == "2026-03-04T10:00:00Z"
        assert due[StreetClass.REGULATE] == "2026-03-05T08:00:00Z"


def feature(code: str, coordinates: Any, kind: str = "Polygon", **more: Any) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": {"code": code, **more}}


def square(lon: float, lat: float, size: float) -> list[list[list[float]]]:
    return [[[lon, lat], [lon + size, lat], [lon + size, lat + size], [lon, lat + size], [lon, lat]]]


def put(client: Any, kind: str, *features: dict[str, Any]) -> Any:
    return client.put(f"/geo/{kind}", json={"type": "FeatureCollection", "features": list(features)})


def test_the_terms_of_a_case(house: Centre) -> None:
    root = house.person("root", "admin")
    lon, lat = 112.5489, 37.8706
    put(root, "frontage", feature("f1", square(lon - 0.0001, lat - 0.0001, 0.0002), name="Noodle shop"))
    put(
        root,
        "street",
        feature("night-market-street", square(lon - 0.01, lat - 0.01, 0.02), street_class="prohibit"),
    )
    put(
        root, "component",
        feature("lamp-1", [lon, lat + 0.0002], "Point", name="Lamp post 1"),
        feature("lamp-2", [lon, lat + 0.0001], "Point", name="Lamp post 2"),
        feature("lamp-3", [lon, lat + 0.001], "Point"),
    )  # fmt: skip
    assert put(root, "street", feature("s", square(0, 0, 1))).status_code == 422
    case = house.case(issue="vendor.unlicensed")
    told = root.get(f"/cases/{case}/terms").json()
    assert told["codes"][0] == {"pack": "shanxi", "version": "2026", "code": "0401"}
    assert (told["limit_amount"], told["limit_unit"], told["unit_en"]) == (2, "urgent_hour", "Street office")
    assert told["closing"].startswith("The vendor has left")
    place = told["place"]
    assert place["names"]["frontage"] == "Noodle shop"
    assert (place["component"]["code"], place["component"]["distance_m"]) == (
        "lamp-2",
        pytest.approx(11.1, abs=0.2),
    )
    assert [(p["id"], p["holds"]) for p in place["permits"]] == [("night-market", False)], "Wednesday, 16:00"
    report = {
        "channel": "hotline", "external_id": "1", "issue": "dumping.exposed", "lon": lon, "lat": lat,
        "reported_at": house.clock().isoformat(),
    }  # fmt: skip
    made = root.post("/reports", json=report).json()["case_id"]
    assert root.get(f"/cases/{made}").json()["street_class"] == "prohibit", (
        "people do not know it, the map does"
    )


def test_what_a_permit_covers_is_shown_after_the_rest(house: Centre) -> None:
    house.clock.at = datetime(2026, 3, 5, 22, 0, tzinfo=UTC)  # 06:00 in the city
    breakfast = {"lon": 112.5603, "lat": 37.8702}
    inside = house.case(issue="vendor.unlicensed", place__lon=breakfast["lon"], place__lat=breakfast["lat"])
    house.clock.pass_s(600)
    outside = house.case(issue="vendor.unlicensed", place__lat=37.9)
    rita = house.person()
    queue = rita.get("/cases", params={"order": "queue"}).json()["items"]
    assert [c["id"] for c in queue] == [outside, inside]
    permits = rita.get(f"/cases/{inside}/terms").json()["place"]["permits"]
    assert [(p["id"], p["holds"]) for p in permits] == [("breakfast-1", True)]


def test_routing_by_class_street_and_grid(tmp_path: Path) -> None:
    path = tmp_path / "city.yaml"
    routes = """routing:
  - {issue: parking.motor, street_class: prohibit, grid: g1, unit: traffic-police}
  - {issue: parking.motor, grid: g1, unit: street-office}
  - {street_class: regulate, unit: sanitation}
"""
    path.write_text(GOOD + routes, encoding="utf-8")
    with centre(tmp_path / "data", pack=str(path)) as house:
        root = house.person("root", "admin")
        put(root, "grid", feature("g1", square(112.5, 37.8, 0.1), unit="fire-brigade"))
        asked = {"lon": 112.55, "lat": 37.85}

        def unit(**more: str) -> str:
            return str(root.get("/resolve", params=asked | more).json()["unit"])

        assert unit(issue="parking.motor", street_class="prohibit") == "traffic-police"
        assert unit(issue="parking.motor", street_class="control") == "street-office"
        assert unit(issue="dumping.exposed", street_class="regulate") == "sanitation"
        assert unit(issue="dumping.exposed", street_class="control") == "fire-brigade", "the cell's own unit"
        case = house.case(zone__street_class="control")
        root.post(f"/cases/{case}/verdicts", json={"kind": "confirm", "issue": "dumping.exposed"})
        assert root.get(f"/cases/{case}/terms").json()["unit"] == "fire-brigade", (
            "the right class is routed anew"
        )


def test_the_command_checks_a_pack(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from curbwatch.commands.api import cli

    good = CliRunner().invoke(cli, ["pack", "example"])
    assert (good.exit_code, "shanxi@2026" in good.output) == (0, True)
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace("timezone: Asia/Shanghai", "timezone: x"), encoding="utf-8")
    bad = CliRunner().invoke(cli, ["pack", str(path)])
    assert bad.exit_code == 1
    assert "timezone: x is unknown" in bad.output
