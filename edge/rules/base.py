"""What every rule is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from contract import IssueClass, ZoneKind
from edge.geometry import Box, lower_strip
from edge.scene import Scene, ZoneShape
from edge.sites import Sighting, Site
from edge.zones import Numbers

Finder = Callable[[Scene, ZoneShape, Numbers], list[Sighting]]
Guard = Callable[[Scene, Site, Numbers], str | None]


def no_guard(_scene: Scene, _site: Site, _numbers: Numbers) -> str | None:
    """Let every site pass."""
    return None


@dataclass(frozen=True)
class Rule:
    """One kind of issue.

    Attributes:
        name: versioned, such as `parking.motor@v1`; a changed meaning is a new version.
        zones: kinds of zones in which it looks.
        find: the objects of a scene that count in a zone.
        permits: kinds of zones that allow it.
        hold: returns why a confirmation must wait (a jam), or None.
        needs: what must be there for it: tracks, left_objects; measure, where a homography makes it sharper.
        still_share: share of the looks at the place that must be unchanged; people at a stall move, a parked car does not.
        lapsed: it also looks in zones that do not hold at the moment, such as a permitted point after its hours.
    """

    name: str
    issue: IssueClass
    zones: frozenset[ZoneKind]
    find: Finder
    permits: frozenset[ZoneKind] = frozenset()
    hold: Guard = no_guard
    needs: frozenset[str] = frozenset()
    still_share: float = 0.0
    lapsed: bool = False


def stands_in(box: Box, zone: ZoneShape, least: float = 0.5) -> bool:
    """True when at least `least` of the box's lower strip lies in the zone."""
    return zone.share_of(lower_strip(box)) >= least


def touches_in(box: Box, zone: ZoneShape) -> bool:
    """True when the bottom centre of the box lies in the zone."""
    return zone.touched_by(box)


def permitted(box: Box, scene: Scene, kinds: frozenset[ZoneKind]) -> str | None:
    """Return the id of the active permitted zone in which the box stands, or None."""
    return next((z.id for z in scene.zones_of(*kinds) if stands_in(box, z)), None)
