"""The manifest of an event benchmark: clips with zones, policy and the events that a person read off the frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge.yaml_source import load_yaml
from edge.zones import PolicyConfig, ZoneConfig

Unit = Annotated[float, Field(ge=0, le=1)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Expectation(_Closed):
    """One event that should be found."""

    issue: str
    also: tuple[str, ...] = ()
    zone: str
    begins_s: tuple[float, float]
    ends_s: float | None = None
    box: tuple[Unit, Unit, Unit, Unit]


class Clip(_Closed):
    """One clip."""

    id: str
    file: str
    note: str = ""
    unscored: bool = False
    zones: tuple[dict[str, Any], ...] = ()
    policy: PolicyConfig = PolicyConfig()
    expect: tuple[Expectation, ...] = ()

    def known_zones(self, warn: list[str]) -> tuple[ZoneConfig, ...]:
        """Return the zones whose kind this version knows; the others are named in `warn` and left out."""
        out = []
        for raw in self.zones:
            try:
                out.append(ZoneConfig.model_validate(raw))
            except ValueError as exc:
                warn.append(
                    f"clip {self.id}: zone {raw.get('id')}: left out: {str(exc).splitlines()[2].strip()}"
                )
        return tuple(out)


class Manifest(_Closed):
    """`manifest.yaml`, version 1."""

    version: Literal[1]
    clips: tuple[Clip, ...]


def load_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        edge.yaml_source.ConfigError: with file, line, field and mend.
    """
    return load_yaml(path, Manifest)
