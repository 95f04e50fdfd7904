"""A camera for 24 hours: dusk and dawn, a detector that grows weak at night, and the life of a street."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np

from bench.synthetic.draw import Draw, chance
from bench.synthetic.parking import KERB, MOTOR, kerb
from bench.synthetic.street import WORKDAY, Actor, Conditions, Script, Truth, pass_by, rectangle, visit
from edge.geometry import Box

DAY_S = 86_400.0
CONFIRM_S = 180.0
# What a weak detector sees of a car by night, a frame.
NIGHT_RATE = 0.25


def daylight(t: float) -> float:
    """Return the brightness of the street, 0.2 to 1, by seconds since midnight; dusk and dawn take half an hour."""
    hour = t / 3600 % 24
    up = np.clip((hour - 5.75) / 0.5, 0, 1) - np.clip((hour - 18.75) / 0.5, 0, 1)
    return float(0.2 + 0.8 * up)


def seen_by(t: float, day_rate: float) -> float:
    """Return the chance that a car is seen in a frame: at dusk and dawn headlights blind the detector for minutes."""
    light = (daylight(t) - 0.2) / 0.8
    rate = NIGHT_RATE + (day_rate - NIGHT_RATE) * light
    twilight = 0.05 < light < 0.95
    return 0.0 if twilight and int(t / 120) % 3 == 0 else rate


def _weak(day_rate: float) -> Callable[[float], float]:
    return lambda t: seen_by(t, day_rate)


def day(draw: Draw) -> Script:
    """Three kerb places with a few long stays (some overnight), many short ones, passing traffic, a legal bay in use."""
    step = draw.pick([5.0, 8.0, 10.0])
    c = Conditions(step, draw.real(0, 0.02), 5.0, 0.02, 0.002, daylight)
    actors: list[Actor] = []
    truths: list[Truth] = []
    for i in range(3):
        box: Box = (0.28 + 0.19 * i, 0.55, 0.42 + 0.19 * i, 0.72)
        _place(draw, box, actors, truths, step)
    bay: Box = (0.05, 0.55, 0.19, 0.72)
    t = 100.0
    while t < DAY_S:
        stay = draw.real(600, 20_000)
        rate = draw.real(0.7, 0.95)
        actors.append(
            Actor(
                "car",
                visit(bay, t, t + stay, lane=0.15),
                _weak(rate),
                draw.whole(100, 10**6),
            )
        )
        t += stay + draw.real(60, 3000)
    for _ in range(draw.whole(300, 900)):
        lane = draw.real(0.8, 0.9)
        begin = draw.real(0, DAY_S)
        actors.append(
            Actor(
                "car",
                pass_by((0, lane - 0.2, 0.16, lane), begin, draw.real(2, 6)),
                texture=draw.whole(100, 10**6),
            )
        )
    zones = [kerb(), rectangle("parking_bay", 0.0, 0.5, KERB[0], 0.8)]
    midnight = WORKDAY - timedelta(hours=10)
    policy = {"parking.motor": {"candidate_s": 60, "confirm_s": CONFIRM_S}}
    return Script("day", zones, actors, DAY_S, truths, policy, c, midnight, draw.whole(0, 2**31))


def _place(draw: Draw, box: Box, actors: list[Actor], truths: list[Truth], step: float) -> None:
    """Fill a place's day: mostly short stops, a few parked cars with an hour's distance, so that each is its own case."""
    t, quiet_until = draw.real(30, 2000), 0.0
    while t < DAY_S - 1000:
        parks = chance(draw, 0.12) and t > quiet_until
        stay = draw.real(1200, 30_000) if parks else draw.real(10, 100)
        rate = draw.real(0.7, 0.95)
        texture = draw.whole(100, 10**6)
        actors.append(Actor("car", visit(box, t, t + stay, lane=0.15), _weak(rate), texture))
        end = t + stay
        if parks:
            due = t + CONFIRM_S
            truths.append(Truth(MOTOR, box, due - 6 - 2 * step, min(due + 1000, DAY_S), sure=end < DAY_S))
            quiet_until = end + 2400
        t = end + (2400 if parks else draw.real(60, 3000))


DAY = (day,)
