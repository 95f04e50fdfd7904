"""GeoReport v2 as a citizens' app speaks it: fields and shapes of the published document."""

from __future__ import annotations

from api_parts import Centre, sha
from defusedxml.ElementTree import fromstring
from sqlalchemy import update

from api.routes.open311 import CHANGESET, NAMES
from api.tables import Report
from contract import IssueClass

V2 = "/open311/v2"
# Every field that the document's answer of GET request has.
FIELDS = {
    "service_request_id", "status", "status_notes", "service_name", "service_code", "description",
    "agency_responsible", "service_notice", "requested_datetime", "updated_datetime", "expected_datetime", "address",
    "address_id", "zipcode", "lat", "long", "media_url",
}  # fmt: skip


def _key(house: Centre, kind: str = "citizen", tenant: str = "/") -> str:
    made = house.person("root", "admin").post(
        "/keys", json={"name": f"{kind}{tenant}", "kind": kind, "tenant": tenant}
    )
    return str(made.json()["secret"])


def test_services(house: Centre) -> None:
    app = house.anonymous()
    rows = app.get(f"{V2}/services.json").json()
    assert {r["service_code"] for r in rows} == {i.value for i in IssueClass} == set(NAMES)
    assert {"service_code", "service_name", "description", "metadata", "type", "keywords", "group"} == set(
        rows[0]
    )
    xml = app.get(f"{V2}/services.xml")
    assert xml.headers["content-type"].startswith("text/xml")
    assert [s.findtext("service_code") for s in fromstring(xml.text).findall("service")] == [
        r["service_code"] for r in rows
    ]


def test_discovery(house: Centre) -> None:
    """Fields and types of the specification's example, in both formats; an app finds the services by it alone."""
    app = house.anonymous()
    told = app.get("/open311/discovery.json").json()
    assert list(told) == ["changeset", "contact", "key_service", "endpoints"]
    (endpoint,) = told["endpoints"]
    assert list(endpoint) == ["specification", "url", "changeset", "type", "formats"]
    assert endpoint["specification"] == "http://wiki.open311.org/GeoReport_v2"
    assert (endpoint["type"], endpoint["formats"]) == ("production", ["text/xml", "application/json"])
    assert app.get(f"{endpoint['url']}/services.json").json()
    xml = app.get("/open311/discovery.xml")
    assert xml.headers["content-type"].startswith("text/xml")
    assert xml.text.startswith("<?xml version='1.0' encoding='utf-8'?>")
    page = fromstring(xml.text)
    one = page.find("endpoints/endpoint")
    assert page.tag == "discovery"
    assert one is not None
    assert {c.tag: c.text for c in page if c.tag != "endpoints"} == {k: told[k] for k in list(told)[:3]}
    assert {c.tag: c.text for c in one if c.tag != "formats"} == {k: endpoint[k] for k in list(endpoint)[:4]}
    assert [f.text for f in one.findall("formats/format")] == endpoint["formats"]


def test_the_changeset_changes_with_the_services(sqlite_house: Centre) -> None:
    """Whoever changes the list below sets `CHANGESET` to the day and hour, and this hash to the new one."""
    app = sqlite_house.anonymous()
    told = app.get(f"{V2}/services.json").text + app.get(f"{V2}/services/parking.motor.json").text
    assert (CHANGESET, sha(told.encode())[:16]) == ("2026-11-21 15:00", "ced9f3450d0713f5")


def test_a_request_from_app_to_closing(house: Centre) -> None:
    app, key, case = house.anonymous(), _key(house), house.case()
    form = {
        "service_code": "parking.motor",
        "lat": "37.8706",
        "long": "112.5489",
        "description": "A <van> & co",
    }
    assert app.post(f"{V2}/requests.json", data=form).status_code == 403
    assert app.post(f"{V2}/requests.json", data=form | {"api_key": "no"}).status_code == 403
    made = app.post(f"{V2}/requests.json", data=form | {"api_key": key})
    assert made.status_code == 201, made.text
    number = made.json()[0]["service_request_id"]
    rita = house.person()
    assert rita.get("/reports", params={"case_id": case}).json()[0]["id"] == number, "joins the camera's case"
    (row,) = app.get(f"{V2}/requests/{number}.json", params={"api_key": key}).json()
    assert set(row) == FIELDS
    assert (row["status"], row["lat"], row["long"]) == ("open", 37.8706, 112.5489)
    xml = app.get(f"{V2}/requests.xml", params={"api_key": key, "status": "open"}).text
    found = fromstring(xml).findall("request")
    assert [f.findtext("description") for f in found] == ["A <van> & co"]
    rita.post(f"/cases/{case}/verdicts", json={"kind": "reject", "reason": 1})
    closed = {"api_key": key, "status": "closed", "service_code": "parking.motor"}
    assert [r["service_request_id"] for r in app.get(f"{V2}/requests.json", params=closed).json()] == [number]
    assert app.get(f"{V2}/requests.json", params={"api_key": key, "status": "open"}).json() == []
    north = _key(house, tenant="/north/")
    assert app.get(f"{V2}/requests/{number}.json", params={"api_key": north}).status_code == 404


def test_requests_that_are_refused(house: Centre) -> None:
    app, key = house.anonymous(), _key(house)
    good = {"api_key": key, "service_code": "parking.motor", "lat": "37.9", "long": "112.5"}
    for changes, status in (
        ({"service_code": "potholes"}, 400),
        ({"lat": ""}, 400),
        ({"lat": "91"}, 400),
        ({"api_key": _key(house, "statistics")}, 403),
    ):
        assert app.post(f"{V2}/requests.json", data=good | changes).status_code == status, changes
    naive = {"api_key": key, "start_date": "2026-01-01T00:00:00"}
    assert app.get(f"{V2}/requests.json", params=naive).status_code == 400
    assert app.get(f"{V2}/services.pdf").status_code == 400


def test_a_control_character_does_not_break_the_list_for_all(house: Centre) -> None:
    app, key = house.anonymous(), _key(house)
    good = {"api_key": key, "service_code": "parking.motor", "lat": "37.9", "long": "112.5"}
    made = app.post(f"{V2}/requests.json", data=good | {"description": "lines\r\n\tand 😀"})
    assert made.status_code == 201
    assert app.post(f"{V2}/requests.json", data=good | {"description": "a\x01b"}).status_code == 400
    with house.core.db.write() as session:
        session.execute(update(Report).values(text="a\x01\ufffeb"))  # as older rows have it
    xml = app.get(f"{V2}/requests.xml", params={"api_key": key}).text
    assert [r.findtext("description") for r in fromstring(xml).findall("request")] == ["ab"]
    assert fromstring(app.get(f"{V2}/services/a%01b.xml").text).findtext("error/code") == "404"
