"""Permits of a city pack: who may trade, dine or load where, on which days and hours, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from shapely.geometry import Point, Polygon

from api.calendar import WorkCalendar
from contract import IssueClass
from contract.base import LocalTime

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "workday", "restday"]
_WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class PermitHours(_Closed):
    """Hours of some days on the city's clock; `to` may lie past midnight."""

    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=9)]
    begin: Annotated[LocalTime, Field(alias="from")] = time.min
    end: Annotated[
        LocalTime, Field(alias="to", description="Not included; the same as `from` means the whole day.")
    ] = time.min

    def covers(self, local: datetime, yesterday: bool, works: bool) -> bool:
        """True when the hours that began on this day (or, with `yesterday`, on the day before) still run."""
        return False if not self._on(local, works) else self._runs(local.time(), yesterday)

    def _on(self, day: datetime, works: bool) -> bool:
        return _WEEK[day.weekday()] in self.days or ("workday" if works else "restday") in self.days

    def _runs(self, at: time, yesterday: bool) -> bool:
        over_midnight = self.end <= self.begin
        if yesterday:
            return over_midnight and at < self.end
        return at >= self.begin and (over_midnight or at < self.end)


class Permit(_Closed):
    """A permit. Its place is a polygon, or areas by their codes."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    holder: Annotated[str, Field(max_length=200)] = ""
    issues: Annotated[tuple[IssueClass, ...], Field(min_length=1, description="What it allows there.")]
    area: Annotated[
        tuple[tuple[float, float], ...] | None,
        Field(min_length=3, max_length=500, description="Corners as [lon, lat], WGS-84."),
    ] = None
    areas: Annotated[
        Mapping[Literal["grid", "district", "frontage", "street"], tuple[str, ...]],
        Field(description="Codes of imported areas; any one of them is enough."),
    ] = {}
    hours: Annotated[tuple[PermitHours, ...], Field(max_length=64, description="Always, when empty.")] = ()
    valid_from: date | None = None
    valid_to: Annotated[date | None, Field(description="The last day.")] = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.area is None) == (not self.areas):
            raise ValueError("area: give either a polygon or codes under areas")
        if self.area is not None:
            if any(not (-180 <= x <= 180 and -90 <= y <= 90) for x, y in self.area):
                raise ValueError("area: must be degrees, longitude before latitude (WGS-84)")
            if not Polygon(self.area).is_valid:
                raise ValueError("area: crosses itself; give the corners in order")
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise ValueError("valid_to: lies before valid_from")
        return self

    def at(self, lon: float, lat: float, codes: Mapping[str, str]) -> bool:
        """True when the permit is for this place."""
        if self.area is not None:
            return bool(Polygon(self.area).intersects(Point(lon, lat)))
        return any(codes.get(kind) in wanted for kind, wanted in self.areas.items())

    def holds(self, when: datetime, calendar: WorkCalendar) -> bool:
        """True when the permit holds at a moment, on the city's clock and calendar."""
        local = when.astimezone(calendar.zone)
        today = self._valid(local.date()) and (
            not self.hours or any(h.covers(local, False, calendar.works(local.date())) for h in self.hours)
        )
        before = local - timedelta(days=1)
        late = self._valid(before.date()) and any(
            h.covers(before, True, calendar.works(before.date())) for h in self.hours
        )
        return today or late

    def _valid(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day <= self.valid_to
        )
