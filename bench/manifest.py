"""The manifest of an event benchmark: clips with zones, policy and the events that a person read off the frames.

Errors of the file (an unknown issue, a zone that is not there, a box the wrong way round) are refused with line and
field. What a later manifest may know and this version does not (kinds of zones, further fields, further numbers of a
policy) is left out with a warning, so that the rest is still scored.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contract import IssueClass, StreetClass, ZoneKind
from edge.yaml_source import load_yaml
from edge.zones import Numbers, PolicyConfig, RulePolicy, ZoneConfig, numbers_of

Unit = Annotated[float, Field(ge=0, le=1)]
Second = Annotated[float, Field(ge=0)]


class _Open(BaseModel):
    """Further fields are kept aside, to be named in a warning."""

    model_config = ConfigDict(extra="allow", frozen=True)

    def unknown(self, where: str) -> list[str]:
        """Return one line a field that this version does not know."""
        return [f"{where}: the field {name} is not known and left out" for name in self.model_extra or {}]


class Expectation(_Open):
    """One event that should be found."""

    issue: IssueClass
    also: tuple[IssueClass, ...] = ()
    zone: str
    begins_s: tuple[Second, Second]
    ends_s: Second | None = None
    box: tuple[Unit, Unit, Unit, Unit]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.begins_s[0] > self.begins_s[1]:
            raise ValueError("begins_s: the earliest comes before the latest")
        if self.ends_s is not None and self.ends_s < self.begins_s[0]:
            raise ValueError("ends_s: lies before begins_s; give null for an event that lasts to the end")
        if self.box[0] >= self.box[2] or self.box[1] >= self.box[3]:
            raise ValueError("box: give x1, y1, x2, y2 with x1 < x2 and y1 < y2")
        return self


class RawZone(_Open):
    """A zone as written; its kind may be one that this version does not know."""

    id: Annotated[str, Field(min_length=1)]
    kind: str
    street_class: Literal["prohibit", "control", "regulate"] = "control"
    polygon: tuple[tuple[float, float], ...]


class Clip(_Open):
    """One clip."""

    id: str
    file: str
    note: str = ""
    unscored: bool = False
    zones: tuple[RawZone, ...] = ()
    policy: dict[str, dict[str, Any]] = {}
    expect: tuple[Expectation, ...] = ()

    @model_validator(mode="after")
    def _zones_exist(self) -> Self:
        ids = [z.id for z in self.zones]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"zones: the id {twice[0]} is used twice in clip {self.id}; give each its own")
        for e in self.expect:
            if e.zone not in ids:
                raise ValueError(
                    f"expect: clip {self.id} has no zone {e.zone}; its zones are {', '.join(ids) or 'none'}"
                )
        return self

    def known_zones(self, warn: list[str]) -> dict[str, ZoneConfig]:
        """Return the zones that this version knows, by their id here; the others are named in `warn`.

        The configuration of a box is stricter in its ids, so it gets ids of its own.
        """
        out: dict[str, ZoneConfig] = {}
        for n, raw in enumerate(self.zones):
            where = f"clip {self.id}: zone {raw.id}"
            if raw.kind not in set(ZoneKind):
                warn.append(f"{where}: left out: {raw.kind} is no kind of zone here")
                continue
            fields = {"schedule", "holder"} & set(raw.model_extra or {})
            warn += [w for w in raw.unknown(where) if not any(f" {f} " in w for f in fields)]
            try:
                out[raw.id] = ZoneConfig.model_validate(
                    {
                        "id": re.sub(r"[^A-Za-z0-9._-]", "-", f"z{n}-{raw.id}")[:64],
                        "kind": raw.kind,
                        "street_class": raw.street_class,
                        # A hand that draws along the edge of a picture leaves it by a pixel.
                        "polygon": [(min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)) for x, y in raw.polygon],
                        **{f: (raw.model_extra or {})[f] for f in fields},
                    }
                )
            except ValidationError as exc:
                warn.append(f"{where}: left out: {exc.errors()[0]['msg'].removeprefix('Value error, ')}")
        return out

    def known_policy(self, warn: list[str]) -> PolicyConfig:
        """Return the numbers that this version knows; the others are named in `warn`."""
        out: dict[str, dict[str, Any]] = {}
        for issue, numbers in self.policy.items():
            if issue not in set(IssueClass):
                warn.append(f"clip {self.id}: policy: left out: {issue} is no issue here")
                continue
            known = RulePolicy.model_fields
            strange = [name for name in numbers if name not in known]
            warn += [
                f"clip {self.id}: policy of {issue}: {name} is not known and left out" for name in strange
            ]
            out[issue] = {k: v for k, v in numbers.items() if k in known}
        return PolicyConfig.model_validate(out)

    def numbers(self, expected: Expectation) -> Numbers:
        """Return the numbers that hold for an expected event: its policy over the defaults of its zone's street."""
        zone = next(z for z in self.zones if z.id == expected.zone)
        return numbers_of(expected.issue, StreetClass(zone.street_class), self.known_policy([]))


class Manifest(_Open):
    """`manifest.yaml`, version 1."""

    version: Literal[1]
    clips: Annotated[tuple[Clip, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _policies_and_ids(self) -> Self:
        ids = [c.id for c in self.clips]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"clips: the id {twice[0]} is used twice; give each clip its own")
        for clip in self.clips:
            try:
                clip.known_policy([])
            except ValidationError as exc:
                first = exc.errors()[0]
                where = ".".join(str(p) for p in first["loc"])
                raise ValueError(f"clips: {clip.id}: policy {where}: {first['msg']}") from None
        return self

    def unknown_fields(self) -> list[str]:
        """Return one line a field that this version does not know."""
        out = self.unknown("manifest")
        for clip in self.clips:
            out += clip.unknown(f"clip {clip.id}")
            for n, e in enumerate(clip.expect):
                out += e.unknown(f"clip {clip.id}: expect {n}")
        return out


def load_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        edge.yaml_source.ConfigError: with file, line, field and mend.
    """
    return load_yaml(path, Manifest)
