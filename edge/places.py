"""The places of one camera: which sighting belongs to which site, what an absence means, what is one place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np

from contract import IssueClass
from edge.boxes import FEW, array_of, touching
from edge.geometry import Box, covered, iou
from edge.rules import Rule
from edge.scene import Scene
from edge.sites import SAME_LOOK, Moment, Sighting, Site, SiteState, hidden
from edge.zones import Numbers

MAX_SITES = 1000
# A place seen once or twice is soon forgotten: most of them are what passed by. Where looks are so far apart that one
# missed look is as long (an overloaded box looks every 12 to 14 s), the second one decides.
YOUNG_MEMORY_S, YOUNG_LOOKS = 12.0, 1.5
# As many misses in a row as leave no doubt.
FORGET = 99
# Classes that say the same of one thing: a place that is a case of one of them is none of another.
_KIN = (
    {IssueClass.DUMPING_ACT, IssueClass.DUMPING_EXPOSED},
    {IssueClass.FIRE_LANE, IssueClass.PARKING_MOTOR, IssueClass.PARKING_NON_MOTOR},
    {
        IssueClass.SHOPFRONT,
        IssueClass.ROADSIDE,
        IssueClass.VENDOR_UNLICENSED,
        IssueClass.VENDOR_OUT_OF_PERMIT,
    },
)
# Sites that ended in this frame, with the reason.
Ended = Callable[[Site, SiteState], None]


class Places:
    """The sites of one camera. `numbers` gives the numbers of a site; `ended` is told of sites that end."""

    def __init__(self, numbers: Callable[[Site], Numbers], ended: Ended) -> None:
        self.sites: list[Site] = []
        self._numbers, self._ended = numbers, ended
        self._index = _Index()

    @property
    def open(self) -> list[Site]:
        """The sites that are not cleared."""
        return [s for s in self.sites if s.open]

    def attach(self, rule: Rule, sighting: Sighting, now: Moment, scene: Scene) -> tuple[Site | None, bool]:
        """Give a sighting to its site, or make a new one; returns the site and whether it is new."""
        mine = [
            s for s in self._near(sighting, now) if s.open and s.issue is rule.issue and s.takes(sighting)
        ]
        if not mine:
            return self._new(rule, sighting, now, scene)
        site = max(
            mine, key=lambda s: (s.key is not None and s.key == sighting.key, iou(s.box, sighting.box))
        )
        if sighting.count >= 3:
            site = self._gather(mine)
        if site.key is not None and site.confirmed is None and _reborn(site, sighting):
            self.clear(site, now, "gone: another thing lies in its place")
            return self._new(rule, sighting, now, scene)
        site.look(scene.grey, True, self._hidden(site, scene), now.mono_s)
        if site.swapped(now.mono_s):
            # Another object stands where this one stood, with nothing in front of it.
            site.missed_in_row = FORGET
            return None, False
        site.hit(sighting, now)
        self._index.moved(site)
        if site.moved():
            if site.state is SiteState.SEEN:
                self._drop(site)
            else:
                self.clear(site, now, "gone: it moved on")
            return self._new(rule, sighting, now, scene)
        return site, False

    def absences(self, seen: set[str], scene: Scene, now: Moment, forbidden: Callable[[Site], bool]) -> None:
        """Judge the sites that no sighting reached: forbidden no more, hidden, overlooked by the detector, or empty."""
        for site in [s for s in self.open if s.id not in seen]:
            box = site.box
            last = site.last or site.first
            if site.state is not SiteState.CONFIRMED and not forbidden(site):
                # Its hours are over, or a permit covers it now. A box that jitters over a permit's line is seen again soon.
                if now.mono_s - last.mono_s > self._numbers(site).memory_s:
                    self.clear(site, now, "gone: nothing forbids it here any more")
                continue
            things = scene.touching(box)
            others = [t.box for t in things if iou(t.box, box) < 0.5]
            # Seen in its place and no issue at this moment, such as a bicycle with its rider on it: that is plain view.
            excused = any(t.name in site.names and iou(t.box, box) >= 0.5 for t in things)
            same = None
            if excused or not hidden(box, others):
                same = site.look(scene.grey, False, False, now.mono_s)
                # Whatever follows a left object looks at the place itself: until it is a case, its word counts alone.
                followed = site.key is not None and site.state is not SiteState.CONFIRMED
                if same is not None and same >= SAME_LOOK and not followed:
                    # Still there to the eye, only the detector missed it: dusk, glare, a weak model. It counts against
                    # the share of hits all the same, or one phantom on a road marking would stay for ever.
                    site.misses += 1
                    site.last, site.missed_in_row = now, 0
                    continue
                site.miss()
            elif site.hits >= 3 and not site.timeline[-1][1].startswith("hidden"):
                site.say(now.at, "hidden: something stands in front of it", passing=True)
            unseen = now.mono_s - last.mono_s
            numbers = self._numbers(site)
            young = site.state is SiteState.SEEN and site.hits < 3
            soon = min(max(YOUNG_MEMORY_S, YOUNG_LOOKS * scene.interval_s), 2 * YOUNG_MEMORY_S)
            memory = min(soon, numbers.memory_s) if young else numbers.memory_s
            if site.empty_by_misses(unseen, same) or unseen > memory:
                self.clear(site, now)

    def clear(self, site: Site, now: Moment, words: str = "gone: the place is empty") -> None:
        """End a site."""
        was = site.state
        site.go(SiteState.CLEARED, now, words)
        self._ended(site, was)
        if was is not SiteState.CONFIRMED:
            self._drop(site)

    def a_case_already(self, site: Site) -> str | None:
        """Return why the place is a case already, under this class or one that says the same; None when it is not."""
        kin = next((k for k in _KIN if site.issue in k), {site.issue})
        for other in self.sites:
            if other is site or other.confirmed is None or other.issue not in kin:
                continue
            # What a cleared case was made of is one place with it while the place is silent.
            if _one_place(other, site) and (other.open or other.issue is site.issue):
                return f"the place is a case already, {other.issue.value}"
        return None

    def _gather(self, mine: list[Site]) -> Site:
        """Make one site of those that a group has swallowed: the confirmed one, or the oldest."""
        main = min(mine, key=lambda s: (s.confirmed is None, s.first.mono_s))
        for other in mine:
            if other is not main and other.confirmed is None:
                self._drop(other)
                self._ended(other, other.state)
        return main

    def _hidden(self, site: Site, scene: Scene) -> bool:
        box = site.box
        return hidden(box, [t.box for t in scene.touching(box) if iou(t.box, box) < 0.3])

    def _new(self, rule: Rule, sighting: Sighting, now: Moment, scene: Scene) -> tuple[Site | None, bool]:
        if (
            self._cooling(rule, sighting, now)
            or self._part_of_a_place(rule, sighting)
            or len(self.sites) >= MAX_SITES
        ):
            return None, False
        first = now
        if sighting.born_mono_s is not None:
            first = Moment(
                now.at - timedelta(seconds=now.mono_s - sighting.born_mono_s), sighting.born_mono_s
            )
        site = Site(rule.issue, sighting.zone_id, first, sighting.box)
        site.hit(sighting, now)
        site.look(scene.grey, True, self._hidden(site, scene), now.mono_s)
        site.say(first.at, f"first seen in zone {sighting.zone_id} as {sighting.name}")
        self.sites.append(site)
        self._index.add(site)
        return site, True

    def _near(self, sighting: Sighting, now: Moment) -> list[Site]:
        """Return the sites that may take a sighting, in their order; more than these may be returned."""
        # What is followed keeps its site wherever it goes, and is rare.
        if len(self.sites) <= FEW or sighting.key is not None:
            return self.sites
        return self._index.near(sighting.box, self.sites, now.mono_s)

    def _drop(self, site: Site) -> None:
        self.sites.remove(site)
        self._index.drop(site)

    def _part_of_a_place(self, rule: Rule, sighting: Sighting) -> bool:
        """True when a left object lies beside one that is known: a bag and its strap, a heap in pieces are one place."""
        if rule.issue is not IssueClass.DUMPING_ACT:
            return False
        x, y = (sighting.box[0] + sighting.box[2]) / 2, (sighting.box[1] + sighting.box[3]) / 2
        for site in self.sites:
            x1, y1, x2, y2 = site.box
            w, h = max(x2 - x1, 0.03), max(y2 - y1, 0.03)
            if site.issue is rule.issue and x1 - w <= x <= x2 + w and y1 - h <= y <= y2 + h:
                return True
        return False

    def _cooling(self, rule: Rule, sighting: Sighting, now: Moment) -> bool:
        """True while the place is silent after a cleared alert."""
        return any(
            site.issue is rule.issue
            and site.cleared is not None
            and site.confirmed is not None
            and iou(site.box, sighting.box) > 0.3
            and now.mono_s - site.cleared.mono_s < self._numbers(site).cooldown_s
            for site in self.sites
        )


class _Index:
    """Where the sites of a frame lie: made once a frame, kept true while sightings come to them."""

    def __init__(self) -> None:
        self._at = float("nan")
        self._sites: list[Site | None] = []
        self._rows: dict[str, int] = {}
        self._spans = array_of([])

    def near(self, box: Box, sites: list[Site], mono_s: float) -> list[Site]:
        """Return the sites whose place or reach shares some area with a box, in order."""
        if self._at != mono_s:
            self._at, self._sites = mono_s, list(sites)
            self._rows = {s.id: n for n, s in enumerate(sites)}
            self._spans = array_of([_span(s) for s in sites])
        return [s for n in touching(box, self._spans) if (s := self._sites[n]) is not None]

    def moved(self, site: Site) -> None:
        """Note where a site is now."""
        if (row := self._rows.get(site.id)) is not None:
            self._spans[row] = _span(site)

    def add(self, site: Site) -> None:
        """Note a new site."""
        self._rows[site.id] = len(self._sites)
        self._sites.append(site)
        self._spans = np.vstack([self._spans, _span(site)])

    def drop(self, site: Site) -> None:
        """Forget a site."""
        if (row := self._rows.pop(site.id, None)) is not None:
            self._sites[row] = None


def _span(site: Site) -> Box:
    box, reach = site.box, site.reach
    if reach is None:
        return box
    return min(box[0], reach[0]), min(box[1], reach[1]), max(box[2], reach[2]), max(box[3], reach[3])


def _reborn(site: Site, sighting: Sighting) -> bool:
    """True when what is followed came to rest well after the site's own object."""
    return sighting.born_mono_s is not None and sighting.born_mono_s > site.first.mono_s + 1.0


def _one_place(a: Site, b: Site) -> bool:
    """True for boxes of which one lies in the other, or that are nearly the same."""
    one, other = a.box, b.box
    return (
        iou(one, other) > 0.5 or max(covered(one, other), covered(other, one)) > 0.7 or _centred(one, other)
    )


def _centred(a: Box, b: Box) -> bool:
    """True when each box holds the other's centre."""
    ax, ay, bx, by = (a[0] + a[2]) / 2, (a[1] + a[3]) / 2, (b[0] + b[2]) / 2, (b[1] + b[3]) / 2
    return a[0] <= bx <= a[2] and a[1] <= by <= a[3] and b[0] <= ax <= b[2] and b[1] <= ay <= b[3]
