"""Dumping: the act, exposed garbage, overflowing bins."""

from __future__ import annotations

from itertools import pairwise

from contract import IssueClass, ZoneKind
from edge.geometry import Box, covered, iou
from edge.left_objects import LeftObject
from edge.people import Track, apart_on_ground
from edge.rules.base import Rule, permitted, touches_in
from edge.rules.parking import group
from edge.scene import Scene, ZoneShape
from edge.sites import Sighting, Site
from edge.zones import Numbers

COLLECTION = frozenset({ZoneKind.COLLECTION_POINT})
STREET = frozenset({ZoneKind.NO_DUMPING, ZoneKind.PAVEMENT})
# An owner let go of the object within this many seconds of the moment at which it came to rest.
RELEASE_WINDOW_S = 6.0
# The owner is away at this distance; person heights where the view has no measure.
AWAY_M, AWAY_HEIGHTS = 3.0, 1.5
# Hands and feet: so near, in own heights, is whoever puts something down.
REACH = 0.5
# What a person puts down is smaller than the person, and what a car unloads smaller than the car. A region as large as
# its "owner" is somebody whom the detector missed, or the place where a car stood.
LARGEST_SHARE, HIGHEST_SHARE = 0.6, 0.8
# A vehicle unloads while it stands: its box stays itself for so long. Cars that follow each other do not.
STOPPED_IOU, STOPPED_S = 0.7, 3.0
# A person is this recent to be there now.
PRESENT_S = 1.5
LEAST_M2, LEAST_ITEMS = 0.25, 3


def _acts(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    out = []
    for item in scene.left:
        if not touches_in(item.box, zone) or permitted(item.box, scene, COLLECTION):
            continue
        window = item.born_mono_s - RELEASE_WINDOW_S, item.born_mono_s + RELEASE_WINDOW_S
        # Hundreds have passed since a thing that has lain for long was put down.
        owners = [t for t in scene.people if t.there(*window) and _let_go(t, item, scene.aspect)]
        owners += [t for t in scene.carriers if t.there(*window) and _unloaded(t, item, scene.aspect)]
        if not owners or _named(item.box, scene):
            continue
        owners += _found_again(item, owners, scene)
        beside = max(_last_beside(t, item, scene) for t in owners)
        out.append(
            Sighting(
                item.box,
                "left object",
                0.5,
                zone.id,
                attended=scene.mono_s - beside < PRESENT_S,
                born_mono_s=item.born_mono_s,
                key=item.key,
                samples=item.seen,
                alone_mono_s=beside,
            )
        )
    return out


def _let_go(track: Track, item: LeftObject, aspect: float) -> bool:
    """True when the track was at the object when it came to rest, and is larger than it."""
    begin, end = item.born_mono_s - RELEASE_WINDOW_S, item.born_mono_s + RELEASE_WINDOW_S
    left, top, right, bottom = item.box
    height, area = bottom - top, (right - left) * (bottom - top)
    for t, box in track.path:
        own = box[3] - box[1]
        if (
            begin <= t <= end
            and height <= HIGHEST_SHARE * own
            and area <= LARGEST_SHARE * own * (box[2] - box[0])
            # Farther aside alone: of most boxes no more need be asked.
            and (box[0] - right) * aspect < REACH * own
            and (left - box[2]) * aspect < REACH * own
            and apart_on_ground(item.box, box, aspect) < REACH
        ):
            return True
    return False


def _unloaded(track: Track, item: LeftObject, aspect: float) -> bool:
    """True when a vehicle stood at the object when it came to rest, and the object is not where the vehicle itself was."""
    born = item.born_mono_s
    path = [(t, b) for t, b in track.path if abs(t - born) <= RELEASE_WINDOW_S]
    if len(path) < 4 or path[-1][0] - path[0][0] < STOPPED_S or not _let_go(track, item, aspect):
        return False
    stood = all(iou(a, b) >= STOPPED_IOU for (_, a), (_, b) in pairwise(path))
    return stood and all(covered(item.box, b) < 0.5 for _, b in path)


def _found_again(item: LeftObject, owners: list[Track], scene: Scene) -> list[Track]:
    """Return people who came into being beside the object: an owner whom the detector lost and found, not a passer-by."""
    mine = {t.id for t in owners}
    return [
        t
        for t in scene.people
        if t.id not in mine and t.born > item.born_mono_s and _beside(item.box, t.path[0][1], scene)
    ]


def _beside(item: Box, owner: Box, scene: Scene) -> bool:
    """True within 3 m where the ground is known, within 1.5 heights of the owner otherwise."""
    if scene.ruler.has_plane:
        metres = scene.ruler.distance_m(item, owner, scene.aspect)
        if metres is not None:
            return metres < AWAY_M
    return apart_on_ground(item, owner, scene.aspect) < AWAY_HEIGHTS


def _last_beside(track: Track, item: LeftObject, scene: Scene) -> float:
    """Return when the owner was last beside the object; the moment it came to rest at the earliest."""
    return next((t for t, box in reversed(track.path) if _beside(item.box, box, scene)), item.born_mono_s)


def owner_is_back(scene: Scene, site: Site, numbers: Numbers) -> str | None:
    """Hold the act until whoever brought the object has been away long enough."""
    away = scene.mono_s - (site.alone if site.alone is not None else site.first.mono_s)
    if away >= numbers.owner_gone_s:
        return None
    return f"whoever brought it left {away:.0f} s ago (asked: {numbers.owner_gone_s:.0f} s)"


def _named(box: Box, scene: Scene) -> bool:
    """True when the object is a person, a vehicle or a cycle that stands still, which other rules judge."""
    return any(covered(box, t.box) > 0.6 for t in scene.of("person", "vehicle", "non_motor", "bin"))


def _garbage(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    """Heaps: what lies together is one, and a single small thing is litter."""
    things = [
        t for t in scene.of("garbage") if touches_in(t.box, zone) and not permitted(t.box, scene, COLLECTION)
    ]
    out = []
    for heap in group(things, zone, gap=0.75, least_in_group=2):
        area = scene.ruler.area_m2(heap.box, scene.aspect)
        if heap.count >= LEAST_ITEMS or area is None or area >= LEAST_M2:
            out.append(heap)
    return out


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
        owner_is_back,
        needs=frozenset({"left_objects", "tracks", "measure"}),
    ),
    Rule(
        "dumping.exposed@v1",
        IssueClass.DUMPING_EXPOSED,
        STREET,
        _garbage,
        COLLECTION,
        needs=frozenset({"measure"}),
    ),
    Rule("dumping.bin_overflow@v1", IssueClass.BIN_OVERFLOW, STREET | {ZoneKind.BIN}, _overflow),
)
