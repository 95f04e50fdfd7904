"""The judgement of one camera: scenes in, changes of sites out. Pure but for the store; the times come with the scene."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contract import GeoPoint, IssueClass, RuleRef, ZoneKind, ZoneRef
from edge.geometry import Box, GroundPlane, contact, ground_cell, iou
from edge.left_objects import LeftObject
from edge.people import ShortTracks
from edge.rules import ALL_RULES, Rule
from edge.scene import Scene, ZoneShape, things_of
from edge.site_store import SiteStore
from edge.sites import OTHER_LOOK, SAME_LOOK, Moment, Sighting, Site, SiteState, hidden
from edge.zones import Numbers, PolicyConfig, ZoneConfig, local_time, numbers_of
from models.detections import Detections

ChangeKind = Literal["seen", "candidate", "confirmed", "updated", "cleared", "dropped"]
MAX_SITES = 1000
SAVE_EVERY_S = 5.0
# A place seen once or twice is soon forgotten: most of them are what passed by.
YOUNG_MEMORY_S = 12.0
# As many misses in a row as leave no doubt.
FORGET = 99
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


class Judge:
    """Sites of one camera under the rules that its zones call for."""

    def __init__(
        self,
        camera_id: str,
        zones: Sequence[ZoneConfig],
        policy: PolicyConfig,
        place: GeoPoint,
        ground: GroundPlane | None = None,
        timezone: str = "Asia/Shanghai",
        store: SiteStore | None = None,
        rules: Sequence[Rule] = ALL_RULES,
        roles: Mapping[str, str] | None = None,
    ) -> None:
        self._camera_id, self._policy, self._place, self._ground = camera_id, policy, place, ground
        self._timezone, self._store, self._roles = timezone, store, roles
        self._zones = {z.id: ZoneShape(z) for z in zones}
        self._rules = [r for r in rules if any(z.kind in r.zones for z in self._zones.values())]
        self._rule_of = {r.issue: r for r in self._rules}
        self._sites: list[Site] = []
        self._people = ShortTracks()
        self._loaded = store is None
        self._saved = float("-inf")
        self._unsaved = False
        self._now: Moment | None = None
        self.refused_boxes = 0

    @property
    def attentive(self) -> bool:
        """True while a dwell clock runs that has not come to its end."""
        return any(s.state in (SiteState.SEEN, SiteState.CANDIDATE) for s in self._sites)

    def sites(self) -> list[SiteView]:
        """Return the open sites, for metrics and after a restart."""
        return [
            self._view(s, s.last.mono_s if s.last else s.first.mono_s)
            for s in self._sites
            if s.open and s.zone_id in self._zones
        ]

    def observe(self, obs: Observation) -> list[Change]:
        """Judge one frame and return what changed, in order."""
        now = Moment(obs.captured_at, obs.mono_s)
        if not self._loaded:
            self._load(now)
        if not obs.view_ok:
            return []
        scene = self._scene(obs)
        changes: list[Change] = []
        seen: set[str] = set()
        for rule in self._rules:
            for sighting in self._sightings(rule, scene):
                site, is_new = self._attach(rule, sighting, now, scene, changes)
                if site is None or site.id in seen:
                    continue
                seen.add(site.id)
                if is_new:
                    changes.append(self._change("seen", site, now))
        self._absences(seen, scene, now, changes)
        for site in [s for s in self._sites if s.open]:
            self._advance(site, scene, now, changes)
        self._tidy(now)
        self._unsaved = self._unsaved or bool(changes) or now.mono_s - self._saved >= SAVE_EVERY_S
        self._now = now
        return changes

    def waiting(self) -> list[SiteView]:
        """Return the candidates, whose dwell clock runs."""
        if self._now is None:
            return []
        return [self._view(s, self._now.mono_s) for s in self._sites if s.state is SiteState.CANDIDATE]

    def save(self) -> None:
        """Write the sites to disk when they changed. Called after the changes are safe in the outbox, never before:

        a crash in between confirms the same site, with the same id, once more.
        """
        if self._store is not None and self._unsaved and self._now is not None:
            self._unsaved, self._saved = False, self._now.mono_s
            self._store.save(self._camera_id, _worth_keeping(self._sites))

    def _scene(self, obs: Observation) -> Scene:
        things, refused = things_of(obs.detections, obs.width, obs.height, self._roles)
        self.refused_boxes += refused
        aspect = obs.width / obs.height
        self._people.observe([t.box for t in things if t.role == "person"], obs.mono_s, aspect)
        local = local_time(obs.captured_at, self._timezone)
        around = [
            z
            for z in self._zones.values()
            if (z.kind.permits or z.kind is ZoneKind.MOVING_LANE) and z.config.active(local)
        ]
        return Scene(
            obs.captured_at,
            obs.mono_s,
            aspect,
            tuple(things),
            tuple(obs.left),
            (*self._people.tracks, *self._people.gone),
            obs.grey,
            tuple(around),
            refused,
        )

    def _sightings(self, rule: Rule, scene: Scene) -> list[Sighting]:
        local = local_time(scene.at, self._timezone)
        found: list[Sighting] = []
        zones = [z for z in self._zones.values() if z.kind in rule.zones and z.config.active(local)]
        # The strictest zone first: an object in two zones is one issue.
        for zone in sorted(
            zones, key=lambda z: ("prohibit", "control", "regulate").index(z.config.street_class)
        ):
            numbers = numbers_of(rule.issue, zone.config.street_class, self._policy)
            if numbers.enabled:
                new = rule.find(scene, zone, numbers)
                found += [s for s in new if not any(iou(s.box, f.box) > 0.6 for f in found)]
        return found

    def _attach(
        self, rule: Rule, sighting: Sighting, now: Moment, scene: Scene, changes: list[Change]
    ) -> tuple[Site | None, bool]:
        mine = [s for s in self._sites if s.issue is rule.issue and s.open and s.matches(sighting.box)]
        if not mine:
            return self._new(rule, sighting, now, scene)
        site = max(mine, key=lambda s: iou(s.box, sighting.box))
        same = site.look(scene.grey, True, self._hidden(site, scene))
        site.strange_in_row = site.strange_in_row + 1 if same is not None and same <= OTHER_LOOK else 0
        if site.strange_in_row >= 3 and site.still_share >= 0.5:
            # Another object stands where this one stood, with nothing in front of it.
            site.missed_in_row = FORGET
            return None, False
        site.hit(sighting, now)
        if site.moved():
            if site.state is SiteState.SEEN:
                self._sites.remove(site)
            else:
                self._clear(site, now, changes, "gone: it moved on")
            return self._new(rule, sighting, now, scene)
        return site, False

    def _hidden(self, site: Site, scene: Scene) -> bool:
        box = site.box
        return hidden(box, [t.box for t in scene.things if iou(t.box, box) < 0.3])

    def _new(self, rule: Rule, sighting: Sighting, now: Moment, scene: Scene) -> tuple[Site | None, bool]:
        if (
            self._cooling(rule, sighting, now)
            or self._part_of_a_place(rule, sighting)
            or len(self._sites) >= MAX_SITES
        ):
            return None, False
        first = now
        if sighting.born_mono_s is not None:
            first = Moment(
                now.at - timedelta(seconds=now.mono_s - sighting.born_mono_s), sighting.born_mono_s
            )
        site = Site(rule.issue, sighting.zone_id, first, sighting.box)
        site.hit(sighting, now)
        site.look(scene.grey, True, self._hidden(site, scene))
        site.say(first.at, f"first seen standing in zone {sighting.zone_id} as {sighting.name}")
        self._sites.append(site)
        return site, True

    def _part_of_a_place(self, rule: Rule, sighting: Sighting) -> bool:
        """True when a left object lies beside one that is a case: a bag and its strap, a heap in pieces are one place."""
        if rule.issue is not IssueClass.DUMPING_ACT:
            return False
        x, y = (sighting.box[0] + sighting.box[2]) / 2, (sighting.box[1] + sighting.box[3]) / 2
        for site in self._sites:
            x1, y1, x2, y2 = site.box
            w, h = max(x2 - x1, 0.03), max(y2 - y1, 0.03)
            if site.issue is rule.issue and x1 - w <= x <= x2 + w and y1 - h <= y <= y2 + h:
                return True
        return False

    def _cooling(self, rule: Rule, sighting: Sighting, now: Moment) -> bool:
        """True while the place is silent after a cleared alert."""
        for site in self._sites:
            if (
                site.issue is rule.issue
                and site.cleared
                and site.confirmed
                and iou(site.box, sighting.box) > 0.3
            ):
                numbers = self._numbers(site)
                if now.mono_s - site.cleared.mono_s < numbers.cooldown_s:
                    return True
        return False

    def _absences(self, seen: set[str], scene: Scene, now: Moment, changes: list[Change]) -> None:
        for site in [s for s in self._sites if s.open and s.id not in seen]:
            box = site.box
            last = site.last or site.first
            others = [t.box for t in scene.things if iou(t.box, box) < 0.5]
            if not hidden(box, others):
                same = site.look(scene.grey, False, False)
                if same is not None and same >= SAME_LOOK:
                    # Still there to the eye, only the detector missed it: dusk, glare, a weak model. It counts against
                    # the share of hits all the same, or one phantom on a road marking would stay for ever.
                    site.misses += 1
                    site.last, site.missed_in_row = now, 0
                    continue
                site.miss()
            unseen = now.mono_s - last.mono_s
            numbers = self._numbers(site)
            young = site.state is SiteState.SEEN and site.hits < 3
            memory = min(YOUNG_MEMORY_S, numbers.memory_s) if young else numbers.memory_s
            if site.empty_by_misses() or unseen > memory:
                self._clear(site, now, changes)

    def _clear(
        self, site: Site, now: Moment, changes: list[Change], words: str = "gone: the place is empty"
    ) -> None:
        was = site.state
        site.go(SiteState.CLEARED, now, words)
        if was is SiteState.CONFIRMED:
            changes.append(self._change("cleared", site, now))
        else:
            changes.append(self._change("dropped", site, now))
            self._sites.remove(site)

    def _advance(self, site: Site, scene: Scene, now: Moment, changes: list[Change]) -> None:
        rule, zone = self._rule_of.get(site.issue), self._zones.get(site.zone_id)
        if rule is None or zone is None or site.last is None or site.last.mono_s < now.mono_s:
            return
        numbers, dwell = self._numbers(site), site.dwell_s(now.mono_s)
        enough = site.hits >= 3 and site.hit_share >= 0.15
        if site.state is SiteState.SEEN and enough and dwell >= numbers.candidate_s:
            site.go(
                SiteState.CANDIDATE,
                now,
                f"candidate: still for {dwell:.0f} s (asked: {numbers.candidate_s:.0f} s)",
            )
            changes.append(self._change("candidate", site, now))
        if site.state is SiteState.CANDIDATE and enough and dwell >= numbers.confirm_s:
            moving = (
                f"the place changed in {1 - site.still_share:.0%} of the looks"
                if site.still_share < rule.still_share
                else None
            )
            held = moving or rule.hold(scene, site)
            if held is None:
                site.go(
                    SiteState.CONFIRMED,
                    now,
                    f"confirmed: still for {dwell:.0f} s (asked: {numbers.confirm_s:.0f} s)",
                )
                changes.append(self._change("confirmed", site, now))
            elif not site.timeline or not site.timeline[-1][1].startswith("held"):
                site.say(now.at, f"held: {held}")

    def _numbers(self, site: Site) -> Numbers:
        zone = self._zones[site.zone_id]
        numbers = numbers_of(site.issue, zone.config.street_class, self._policy)
        if site.issue is IssueClass.DUMPING_ACT:
            # The object's own clock: it lies still, and its owner is away.
            wait = max(numbers.settle_s, numbers.owner_gone_s)
            return numbers.model_copy(
                update={"candidate_s": min(numbers.settle_s, wait / 2), "confirm_s": wait}
            )
        return numbers

    def _tidy(self, now: Moment) -> None:
        self._sites = [
            s
            for s in self._sites
            if s.zone_id in self._zones
            and (s.cleared is None or now.mono_s - s.cleared.mono_s < self._numbers(s).cooldown_s)
        ]

    def _change(self, kind: ChangeKind, site: Site, now: Moment) -> Change:
        return Change(kind, self._view(site, now.mono_s))

    def _view(self, site: Site, mono_s: float) -> SiteView:
        zone, rule, numbers = self._zones[site.zone_id].config, self._rule_of[site.issue], self._numbers(site)
        box = site.box
        place = (self._ground.place(*contact(box)) if self._ground else None) or self._place
        permit = "no active permit covers the place at this moment" if rule.permits else None
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
                policy_version=POLICY_VERSION,
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
            ground_cell=ground_cell(place, box, self._camera_id),
            note="; ".join(words for _, words in site.timeline[-6:]),
            timeline=tuple(site.timeline),
        )

    def _load(self, now: Moment) -> None:
        self._loaded = True
        if self._store is None:
            return
        for site in self._store.load(self._camera_id, now):
            if site.zone_id in self._zones and site.issue in self._rule_of:
                site.say(now.at, "the box was started again")
                # What happened while the box was off is unknown: the memory begins anew, the dwell does not.
                site.last, site.missed_in_row = now, 0
                self._sites.append(site)


def _worth_keeping(sites: Iterable[Site]) -> list[Site]:
    return [s for s in sites if s.state is not SiteState.SEEN or s.hits >= 3]
