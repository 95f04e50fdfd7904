"""Dumping: the act, exposed garbage, overflowing bins."""

from __future__ import annotations

from contract import IssueClass, ZoneKind
from edge.geometry import Box, covered
from edge.left_objects import LeftObject
from edge.people import Track, apart
from edge.rules.base import Rule, permitted, touches_in
from edge.scene import Scene, ZoneShape
from edge.sites import Sighting
from edge.zones import Numbers

COLLECTION = frozenset({ZoneKind.COLLECTION_POINT})
STREET = frozenset({ZoneKind.NO_DUMPING, ZoneKind.PAVEMENT})
# An owner let go of the object within this many seconds of its birth in the background model.
RELEASE_WINDOW_S = 6.0


def _acts(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    if zone.kind is not ZoneKind.NO_DUMPING:
        return []
    out = []
    for item in scene.left:
        if not touches_in(item.box, zone) or permitted(item.box, scene, COLLECTION):
            continue
        if not any(_let_go(t, item, scene.aspect) for t in scene.people):
            continue
        if _named(item.box, scene) or _attended(item, scene):
            continue
        out.append(Sighting(item.box, "left object", 0.5, zone.id, born_mono_s=item.born_mono_s))
    return out


def _let_go(track: Track, item: LeftObject, aspect: float) -> bool:
    """True when the track was at the object around its birth."""
    return any(
        abs(t - item.born_mono_s) <= RELEASE_WINDOW_S and apart(item.box, box, aspect) < 0.5
        for t, box in track.path
    )


def _attended(item: LeftObject, scene: Scene) -> bool:
    """True while somebody who let it go is within 1.5 of their own heights."""
    return any(
        apart(item.box, t.box, scene.aspect) < 1.5
        and scene.mono_s - t.last < 1.5
        and _let_go(t, item, scene.aspect)
        for t in scene.people
    )


def _named(box: Box, scene: Scene) -> bool:
    """True when the object is a person, a vehicle or a cycle that stands still, which other rules judge."""
    return any(covered(box, t.box) > 0.6 for t in scene.of("person", "vehicle", "non_motor", "bin"))


def _garbage(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    return [
        Sighting(t.box, t.name, t.score, zone.id)
        for t in scene.of("garbage")
        if touches_in(t.box, zone) and not permitted(t.box, scene, COLLECTION)
    ]


def _overflow(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    return [
        Sighting(t.box, t.name, t.score, zone.id) for t in scene.of("bin_overflow") if touches_in(t.box, zone)
    ]


DUMPING_RULES = (
    Rule(
        "dumping.act@v1",
        IssueClass.DUMPING_ACT,
        frozenset({ZoneKind.NO_DUMPING}),
        _acts,
        COLLECTION,
        needs=frozenset({"left_objects", "tracks"}),
    ),
    Rule("dumping.exposed@v1", IssueClass.DUMPING_EXPOSED, STREET, _garbage, COLLECTION),
    Rule("dumping.bin_overflow@v1", IssueClass.BIN_OVERFLOW, STREET | {ZoneKind.BIN}, _overflow),
)
