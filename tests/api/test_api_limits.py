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
