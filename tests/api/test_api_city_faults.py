"""The exchange with a city that is slow, away or has lost something: no request twice, and one fault holds up nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_parts import Centre, centre
from open311_city import City, filed, key_of, row_of, served, services
from structlog.testing import capture_logs

from api.city_requests import TRIES, Round, exchange
from api.georeport import GeoReport, GeoReportError
from api.tables_city import CityRequest as Row

LOST = (404, b'[{"code":404,"description":"no such one"}]')


def pulls(house: Centre) -> None:
    house.core.__dict__["settings"] = house.core.settings.model_copy(update={"open311_pull": True})


def posted(house: Centre, lon: float, **told: str) -> str:
    """File a case that the city has already: it owes an id for `token`, or gave `remote_id`."""
    case = filed(house, place__lon=lon)
    with house.core.db.write() as session:
        state = "token" if "token" in told else "open"
        session.add(Row(case_id=case, tenant="/", state=state, next_at=house.clock(), **told))
    return case


def citizens_request(**changes: Any) -> bytes:
    told = {
        "service_request_id": 9, "status": "open", "service_code": "007", "description": "heap", "lat": 37.9,
        "long": 112.9, "requested_datetime": "2026-03-04T07:00:00Z",
    }  # fmt: skip
    return json.dumps([told | changes]).encode()


@pytest.mark.parametrize("answer", [LOST, (500, b"")])
def test_a_token_that_the_city_has_lost_holds_up_nothing(
    house: Centre, city: City, answer: tuple[int, bytes]
) -> None:
    services(house, parking__motor="007")
    lost, odd = posted(house, 112.1, token="old"), posted(house, 112.2, token="\x01")
    kept, other = posted(house, 112.3, token="T-77"), posted(house, 112.4, remote_id="100293")
    city.instead["GET tokens/old"] = answer
    pulls(house)
    with httpx.Client(timeout=60, trust_env=False) as client:
        right = GeoReport(client, city.url, "secret-key")
        assert exchange(house.core, right).changed == 1
        assert (row_of(house, other).state, row_of(house, kept).remote_id) == ("closed", "100294")
        assert row_of(house, lost).state == ("dead" if answer is LOST else "token")
        assert str(answer[0]) in row_of(house, lost).error
        asked = [name for name, _ in city.asked]
        assert asked.count("GET requests") == 2, "the mirror and the pull, in the same round"
        house.clock.pass_s(3600)
        exchange(house.core, right)
        again = [name for name, _ in city.asked[len(asked) :]]
        assert ("GET tokens/old" in again) is (answer is not LOST)
        assert row_of(house, odd).state == "dead", "no address can hold it"


class KnowsNot(httpx.HTTPTransport):
    """A city that says 404 to a list with one request that it does not know."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "666" in request.url.params.get("service_request_id", "").split(","):
            return httpx.Response(404, content=LOST[1])
        return super().handle_request(request)


def test_a_request_that_the_city_has_lost_holds_up_no_other(house: Centre, city: City) -> None:
    services(house, parking__motor="007")
    lost, other = posted(house, 112.1, remote_id="666"), posted(house, 112.2, remote_id="100293")
    with httpx.Client(transport=KnowsNot()) as client:
        assert exchange(house.core, GeoReport(client, city.url, "secret-key")).changed == 1
        assert (row_of(house, lost).state, row_of(house, other).state) == ("dead", "closed")


def test_a_lost_request_that_is_the_only_one_ends_after_its_tries(house: Centre, city: City) -> None:
    services(house, parking__motor="007")
    lost = posted(house, 112.1, remote_id="666")
    with httpx.Client(transport=KnowsNot()) as client:
        right = GeoReport(client, city.url, "secret-key")
        for tries in range(1, TRIES + 1):
            with pytest.raises(GeoReportError, match="404"):
                exchange(house.core, right)
            row = row_of(house, lost)
            assert (row.tries, row.state) == (tries, "open" if tries < TRIES else "dead")
            assert "404" in row.error
            house.clock.pass_s(6 * 3600)
        assert exchange(house.core, right).changed == 0, "nobody asks for it any more"


def test_a_refused_key_kills_no_request_that_is_there(house: Centre, city: City) -> None:
    services(house, parking__motor="007")
    cases = [posted(house, 112.1, token="T-77"), posted(house, 112.2, remote_id="100293")]
    city.instead |= {"GET tokens/T-77": (403, b"[]"), "GET requests": (403, b"[]")}
    with httpx.Client(timeout=60, trust_env=False) as client:
        right = GeoReport(client, city.url, "secret-key")
        with pytest.raises(GeoReportError, match="403"):
            exchange(house.core, right)
        assert [row_of(house, case).state for case in cases] == ["token", "open"]
        city.instead.clear()
        house.clock.pass_s(3600)
        assert exchange(house.core, right).changed == 1
        assert [row_of(house, case).error for case in cases] == ["", ""]


def test_the_pull_goes_on_when_the_mirror_cannot(house: Centre, city: City) -> None:
    services(house, parking__motor="007")
    posted(house, 112.1, remote_id="1")
    pulls(house)
    with httpx.Client(transport=AwayForLists()) as client:
        city.instead["GET requests"] = (200, citizens_request())
        with pytest.raises(GeoReportError, match="ReadTimeout"):
            exchange(house.core, GeoReport(client, city.url, "secret-key"))
    assert [r["text"] for r in house.person("root", "admin").get("/reports").json()] == ["heap"]


def test_the_mirrors_fault_is_said_when_the_pull_fails_too(house: Centre, city: City) -> None:
    services(house, parking__motor="007")
    posted(house, 112.1, remote_id="1")
    pulls(house)
    city.instead["GET requests"] = (500, b"")
    with (
        httpx.Client(transport=AwayForLists()) as client,
        capture_logs() as logs,
        pytest.raises(GeoReportError, match="500"),
    ):
        exchange(house.core, GeoReport(client, city.url, "secret-key"))
    (said,) = [e for e in logs if e["event"] == "open311.mirror_failed"]
    assert "ReadTimeout" in said["error"]


class AwayForLists(httpx.HTTPTransport):
    """A city that does not answer when it is asked for requests by their ids."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "service_request_id" in request.url.params:
            raise httpx.ReadTimeout("away", request=request)
        return super().handle_request(request)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59-12:00", "yesterday"])
def test_a_time_that_is_none_ends_no_pull(house: Centre, city: City, at: str) -> None:
    services(house, parking__motor="007")
    pulls(house)
    city.instead["GET requests"] = (200, citizens_request(requested_datetime=at, description="a\0heap"))
    with httpx.Client(timeout=60, trust_env=False) as client:
        assert exchange(house.core, GeoReport(client, city.url, "secret-key")).pulled == 1


def test_our_own_request_is_no_citizens_while_its_token_has_no_id(house: Centre, city: City) -> None:
    services(house, parking__motor="8")
    pulls(house)
    case = filed(house)
    city.instead["GET tokens/T-77"] = (200, b'[{"token":"T-77"}]')
    with httpx.Client(timeout=60, trust_env=False) as client:
        right = GeoReport(client, city.url, "secret-key")
        number = house.person("root", "admin").get(f"/cases/{case}").json()["number"]
        ours = {"service_code": "8", "description": f"[1999-000001] (Found by a camera [{number}])"}
        city.instead["GET requests"] = (200, citizens_request(**ours))
        assert exchange(house.core, right) == Round(1, 0, 0)
        assert row_of(house, case).state == "token"
        city.instead["GET requests"] = (200, citizens_request(service_code="8", description="[1999-000001]"))
        assert exchange(house.core, right).pulled == 1, "a number that is none of ours"


@pytest.mark.parametrize("state", ["open", "closed", "dead"])
def test_a_citizen_who_quotes_our_number_is_heard(house: Centre, city: City, state: str) -> None:
    services(house, parking__motor="007")
    pulls(house)
    case = posted(house, 112.1, remote_id="100293")
    with house.core.db.write() as session:
        row = session.get_one(Row, case)
        row.state, row.next_at = state, house.clock() + timedelta(days=1)
    number = house.person("root", "admin").get(f"/cases/{case}").json()["number"]
    with httpx.Client(timeout=60, trust_env=False) as client:
        right = GeoReport(client, city.url, "secret-key")
        quoted = f"still there, see [{number}]"
        city.instead["GET requests"] = (200, citizens_request(description=quoted, service_request_id=100293))
        assert exchange(house.core, right).pulled == 0, "that one is ours"
        city.instead["GET requests"] = (200, citizens_request(description=quoted))
        assert exchange(house.core, right).pulled == 1


class SlowPosts(httpx.HTTPTransport):
    """Each post takes eighteen seconds; during the fourth it calls back."""

    def __init__(self, house: Centre, during: Callable[[], object]) -> None:
        super().__init__()
        self.house, self.during, self.posts = house, during, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.posts += 1
            self.house.clock.pass_s(18)
            if self.posts == 4:
                self.during()
        return super().handle_request(request)


def test_two_replicas_make_one_request_of_a_case_at_a_slow_city(house: Centre, tmp_path: Path) -> None:
    services(house, parking__motor="parking.motor")
    for core in house.cores:
        core.__dict__["pack"] = house.core.pack
    cases = [filed(house, place__lon=112.5 + i / 100) for i in range(6)]
    with centre(tmp_path / "city") as other, served(other) as url, httpx.Client() as client:
        key = key_of(other, "city")
        other.clock = house.clock

        def round_of_the_other() -> None:
            exchange(house.cores[-1], GeoReport(client, url, key))

        with httpx.Client(transport=SlowPosts(house, round_of_the_other)) as slow:
            exchange(house.core, GeoReport(slow, url, key))
        there = other.person("root", "admin").get("/reports").json()
        assert len(there) == len({r["text"] for r in there}) == 6
        assert {row_of(house, case).state for case in cases} == {"open"}
