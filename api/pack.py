"""City packs: versioned, validated data files with codes, limits, conditions and units."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from api.calendar import LimitUnit, WorkCalendar
from contract import IssueClass, StreetClass

HERE = Path(__file__).parent / "packs"


class PackError(ValueError):
    """A pack cannot be used; the message names file, field and mend."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limit(_Closed):
    """How much time a unit has."""

    amount: Annotated[float, Field(gt=0, le=10_000)]
    unit: LimitUnit


class IssuePack(_Closed):
    """What a city says of one issue class. A code is (numbering, pack version, code), never bare."""

    codes: dict[str, Annotated[str, Field(pattern=r"^\d{4,6}$")]]
    limit: Limit
    filing: Annotated[str, Field(min_length=1, max_length=500)]
    closing: Annotated[str, Field(min_length=1, max_length=500)]
    unit: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    two_persons: Annotated[bool, Field(description="A confirmed case needs a second reviewer.")] = False


class Route(_Closed):
    """A routing rule: what is left out fits everything; the first that fits names the unit."""

    issue: IssueClass | None = None
    street_class: StreetClass | None = None
    grid: Annotated[str | None, Field(max_length=80)] = None
    district: Annotated[str | None, Field(max_length=80)] = None
    unit: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class Rung(_Closed):
    """A step of the ladder; any one of its counts of earlier cases at the place reaches it."""

    step: Literal["persuade", "warn", "hand_over", "ban"]
    sheet: Literal["none", "blue", "yellow", "red"] = "none"
    in_1h: Annotated[int | None, Field(ge=1, le=1000)] = None
    in_7d: Annotated[int | None, Field(ge=1, le=1000)] = None
    in_30d: Annotated[int | None, Field(ge=1, le=1000)] = None


class Recurrence(_Closed):
    """What a repeat at one place suggests."""

    radius_m: Annotated[float, Field(gt=0, le=200, description="Metres within which it is one place.")] = 25.0
    ladder: Annotated[
        tuple[Rung, ...],
        Field(min_length=1, max_length=8, description="Mildest first; the first needs nothing."),
    ] = (
        Rung(step="persuade"),
        Rung(step="warn", sheet="blue", in_1h=1, in_7d=1),
        Rung(step="hand_over", sheet="yellow", in_7d=3, in_30d=4),
        Rung(step="ban", sheet="red", in_7d=5, in_30d=8),
    )


class CityPack(_Closed):
    """A whole pack."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    version: str
    timezone: str
    work_hours: Annotated[tuple[tuple[time, time], ...], Field(min_length=1, max_length=8)]
    calendar: Literal["china", "weekdays"]
    days: dict[date, Literal["work", "rest"]] = {}
    issues: dict[IssueClass, IssuePack]
    routing: Annotated[tuple[Route, ...], Field(max_length=10_000)] = ()
    recurrence: Recurrence = Recurrence()

    @model_validator(mode="before")
    @classmethod
    def _texts(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("version"), int | float):
            return {**data, "version": str(data["version"])}
        return data

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = [i.value for i in IssueClass if i not in self.issues]
        if missing:
            raise ValueError(f"issues: add {', '.join(missing)}")
        last = time.min
        for begin, end in self.work_hours:
            if begin >= end or begin < last:
                raise ValueError("work_hours: spans must be in order and must not overlap")
            last = end
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as exc:
            raise ValueError(
                f"timezone: {self.timezone} is unknown; write one such as Asia/Shanghai"
            ) from exc
        return self

    def work_calendar(self) -> WorkCalendar:
        """Return the calendar of the deadlines."""
        days = {d: kind == "work" for d, kind in self.days.items()}
        return WorkCalendar(ZoneInfo(self.timezone), self.work_hours, self.calendar, days)


def load_pack(name: str) -> CityPack:
    """Read a pack by its name in `api/packs`, or by a path. Raises `PackError`."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else HERE / f"{name}.yaml"
    try:
        return CityPack.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise PackError(f"{path}: cannot be read; name a pack of api/packs or a YAML file") from exc
    except (yaml.YAMLError, ValidationError) as exc:
        raise PackError(f"{path}: {exc}") from exc
