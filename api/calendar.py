"""Working time and deadlines: pure functions of a calendar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import chinese_calendar

MAX_DAYS = 3660


class LimitUnit(StrEnum):
    """How a limit counts. A `work_day` is 8 work hours."""

    URGENT_HOUR = "urgent_hour"
    WORK_HOUR = "work_hour"
    WORK_DAY = "work_day"
    NATURAL_DAY = "natural_day"


@dataclass(frozen=True)
class WorkCalendar:
    """Zone, daily working spans in local time, and which days are worked.

    `kind` is `china` (public holidays and make-up days where they are published, weekdays beyond) or `weekdays`.
    """

    zone: ZoneInfo
    spans: tuple[tuple[time, time], ...]
    kind: str
    days: Mapping[date, bool]

    def works(self, day: date) -> bool:
        """True on a working day."""
        if day in self.days:
            return self.days[day]
        if self.kind == "china":
            try:
                return bool(chinese_calendar.is_workday(day))
            except NotImplementedError:
                return day.weekday() < 5
        return day.weekday() < 5

    def moments(self, day: date) -> list[tuple[datetime, datetime]]:
        """Return the working spans of a day in UTC, none on a day of rest."""
        if not self.works(day):
            return []
        return [
            (
                datetime.combine(day, a, self.zone).astimezone(UTC),
                datetime.combine(day, b, self.zone).astimezone(UTC),
            )
            for a, b in self.spans
        ]


def add_work(start: datetime, amount: timedelta, calendar: WorkCalendar) -> datetime:
    """Return the moment at which `amount` of working time since `start` is over.

    Nothing to work is over at once. Raises ValueError when ten years of the calendar do not hold it.
    """
    if amount <= timedelta(0):
        return start
    day, left = start.astimezone(calendar.zone).date(), amount
    for _ in range(MAX_DAYS):
        for begin, end in calendar.moments(day):
            begin = max(begin, start)
            if end <= begin:
                continue
            if left <= end - begin:
                return begin + left
            left -= end - begin
        day += timedelta(days=1)
    raise ValueError("the calendar has too little working time for this limit")


def worked(start: datetime, end: datetime, calendar: WorkCalendar) -> timedelta:
    """Return the working time between two moments, zero when `end` is not later."""
    total = timedelta(0)
    day, last = start.astimezone(calendar.zone).date(), end.astimezone(calendar.zone).date()
    while day <= last:
        for a, b in calendar.moments(day):
            total += max(timedelta(0), min(b, end) - max(a, start))
        day += timedelta(days=1)
    return total


_HOURS = {
    LimitUnit.URGENT_HOUR: (1.0, False),
    LimitUnit.NATURAL_DAY: (24.0, False),
    LimitUnit.WORK_HOUR: (1.0, True),
    LimitUnit.WORK_DAY: (8.0, True),
}


def deadline(start: datetime, amount: float, unit: LimitUnit, calendar: WorkCalendar) -> datetime:
    """Return when a limit of `amount` `unit`s that starts at `start` is over, in UTC."""
    hours, in_work = _HOURS[unit]
    span = timedelta(hours=hours * amount)
    return add_work(start, span, calendar) if in_work else start + span


def remaining(now: datetime, due: datetime, unit: LimitUnit, calendar: WorkCalendar) -> timedelta:
    """Return what is left of a limit in its own time; zero when it is over."""
    if due <= now:
        return timedelta(0)
    return worked(now, due, calendar) if _HOURS[unit][1] else due - now


def resume(now: datetime, left: timedelta, unit: LimitUnit, calendar: WorkCalendar) -> datetime:
    """Return the deadline of a limit of which `left` remained when it was suspended."""
    return add_work(now, left, calendar) if _HOURS[unit][1] else now + left
