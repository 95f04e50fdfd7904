"""City packs: versioned, validated data files with codes, limits, conditions and units."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from api.calendar import LimitUnit, WorkCalendar
from api.numbering import HERE as NUMBERINGS
from api.numbering import Code, Numbering, problems
from api.permits import Permit
from contract import IssueClass, StreetClass
from contract.base import LocalTime

T = TypeVar("T")
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
    """What a city says of one issue class. Its codes are in the numbering packs."""

    limit: Limit
    limits: Annotated[
        dict[StreetClass, Limit], Field(description="Where a street class has a limit of its own.")
    ] = {}
    filing: Annotated[str, Field(min_length=1, max_length=500)]
    closing: Annotated[str, Field(min_length=1, max_length=500)]
    unit: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    auto_close: Annotated[
        bool,
        Field(
            description="A re-check that finds the place clear closes the case; a share is left to people."
        ),
    ] = False
    two_persons: Annotated[bool, Field(description="A confirmed case needs a second reviewer.")] = False


class StreetPack(_Closed):
    """How a class of streets is treated."""

    zh: Annotated[str, Field(min_length=1, max_length=60)]
    en: Annotated[str, Field(min_length=1, max_length=60)]
    weight: Annotated[
        float, Field(gt=0, le=10, description="How much sooner a case of it is looked at; 1 is as it comes.")
    ] = 1.0


class Unit(_Closed):
    """A unit that answers for cases."""

    zh: Annotated[str, Field(min_length=1, max_length=120)]
    en: Annotated[str, Field(min_length=1, max_length=120)]


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


class InspectionPack(_Closed):
    """How a camera looks again."""

    looks: Annotated[int, Field(ge=3, le=20, description="Usable looks that a judgement needs.")] = 4
    span_s: Annotated[float, Field(gt=0, le=3600, description="Seconds from the first look to the last.")] = (
        300.0
    )
    before_deadline_min: Annotated[
        float,
        Field(ge=0, le=1440, description="Minutes before the deadline at which a camera looks; 0 is never."),
    ] = 30.0
    patience_min: Annotated[
        float, Field(gt=0, le=1440, description="Minutes after which an unanswered order is over.")
    ] = 60.0
    human_share: Annotated[
        float, Field(ge=0.01, le=1, description="Share of automatic closings that people check instead.")
    ] = 0.05


# Two marks and at least four more: 京A12345, AB-123-CD, 晋AF12345. Words of a message have no such run.
_PLATE = re.compile(r"[\u4e00-\u9fff][A-Z][·\s]?[A-Z0-9]{5,6}|\b[A-Z]{1,3}[- ]?\d{2,4}[- ]?[A-Z0-9]{0,3}\b")


class CalloutMessage(_Closed):
    """A fixed message; the boxes have its recording under the same name."""

    zh: Annotated[str, Field(min_length=1, max_length=200)]
    en: Annotated[str, Field(min_length=1, max_length=200)]
    issues: Annotated[tuple[IssueClass, ...], Field(description="For these classes; none is for all.")] = ()

    @field_validator("zh", "en")
    @classmethod
    def _no_plate(cls, value: str) -> str:
        if _PLATE.search(value):
            raise ValueError("holds what looks like a plate; a call-out never names one")
        return value


class CalloutPack(_Closed):
    """When and how often a loudspeaker may speak, and what."""

    quiet: Annotated[
        tuple[LocalTime, LocalTime],
        Field(description="From, to: no call-out in these hours of the city's clock."),
    ] = (time(22), time(7))
    per_hour: Annotated[int, Field(ge=1, le=20, description="Call-outs at one place.")] = 2
    recheck_min: Annotated[float, Field(ge=0.5, le=60)] = 3.0
    messages: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")], CalloutMessage] = {}

    def is_quiet(self, local: time) -> bool:
        """True in the quiet hours, which may run over midnight."""
        begin, end = self.quiet
        return begin <= local < end if begin <= end else local >= begin or local < end


class CityService(_Closed):
    """A class's service at the city's Open311 endpoint."""

    code: Annotated[str, Field(min_length=1, max_length=200, description="Its `service_code`.")]
    attributes: Annotated[
        dict[str, str], Field(max_length=50, description="Fixed values of attributes that it demands.")
    ] = {}


class CityPack(_Closed):
    """A whole pack."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    version: str
    timezone: str
    work_hours: Annotated[tuple[tuple[LocalTime, LocalTime], ...], Field(min_length=1, max_length=8)]
    calendar: Literal["china", "weekdays"]
    days: dict[date, Literal["work", "rest"]] = {}
    numberings: Annotated[
        tuple[str, ...], Field(min_length=1, max_length=16, description="Names, or files beside this one.")
    ]
    number_with: Annotated[str, Field(description="The numbering that the city's own system speaks.")]
    street_classes: dict[StreetClass, StreetPack]
    units: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")], Unit]
    permits: Annotated[tuple[Permit, ...], Field(max_length=10_000)] = ()
    issues: dict[IssueClass, IssuePack]
    routing: Annotated[tuple[Route, ...], Field(max_length=10_000)] = ()
    recurrence: Recurrence = Recurrence()
    inspection: InspectionPack = InspectionPack()
    callout: CalloutPack = CalloutPack()
    open311: Annotated[
        dict[IssueClass, CityService],
        Field(description="Classes that are exchanged with the city's endpoint."),
    ] = {}
    open311_words: Annotated[
        str, Field(max_length=1000, description="Description of what is posted; the case's number follows.")
    ] = "Found by a street camera and confirmed by a person"

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
        streets = [c.value for c in StreetClass if c not in self.street_classes]
        if streets:
            raise ValueError(f"street_classes: add {', '.join(streets)}")
        self._units_are_known()
        ids = [p.id for p in self.permits]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"permits: the id {twice[0]} is used twice; give each its own")
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

    _tables: dict[str, Numbering] = PrivateAttr(default_factory=dict)

    @property
    def tables(self) -> Mapping[str, Numbering]:
        """The numbering tables by their names."""
        return MappingProxyType(self._tables)

    def add_table(self, table: Numbering) -> None:
        """Take a numbering table; `load_pack` adds those that the pack names."""
        self._tables[table.name] = table

    def codes(self, issue: IssueClass) -> list[Code]:
        """Return a class's codes of all tables, those of the city's own system first."""
        ordered = sorted(self._tables.values(), key=lambda t: (t.name != self.number_with, t.name))
        return [code for table in ordered for code in table.of(issue)]

    def _units_are_known(self) -> None:
        told = [(f"issues.{i.value}.unit", p.unit) for i, p in self.issues.items()]
        told += [(f"routing.{n}.unit", r.unit) for n, r in enumerate(self.routing)]
        for field, unit in told:
            if unit not in self.units:
                raise ValueError(
                    f"{field}: {unit} is not among units; add it there, or write one of {', '.join(self.units)}"
                )

    def limit(self, issue: IssueClass, street_class: StreetClass) -> Limit:
        """Return the time that a unit has for a class on a class of streets."""
        return self.issues[issue].limits.get(street_class, self.issues[issue].limit)

    def permits_at(
        self, issue: IssueClass, lon: float, lat: float, codes: Mapping[str, str], when: datetime
    ) -> list[tuple[Permit, bool]]:
        """Return the permits for a class at a place, each with whether it held at that moment."""
        calendar = self.work_calendar()
        here = [p for p in self.permits if issue in p.issues and p.at(lon, lat, codes)]
        return [(p, p.holds(when, calendar)) for p in here]

    def work_calendar(self) -> WorkCalendar:
        """Return the calendar of the deadlines."""
        days = {d: kind == "work" for d, kind in self.days.items()}
        return WorkCalendar(ZoneInfo(self.timezone), self.work_hours, self.calendar, days)


def load_pack(name: str) -> CityPack:
    """Read a pack by its name in `api/packs`, or by a path, with its numbering tables.

    Raises:
        PackError: with one line a problem: file, field, mend.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else HERE / f"{name}.yaml"
    city = _read(path, CityPack.model_validate)
    for wanted in city.numberings:
        is_file = wanted.endswith((".yaml", ".yml"))
        where = path.parent / wanted if is_file else NUMBERINGS / f"{wanted}.yaml"
        city.add_table(_read(where, Numbering.model_validate))
    if city.number_with not in city.tables:
        raise PackError(
            f"{path}: number_with: {city.number_with} is not among numberings ({', '.join(city.tables)})"
        )
    return city


def _read(path: Path, check: Callable[[object], T]) -> T:
    try:
        return check(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise PackError(
            f"{path}: cannot be read ({exc.strerror}); name a pack of api/packs or a YAML file"
        ) from exc
    except ValidationError as exc:
        raise PackError(problems(path, exc)) from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise PackError(f"{path}: cannot be read as YAML: {exc}") from exc
