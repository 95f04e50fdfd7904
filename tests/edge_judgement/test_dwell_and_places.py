"""Dwell belongs to the place: what users of such systems complain about most must not happen."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from scripts_of_streets import CAR, PLACE, START, Actor, confirmed, judge, play, standing, zone

from contract import IssueClass
from edge.judge import Judge
from edge.site_store import SiteStore
from edge.sites import MAX_TIMELINE, Moment, Site, SiteState
from edge.zones import PolicyConfig

POLICY = {"parking.motor": {"candidate_s": 20, "confirm_s": 60}}


@pytest.mark.parametrize("step", [0.04, 0.2, 1.0, 2.0, 5.0])
def test_every_sampling_rate_gives_the_same_dwell(step: float) -> None:
    changes = confirmed(play(judge([zone()], POLICY), [Actor("car", standing(CAR, begin=10))], 90, step))
    assert len(changes) == 1
    second, change = changes[0]
    assert 70 <= second <= 70 + 2 * step + 0.01
    assert change.site.dwell_s == pytest.approx(60, abs=2 * step + 0.01)


@pytest.mark.parametrize("missed", [1, 2, None])
def test_a_look_that_is_missed_restarts_no_dwell_where_looks_are_far_apart(missed: int | None) -> None:
    actor = Actor("car", standing(CAR), lambda n: n != missed)
    (found,) = confirmed(play(judge([zone()], POLICY), [actor], 200, step=13.0))
    assert found[0] == 65


def test_an_end_that_passed_while_a_sighting_was_wanting_is_now() -> None:
    street = judge([zone()], {"parking.motor": {"candidate_s": 10, "confirm_s": 24}})
    car, never = standing(CAR), float("inf")
    # The detector misses it at 14 and at 30 s; at 28 its dwell is over, but two sightings are no proof.
    for at, seen, end in [(0, True, never), (14, False, never), (28, True, 5028.0), (30, False, 5030.0)]:
        step = 2.0 if at == 30 else 14.0
        assert not confirmed(play(street, [Actor("car", car, lambda _, s=seen: s)], 0, step, float(at)))
        assert street.next_end == end, at
    assert len(confirmed(play(street, [Actor("car", car)], 0, 2.0, 32.0))) == 1


def test_what_was_missed_at_the_end_of_its_dwell_is_looked_for_twice_at_once() -> None:
    street, ends = judge([zone()], POLICY), []
    car = Actor("car", standing(CAR, end=59))
    for at in (0.0, 13.0, 26.0, 39.0, 52.0, 60.2, 62.2, 64.2):
        play(street, [car], 0, 13.0 if at < 60 else 2.0, at)
        ends.append(street.next_end)
    assert ends == [float("inf"), *[5060.0] * 4, 5060.2, 5062.2, float("inf")]


def test_the_end_of_a_dwell_is_known_once_its_object_was_seen_twice() -> None:
    """Each look at a busy road sees other cars; were the end of each a look, the looks would multiply."""
    street, cars = judge([zone()], POLICY), [Actor("car", standing(CAR, begin=10))]
    never = float("inf")
    assert street.next_end == never
    for begin, end in [(0.0, never), (13.0, never), (26.0, 5000.0 + 13 + 60), (39.0, 5000.0 + 13 + 60)]:
        play(street, cars, 0, begin=begin)
        assert street.next_end == end
    assert len(confirmed(play(street, cars, 40, begin=60))) == 1
    assert street.next_end == never, "a case is no dwell"


@pytest.mark.parametrize(
    ("what", "actor"),
    [
        ("a detector that sees it in one frame of five", Actor("car", standing(CAR), lambda n: n % 5 == 0)),
        ("a detector that fails for 50 s", Actor("car", standing(CAR), lambda n: not 30 <= n < 80)),
        ("a jittering box", Actor("car", standing(CAR))),
    ],
)
def test_a_parked_car_is_one_alert(what: str, actor: Actor) -> None:
    truck = Actor("car", lambda t: (0.36, 0.42, 0.60, 0.78) if "50 s" in what and 30 <= t < 80 else None)
    changes = play(judge([zone()], POLICY), [actor, truck], 400, jitter=0.03)
    found = [c for _, c in confirmed(changes) if abs(c.site.box[0] - CAR[0]) < 0.03]
    assert len(found) == 1, what
    assert not [c for _, c in changes if c.kind == "cleared"], what


def test_a_wall_clock_that_is_stepped_changes_no_dwell() -> None:
    changes = confirmed(
        play(
            judge([zone()], POLICY),
            [Actor("car", standing(CAR))],
            80,
            wall_shift=lambda t: 3600.0 if t > 30 else 0.0,
        )
    )
    assert [round(t) for t, _ in changes] == [60]


@pytest.mark.parametrize(
    ("change", "begin", "end"),
    [("2026-10-25T01:00:00Z", "02:00", "03:00"), ("2026-03-29T01:00:00Z", "01:00", "04:00")],
    ids=["autumn, the hour comes twice", "spring, the hour is left out"],
)
def test_summer_time_begins_or_ends_within_a_dwell(change: str, begin: str, end: str) -> None:
    scheduled = zone(schedule=[{"begin": begin, "end": end}])
    berlin = Judge("cam", [scheduled], PolicyConfig.model_validate(POLICY), PLACE, timezone="Europe/Berlin")
    shift = (datetime.fromisoformat(change) - START).total_seconds() - 30
    found = confirmed(play(berlin, [Actor("car", standing(CAR))], 80, wall_shift=lambda _t: shift))
    assert [round(t) for t, _ in found] == [60]
    assert found[0][1].site.dwell_s == pytest.approx(60, abs=1)


def test_a_car_that_leaves_is_cleared_and_the_place_is_quiet_for_a_while() -> None:
    actors = [Actor("car", standing(CAR, 0, 100)), Actor("car", standing(CAR, 400, 600))]
    changes = play(judge([zone()], POLICY), actors, 700)
    assert [c.kind for _, c in changes if c.kind in {"confirmed", "cleared"}] == ["confirmed", "cleared"]


def test_after_the_cooldown_the_place_is_watched_again() -> None:
    policy = {"parking.motor": {"candidate_s": 20, "confirm_s": 60, "cooldown_s": 100}}
    actors = [Actor("car", standing(CAR, 0, 100)), Actor("car", standing(CAR, 400, 600))]
    changes = confirmed(play(judge([zone()], policy), actors, 700))
    assert len({c.site.site_id for _, c in changes}) == 2


def test_cars_that_pass_are_none() -> None:
    def passing(t: float) -> tuple[float, float, float, float]:
        x = (t % 8) / 8
        return (x * 0.8, 0.5, x * 0.8 + 0.15, 0.7)

    assert not confirmed(play(judge([zone()], POLICY), [Actor("car", passing)], 300, 0.5))


def test_a_restart_keeps_the_dwell(tmp_path: Path) -> None:
    first = judge([zone()], POLICY, SiteStore(tmp_path / "sites.db"))
    assert not confirmed(play(first, [Actor("car", standing(CAR))], 40))
    second = judge([zone()], POLICY, SiteStore(tmp_path / "sites.db"))
    changes = confirmed(play(second, [Actor("car", standing(CAR))], 40, begin=50))
    assert len(changes) == 1
    assert 60 <= changes[0][0] <= 61
    third = judge([zone()], POLICY, SiteStore(tmp_path / "sites.db"))
    assert not confirmed(play(third, [Actor("car", standing(CAR))], 200, begin=100))


def test_a_place_that_emptied_does_not_come_back_after_a_crash(tmp_path: Path) -> None:
    """The memory of a place is written every twenty seconds, its end at once."""
    first = judge([zone()], POLICY, SiteStore(tmp_path / "sites.db"))
    changes = play(first, [Actor("car", standing(CAR, 0, 30))], 200)
    dropped = next(t for t, c in changes if c.kind == "dropped")
    again = judge([zone()], POLICY, SiteStore(tmp_path / "sites.db"))
    play(again, [Actor("car", standing(CAR, 0, 30))], dropped)
    # It dies here, without a word.
    second = judge([zone()], POLICY, SiteStore(tmp_path / "sites.db"))
    changes = confirmed(play(second, [Actor("car", standing(CAR))], 100, begin=dropped + 3))
    assert [round(t - dropped - 3) for t, _ in changes] == [60]


@pytest.mark.parametrize(
    ("what", "zones", "box", "expected"),
    [
        ("inside", [zone()], CAR, 1),
        ("a wide box beside the zone", [zone()], (0.05, 0.5, 0.38, 0.7), 0),
        ("above the zone", [zone()], (0.4, 0.1, 0.55, 0.3), 0),
        ("in a legal bay", [zone(), zone("parking_bay")], CAR, 0),
        ("out of the zone's hours", [zone(schedule=[{"begin": "22:00", "end": "06:00"}])], CAR, 0),
        (
            "in the zone's hours",
            [zone(schedule=[{"days": ["workday"], "begin": "08:00", "end": "12:00"}])],
            CAR,
            1,
        ),
        (
            "on a rest day only",
            [zone(schedule=[{"days": ["restday"], "begin": "00:00", "end": "00:00"}])],
            CAR,
            0,
        ),
    ],
)
def test_where_and_when(
    what: str, zones: list[object], box: tuple[float, float, float, float], expected: int
) -> None:
    changes = confirmed(play(judge(zones, POLICY), [Actor("car", standing(box))], 90))  # type: ignore[arg-type]
    assert len(changes) == expected, what


def test_other_families() -> None:
    policy = {
        c: {"candidate_s": 10, "confirm_s": 30}
        for c in ("vendor.unlicensed", "street_occupation.roadside", "dumping.exposed")
    }
    umbrella, table = (0.42, 0.42, 0.52, 0.56), (0.43, 0.56, 0.53, 0.66)
    stall = [Actor("umbrella", standing(umbrella)), Actor("table", standing(table))]
    vendor = Actor("person", standing((0.54, 0.42, 0.60, 0.68)))
    attended = confirmed(play(judge([zone("no_vending")], policy), [*stall, vendor], 60))
    assert [c.site.issue for _, c in attended] == ["vendor.unlicensed"]
    alone = confirmed(play(judge([zone("no_vending")], policy), stall, 60))
    assert [c.site.issue for _, c in alone] == ["street_occupation.roadside"]
    assert not confirmed(
        play(judge([zone("no_vending"), zone("permitted_vending")], policy), [*stall, vendor], 60)
    )
    heap = [Actor("garbage", standing((0.4, 0.6, 0.5, 0.7)))]
    assert [c.site.issue for _, c in confirmed(play(judge([zone("no_dumping")], policy), heap, 60))] == [
        "dumping.exposed"
    ]
    assert not confirmed(play(judge([zone("no_dumping"), zone("collection_point")], policy), heap, 60))


@settings(max_examples=40, deadline=None)
@given(
    begin=st.floats(0, 60),
    length=st.floats(10, 200),
    step=st.sampled_from([0.5, 1.0, 2.0]),
    rate=st.integers(1, 4),
    phase=st.integers(0, 3),
)
def test_one_alert_when_it_stood_long_enough_and_none_otherwise(
    begin: float, length: float, step: float, rate: int, phase: int
) -> None:
    actor = Actor("car", standing(CAR, begin, begin + length), lambda n: (n + phase) % rate == 0)
    found = confirmed(play(judge([zone()], POLICY), [actor], 320, step))
    slack = (rate + 1) * step
    if length >= 60 + 2 * slack:
        assert len(found) == 1
        assert found[0][0] == pytest.approx(begin + 60, abs=2 * slack)
    elif length < 60 - slack:
        assert not found


def test_a_car_that_left_while_the_box_was_off_is_not_confirmed_by_its_start(tmp_path: Path) -> None:
    first = judge([zone()], POLICY, SiteStore(tmp_path / "sites.db"))
    assert not confirmed(play(first, [Actor("car", standing(CAR))], 40))
    second = judge([zone()], POLICY, SiteStore(tmp_path / "sites.db"))
    assert not confirmed(play(second, [], 60, begin=70))


def test_a_place_that_is_hidden_and_held_again_and_again_keeps_its_steps() -> None:
    now = Moment(datetime(2026, 5, 6, tzinfo=UTC), 100.0)
    site = Site(IssueClass.PARKING_MOTOR, "kerb", now, (0.1, 0.1, 0.2, 0.2))
    for n in range(60):
        site.say(now.at, f"{'held' if n % 2 else 'hidden'}: {n}", passing=True)
    site.go(SiteState.CANDIDATE, now, "candidate: x")
    site.go(SiteState.CONFIRMED, now, "confirmed: x")
    site.go(SiteState.CLEARED, now, "gone: x")
    assert [words for _, words in site.timeline[-3:]] == ["candidate: x", "confirmed: x", "gone: x"]
    assert len(site.timeline) <= MAX_TIMELINE
