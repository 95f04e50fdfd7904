"""The GeoReport v2 client: against answers shaped as the published examples, and against our own server over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_parts import Centre, centre
from open311_city import City, filed, key_of, row_of, served, services
from pydantic import SecretStr

from api.city_loop import endpoint
from api.city_requests import TRIES, Round, check, exchange
from api.georeport import Attribute, CityRequest, GeoReport, GeoReportError, Posted, Service
from contract import IssueClass

BINS, KERB = IssueClass.BIN_OVERFLOW, IssueClass.PARKING_MOTOR


@pytest.fixture(params=["json", "xml"])
def report(request: pytest.FixtureRequest, city: City) -> Iterator[GeoReport]:
    with httpx.Client(timeout=60, trust_env=False) as client:
        yield GeoReport(client, city.url, "secret-key", "city.example", request.param)


def test_the_published_examples(report: GeoReport, city: City) -> None:
    assert report.services() == [
        Service("007", "Bins left out", "sanitation", True, "realtime"),
        Service("8", "Blocked kerb", "street", False, "batch"),
    ]
    assert city.asked[-1][1]["jurisdiction_id"] == "city.example"
    assert report.definition("007") == [Attribute("HOWMANY", True, "singlevaluelist", ("1", "2"))]
    assert report.post("007", 1.5, 2.5, "words", {"HOWMANY": "2"}) == Posted(
        "100293", "", "Within three days."
    )
    form = city.asked[-1][1]
    assert (form["lat"], form["long"], form["attribute[HOWMANY]"]) == ("2.5000000", "1.5000000", "2")
    assert report.post("8", 1, 2, "words") == Posted("", "T-77", "")
    assert report.id_of("T-77") == "100294"
    done, vague = report.requests(ids=["100293", "100294"])
    assert city.asked[-1][1]["service_request_id"] == "100293,100294"
    assert (done.id, done.open, done.notes, done.lon, done.lat) == (
        "100293",
        False,
        "Taken away.",
        -122.4638,
        37.7624,
    )
    assert done.requested_at is not None
    assert done.requested_at.isoformat() == "2026-03-04T14:37:38+00:00"
    assert vague == CityRequest("100294", True, "", "8", "", None, None, None, None)


@pytest.mark.parametrize(
    ("status", "body", "final", "words"),
    [
        (400, b'[{"code":400,"description":"lat is missing"}]', True, "400 lat is missing"),
        (404, b"<html>nothing</html>", True, "404"),
        (503, b"", False, "503"),
        (429, b"[]", False, "429"),
        (200, b"not json", False, "no JSON"),
        (200, b'{"a": 1}', False, "no list"),
        (200, b"[1]", False, "no list"),
        (200, b"[" + b" " * (9 * 2**20) + b"]", False, "over"),
    ],
)
def test_faults(city: City, status: int, body: bytes, final: bool, words: str) -> None:
    city.instead["GET services"] = (status, body)
    with (
        httpx.Client(timeout=60, trust_env=False) as client,
        pytest.raises(GeoReportError, match=words) as found,
    ):
        GeoReport(client, city.url, "secret-key").services()
    assert found.value.final is final
    assert "secret-key" not in str(found.value)


@pytest.mark.parametrize("shape", ["json", "xml"])
def test_errors_and_bombs(city: City, shape: Any) -> None:
    with httpx.Client(timeout=60, trust_env=False) as client:
        with pytest.raises(GeoReportError, match="403 Invalid api_key") as found:
            GeoReport(client, city.url, "other", "", shape).post("007", 1, 2, "x")
        assert found.value.final
        bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><services><service><service_code>&b;</service_code></service></services>'
        city.instead["GET services"] = (200, bomb)
        with pytest.raises(GeoReportError, match="answer is no"):
            GeoReport(client, city.url, "", "", shape).services()
        with pytest.raises(GeoReportError, match="ConnectError"):
            GeoReport(client, "http://127.0.0.1:9", "k", "", shape).services()


@pytest.mark.parametrize("shape", ["json", "xml"])
def test_two_centres(house: Centre, tmp_path: Path, shape: str) -> None:
    """Ours on both stores posts to another centre over HTTP, follows it to the end, and takes its citizens' word."""
    with centre(tmp_path / "city") as other, served(other) as url:
        told = {
            "open311_url": url,
            "open311_key": SecretStr(key_of(other, "city")),
            "open311_format": shape,
            "open311_pull": True,
        }
        house.core.__dict__["settings"] = house.core.settings.model_copy(update=told)
        services(house, parking__motor="parking.motor")
        boss, root = other.person("root", "admin"), house.person("root", "admin")
        case = filed(house)
        with endpoint(house.core.settings) as city:
            assert check(house.core, city) == []
            assert exchange(house.core, city) == Round(1, 1, 0), "posted, and not taken back as a report"
            assert root.get(f"/cases/{case}").json()["state"] == "accepted"
            (there,) = boss.get("/reports").json()
            number = root.get(f"/cases/{case}").json()["number"]
            assert f"[{number}]" in there["text"]
            assert exchange(house.core, city) == Round(0, 0, 0)
            citizen = other.anonymous().post(
                "/open311/v2/requests.json",
                data={"api_key": key_of(other, "citizen"), "service_code": "parking.motor", "lat": "37.95", "long": "112.6", "description": "a <lorry>"},
            )  # fmt: skip
            assert citizen.status_code == 201
            assert boss.post(f"/cases/{there['case_id']}/steps", json={"step": "self_resolve"}).is_success
            for each in (house, other):
                each.clock.pass_s(120)
            assert exchange(house.core, city) == Round(0, 1, 1)
            assert exchange(house.core, city) == Round(0, 0, 0)
        assert root.get(f"/cases/{case}").json()["state"] == "recheck", (
            "the city's word is looked at, not believed"
        )
        assert [i["why"] for i in root.get(f"/cases/{case}/inspections").json()] == ["done"]
        (view,) = root.get("/city/requests", params={"state": "closed"}).json()
        assert (view["case_id"], view["notes"]) == (case, "self_resolved")
        pulled = root.get("/reports").json()
        assert [r["text"] for r in pulled] == ["a <lorry>"]
        assert root.get(f"/cases/{case}/audit").json()["intact"]


def test_an_answer_that_was_lost_makes_no_second_request(sqlite_house: Centre, tmp_path: Path) -> None:
    class LosesOne(httpx.HTTPTransport):
        lost = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            if request.method == "POST" and not self.lost:
                self.lost += 1
                raise httpx.ReadTimeout("lost", request=request)
            return answer

    house = sqlite_house
    services(house, parking__motor="parking.motor")
    with (
        centre(tmp_path / "city") as other,
        served(other) as url,
        httpx.Client(transport=LosesOne()) as client,
    ):
        city = GeoReport(client, url, key_of(other, "city"))
        case = filed(house)
        exchange(house.core, city)
        assert (row_of(house, case).state, row_of(house, case).error) == ("due", "requests: ReadTimeout")
        house.clock.pass_s(60)
        exchange(house.core, city)
        (there,) = other.person("root", "admin").get("/reports").json()
        assert (row_of(house, case).state, row_of(house, case).remote_id) == ("open", there["id"])


def test_dead_requests_are_seen_and_sent_again(sqlite_house: Centre, city: City) -> None:
    house = sqlite_house
    services(house, parking__motor="007")
    root = house.person("root", "admin")
    case = filed(house)
    with httpx.Client(timeout=60, trust_env=False) as client:
        exchange(house.core, GeoReport(client, city.url, "wrong"))
        (dead,) = root.get("/city/requests", params={"state": "dead"}).json()
        assert dead["error"].startswith("requests: 403 Invalid api_key")
        assert root.get(f"/cases/{case}").json()["state"] == "filed"
        right = GeoReport(client, city.url, "secret-key")
        assert exchange(house.core, right).posted == 0
        assert root.post(f"/city/requests/{case}").status_code == 204
        assert root.post(f"/city/requests/{case}").status_code == 409
        city.instead["GET requests"] = (200, b"[]")
        assert exchange(house.core, right).posted == 1
        assert row_of(house, case).remote_id == "100293"
        assert check(house.core, right) == [
            "open311.parking.motor.attributes: add HOWMANY, which the city demands"
        ]
        services(house, parking__motor="nine")
        assert "has no service nine; it has 007, 8" in check(house.core, right)[0]


def test_a_token_becomes_an_id_and_a_silent_city_is_given_up(sqlite_house: Centre, city: City) -> None:
    house = sqlite_house
    services(house, parking__motor="8", dumping__bin_overflow="007")
    case = filed(house)
    with httpx.Client(timeout=60, trust_env=False) as client:
        right = GeoReport(client, city.url, "secret-key")
        city.instead["GET requests"] = (200, b"[]")
        exchange(house.core, right)
        assert row_of(house, case).state == "open", "a token that is asked for at once"
        assert row_of(house, case).remote_id == "100294"
        bins = filed(house, issue="dumping.bin_overflow")
        city.instead["POST requests 007"] = (500, b"")
        for _ in range(TRIES + 1):
            exchange(house.core, right)
            house.clock.pass_s(7 * 3600)
        assert (row_of(house, bins).state, row_of(house, bins).tries) == ("dead", TRIES)
