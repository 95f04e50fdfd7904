"""The setup of a camera as an engineer draws it in the console: zones, their weeks, and the ground plane.

A box's configuration takes the same zones and point pairs; a test holds both together.
"""

from __future__ import annotations

from datetime import date, time
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.base import LocalTime, Message, Slug, Unit
from contract.taxonomy import StreetClass, ZoneKind

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "workday", "restday"]
_WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class WeekWindow(Message):
    """A time of the week, in the city's local time."""

    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=9)] = _WEEK
    begin: Annotated[LocalTime, Field(description="Local time, HH:MM.")] = time(0, 0)
    end: Annotated[
        LocalTime,
        Field(description="Local time; earlier than begin means past midnight; 00:00 is the day's end."),
    ] = time(0, 0)
    valid_from: date | None = None
    valid_to: Annotated[date | None, Field(description="Last day.")] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise ValueError("valid_to: must not lie before valid_from")
        return self


class SetupZone(Message):
    """A polygon in the picture and what it means there."""

    id: Slug
    kind: ZoneKind
    street_class: StreetClass = StreetClass.CONTROL
    polygon: Annotated[
        tuple[tuple[Unit, Unit], ...],
        Field(min_length=3, max_length=256, description="Corners as shares of width and height."),
    ]
    schedule: Annotated[
        tuple[WeekWindow, ...], Field(max_length=64, description="When the zone holds; always, when empty.")
    ] = ()
    holder: Annotated[str, Field(max_length=120, description="Who holds the permit of a permitted zone.")] = (
        ""
    )


class GroundPoint(Message):
    """One point that is seen in the picture and known on the map."""

    picture: Annotated[tuple[Unit, Unit], Field(description="Shares of width and height.")]
    lon: Annotated[float, Field(ge=-180, le=180, description="Degrees east, WGS-84.")]
    lat: Annotated[float, Field(ge=-90, le=90, description="Degrees north, WGS-84.")]


class GroundPlane(Message):
    """Point pairs that fix the ground plane."""

    pairs: Annotated[tuple[GroundPoint, ...], Field(min_length=4, max_length=64)]


class CameraSetup(Message):
    """Everything an engineer draws for one camera. A save makes a new version."""

    zones: Annotated[tuple[SetupZone, ...], Field(max_length=64)] = ()
    ground: GroundPlane | None = None

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        ids = [z.id for z in self.zones]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"zones: the id {twice[0]} is used twice; give each zone its own")
        return self
