"""Parking: motor vehicles, bicycles and scooters, the fire lane."""

from __future__ import annotations

from contract import IssueClass, ZoneKind
from edge.geometry import covered
from edge.rules.base import Rule, permitted, stands_in
from edge.scene import Scene, Thing, ZoneShape
from edge.sites import Sighting, Site
from edge.traffic import LONGEST_JAM_S
from edge.zones import Numbers

MOTOR_PERMITS = frozenset({ZoneKind.PARKING_BAY, ZoneKind.LOADING})
NON_MOTOR_PERMITS = frozenset({ZoneKind.NON_MOTOR_PARKING})


def _vehicles(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    return [
        Sighting(t.box, t.name, t.score, zone.id)
        for t in scene.of("vehicle")
        if stands_in(t.box, zone)
        and not permitted(t.box, scene, MOTOR_PERMITS)
        and scene.ruler.plausible_vehicle(t.box)
    ]


def _ridden(cycle: Thing, scene: Scene) -> bool:
    """True when a person sits on it: the body stands above the frame and shares its place."""
    return any(
        covered(cycle.box, p.box) > 0.3
        and p.box[1] < cycle.box[1]
        and p.box[3] > (cycle.box[1] + cycle.box[3]) / 2
        for p in scene.of("person")
    )


def _cycles(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    cycles = [
        t
        for t in scene.of("non_motor")
        if stands_in(t.box, zone) and not permitted(t.box, scene, NON_MOTOR_PERMITS) and not _ridden(t, scene)
    ]
    return group(cycles, zone, gap=0.75, least_in_group=3)


def _anything_with_wheels(scene: Scene, zone: ZoneShape, numbers: Numbers) -> list[Sighting]:
    return _vehicles(scene, zone, numbers) + _cycles(scene, zone, numbers)


def group(things: list[Thing], zone: ZoneShape, gap: float, least_in_group: int) -> list[Sighting]:
    """Join things that stand within `gap` widths of each other; a group of `least_in_group` is one sighting with a count."""
    groups: list[list[Thing]] = []
    for thing in sorted(things, key=lambda t: t.box[0]):
        reach = gap * (thing.box[2] - thing.box[0])
        near = [g for g in groups if any(_close(thing, other, reach) for other in g)]
        merged = [thing, *(t for g in near for t in g)]
        groups = [g for g in groups if g not in near] + [merged]
    out: list[Sighting] = []
    for members in groups:
        if len(members) >= least_in_group:
            boxes = list(zip(*(m.box for m in members), strict=True))
            whole = (min(boxes[0]), min(boxes[1]), max(boxes[2]), max(boxes[3]))
            out.append(Sighting(whole, members[0].name, max(m.score for m in members), zone.id, len(members)))
        else:
            out += [Sighting(m.box, m.name, m.score, zone.id) for m in members]
    return out


def _close(a: Thing, b: Thing, reach: float) -> bool:
    dx = max(a.box[0] - b.box[2], b.box[0] - a.box[2], 0.0)
    dy = max(a.box[1] - b.box[3], b.box[1] - a.box[3], 0.0)
    return dx <= reach and dy <= reach


def jam(scene: Scene, site: Site) -> str | None:
    """Return why the vehicle may stand in traffic: a full moving lane beside it, or vehicles that stopped with it.

    It holds the confirmation only while the others are there: a parked car is still there when the queue has gone.
    """
    lanes = scene.zones_of(ZoneKind.MOVING_LANE)
    beside = scene.traffic.beside(site.box)
    queue = sum(any(stands_in(s.box, z) for z in lanes) for s in beside)
    if queue + any(stands_in(site.box, z) for z in lanes) >= 3:
        return f"a queue of {queue} vehicles stands beside it"
    together = scene.traffic.stopped_with(site.box, site.first.mono_s)
    if together >= 2 and site.dwell_s(scene.mono_s) < LONGEST_JAM_S:
        return f"it stopped together with {together} vehicles beside it, as in a jam or at a signal"
    return None


def bus_at_its_stop(scene: Scene, site: Site) -> str | None:
    """Return why a bus may stand: at a bus stop, however strictly the kerb is managed."""
    bus = site.names["bus"] >= 0.5 * site.names.total()
    at_stop = any(stands_in(site.box, z) for z in scene.zones_of(ZoneKind.BUS_STOP))
    return "a bus stands at its stop" if bus and at_stop else None


def in_traffic(scene: Scene, site: Site, _numbers: Numbers) -> str | None:
    """Hold a vehicle that is part of the traffic."""
    return bus_at_its_stop(scene, site) or jam(scene, site)


PARKING_RULES = (
    Rule(
        "parking.motor@v1",
        IssueClass.PARKING_MOTOR,
        frozenset({ZoneKind.NO_PARKING, ZoneKind.BUS_STOP}),
        _vehicles,
        MOTOR_PERMITS,
        in_traffic,
        still_share=0.5,
    ),
    Rule(
        "parking.non_motor@v1",
        IssueClass.PARKING_NON_MOTOR,
        frozenset({ZoneKind.PAVEMENT, ZoneKind.TACTILE_PATH, ZoneKind.BUS_STOP}),
        _cycles,
        NON_MOTOR_PERMITS,
        still_share=0.5,
    ),
    Rule(
        "parking.fire_lane@v1",
        IssueClass.FIRE_LANE,
        frozenset({ZoneKind.FIRE_LANE}),
        _anything_with_wheels,
        hold=in_traffic,
        still_share=0.5,
    ),
)
