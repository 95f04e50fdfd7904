"""What goes into the judgement of a frame, and what comes out: observations, sites as others see them, changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contract import GeoPoint, IssueClass, RuleRef, ZoneRef
from edge.geometry import Box, GroundPlane, ground_cell
from edge.left_objects import LeftObject
from edge.rules import Rule
from edge.sites import Site
from edge.zones import Numbers, PolicyConfig, ZoneConfig
from models.detections import Detections

ChangeKind = Literal["seen", "candidate", "confirmed", "updated", "cleared", "dropped"]
# The numbers of docs/rules.md; a camera that has its own says so behind it.
POLICY_VERSION = "default-1"


@dataclass(frozen=True, slots=True)
class Observation:
    """One judged frame.

    `detections` are in pixels of a `width` x `height` picture; `left` in shares; `grey` is a small grey picture of the
    same moment, for the look of places; `interval_s` is the time since the frame judged before.
    """

    captured_at: datetime
    mono_s: float
    width: int
    height: int
    detections: Detections
    left: Sequence[LeftObject] = ()
    view_ok: bool = True
    interval_s: float = 1.0
    grey: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class SiteView:
    """A site as evidence and alerts need it."""

    site_id: str
    issue: IssueClass
    zone: ZoneRef
    rule: RuleRef
    first_seen_at: datetime
    candidate_at: datetime | None
    confirmed_at: datetime | None
    dwell_s: float
    samples: int
    box: Box
    class_name: str
    score: float
    count: int
    place: GeoPoint
    ground_cell: str
    note: str
    timeline: tuple[tuple[datetime, str], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a site in this frame."""

    kind: ChangeKind
    site: SiteView


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the camera is: its id, its own place, and the ground where it is known."""

    camera_id: str
    place: GeoPoint
    ground: GroundPlane | None = None
    policy: str = POLICY_VERSION


def policy_version(policy: PolicyConfig) -> str:
    """Return the name of the numbers that hold: the defaults', with a hash of the camera's own where it has some."""
    own = policy.model_dump_json(exclude_none=True, exclude_defaults=True)
    if not policy.root:
        return POLICY_VERSION
    return f"{POLICY_VERSION}+{hashlib.sha256(own.encode()).hexdigest()[:12]}"


def view_of(
    site: Site,
    zone: ZoneConfig,
    rule: Rule,
    numbers: Numbers,
    where: Surroundings,
    mono_s: float,
    lapsed: ZoneConfig | None = None,
) -> SiteView:
    """Return a site as it stands at a moment of the monotonic clock; `lapsed` would permit it at another time."""
    box = site.box
    vehicle = rule.issue in (IssueClass.PARKING_MOTOR, IssueClass.FIRE_LANE)
    place = (where.ground.centre(box, vehicle) if where.ground else None) or where.place
    permit = site.why or _permit(rule, lapsed)
    return SiteView(
        site_id=site.id,
        issue=site.issue,
        zone=ZoneRef(
            id=zone.id,
            kind=zone.kind,
            street_class=zone.street_class,
            polygon=zone.polygon,
            permit=permit,
        ),
        rule=RuleRef(
            name=rule.name,
            candidate_s=numbers.candidate_s,
            confirm_s=numbers.confirm_s,
            policy_version=where.policy,
        ),
        first_seen_at=site.first.at,
        candidate_at=site.candidate.at if site.candidate else None,
        confirmed_at=site.confirmed.at if site.confirmed else None,
        dwell_s=site.dwell_s(mono_s),
        samples=site.hits,
        box=(max(0.0, box[0]), max(0.0, box[1]), min(1.0, box[2]), min(1.0, box[3])),
        class_name=site.names.most_common(1)[0][0] if site.names else "",
        score=float(np.median(site.scores)) if site.scores else 0.0,
        count=site.count,
        place=place,
        ground_cell=ground_cell(place, box, where.camera_id),
        note="; ".join(words for _, words in site.timeline[-6:]),
        timeline=tuple(site.timeline),
    )


def _permit(rule: Rule, lapsed: ZoneConfig | None) -> str:
    if not rule.permits:
        return "no permit can cover this issue"
    if lapsed is not None:
        name = f"{lapsed.holder} ({lapsed.id})" if lapsed.holder else lapsed.id
        return f"the permit of {name} does not hold at this moment"
    return "no active permit covers the place at this moment"
