"""Scripts of heaps, bins and people who put something down."""

from __future__ import annotations

from dataclasses import replace

from bench.synthetic.draw import Draw
from bench.synthetic.parking import conditions, late_s
from bench.synthetic.street import Actor, Script, Truth, issues, rectangle, stand
from bench.synthetic.trade import PUBLIC
from contract import IssueClass
from edge.geometry import Box

EXPOSED, OVERFLOW, ACT = IssueClass.DUMPING_EXPOSED, IssueClass.BIN_OVERFLOW, IssueClass.DUMPING_ACT


def heap(draw: Draw) -> Script:
    """Bags that lie: long enough or not, at a collection point within and out of its hours, as a bin that overflows."""
    c, rate = conditions(draw), draw.real(0.4, 1.0)
    confirm = draw.pick([60.0, 120.0, 300.0])
    policy: dict[str, object] = {
        i.value: {"candidate_s": confirm / 3, "confirm_s": confirm} for i in (EXPOSED, OVERFLOW)
    }
    kind = draw.pick(["street", "collected", "collection point", "after hours", "bin"])
    name, issue = ("overflow", OVERFLOW) if kind == "bin" else ("garbage", EXPOSED)
    begin, late = 10.0, late_s(c, rate)
    x, y = draw.real(0.3, 0.6), draw.real(0.5, 0.7)
    box = (x, y, x + draw.real(0.06, 0.14), y + draw.real(0.08, 0.15))
    zones = [rectangle("no_dumping", *PUBLIC, street_class="prohibit")]
    due, end = begin, begin + confirm + late + 40
    if kind == "collected":
        end = begin + draw.real(10, 0.75 * confirm)
    elif kind == "collection point":
        zones.append(rectangle("collection_point", *PUBLIC))
    elif kind == "after hours":
        zones.append(rectangle("collection_point", *PUBLIC, schedule=[{"begin": "06:00", "end": "10:02"}]))
        due, end = 120.0, 120 + confirm + late + 40
    truths = []
    if kind in {"street", "after hours", "bin"}:
        truths = [Truth(issues(issue), box, due + confirm - 6 - 2 * c.step_s, due + confirm + late)]
    elif kind == "collected" and end - begin + late > confirm:
        truths = [Truth(issues(issue), box, begin + 0.8 * confirm, begin + confirm + late, sure=False)]
    actor = Actor(name, stand(box, begin, end), lambda _t: rate, 31)
    return Script(f"heap {kind}", zones, [actor], end + 60, truths, policy, c, seed=draw.whole(0, 2**31))


def act(draw: Draw) -> Script:
    """Somebody puts a bag down: and goes, and comes back for it, or waits beside it; or picks it up at once."""
    c = replace(conditions(draw, 0.5), step_s=draw.pick([0.5, 1.0]), stick_s=0.0)
    kind = draw.pick(["leaves", "comes back", "waits", "picks up"])
    x, foot, put = draw.real(0.35, 0.55), draw.real(0.7, 0.85), draw.real(15, 30)
    bag: Box = (x + 0.05, foot - 0.07, x + 0.09, foot + 0.005)
    back = put + draw.real(8, 25)

    def person(t: float) -> Box | None:
        spot = x
        if t < put:
            spot = x - 0.05 * (put - t)
        elif kind == "leaves" and t > put + 3:
            spot = x - 0.05 * (t - put - 3)
        elif kind == "comes back" and t > put + 3:
            spot = x - 0.05 * min(t - put - 3, max(0.0, back - t), 4.0)
        if spot < -0.05:
            return None
        return spot, foot - 0.27, spot + 0.06, foot

    gone = put + 12 if kind == "picks up" else back + 30 if kind == "comes back" else 1e9
    actors = [
        Actor("person", person, lambda _t: 0.95, 41),
        Actor("bag", stand(bag, put, gone), texture=42, left_since=put),
    ]
    zones = [rectangle("no_dumping", *PUBLIC, street_class="prohibit")]
    truths = [Truth(issues(ACT), bag, put + 28, put + 60)] if kind == "leaves" else []
    return Script(f"act {kind}", zones, actors, 160, truths, {}, c, seed=draw.whole(0, 2**31))


RUBBISH = (heap, act)
