"""Zones, policies and schedules of one camera, as the engineer writes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from functools import lru_cache
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import chinese_calendar
import shapely
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator
from shapely.geometry import Polygon

from contract import IssueClass, StreetClass, ZoneKind
from contract.base import LocalTime, Slug
from contract.datum import Datum

Unit = Annotated[float, Field(ge=0, le=1)]
# Corners as shares of width and height.
Outline = tuple[tuple[Unit, Unit], ...]
Seconds = Annotated[float, Field(ge=0, le=7 * 86400)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "workday", "restday"]
_WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@lru_cache(maxsize=4096)
def is_workday(day: date) -> bool:
    """True on working days of the Chinese calendar, make-up days included; weekdays outside its known years."""
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError:
        return day.weekday() < 5


class Window(_Closed):
    """A time of the week. `workday` and `restday` follow public holidays and make-up working days."""

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = _WEEK
    begin: Annotated[LocalTime, Field(description="Local time, HH:MM.")] = time(0, 0)
    end: Annotated[
        LocalTime,
        Field(description="Local time; earlier than begin means past midnight; 00:00 is the day's end."),
    ] = time(0, 0)
    valid_from: date | None = None
    valid_to: Annotated[date | None, Field(description="Last day.")] = None

    @model_validator(mode="after")
    def _some_day(self) -> Self:
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise ValueError(
                f"valid_to: {self.valid_to} is before valid_from, {self.valid_from}, so it never holds; exchange them"
            )
        return self

    def covers(self, local: datetime) -> bool:
        """True when the local time lies in the window."""
        now = local.time()
        if self.begin < self.end:
            return self._on(local.date()) and self.begin <= now < self.end
        if self._on(local.date()) and now >= self.begin:
            return True
        # Past midnight the window belongs to the day on which it began.
        return self.end > time(0, 0) and now < self.end and self._on(date.fromordinal(local.toordinal() - 1))

    def _on(self, day: date) -> bool:
        if (self.valid_from and day < self.valid_from) or (self.valid_to and day > self.valid_to):
            return False
        return _WEEK[day.weekday()] in self.days or ("workday" if is_workday(day) else "restday") in self.days


def check_outline(polygon: Outline) -> None:
    """Look whether corners enclose something.

    Raises:
        ValueError: sides cross, or they enclose nothing.
    """
    shape = Polygon(polygon)
    if not shape.is_valid:
        why = shapely.is_valid_reason(shape).lower()
        raise ValueError(f"{why}; draw the corners in order, so that no sides cross")
    if shape.area < 1e-6:
        raise ValueError("has no area; give corners that enclose some of the picture")


class ZoneConfig(_Closed):
    """A polygon in the picture and what it means there."""

    id: Slug
    kind: ZoneKind
    street_class: StreetClass = StreetClass.CONTROL
    polygon: Annotated[Outline, Field(min_length=3, max_length=256)]
    schedule: Annotated[
        tuple[Window, ...], Field(max_length=64, description="When the zone holds; always, when empty.")
    ] = ()
    holder: Annotated[str, Field(max_length=120, description="Who holds the permit of a permitted zone.")] = (
        ""
    )

    @model_validator(mode="after")
    def _simple(self) -> Self:
        try:
            check_outline(self.polygon)
        except ValueError as exc:
            raise ValueError(f"polygon: {exc}") from None
        return self

    def active(self, local: datetime) -> bool:
        """True when the zone holds at the local time."""
        return not self.schedule or any(w.covers(local) for w in self.schedule)


class GroundPair(_Closed):
    """One point that is seen in the picture and known on the map."""

    picture: Annotated[tuple[Unit, Unit], Field(description="Shares of width and height.")]
    lon: Annotated[float, Field(ge=-180, le=180)]
    lat: Annotated[float, Field(ge=-90, le=90)]


class GroundConfig(_Closed):
    """Point pairs that fix the ground plane."""

    pairs: Annotated[tuple[GroundPair, ...], Field(min_length=4, max_length=64)]
    datum: Annotated[
        Datum, Field(description="Of the map on which the points were read: AMap gcj02, Baidu bd09.")
    ] = "wgs84"
    map_error_m: Annotated[
        float, Field(gt=0, le=50, description="Standard error of the map points, metres.")
    ] = 0.5
    pixel_error: Annotated[
        float, Field(gt=0, le=0.05, description="Standard error of a contact point, share of the width.")
    ] = 0.004


class RulePolicy(_Closed):
    """Numbers of one issue class; what is left out comes from the street class."""

    candidate_s: Annotated[Seconds | None, Field(description="Dwell that opens a candidate on the box.")] = (
        None
    )
    confirm_s: Annotated[Seconds | None, Field(description="Dwell that sends the alert.")] = None
    memory_s: Annotated[Seconds | None, Field(description="How long an unseen site is remembered.")] = None
    cooldown_s: Annotated[
        Seconds | None, Field(description="Silence at a place after its alert was cleared.")
    ] = None
    settle_s: Annotated[Seconds | None, Field(description="How long a left object must lie still.")] = None
    owner_gone_s: Annotated[Seconds | None, Field(description="How long the owner must be away.")] = None
    enabled: bool = True


class PolicyConfig(RootModel[dict[IssueClass, RulePolicy]]):
    """Numbers by issue class."""

    model_config = ConfigDict(frozen=True)
    root: dict[IssueClass, RulePolicy] = {}

    def of(self, issue: IssueClass) -> RulePolicy:
        """Return the numbers of a class."""
        return self.root.get(issue, RulePolicy())


class Numbers(_Closed):
    """The numbers that hold for one class on one street class."""

    candidate_s: float
    confirm_s: float
    memory_s: float = 60.0
    cooldown_s: float = 1800.0
    settle_s: float = 30.0
    owner_gone_s: float = 30.0
    enabled: bool = True


def _by_class(prohibit: float, control: float, regulate: float) -> Mapping[StreetClass, float]:
    return {StreetClass.PROHIBIT: prohibit, StreetClass.CONTROL: control, StreetClass.REGULATE: regulate}


# Minutes of dwell on prohibited, controlled and regulated streets; docs/rules.md has the table.
_CONFIRM_MIN: Mapping[IssueClass, Mapping[StreetClass, float]] = {
    IssueClass.SHOPFRONT: _by_class(3, 5, 15),
    IssueClass.ROADSIDE: _by_class(3, 5, 10),
    IssueClass.VENDOR_UNLICENSED: _by_class(3, 5, 10),
    IssueClass.VENDOR_OUT_OF_PERMIT: _by_class(3, 5, 10),
    IssueClass.DUMPING_ACT: _by_class(0.5, 0.5, 0.5),
    IssueClass.DUMPING_EXPOSED: _by_class(5, 10, 20),
    IssueClass.BIN_OVERFLOW: _by_class(10, 10, 10),
    IssueClass.PARKING_MOTOR: _by_class(3, 5, 5),
    IssueClass.PARKING_NON_MOTOR: _by_class(10, 10, 10),
    IssueClass.FIRE_LANE: _by_class(3, 3, 3),
}


def numbers_of(issue: IssueClass, street: StreetClass, policy: PolicyConfig) -> Numbers:
    """Return the defaults of the class and street, with the policy's own numbers laid over them."""
    confirm = _CONFIRM_MIN[issue][street] * 60
    own = {k: v for k, v in policy.of(issue).model_dump().items() if v is not None}
    base = {"candidate_s": min(60.0, confirm / 3), "confirm_s": confirm}
    if "confirm_s" in own and "candidate_s" not in own:
        base["candidate_s"] = min(60.0, own["confirm_s"] / 3)
    return Numbers.model_validate({**base, **own})


def local_time(at: datetime, zone: str) -> datetime:
    """Return a UTC moment in a city's local time."""
    return at.astimezone(ZoneInfo(zone))
