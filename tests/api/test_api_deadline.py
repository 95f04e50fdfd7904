"""Deadlines against a slow reference that walks minute by minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.calendar import LimitUnit, WorkCalendar, add_work, deadline, remaining, resume, worked
from api.pack import load_pack

CITY = load_pack("example").work_calendar()
MOMENT = st.integers(0, 60 * 24 * 700).map(lambda m: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=m))


def slow_add(start: datetime, minutes: int, calendar: WorkCalendar) -> datetime:
    now = start
    while minutes > 0:
        local = now.astimezone(calendar.zone)
        if calendar.works(local.date()) and any(a <= local.time() < b for a, b in calendar.spans):
            minutes -= 1
        now += timedelta(minutes=1)
    return now


@settings(max_examples=60, deadline=None)
@given(MOMENT, st.integers(1, 20 * 60))
def test_working_time_like_the_slow_way(start: datetime, minutes: int) -> None:
    assert add_work(start, timedelta(minutes=minutes), CITY) == slow_add(start, minutes, CITY)


@settings(deadline=None)
@given(MOMENT, st.integers(0, 5000))
def test_worked_is_the_inverse(start: datetime, minutes: int) -> None:
    span = timedelta(minutes=minutes)
    assert worked(start, add_work(start, span, CITY), CITY) == span


@settings(deadline=None)
@given(MOMENT, st.sampled_from(LimitUnit), st.floats(0.5, 30), st.integers(0, 3000), st.integers(0, 10_000))
def test_a_suspension_neither_gives_nor_takes(
    start: datetime, unit: LimitUnit, amount: float, used: int, pause: int
) -> None:
    due = deadline(start, amount, unit, CITY)
    stop = start + timedelta(minutes=used)
    left = remaining(stop, due, unit, CITY)
    again = stop + timedelta(minutes=pause)
    assert remaining(again, resume(again, left, unit, CITY), unit, CITY) == left


@pytest.mark.parametrize(
    ("start", "amount", "unit", "due"),
    [
        ("2026-03-04T08:00+08:00", 2, "urgent_hour", "2026-03-04T10:00+08:00"),
        ("2026-03-04T23:30+08:00", 2, "urgent_hour", "2026-03-05T01:30+08:00"),
        ("2026-03-04T11:00+08:00", 4, "work_hour", "2026-03-04T17:00+08:00"),
        ("2026-03-06T17:00+08:00", 4, "work_hour", "2026-03-09T11:00+08:00"),  # over a weekend
        ("2026-09-30T17:00+08:00", 2, "work_hour", "2026-10-08T09:00+08:00"),  # over National Day
        ("2026-02-13T17:00+08:00", 2, "work_hour", "2026-02-14T09:00+08:00"),  # Saturday is a make-up day
        ("2026-03-04T08:00+08:00", 1, "work_day", "2026-03-04T18:00+08:00"),
        ("2026-03-04T08:00+08:00", 5, "natural_day", "2026-03-09T08:00+08:00"),
    ],
)
def test_examples(start: str, amount: float, unit: LimitUnit, due: str) -> None:
    found = deadline(datetime.fromisoformat(start), amount, LimitUnit(unit), CITY)
    assert found == datetime.fromisoformat(due)


def test_a_city_overrides_the_calendar() -> None:
    spans = ((time(8), time(12)),)
    city = WorkCalendar(
        ZoneInfo("Asia/Shanghai"), spans, "weekdays", {date(2026, 3, 7): True, date(2026, 3, 9): False}
    )
    assert [d for d in range(6, 11) if city.works(date(2026, 3, d))] == [6, 7, 10]
