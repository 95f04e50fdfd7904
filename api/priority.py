"""The order of the queue: severity × street class × time limit, with the uncertain mixed in.

Each case gets a moment by which it should have been looked at; the earliest moment comes first. Since the moment
never changes, the order of two cases never changes either, an index holds it, and no case can starve.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from api.calendar import LimitUnit
from api.pack import Limit
from contract import IssueClass, StreetClass

STREET = {StreetClass.PROHIBIT: 4.0, StreetClass.CONTROL: 2.0, StreetClass.REGULATE: 1.0}
# A blocked fire lane costs lives, an act of dumping has a culprit who leaves; the rest waits alike.
SEVERITY = {IssueClass.FIRE_LANE: 3.0, IssueClass.DUMPING_ACT: 2.0}
_HOURS = {
    LimitUnit.URGENT_HOUR: 1.0,
    LimitUnit.WORK_HOUR: 1.0,
    LimitUnit.WORK_DAY: 8.0,
    LimitUnit.NATURAL_DAY: 24.0,
}
_UNSURE_WIDTH = 0.25


def uncertainty(score: float | None) -> float:
    """Return 1 for a score of one half, where a verdict teaches most, down to 0 for a quarter away from it."""
    return 0.0 if score is None else max(0.0, 1.0 - abs(score - 0.5) / _UNSURE_WIDTH)


def look_by(
    issue: IssueClass,
    street: StreetClass,
    opened_at: datetime,
    limit: Limit,
    score: float | None = None,
    street_weight: float | None = None,
) -> datetime:
    """Return when a case should have been looked at: the class's limit, shortened by its weight.

    `street_weight` is the city pack's word on the street class. The limit is taken as plain hours (a work day as 8): this orders a queue, it is no deadline.
    """
    weight = (street_weight or STREET[street]) * SEVERITY.get(issue, 1.0) * (1.0 + 0.5 * uncertainty(score))
    return opened_at + timedelta(hours=limit.amount * _HOURS[limit.unit] / weight)


def rank(moment: datetime) -> int:
    """Return the moment as whole minutes, which fits the database's 32-bit column until the year 6053."""
    return int(moment.timestamp() // 60)
