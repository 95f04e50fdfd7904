"""Street occupation and vendors: stalls are groups of what detectors name today."""

from __future__ import annotations

from contract import IssueClass, ZoneKind
from edge.geometry import Box
from edge.people import apart
from edge.rules.base import Rule, permitted, touches_in
from edge.rules.parking import group
from edge.scene import Scene, Thing, ZoneShape
from edge.sites import Sighting, Site
from edge.zones import Numbers

STALL_PERMITS = frozenset({ZoneKind.PERMITTED_VENDING, ZoneKind.TERRACE})
# These are a stall by themselves; the rest needs company, since one chair or umbrella is none.
WHOLE_STALLS = frozenset({"cart", "tent"})


def _stalls(scene: Scene, zone: ZoneShape, _numbers: Numbers) -> list[Sighting]:
    parts = [
        t
        for t in scene.of("stall_part", "goods")
        if touches_in(t.box, zone) and not permitted(t.box, scene, STALL_PERMITS) and not _carried(t, scene)
    ]
    found = group(parts, zone, gap=1.5, least_in_group=2)
    return [
        Sighting(s.box, s.name, s.score, s.zone_id, s.count, _staffed(s.box, scene))
        for s in found
        if s.count >= 2 or s.name in WHOLE_STALLS
    ]


def _carried(part: Thing, scene: Scene) -> bool:
    """True for an umbrella over a walker's head."""
    return part.name == "umbrella" and any(
        p.box[0] <= (part.box[0] + part.box[2]) / 2 <= p.box[2]
        and part.box[1] < p.box[1] + 0.3 * (p.box[3] - p.box[1]) < part.box[3] + 0.5
        for p in scene.of("person")
    )


def _staffed(box: Box, scene: Scene) -> bool:
    """True when a person stands within 1.5 stall widths."""
    width = (box[2] - box[0]) * scene.aspect
    return any(
        apart(box, p.box, scene.aspect) * (p.box[3] - p.box[1]) <= 1.5 * width for p in scene.of("person")
    )


def _attended_share(site: Site) -> float:
    return site.attended / max(1, site.hits)


def needs_vendor(_scene: Scene, site: Site) -> str | None:
    """A vendor's stall is attended in 60 % of the frames."""
    share = _attended_share(site)
    return None if share >= 0.6 else f"attended in {share:.0%} of the frames, 60 % makes a vendor"


def needs_no_vendor(_scene: Scene, site: Site) -> str | None:
    """A stall with a vendor is the vendor rule's case: one issue a place."""
    share = _attended_share(site)
    return None if share < 0.6 else f"attended in {share:.0%} of the frames: the vendor rule judges it"


STALL_RULES = (
    Rule(
        "street_occupation.shopfront@v1",
        IssueClass.SHOPFRONT,
        frozenset({ZoneKind.FRONTAGE}),
        _stalls,
        STALL_PERMITS,
    ),
    Rule(
        "street_occupation.roadside@v1",
        IssueClass.ROADSIDE,
        frozenset({ZoneKind.NO_VENDING}),
        _stalls,
        STALL_PERMITS,
        needs_no_vendor,
    ),
    Rule(
        "vendor.unlicensed@v1",
        IssueClass.VENDOR_UNLICENSED,
        frozenset({ZoneKind.NO_VENDING}),
        _stalls,
        STALL_PERMITS,
        needs_vendor,
    ),
)
