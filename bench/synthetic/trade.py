"""Scripts of stalls, vendors and shop fronts."""

from __future__ import annotations

from dataclasses import replace

from bench.synthetic.draw import Draw, chance
from bench.synthetic.parking import conditions, late_s
from bench.synthetic.street import (
    WORKDAY,
    Actor,
    Path,
    Script,
    Truth,
    issues,
    pass_by,
    rectangle,
    shifted,
    visit,
)
from contract import IssueClass
from edge.geometry import Box

PUBLIC = (0.2, 0.4, 0.85, 0.9)
TRADE = (
    IssueClass.SHOPFRONT, IssueClass.ROADSIDE, IssueClass.VENDOR_UNLICENSED, IssueClass.VENDOR_OUT_OF_PERMIT,
)  # fmt: skip
# The script begins at 10:00 local time on a working day.
OPENS_S, CLOSES_S = 240.0, 480.0


def _policy(draw: Draw) -> tuple[dict[str, object], float]:
    confirm = draw.pick([60.0, 120.0, 180.0])
    return {i.value: {"candidate_s": confirm / 3, "confirm_s": confirm} for i in TRADE}, confirm


def _stall(draw: Draw, begin: float, end: float, rate: float) -> tuple[list[Actor], Box]:
    """Return an umbrella over a table with goods, or a cart, and the box of the whole."""
    x, y = draw.real(0.35, 0.55), draw.real(0.5, 0.62)
    if chance(draw, 0.3):
        cart = (x, y, x + 0.12, y + 0.16)
        return [Actor("cart", visit(cart, begin, end), lambda _t: rate, 21)], cart
    umbrella, table = (x, y - 0.1, x + 0.12, y + 0.04), (x + 0.01, y + 0.05, x + 0.12, y + 0.16)
    goods = (x + 0.13, y + 0.1, x + 0.18, y + 0.16)
    parts = [("umbrella", umbrella, 22), ("table", table, 23), ("goods", goods, 24)]
    return [Actor(n, visit(b, begin, end), lambda _t: rate, i) for n, b, i in parts], (
        x,
        y - 0.1,
        x + 0.18,
        y + 0.16,
    )


def _vendor(stall: Box, begin: float, end: float, present: float, draw: Draw) -> Actor:
    """Return a person beside a stall who is there for a share of each two minutes."""
    person = (stall[2] + 0.01, stall[3] - 0.28, stall[2] + 0.07, stall[3])
    phase = draw.real(0, 120)

    def at(t: float) -> Box | None:
        if not begin <= t <= end:
            return None
        sway = 0.01 * (int(t / 7) % 3)
        away = ((t + phase) % 120) / 120 >= present
        return (0.02, 0.4, 0.08, 0.68) if away else shifted(person, sway)

    return Actor("person", at, lambda _t: 0.9, 25)


def vendor(draw: Draw) -> Script:
    """A stall that comes and stays or goes; with a vendor it is one issue, without another."""
    c, rate = conditions(draw, 0.7), draw.real(0.5, 1.0)
    policy, confirm = _policy(draw)
    begin, late = draw.real(10, 30), late_s(c, rate)
    stays, manned = chance(draw, 0.6), chance(draw, 0.7)
    stay = confirm + late + 40 if stays else draw.real(10, 0.75 * confirm)
    actors, box = _stall(draw, begin, begin + stay, rate)
    if manned:
        actors.append(_vendor(box, begin, begin + stay, 1.0, draw))
    issue = IssueClass.VENDOR_UNLICENSED if manned else IssueClass.ROADSIDE
    truth = Truth(issues(issue), box, begin + confirm - 10 - 2 * c.step_s, begin + confirm + late)
    sure = [truth] if stays else []
    if not stays and stay + late + 10 > confirm:
        sure = [replace(truth, sure=False)]
    zones = [rectangle("no_vending", *PUBLIC, street_class="prohibit")]
    return Script(
        "vendor" if manned else "unattended stall", zones, actors, begin + stay + 60, sure, policy, c,
        seed=draw.whole(0, 2**31),
    )  # fmt: skip


def permit(draw: Draw) -> Script:
    """A permitted point with hours: too early, in time, too late, out of its days, and one who stays on."""
    c, rate = conditions(draw, 0.7), draw.real(0.6, 1.0)
    policy, confirm = _policy(draw)
    late = late_s(c, rate)
    kind = draw.pick(["in time", "stays on", "too early", "expired"])
    window: dict[str, object] = {"days": ["workday"], "begin": "10:04", "end": "10:08"}
    if kind == "in time":
        window = {"begin": "06:00", "end": "22:00"}
    elif kind == "expired":
        window = {"begin": "06:00", "end": "22:00", "valid_to": "2026-05-05"}
    elif kind == "stays on":
        window = {"days": ["workday"], "begin": "06:00", "end": "10:08"}
    zones = [
        rectangle("no_vending", *PUBLIC, street_class="prohibit"),
        rectangle("permitted_vending", *PUBLIC, street_class="prohibit", schedule=[window], holder="Stall 7"),
    ]
    begin, end = 15.0, CLOSES_S + confirm + late + 30
    if kind == "too early":
        end = OPENS_S + 60
    actors, box = _stall(draw, begin, end, rate)
    actors.append(_vendor(box, begin, end, 1.0, draw))
    due = {"too early": begin, "expired": begin, "stays on": CLOSES_S}.get(kind)
    truths = []
    if due is not None:
        sure = kind != "too early" or begin + confirm + late < OPENS_S
        out = issues(IssueClass.VENDOR_OUT_OF_PERMIT)
        truths = [Truth(out, box, due + confirm - 10 - 2 * c.step_s, due + confirm + late, sure)]
    return Script(f"permit {kind}", zones, actors, end + 30, truths, policy, c, WORKDAY, draw.whole(0, 2**31))


def shopfront(draw: Draw) -> Script:
    """Goods beyond a shop's line, one chair alone, a terrace with a permit, goods inside the line."""
    c, rate = conditions(draw, 0.7), draw.real(0.5, 1.0)
    policy, confirm = _policy(draw)
    kind, begin, late = draw.pick(["beyond", "one chair", "terrace", "inside"]), 12.0, late_s(c, rate)
    up = -0.35 if kind == "inside" else 0.0
    boxes: list[tuple[str, Box]] = [
        ("table", (0.40, 0.58 + up, 0.48, 0.68 + up)),
        ("chair", (0.49, 0.60 + up, 0.53, 0.68 + up)),
        ("goods", (0.54, 0.60 + up, 0.60, 0.68 + up)),
    ]
    if kind == "one chair":
        boxes = boxes[1:2]
    zones = [rectangle("frontage", *PUBLIC, street_class="prohibit")]
    if kind == "terrace":
        zones.append(rectangle("terrace", *PUBLIC))
    actors = [Actor(n, visit(b, begin, 1e9, 2.0), lambda _t: rate, 60 + i) for i, (n, b) in enumerate(boxes)]
    whole = (0.40, 0.58, 0.60, 0.68)
    actors += _walkers(draw, begin + confirm + late)
    truth = Truth(
        issues(IssueClass.SHOPFRONT), whole, begin + confirm - 10 - 2 * c.step_s, begin + confirm + late
    )
    truths = [truth] if kind == "beyond" else []
    end = begin + confirm + late + 60
    return Script(f"shopfront {kind}", zones, actors, end, truths, policy, c, seed=draw.whole(0, 2**31))


def _walkers(draw: Draw, until: float) -> list[Actor]:
    out, t = [], 2.0
    while t < until:
        foot = draw.real(0.7, 0.9)
        out.append(
            Actor(
                "person",
                pass_by((0.0, foot - 0.27, 0.06, foot), t, draw.real(8, 16)),
                texture=draw.whole(100, 10**6),
            )
        )
        t += draw.real(5, 30)
    return out


def passers(draw: Draw) -> Script:
    """People under umbrellas, a vendor who pushes a cart along, a sanitation cart, a short halt: no issue."""
    c = conditions(draw, 0.7)
    policy, confirm = _policy(draw)
    actors = _walkers(draw, 4 * confirm)
    for i in range(draw.whole(2, 8)):
        t, foot = draw.real(3, 4 * confirm), draw.real(0.65, 0.85)
        seconds = draw.real(10, 40)
        actors.append(Actor("person", pass_by((0.0, foot - 0.27, 0.06, foot), t, seconds), texture=300 + i))
        actors.append(
            Actor("umbrella", pass_by((-0.03, foot - 0.33, 0.09, foot - 0.22), t, seconds), texture=400 + i)
        )
    for i in range(draw.whole(1, 3)):
        halt = draw.real(5, 0.6 * confirm)
        t = draw.real(10, 3 * confirm)
        cart = (0.4, 0.6, 0.52, 0.75)
        path: Path = visit(cart, t, t + halt, 15.0)
        actors.append(Actor("cart", path, texture=500 + i))
    # Two carts at one place one after the other are one stall that stays, so they keep their distance.
    carts = [a for a in actors if a.name == "cart"][:1]
    actors = [a for a in actors if a.name != "cart"] + carts
    zones = [rectangle("no_vending", *PUBLIC, street_class="prohibit")]
    return Script("passers", zones, actors, 4 * confirm, (), policy, c, seed=draw.whole(0, 2**31))


TRADE_SCRIPTS = (vendor, permit, shopfront, passers)
