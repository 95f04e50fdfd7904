"""Scripts of standing and moving vehicles."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from bench.synthetic.draw import Draw, chance
from bench.synthetic.street import (
    WORKDAY,
    Actor,
    Conditions,
    Script,
    Truth,
    always,
    issues,
    pass_by,
    rectangle,
    shifted,
    stand,
    visit,
)
from contract import IssueClass
from edge.geometry import Box
from edge.zones import ZoneConfig

MOTOR = issues(IssueClass.PARKING_MOTOR)
KERB = (0.25, 0.45, 0.85, 0.85)


def kerb(street: str = "prohibit", **more: Any) -> ZoneConfig:
    """Return the no-parking zone of these scripts."""
    return rectangle("no_parking", *KERB, street_class=street, **more)


def conditions(draw: Draw, rough: float = 1.0) -> Conditions:
    """Return the usual troubles of a camera; `rough` scales them."""
    return Conditions(
        step_s=draw.pick([0.5, 1.0, 2.0, 3.0]),
        jitter=rough * draw.real(0.0, 0.03),
        stick_s=draw.pick([0.0, 0.0, 2.0, 5.0]),
        dropped=rough * draw.pick([0.0, 0.0, 0.05, 0.2]),
        phantoms=rough * draw.pick([0.0, 0.0, 0.02, 0.05]),
    )


def late_s(c: Conditions, rate: float) -> float:
    """Return how late an alert may be for reasons of sampling and misses alone."""
    return 10.0 + 10.0 * (c.step_s / (1 - c.dropped) + c.stick_s) / rate


def car_box(draw: Draw) -> Box:
    """Return a car at the kerb."""
    x, w = draw.real(0.30, 0.60), draw.real(0.10, 0.20)
    bottom, h = draw.real(0.60, 0.80), draw.real(0.12, 0.22)
    return x, bottom - h, x + w, bottom


def policy_of(draw: Draw, issue: IssueClass) -> tuple[dict[str, object], float]:
    """Return a policy for one class and its confirm time: short ones make many cases, the city's own make true ones."""
    confirm = draw.pick([60.0, 60.0, 120.0, 180.0])
    return {issue.value: {"candidate_s": confirm / 3, "confirm_s": confirm}}, confirm


def parked(draw: Draw) -> Script:
    """A car that comes and stands; about half of them long enough."""
    c, rate, box = conditions(draw), draw.real(0.3, 1.0), car_box(draw)
    policy, confirm = policy_of(draw, IssueClass.PARKING_MOTOR)
    begin, late = draw.real(8, 40), late_s(c, rate)
    stay = confirm + late + draw.real(1, 60) if chance(draw, 0.6) else draw.real(5, 0.8 * confirm)
    truths = []
    if stay > confirm:
        truths = [Truth(MOTOR, box, begin + confirm - 6 - 2 * c.step_s, begin + confirm + late)]
    elif stay + 6 + 2 * c.step_s + late > confirm:
        truths = [Truth(MOTOR, box, begin + 0.8 * confirm, begin + confirm + late, sure=False)]
    car = Actor(
        "car",
        visit(box, begin, begin + stay, out_of=draw.pick([-0.4, 0.5])),
        always(rate),
        11,
        "truck",
        draw.real(0, 0.6),
    )
    return Script(
        "parked",
        [kerb()],
        [car],
        begin + stay + 60,
        truths,
        policy,
        c,
        seed=draw.whole(0, 2**31),
    )


def interrupted(draw: Draw) -> Script:
    """A parked car and, in its dwell, what resets the clocks of lesser systems: a bus in front, a restart, a stepped clock,
    a blind detector, a blink of the light."""
    base = parked(draw)
    box, confirm = car_box(draw), 180.0
    policy = {IssueClass.PARKING_MOTOR.value: {"candidate_s": 60, "confirm_s": confirm}}
    c = replace(base.conditions, step_s=draw.pick([1.0, 2.0]))
    rate = draw.real(0.4, 1.0)
    begin, moment, length = 20.0, draw.real(60, 140), draw.real(10, 50)
    what = draw.pick(["bus", "restart", "clock", "blind", "light"])
    actors = [Actor("car", visit(box, begin, 1e9), always(rate), 12)]
    if what == "bus":
        front = (box[0] - 0.08, box[1] - 0.12, box[2] + 0.08, min(0.98, box[3] + 0.12))
        actors.append(Actor("bus", visit(front, moment, moment + length), texture=77))
    elif what == "restart":
        c = replace(c, restarts=((moment, length),))
    elif what == "clock":
        jump = draw.pick([-7200.0, -60.0, 60.0, 7200.0])
        c = replace(c, wall_shift=lambda t: jump if t > moment else 0.0)
    elif what == "blind":
        actors = [replace(actors[0], rate=lambda t: 0.0 if moment <= t < moment + length else rate)]
    else:
        c = replace(c, light=lambda t: 0.45 if moment <= t < moment + length else 1.0)
    late = late_s(c, rate) + (length if what in {"bus", "blind", "restart"} else 0.0)
    truth = Truth(MOTOR, box, begin + confirm - 6 - 2 * c.step_s, begin + confirm + late)
    return replace(
        base, name=f"interrupted by {what}", actors=actors, seconds=begin + confirm + late + 150,
        truths=[truth], policy=policy, conditions=c,
    )  # fmt: skip


def traffic(draw: Draw) -> Script:
    """Cars and riders that pass, and cars that stop for a moment one after the other at the same place."""
    c = conditions(draw)
    box = car_box(draw)
    policy, confirm = policy_of(draw, IssueClass.PARKING_MOTOR)
    actors, t = [], 5.0
    while t < 5 * confirm:
        stop = draw.real(0, 0.5 * confirm)
        path = visit(box, t, t + stop, out_of=-0.5) if chance(draw, 0.6) else pass_by(box, t, draw.real(3, 8))
        actors.append(Actor("car", path, texture=draw.whole(100, 10**6)))
        t += stop + draw.real(3, 20)
    return Script("traffic", [kerb()], actors, 5 * confirm, (), policy, c, seed=draw.whole(0, 2**31))


def queue(draw: Draw) -> Script:
    """Cars that stop together and go together, at a signal or in a jam, with and without a drawn lane."""
    c = conditions(draw)
    policy, confirm = policy_of(draw, IssueClass.PARKING_MOTOR)
    n, width = draw.whole(3, 5), 0.13
    zones = [kerb()] + ([rectangle("moving_lane", 0.0, 0.4, 1.0, 0.9)] if chance(draw, 0.5) else [])
    actors: list[Actor] = []
    t = 12.0
    while t < 4 * confirm:
        stands = draw.real(20, 2.5 * confirm)
        for i in range(n):
            home = (0.08 + i * (width + 0.04), 0.55, 0.08 + i * (width + 0.04) + width, 0.72)
            # The first in the queue stops first, and goes first.
            lag = (n - 1 - i) * draw.real(0.5, 4)
            path = visit(home, t + lag, t + lag + stands, out_of=-0.6)
            actors.append(Actor("car", path, lambda _t: 0.9, draw.whole(100, 10**6)))
        t += stands + 25
    return Script("queue", zones, actors, t + 20, (), policy, c, seed=draw.whole(0, 2**31))


def bus_stop(draw: Draw) -> Script:
    """Buses that stand at their stop, one after the other, and sometimes a car that parks there."""
    c, box = conditions(draw), (0.35, 0.45, 0.68, 0.75)
    policy, confirm = policy_of(draw, IssueClass.PARKING_MOTOR)
    actors, t = [], 10.0
    for _ in range(draw.whole(1, 4)):
        stop = draw.real(10, 2 * confirm)
        path = visit(box, t, t + stop)
        actors.append(Actor("bus", path, lambda _t: 0.9, draw.whole(100, 10**6), "truck", draw.real(0, 0.25)))
        t += stop + draw.real(15, 60)
    truths = []
    if chance(draw, 0.4):
        car = (0.45, 0.58, 0.60, 0.74)
        late = late_s(c, 0.9)
        actors.append(Actor("car", visit(car, t, t + confirm + late + 20), texture=5))
        truths = [Truth(MOTOR, car, t + confirm - 6 - 2 * c.step_s, t + confirm + late)]
        t += confirm + late + 30
    zones = [rectangle("bus_stop", 0.25, 0.45, 0.85, 0.85, street_class="prohibit")]
    return Script("bus stop", zones, actors, t, truths, policy, c, seed=draw.whole(0, 2**31))


def loading(draw: Draw) -> Script:
    """A van in a loading zone with hours: fine inside them, an issue when it stays on."""
    c, box, rate = conditions(draw), car_box(draw), draw.real(0.5, 1.0)
    policy, confirm = policy_of(draw, IssueClass.PARKING_MOTOR)
    late = late_s(c, rate)
    # The window ends at 10:05, five minutes into the script.
    window = {"days": ["workday"], "begin": "07:00", "end": "10:05"}
    zones = [kerb(), rectangle("loading", *KERB, schedule=[window])]
    stays_on = chance(draw, 0.5)
    end = 300 + confirm + late + 30 if stays_on else draw.real(120, 290)
    truths = [Truth(MOTOR, box, 295 + confirm - 2 * c.step_s, 300 + confirm + late)] if stays_on else []
    van = Actor("van", visit(box, 20, end), always(rate), 9)
    return Script("loading", zones, [van], end + 30, truths, policy, c, WORKDAY, draw.whole(0, 2**31))


def legal(draw: Draw) -> Script:
    """A car in a legal bay, one beside the zone, one on a day on which the zone does not hold."""
    c = conditions(draw)
    policy, confirm = policy_of(draw, IssueClass.PARKING_MOTOR)
    box, kind = car_box(draw), draw.pick(["bay", "beside", "sunday"])
    zones = [kerb()]
    start = WORKDAY
    if kind == "bay":
        zones.append(rectangle("parking_bay", *KERB))
    elif kind == "beside":
        box = (KERB[0] - 0.2, 0.55, KERB[0] + 0.02, 0.75)
    else:
        zones, start = [kerb(schedule=[{"days": ["workday"]}])], WORKDAY + timedelta(days=4)
    car = Actor("car", stand(box), texture=4)
    return Script("legal", zones, [car], 2 * confirm, (), policy, c, start, draw.whole(0, 2**31))


def cycles(draw: Draw) -> Script:
    """Bicycles on the pavement: one or a heap of them, with riders or without, in the legal area or beside it."""
    c = conditions(draw)
    issue = IssueClass.PARKING_NON_MOTOR
    policy, confirm = policy_of(draw, issue)
    kind, n = draw.pick(["one", "heap", "ridden", "legal"]), draw.whole(3, 6)
    zones = [rectangle("pavement", *KERB, street_class="prohibit")]
    if kind == "legal":
        zones.append(rectangle("non_motor_parking", *KERB))
    boxes: list[Box] = [(0.3 + 0.07 * i, 0.55, 0.36 + 0.07 * i, 0.68) for i in range(n)]
    boxes = boxes[:1] if kind in {"one", "ridden"} else boxes
    begin, rate = 10.0, draw.real(0.6, 1.0)
    actors = [
        Actor("bicycle", visit(b, begin, 1e9), always(rate), 30 + i, "motorcycle", 0.2)
        for i, b in enumerate(boxes)
    ]
    if kind == "ridden":
        b = boxes[0]
        rider = (b[0] + 0.005, b[1] - 0.12, b[2] - 0.005, b[3] - 0.02)
        actors.append(Actor("person", visit(rider, begin, 1e9), texture=60))
    late = late_s(c, rate)
    whole = (boxes[0][0], 0.55, boxes[-1][2], 0.68)
    truth = Truth(issues(issue), whole, begin + confirm - 10 - 2 * c.step_s, begin + confirm + late)
    truths = [truth] if kind in {"one", "heap"} else []
    end = begin + confirm + late + 60
    return Script(f"cycles {kind}", zones, actors, end, truths, policy, c, seed=draw.whole(0, 2**31))


def riders(draw: Draw) -> Script:
    """Riders and walkers passing over the pavement and the fire lane."""
    c = conditions(draw)
    zones = [rectangle("pavement", *KERB), rectangle("fire_lane", *KERB)]
    policy = {
        i.value: {"candidate_s": 20, "confirm_s": 60}
        for i in (IssueClass.PARKING_NON_MOTOR, IssueClass.FIRE_LANE)
    }
    actors, t = [], 3.0
    while t < 400:
        row, tex, seconds = draw.real(0.55, 0.75), draw.whole(100, 10**6), draw.real(4, 12)
        cycle, body = (0.0, row - 0.12, 0.07, row), (0.005, row - 0.24, 0.065, row - 0.03)
        actors.append(Actor("bicycle", pass_by(cycle, t, seconds), texture=tex))
        actors.append(Actor("person", pass_by(body, t, seconds), texture=tex + 1))
        t += draw.real(2, 15)
    return Script("riders", zones, actors, 400, (), policy, c, seed=draw.whole(0, 2**31))


def fire_lane(draw: Draw) -> Script:
    """A car in the fire lane, which is also a no-parking zone: one case, not two."""
    base = parked(draw)
    confirm = base.policy[IssueClass.PARKING_MOTOR.value]["confirm_s"]
    policy = {i.value: {"confirm_s": confirm} for i in (IssueClass.PARKING_MOTOR, IssueClass.FIRE_LANE)}
    both = issues(IssueClass.PARKING_MOTOR, IssueClass.FIRE_LANE)
    return replace(
        base, name="fire lane", zones=[kerb(), rectangle("fire_lane", *KERB, street_class="prohibit")],
        policy=policy, truths=[replace(t, issues=both) for t in base.truths],
    )  # fmt: skip


def phantom(draw: Draw) -> Script:
    """A road marking that a weak detector takes for a car in one frame of ten."""
    c = replace(conditions(draw), stick_s=0.0, phantoms=0.0)
    policy, confirm = policy_of(draw, IssueClass.PARKING_MOTOR)
    rate = draw.real(0.02, 0.1)
    ghost = Actor("car", stand(car_box(draw)), always(rate), 3)
    return Script("phantom", [kerb()], [ghost], 6 * confirm, (), policy, c, seed=draw.whole(0, 2**31))


def row(draw: Draw) -> Script:
    """Three cars that park close to each other one after the other: three cases."""
    c, late = conditions(draw), 0.0
    policy, confirm = policy_of(draw, IssueClass.PARKING_MOTOR)
    actors, truths, begin = [], [], 15.0
    for i in range(3):
        box = shifted((0.27, 0.55, 0.41, 0.72), 0.17 * i)
        rate = draw.real(0.5, 1.0)
        late = late_s(c, rate)
        actors.append(Actor("car", visit(box, begin, 1e9, lane=0.14), always(rate), 40 + i))
        truths.append(Truth(MOTOR, box, begin + confirm - 6 - 2 * c.step_s, begin + confirm + late))
        begin += draw.real(40, 90)
    return Script(
        "row of cars", [kerb()], actors, begin + confirm + late, truths, policy, c, seed=draw.whole(0, 2**31)
    )


PARKING = (
    parked,
    interrupted,
    traffic,
    queue,
    bus_stop,
    loading,
    legal,
    cycles,
    riders,
    fire_lane,
    phantom,
    row,
)
