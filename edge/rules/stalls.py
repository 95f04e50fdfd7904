"""Street occupation and vendors: stalls are groups of what detectors name today, and of still goods that they do not."""

from __future__ import annotations

from contract import IssueClass, ZoneKind
from edge.geometry import lower_strip
from edge.people import apart
from edge.rules.base import Rule, permitted, share_in, stands_in, touches_in
from edge.rules.parking import group
from edge.scene import Scene, Thing, ZoneShape
from edge.sites import Sighting, Site
from edge.zones import Numbers
from models.roles import Role

STALL_PERMITS = frozenset({ZoneKind.PERMITTED_VENDING, ZoneKind.TERRACE})
POINTS = frozenset({ZoneKind.PERMITTED_VENDING})
# These are a stall by themselves; the rest needs company, since one chair or umbrella is none.
WHOLE_STALLS = frozenset({"cart", "tent"})
# Goods beyond a shop's line count by their number or by this area.
BEYOND_LINE_M2 = 1.0
# Wares without a name are wares when they have lain so long; what people put beside them for a moment is none.
GOODS_S = 30.0
# A stall keeps to its point when no more of its foot than this is outside.
OUTSIDE_SHARE = 0.3
ATTENDED_SHARE = 0.6
_STALL_ROLES: tuple[Role, ...] = ("stall", "stall_part", "goods")


def _parts(scene: Scene, zone: ZoneShape) -> list[Thing]:
    """Return what may be part of a stall in a zone: named parts, goods, and still things without a name beside them."""
    named = [t for t in scene.of(*_STALL_ROLES) if touches_in(t.box, zone) and not _carried(t, scene)]
    if not named:
        return []
    still = [
        Thing(o.box, "still goods", "goods", 0.5)
        for o in scene.left
        if o.stable_s >= GOODS_S
        and touches_in(o.box, zone)
        and not any(apart(o.box, t.box, 1.0) == 0.0 for t in scene.of("person", "vehicle", *_STALL_ROLES))
    ]
    return named + still


def _grouped(parts: list[Thing], zone: ZoneShape, scene: Scene) -> list[Sighting]:
    whole = [t.box for t in parts if t.role == "stall" or t.name in WHOLE_STALLS]
    out = []
    for s in group(parts, zone, gap=1.5, least_in_group=2):
        is_stall = s.count >= 2 or s.box in whole
        large = zone.kind is ZoneKind.FRONTAGE and _area(s, scene) >= BEYOND_LINE_M2
        if is_stall or large:
            out.append(Sighting(s.box, s.name, s.score, s.zone_id, s.count, _staffed(s, scene)))
    return out


def _area(sighting: Sighting, scene: Scene) -> float:
    return scene.ruler.area_m2(sighting.box, scene.aspect) or 0.0


def _stalls(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    """Stalls where none may be. What belongs to a permitted point, within or beyond its hours and area, is another rule's."""
    closed = scene.zones_of(*POINTS, active=False)
    return [
        s
        for s in _grouped(_parts(scene, zone), zone, scene)
        if not permitted(s.box, scene, STALL_PERMITS)
        and not any(stands_in(s.box, p) for p in closed)
        and not _beyond(s, scene)
    ]


def _beyond(sighting: Sighting, scene: Scene) -> ZoneShape | None:
    """Return the permitted point that holds part of the stall's foot, but not enough of it."""
    strip = lower_strip(sighting.box)
    partly = [p for p in scene.zones_of(*POINTS) if 0.1 < p.share_of(strip) < 1 - OUTSIDE_SHARE]
    # A stall on the line between two of them has not grown beyond either.
    if not partly or share_in(sighting.box, scene.zones_of(*POINTS)) >= 1 - OUTSIDE_SHARE:
        return None
    return partly[0]


def _out_of_permit(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    """Stalls at a permitted point that is closed, and stalls that have grown beyond an open one into the forbidden area."""
    if zone.kind is ZoneKind.PERMITTED_VENDING:
        if zone.id in scene.active:
            return []
        why = f"the permit of {_name(zone)} does not hold at this moment"
        closed = _grouped(_parts(scene, zone), zone, scene)
        return [_with(s, why) for s in closed if permitted(s.box, scene, STALL_PERMITS) is None]
    out = []
    for s in _grouped(_parts(scene, zone), zone, scene):
        point = _beyond(s, scene)
        if point is not None:
            outside = 1 - point.share_of(lower_strip(s.box))
            out.append(_with(s, f"{outside:.0%} of the stall's foot is outside {_name(point)}"))
    return out


def _with(s: Sighting, why: str) -> Sighting:
    return Sighting(s.box, s.name, s.score, s.zone_id, s.count, s.attended, why=why)


def _name(zone: ZoneShape) -> str:
    return f"{zone.config.holder} ({zone.id})" if zone.config.holder else zone.id


def _carried(part: Thing, scene: Scene) -> bool:
    """True for an umbrella over a walker's head."""
    return part.name == "umbrella" and any(
        p.box[0] <= (part.box[0] + part.box[2]) / 2 <= p.box[2]
        and part.box[1] < p.box[1] + 0.3 * (p.box[3] - p.box[1]) < part.box[3] + 0.5
        for p in scene.of("person")
    )


def _staffed(s: Sighting, scene: Scene) -> bool:
    """True when a person stands within 1.5 stall widths."""
    width = (s.box[2] - s.box[0]) * scene.aspect
    return any(
        apart(s.box, p.box, scene.aspect) * (p.box[3] - p.box[1]) <= 1.5 * width for p in scene.of("person")
    )


def _attended_share(site: Site) -> float:
    return site.attended / max(1, site.hits)


def needs_vendor(_scene: Scene, site: Site, _numbers: Numbers) -> str | None:
    """A vendor's stall is attended in 60 % of the frames."""
    share = _attended_share(site)
    return None if share >= ATTENDED_SHARE else f"attended in {share:.0%} of the frames, 60 % makes a vendor"


def needs_no_vendor(_scene: Scene, site: Site, _numbers: Numbers) -> str | None:
    """A stall with a vendor is the vendor rule's case: one issue a place."""
    share = _attended_share(site)
    return (
        None
        if share < ATTENDED_SHARE
        else f"attended in {share:.0%} of the frames: the vendor rule judges it"
    )


STALL_RULES = (
    Rule(
        "street_occupation.shopfront@v1",
        IssueClass.SHOPFRONT,
        frozenset({ZoneKind.FRONTAGE}),
        _stalls,
        STALL_PERMITS,
        needs=frozenset({"left_objects", "measure"}),
    ),
    Rule(
        "street_occupation.roadside@v1",
        IssueClass.ROADSIDE,
        frozenset({ZoneKind.NO_VENDING}),
        _stalls,
        STALL_PERMITS,
        needs_no_vendor,
        needs=frozenset({"left_objects"}),
    ),
    Rule(
        "vendor.unlicensed@v1",
        IssueClass.VENDOR_UNLICENSED,
        frozenset({ZoneKind.NO_VENDING}),
        _stalls,
        STALL_PERMITS,
        needs_vendor,
        needs=frozenset({"left_objects"}),
    ),
    Rule(
        "vendor.out_of_permit@v1",
        IssueClass.VENDOR_OUT_OF_PERMIT,
        frozenset({ZoneKind.PERMITTED_VENDING, ZoneKind.NO_VENDING}),
        _out_of_permit,
        needs=frozenset({"left_objects"}),
        lapsed=True,
    ),
)
