"""The judgement of one camera: scenes in, changes of sites out. Pure but for the store; the times come with the scene."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from contract import GeoPoint, IssueClass, StreetClass, ZoneKind
from edge.boxes import without_twins
from edge.geometry import GroundPlane, lower_strip
from edge.people import ShortTracks
from edge.places import Places
from edge.ruler import Ruler
from edge.rules import ALL_RULES, Rule
from edge.rules.base import permitted, stands_in
from edge.scene import Scene, ZoneShape, things_of
from edge.site_store import SiteStore
from edge.site_view import (
    Change,
    ChangeKind,
    Observation,
    SiteView,
    Surroundings,
    policy_version,
    view_of,
)
from edge.sites import LEAST_HITS, Moment, Sighting, Site, SiteState
from edge.traffic import Traffic
from edge.zones import Numbers, PolicyConfig, ZoneConfig, local_time, numbers_of
from models.detections import Detections
from models.roles import Role, role_of

__all__ = ["Change", "Judge", "Observation", "SiteView"]

# What an alert hangs on is written at once. The rest, how often and where a site was seen, a crash may lose.
SAVE_EVERY_S = 20.0
# After the end of a dwell its object is looked for at once, so many times in a row; what hides it may stay.
QUICK_LOOKS = 2
# So long a place that looked like another's is believed to be one; a swap is told after three looks at the rarest rate.
STRANGE_S = 45.0
# So long without a fit picture, more than a missed look at the rarest rate, and the time is taken out of the dwells.
BLIND_S = 30.0
# Looks that are given up for the places that the disk does not give.
MOST_READS = 5
_ALERTS_HANG_ON = frozenset({"candidate", "confirmed", "cleared"})


class Judge:
    """Sites of one camera under the rules that its zones call for.

    `roles` maps a model's or a city's class names to roles (see `models.roles`).
    """

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
        roles: Mapping[str, Role] | None = None,
        resumed: str = "the box was started again",
    ) -> None:
        """`resumed` is what the timeline of a place says that was there before this judge."""
        self._resumed = resumed
        self._where, self._policy = Surroundings(camera_id, place, ground, policy_version(policy)), policy
        self._active: frozenset[str] = frozenset()
        self._timezone, self._store, self._roles = timezone, store, roles
        self._zones = {z.id: ZoneShape(z) for z in zones}
        # Each is checked when it is made, which takes as long as a rule.
        self._numbers_by: dict[tuple[IssueClass, StreetClass], tuple[Numbers, Numbers]] = {}
        self._rules = [r for r in rules if any(z.kind in r.zones for z in self._zones.values())]
        self._rule_of = {r.issue: r for r in self._rules}
        self._places = Places(self._numbers, self._ended)
        self._changes: list[Change] = []
        self._people, self._carriers = ShortTracks(), ShortTracks()
        self._ruler, self._traffic = Ruler(ground), Traffic()
        self._loaded = store is None
        self._failed_reads, self._saved = 0, float("-inf")
        self._unsaved = self._durable = False
        self._now: Moment | None = None
        # The last look before the view was lost; a judge that follows this one is told.
        self.blind_since: Moment | None = None
        self.refused_boxes = 0

    @property
    def attentive(self) -> bool:
        """True while a dwell clock runs that has not come to its end."""
        return any(s.state in (SiteState.SEEN, SiteState.CANDIDATE) for s in self._places.sites)

    @property
    def next_end(self) -> float:
        """When the next dwell can end, monotonic seconds; infinity where none is near.

        Only what was seen twice counts: of each car that drives past, the end would be a look. An end that has passed while a
        sighting was wanting, or was missed, is now: there is no dwell to wait for, but another look.
        """
        if self._now is None:
            return float("inf")
        now, ends = self._now.mono_s, [float("inf")]
        for site in self._places.sites:
            if site.state not in (SiteState.SEEN, SiteState.CANDIDATE) or site.zone_id not in self._zones:
                continue
            end = site.first.mono_s + self._numbers(site).confirm_s
            wanting = site.hits == LEAST_HITS - 1 or site.missed_in_row > 0
            if end > now and site.hits >= LEAST_HITS - 1:
                ends.append(end)
            elif end <= now and wanting and site.missed_in_row <= QUICK_LOOKS:
                ends.append(now)
        return min(ends)

    def roles_of(self, detections: Detections) -> list[Role]:
        """Return the role of each detected object."""
        return [role_of(detections.names[n], self._roles) for n in detections.classes.tolist()]

    def sites(self) -> list[SiteView]:
        """Return the open sites, for metrics and after a restart."""
        return [
            self._view(s, s.last.mono_s if s.last else s.first.mono_s)
            for s in self._places.open
            if s.zone_id in self._zones
        ]

    def waiting(self) -> list[SiteView]:
        """Return the candidates, whose dwell clock runs."""
        if self._now is None:
            return []
        now = self._now.mono_s
        return [self._view(s, now) for s in self._places.sites if s.state is SiteState.CANDIDATE]

    def observe(self, obs: Observation) -> list[Change]:
        """Judge one frame and return what changed, in order."""
        now, before = Moment(obs.captured_at, obs.mono_s), self._now
        if not self._loaded:
            self._load(now)
        self._now = now
        if not obs.view_ok:
            if self.blind_since is None:
                self.blind_since = before or now
            return []
        if self.blind_since is not None:
            lost = now.mono_s - self.blind_since.mono_s
            for waiting in self._places.open:
                # A bus that filled the picture for a look is no time in which nobody watched.
                if lost > BLIND_S:
                    waiting.unseen(self.blind_since, now)
                # The memory begins anew, as after a restart.
                waiting.last, waiting.missed_in_row = _just_before(now), 0
            self.blind_since = None
        scene = self._scene(obs)
        self._changes = []
        seen: set[str] = set()
        for rule in self._rules:
            for sighting in self._sightings(rule, scene):
                site, is_new = self._places.attach(rule, sighting, now, scene)
                if site is None or site.id in seen:
                    continue
                seen.add(site.id)
                if is_new:
                    self._note("seen", site)
        self._places.absences(seen, scene, now, lambda site: self._forbidden(site, scene))
        for site in self._places.open:
            self._advance(site, scene, now)
        self._tidy(now)
        due = now.mono_s - self._saved >= SAVE_EVERY_S
        self._durable = self._durable or any(c.kind in _ALERTS_HANG_ON for c in self._changes)
        self._unsaved = self._unsaved or self._durable or due
        return self._changes

    def save(self, now: bool = False) -> None:
        """Write the sites to disk when they changed, or in any case (`now`). Called before their alerts are written, never after:

        a confirmed site without an alert is found at the next start, an alert without its site would come twice.

        Raises:
            sqlite3.Error: the disk is full or the file locked; the sites are written with the next frame.
        """
        if self._store is not None and (self._unsaved or now) and self._now is not None:
            self._store.save(self._where.camera_id, _worth_keeping(self._places.sites), self._durable)
            self._unsaved, self._durable, self._saved = False, False, self._now.mono_s

    def _scene(self, obs: Observation) -> Scene:
        things, refused = things_of(obs.detections, obs.width, obs.height, self._roles)
        self.refused_boxes += refused
        aspect = obs.width / obs.height
        people = [t.box for t in things if t.role == "person"]
        vehicles = [t.box for t in things if t.role == "vehicle"]
        self._people.observe(people, obs.mono_s, aspect)
        self._carriers.observe(vehicles, obs.mono_s, aspect)
        self._ruler.observe(people)
        self._traffic.observe(vehicles, obs.mono_s)
        local = local_time(obs.captured_at, self._timezone)
        self._active = frozenset(z.id for z in self._zones.values() if z.config.active(local))
        return Scene(
            at=obs.captured_at,
            mono_s=obs.mono_s,
            aspect=aspect,
            things=tuple(things),
            left=tuple(obs.left),
            people=(*self._people.tracks, *self._people.gone),
            carriers=(*self._carriers.tracks, *self._carriers.gone),
            grey=obs.grey,
            zones=tuple(self._zones.values()),
            active=self._active,
            ruler=self._ruler,
            traffic=self._traffic,
            interval_s=obs.interval_s,
        )

    def _sightings(self, rule: Rule, scene: Scene) -> list[Sighting]:
        found: list[tuple[ZoneShape, Sighting]] = []
        for zone in scene.zones:
            if zone.kind in rule.zones and self._in_force(rule, zone, scene):
                numbers = self._asked(rule.issue, zone.config.street_class)
                found += [(zone, s) for s in rule.find(scene, zone, numbers)]
        if len(found) < 2:
            return [sighting for _, sighting in found]
        # An object in two zones is one issue.
        ranked = [sighting for _, sighting in sorted(found, key=lambda f: _rank(*f))]
        return [ranked[i] for i in without_twins([s.box for s in ranked], [0] * len(ranked), 0.6)]

    def _advance(self, site: Site, scene: Scene, now: Moment) -> None:
        rule = self._rule_of.get(site.issue)
        fresh = site.last is not None and site.last.mono_s >= now.mono_s
        if rule is None or site.zone_id not in self._zones or not fresh:
            return
        numbers, dwell = self._numbers(site), site.dwell_s(now.mono_s)
        enough = site.surely_seen
        if site.state is SiteState.SEEN and enough and dwell >= numbers.candidate_s:
            site.say(site.first.at, "at rest from here on")
            site.go(
                SiteState.CANDIDATE,
                now,
                f"candidate: still for {dwell:.0f} s (asked: {numbers.candidate_s:.0f} s)",
            )
            self._note("candidate", site)
        if site.state is SiteState.CANDIDATE and enough and dwell >= numbers.confirm_s:
            held = self._held(site, rule, scene, numbers)
            if held is None:
                site.go(
                    SiteState.CONFIRMED,
                    now,
                    f"confirmed: still for {dwell:.0f} s (asked: {numbers.confirm_s:.0f} s)",
                )
                self._note("confirmed", site)
            elif not site.timeline or not site.timeline[-1][1].startswith("held"):
                site.say(now.at, f"held: {held}", passing=True)

    def _held(self, site: Site, rule: Rule, scene: Scene, numbers: Numbers) -> str | None:
        """Return why a confirmation must wait, or None."""
        if site.still_share < rule.still_share:
            return f"the place changed in {1 - site.still_share:.0%} of the looks"
        strange = site.strange_in_row > 0 and scene.mono_s - site.other_since < STRANGE_S
        if rule.still_share and strange and site.count == 1 and site.key is None:
            return "the place looks different: another object, or something in front of it"
        return rule.hold(scene, site, numbers) or self._places.a_case_already(site)

    def _forbidden(self, site: Site, scene: Scene) -> bool:
        """True while what stands at a site would be a sighting, were it seen: the rule is in force, and nothing permits it."""
        rule, zone = self._rule_of.get(site.issue), self._zones.get(site.zone_id)
        if rule is None or zone is None:
            return False
        return self._in_force(rule, zone, scene) and permitted(site.box, scene, rule.permits) is None

    def _in_force(self, rule: Rule, zone: ZoneShape, scene: Scene) -> bool:
        """True while a zone of a rule's kind holds, or its permit has lapsed where that is what the rule is about, and the rule is on."""
        holds = zone.id in scene.active or (rule.lapsed and zone.kind.permits)
        return holds and self._asked(rule.issue, zone.config.street_class).enabled

    def _asked(self, issue: IssueClass, street: StreetClass) -> Numbers:
        return self._both_numbers(issue, street)[0]

    def _numbers(self, site: Site) -> Numbers:
        return self._both_numbers(site.issue, self._zones[site.zone_id].config.street_class)[1]

    def _both_numbers(self, issue: IssueClass, street: StreetClass) -> tuple[Numbers, Numbers]:
        """Return the numbers that hold for a class on a street class, and those of a site of it."""
        known = self._numbers_by.get((issue, street))
        if known is None:
            numbers = own = numbers_of(issue, street, self._policy)
            if issue is IssueClass.DUMPING_ACT:
                # The object's own clock: it lies still. The rule's guard waits for the owner to be away.
                settle = numbers.settle_s
                own = numbers.model_copy(update={"candidate_s": settle / 2, "confirm_s": settle})
            known = self._numbers_by[issue, street] = numbers, own
        return known

    def _tidy(self, now: Moment) -> None:
        self._places.sites = [
            s
            for s in self._places.sites
            if s.zone_id in self._zones
            and (s.cleared is None or now.mono_s - s.cleared.mono_s < self._numbers(s).cooldown_s)
        ]

    def _ended(self, site: Site, was: SiteState) -> None:
        # What is on disk and is over must not come back after a crash.
        self._unsaved = self._unsaved or was is not SiteState.SEEN or site.hits >= LEAST_HITS
        self._note("cleared" if was is SiteState.CONFIRMED else "dropped", site)

    def _note(self, kind: ChangeKind, site: Site) -> None:
        mono_s = self._now.mono_s if self._now else site.first.mono_s
        self._changes.append(Change(kind, self._view(site, mono_s)))

    def _view(self, site: Site, mono_s: float) -> SiteView:
        zone, rule = self._zones[site.zone_id].config, self._rule_of[site.issue]
        lapsed = next(
            (
                z.config
                for z in self._zones.values()
                if z.kind in rule.permits and z.id not in self._active and stands_in(site.box, z)
            ),
            None,
        )
        return view_of(site, zone, rule, self._numbers(site), self._where, mono_s, lapsed)

    def _load(self, now: Moment) -> None:
        if self._store is None:
            return
        try:
            kept = self._store.load(self._where.camera_id, now)
        except sqlite3.Error:
            # The next look tries again: without its places a camera begins every dwell anew. But look it must.
            self._failed_reads += 1
            if self._failed_reads < MOST_READS:
                raise
            kept = []
        for site in kept:
            if site.zone_id in self._zones and site.issue in self._rule_of:
                site.say(now.at, self._resumed, passing=True)
                # What happened while the box was off is unknown: the memory begins anew, the dwell does not.
                site.last, site.missed_in_row = _just_before(now), 0
                self._places.sites.append(site)
        self._loaded = True


def _rank(zone: ZoneShape, sighting: Sighting) -> tuple[float, ...]:
    """Order the zones of one object: the strictest street, the zone that holds most of it, the plainer kind, the smaller one."""
    street = ("prohibit", "control", "regulate").index(zone.config.street_class)
    inside = zone.share_of(lower_strip(sighting.box))
    return street, -round(inside, 1), list(ZoneKind).index(zone.kind), zone.area


def _just_before(now: Moment) -> Moment:
    """The memory of a place begins here, but nobody has seen its object yet: it must not be confirmed by this frame alone."""
    return Moment(now.at, now.mono_s - 1e-3)


def _worth_keeping(sites: Iterable[Site]) -> list[Site]:
    return [s for s in sites if s.state is not SiteState.SEEN or s.hits >= LEAST_HITS]
