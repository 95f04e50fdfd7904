"""What every rule is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import shapely

from contract import IssueClass, ZoneKind
from edge.geometry import Box, lower_strip
from edge.scene import Scene, ZoneShape, overlap
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
    """Return the id of the active permitted zone in which the box stands, or None; of several side by side, the one with most of it."""
    shares = [(z.share_of(lower_strip(box)), z) for z in scene.zones_of(*kinds)]
    most, zone = max(shares, key=lambda s: s[0], default=(0.0, None))
    if zone is None or (most < 0.5 and share_in(box, [z for share, z in shares if share > 0]) < 0.5):
        return None
    return zone.id


def share_in(box: Box, zones: Sequence[ZoneShape]) -> float:
    """Return how much of the box's lower strip lies in any of some zones, 0 to 1; what lies in two of them counts once."""
    strip = lower_strip(box)
    if len(zones) < 2:
        return sum(z.share_of(strip) for z in zones)
    return overlap(strip, shapely.union_all([z.polygon for z in zones]))
