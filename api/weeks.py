"""When a zone of a camera's setup holds, and which classes it is about. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta

from contract import IssueClass, ZoneKind
from contract.setup import SetupZone, WeekWindow

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
I, Z = IssueClass, ZoneKind  # noqa: E741
# What the box's rules look at and what allows it; a test holds these tables equal to edge.rules.
FORBIDS: dict[IssueClass, frozenset[ZoneKind]] = {
    I.PARKING_MOTOR: frozenset({Z.NO_PARKING, Z.BUS_STOP}),
    I.PARKING_NON_MOTOR: frozenset({Z.PAVEMENT, Z.TACTILE_PATH, Z.BUS_STOP}),
    I.FIRE_LANE: frozenset({Z.FIRE_LANE}),
    I.DUMPING_ACT: frozenset({Z.NO_DUMPING}),
    I.DUMPING_EXPOSED: frozenset({Z.NO_DUMPING, Z.PAVEMENT}),
    I.BIN_OVERFLOW: frozenset({Z.NO_DUMPING, Z.PAVEMENT, Z.BIN}),
    I.SHOPFRONT: frozenset({Z.FRONTAGE}),
    I.ROADSIDE: frozenset({Z.NO_VENDING}),
    I.VENDOR_UNLICENSED: frozenset({Z.NO_VENDING}),
    I.VENDOR_OUT_OF_PERMIT: frozenset({Z.PERMITTED_VENDING, Z.NO_VENDING}),
}
# Looked for where a permitted point does not hold at the moment, as well as beyond an open one.
LAPSED = frozenset({I.VENDOR_OUT_OF_PERMIT})
_STALLS = frozenset({Z.PERMITTED_VENDING, Z.TERRACE})
PERMITS: dict[IssueClass, frozenset[ZoneKind]] = {
    I.PARKING_MOTOR: frozenset({Z.PARKING_BAY, Z.LOADING}),
    I.PARKING_NON_MOTOR: frozenset({Z.NON_MOTOR_PARKING}),
    I.DUMPING_ACT: frozenset({Z.COLLECTION_POINT}),
    I.DUMPING_EXPOSED: frozenset({Z.COLLECTION_POINT}),
    I.SHOPFRONT: _STALLS,
    I.ROADSIDE: _STALLS,
    I.VENDOR_UNLICENSED: _STALLS,
}


def covers(window: WeekWindow, local: datetime, works: Callable[[date], bool]) -> bool:
    """True when the local time lies in the window. Past midnight a window belongs to the day on which it began."""
    now = local.time()

    def on(day: date) -> bool:
        if (window.valid_from and day < window.valid_from) or (window.valid_to and day > window.valid_to):
            return False
        return _WEEK[day.weekday()] in window.days or ("workday" if works(day) else "restday") in window.days

    if window.begin < window.end:
        return on(local.date()) and window.begin <= now < window.end
    if on(local.date()) and now >= window.begin:
        return True
    return window.end > time(0, 0) and now < window.end and on(local.date() - timedelta(days=1))


def holds(zone: SetupZone, local: datetime, works: Callable[[date], bool]) -> bool:
    """True when the zone holds at the local time."""
    return not zone.schedule or any(covers(w, local, works) for w in zone.schedule)
