"""Limits as the indicators count them: suspensions, reworks, rechecks, extensions, returns."""

from __future__ import annotations

from typing import Any

import pytest
from api_parts import Centre

HOUR = 3600.0


class City:
    """A confirmed case whose class has two urgent hours, and an admin who takes its steps."""

    def __init__(self, house: Centre) -> None:
        self.house, self.case = house, house.case()
        self.root = house.person("root", "admin")
        assert self.root.post(f"/cases/{self.case}/verdicts", json={"kind": "confirm"}).is_success

    def step(self, name: str) -> int:
        told = {"step": name, "reason": "why"} | ({"hours": 1} if name == "extend" else {})
        return int(self.root.post(f"/cases/{self.case}/steps", json=told).status_code)

    def go(self, *steps: str) -> None:
        assert [self.step(name) for name in steps] == [200] * len(steps)

    def shown(self) -> dict[str, Any]:
        return dict(self.root.get(f"/cases/{self.case}").json())

    def total(self) -> dict[str, Any]:
        return dict(self.root.get("/stats/indicators").json()["total"])

    def gauge(self) -> float:
        lines = self.root.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("curbwatch_cases_overdue ")).split()[1])


@pytest.fixture
def city(house: Centre) -> City:
    made = City(house)
    made.go("file", "accept", "dispatch", "start")
    return made


def test_a_suspended_case_has_not_failed(city: City) -> None:
    city.go("suspend")
    city.house.clock.pass_s(3 * HOUR)
    total = city.total()
    assert (total["should_handle"], total["should_close"], total["overdue"]) == (0, 0, 0)
    city.go("resume")
    city.house.clock.pass_s(3 * HOUR)
    total = city.total()
    assert (total["should_handle"], total["should_close"], total["overdue"]) == (1, 1, 1)


def test_a_case_that_is_sent_back_can_be_overdue(city: City) -> None:
    city.go("done", "rework")
    city.house.clock.pass_s(3 * HOUR)
    assert (city.total()["overdue"], city.gauge()) == (1, 1)


def test_what_was_done_in_time_and_waits_for_its_recheck_is_not_overdue(city: City) -> None:
    city.go("done")
    city.house.clock.pass_s(3 * HOUR)
    assert (city.total()["overdue"], city.gauge()) == (0, 0)


def test_an_extension_comes_before_the_end_and_once(city: City) -> None:
    assert city.shown()["deadline_at"] == "2026-03-04T10:00:00Z"
    city.go("extend", "done", "rework", "start")
    assert city.step("extend") == 409, "once, whatever came between"
    assert city.shown()["deadline_at"] == "2026-03-04T11:00:00Z"
    city.go("return", "return", "file", "accept", "dispatch", "start")
    assert city.shown()["deadline_at"] == "2026-03-04T10:00:00Z", "a new limit"
    city.house.clock.pass_s(2 * HOUR)
    assert city.step("extend") == 409, "it is over"
    assert city.total()["overdue"] == 1


def test_a_case_that_is_filed_again_is_timed_anew(house: Centre) -> None:
    city = City(house)
    for step in ("return", "accept"):
        city.go("file", step)
        if step == "accept":
            city.go("return")
        assert "deadline_at" not in city.shown(), "the limit begins when it is filed"
        house.clock.pass_s(4 * HOUR)
    city.go("file", "accept", "dispatch", "start")
    house.clock.pass_s(HOUR)
    city.go("done")
    assert city.total()["mean_handling_h"] == 1.0
