"""Times at the calendar's ends, numbers beyond every column, YAML that trips its reader: refused, never a fault of ours."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from api_parts import Centre, event
from fastapi.testclient import TestClient

from api.examples import HEARTBEAT
from contract import new_id

FIRST, LAST = "0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59-12:00"
ENDS = (FIRST, "0001-01-01T00:00:00Z", LAST, "9999-12-31T23:59:59Z")
NOW = "2026-03-04T08:00:00+00:00"
WRONG = {400, 404, 422}


def refused(what: object, *answers: Any) -> None:
    for answer in answers:
        assert answer.status_code in WRONG, (what, answer.status_code, answer.text)


def root_of(house: Centre) -> TestClient:
    return house.person("root", "admin")


def cursor_of(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize("at", ENDS)
def test_times_at_the_calendars_ends_in_messages(house: Centre, at: str) -> None:
    box, root = house.box(), root_of(house)
    told = {"channel": "hotline", "external_id": "x", "issue": "dumping.exposed", "lon": 1, "lat": 1}
    refused("report", root.post("/reports", json=told | {"reported_at": at}))
    refused("heartbeat", box.post("/heartbeats", json=HEARTBEAT | {"id": new_id(), "at": at}))
    for name in ("occurred_at", *(f"dwell__{n}_at" for n in ("first_seen", "candidate", "confirmed"))):
        refused(name, box.post("/alerts", json=event(house.clock(), **{name: at})))


@pytest.mark.parametrize("at", ENDS)
def test_times_at_the_calendars_ends_in_questions(house: Centre, at: str) -> None:
    root = root_of(house)
    house.case()
    refused("since", root.get("/cases", params={"since": at}))
    assert root.get("/cases", params={"cursor": cursor_of(at, "x")}).status_code in {200, 400}
    refused("labels", root.get("/exports/labels", params={"since": at}))
    for name in ("since", "until"):
        refused(name, root.get("/exports/cases", params={name: at}))
    for name in ("start_date", "end_date"):
        for shape in ("json", "xml"):
            answer = root.get(f"/open311/v2/requests.{shape}", params={name: at})
            assert answer.status_code == 400, (name, answer.text)


def test_open311_at_the_ends_of_what_is_a_time(house: Centre) -> None:
    """The 90 days before or after such a date reach no further than the calendar."""
    root = root_of(house)
    for told in ({"start_date": "9998-12-31T00:00:00Z"}, {"end_date": "0002-01-01T00:00:00Z"}):
        assert root.get("/open311/v2/requests.json", params=told).json() == []


def test_numbers_beyond_every_column(house: Centre) -> None:
    root, box = root_of(house), house.box()
    for revision in (2**31, 2**63, 2**70):
        refused(revision, box.post("/alerts", json=event(house.clock(), revision=revision)))
    for rank in (2**31, 2**63, 10**30):
        answer = root.get("/cases", params={"order": "queue", "cursor": cursor_of(rank, NOW, "x")})
        assert answer.status_code in {200, *WRONG}, answer.text
    for version in (2**31, 2**63, 2**70):
        refused(version, box.get(f"/devices/self/config/{version}"))


@pytest.mark.parametrize("value", ["!!timestamp 'z'", "!!bool 'z'", "!!int ''", "!!float ''", "!!binary 5"])
def test_yaml_that_trips_its_reader(house: Centre, value: str) -> None:
    house.box()
    body = f"cameras: [{{url: 'a', x: {value}}}]"
    answer = root_of(house).put("/fleet/boxes/box-1/config", json={"body": body})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("body: line 1")
