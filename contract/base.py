"""The base of every message and the types that all of them share."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)


class Message(BaseModel):
    """An immutable message that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    def wire(self) -> dict[str, Any]:
        """Return the message as JSON-ready values: times as ISO 8601 in UTC, unset options left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _to_utc(value: datetime) -> datetime:
    # A year's room at either end of the calendar: neither an offset nor what is reckoned from a time leads out of it.
    if not 1 < value.year < 9999:
        raise ValueError("the year must be from 2 to 9998")
    return value.astimezone(UTC)


UtcTime = Annotated[
    AwareDatetime,
    AfterValidator(_to_utc),
    Field(description="A moment in UTC; a time without an offset is refused."),
]
Sha256 = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(description="SHA-256 in lower-case hexadecimal."),
]
Identifier = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
    Field(description="A UUIDv7 in lower case."),
]
Slug = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    Field(description="Letters, digits, dot, dash, underscore; starts with a letter or digit; 64 at most."),
]
Unit = Annotated[float, Field(ge=0, le=1)]


def _as_written(value: object) -> object:
    # A number would be taken for seconds, and YAML 1.1 reads 20:00 without quotes as one.
    if isinstance(value, str) and value != "24:00":
        return value.zfill(5) if value[1:2] == ":" else value
    if isinstance(value, time):
        return value
    raise ValueError("write it as HH:MM, in quotes; the day's end is 00:00")


def _without_offset(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError("is the city's local time; leave the offset out")
    return value


LocalTime = Annotated[time, BeforeValidator(_as_written), AfterValidator(_without_offset)]
# No integer of Python's own length comes in: a float holds what is below exactly, and so does every JSON reader.
Count = Annotated[int, Field(ge=0, le=2**53)]
Revision = Annotated[int, Field(ge=0, le=2**31 - 1)]
Box = Annotated[
    tuple[Unit, Unit, Unit, Unit],
    Field(description="x1, y1, x2, y2 as shares of the picture's width and height, origin top left."),
]


def utc_now() -> datetime:
    """Return the present moment in UTC, with its offset."""
    return datetime.now(UTC)
