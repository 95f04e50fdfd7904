"""What the rules call an issue and what not, on scripts of tracks through the real judge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from scripts_of_streets import (
    CAR,
    SHORT,
    START,
    Actor,
    W,
    confirmed,
    flat_ground,
    issues,
    judge,
    play,
    play_left,
    standing,
    zone,
)

from edge.geometry import Box
from edge.judge import Observation
from edge.left_objects import LeftObject
from edge.ruler import ENOUGH_PEOPLE, PERSON_M, Ruler
from models.detections import Detections

PARKING = dict.fromkeys(("parking.motor", "parking.non_motor", "parking.fire_lane"), SHORT)
STALLS = dict.fromkeys(
    (
        "vendor.unlicensed",
        "vendor.out_of_permit",
        "street_occupation.roadside",
        "street_occupation.shopfront",
    ),
    SHORT,
)


def beside(n: int, box: Box = CAR) -> Box:
    shift = n * 0.16
    return box[0] + shift, box[1], box[2] + shift, box[3]


def arriving(box: Box, at: float, end: float = 1e9) -> Callable[[float], Box | None]:
    """Drives in from the left for four seconds before it stands."""

    def where(t: float) -> Box | None:
        if not at - 4 <= t < end:
            return None
        back = 0.12 * max(0.0, at - t)
        return box[0] - back, box[1], box[2] - back, box[3]

    return where


class TestParking:
    def test_the_dwell_begins_when_the_car_has_come_to_rest(self) -> None:
        def creeping(t: float) -> Box:
            x = 0.40 - 0.01 * max(0.0, 30 - t)
            return x, 0.5, x + 0.15, 0.7

        found = confirmed(play(judge([zone()], PARKING), [Actor("car", creeping)], 120))
        assert len(found) == 1
        # A fifth of its width is allowed: three seconds of creeping.
        assert 26 + 60 <= found[0][0] <= 31 + 60

    @pytest.mark.parametrize("step", [0.2, 0.5, 1.0, 2.0])
    @pytest.mark.parametrize("jitter", [0.0, 0.04])
    def test_a_stop_is_timed_alike_at_every_rate(self, step: float, jitter: float) -> None:
        found = confirmed(
            play(judge([zone()], PARKING), [Actor("car", arriving(CAR, 20))], 100, step, jitter=jitter)
        )
        assert [round(t) for t, _ in found] == [pytest.approx(80, abs=2 * step + 1)]

    @pytest.mark.parametrize(
        ("spans", "expected"),
        [
            (((0.30, 0.47), (0.48, 0.70)), []),
            (((0.30, 0.44), (0.30, 0.44)), ["parking.motor"]),
            (((0.30, 0.44), (0.52, 0.70)), ["parking.motor"]),
        ],
        ids=["on the line between a bay and a loading place", "the same place twice", "between them"],
    )
    def test_permits_side_by_side_permit_together(
        self, spans: tuple[tuple[float, float], ...], expected: list[str]
    ) -> None:
        permits = [
            zone(kind, polygon=[[a, 0.4], [b, 0.4], [b, 0.9], [a, 0.9]])
            for kind, (a, b) in zip(("parking_bay", "loading"), spans, strict=True)
        ]
        # Two fifths of it in the first of two fields that touch nearly.
        car = standing((0.40, 0.5, 0.56, 0.7))
        assert issues(play(judge([zone(), *permits], PARKING), [Actor("car", car)], 120)) == expected

    def test_a_queue_that_stops_and_goes_together_is_none(self) -> None:
        cars = [Actor("car", arriving(beside(n), 20 + 3 * n, 420)) for n in range(-1, 3)]
        assert not issues(play(judge([zone()], PARKING), cars, 440, 2.0))

    def test_who_stays_when_the_queue_has_gone_is_parked(self) -> None:
        cars = [Actor("car", arriving(beside(n), 20 + 3 * n, 1e9 if n == 0 else 200)) for n in range(-1, 3)]
        found = confirmed(play(judge([zone()], PARKING), cars, 280))
        assert [c.site.issue.value for _, c in found] == ["parking.motor"]
        assert 200 <= found[0][0] <= 240

    def test_cars_that_came_one_by_one_are_parked(self) -> None:
        cars = [Actor("car", arriving(beside(n), 20 + 50 * n)) for n in range(3)]
        assert issues(play(judge([zone()], PARKING), cars, 300))[:1] == ["parking.motor"]

    def test_a_drawn_lane_that_is_full_holds_the_car_beside_it(self) -> None:
        lane = zone("moving_lane", polygon=[[0.0, 0.75], [1.0, 0.75], [1.0, 0.98], [0.0, 0.98]])
        queue = [Actor("car", standing((x, 0.7, x + 0.15, 0.9))) for x in (0.2, 0.38, 0.56)]
        car = Actor("car", standing(CAR))
        assert not issues(play(judge([zone(), lane], PARKING), [car, *queue], 300))

    @pytest.mark.parametrize(("name", "expected"), [("bus", []), ("car", ["parking.motor"])])
    def test_a_bus_may_stand_at_its_stop(self, name: str, expected: list[str]) -> None:
        zones = [zone(), zone("bus_stop")]
        assert issues(play(judge(zones, PARKING), [Actor(name, standing(CAR))], 300)) == expected

    def test_a_bus_elsewhere_is_parked(self) -> None:
        assert issues(play(judge([zone()], PARKING), [Actor("bus", standing(CAR))], 300)) == ["parking.motor"]

    def test_a_place_in_two_zones_is_one_case(self) -> None:
        zones = [zone(), zone("fire_lane")]
        assert issues(play(judge(zones, PARKING), [Actor("car", standing(CAR))], 300)) in (
            ["parking.motor"],
            ["parking.fire_lane"],
        )

    def test_of_two_zones_of_a_kind_the_one_that_holds_the_car_is_named(self) -> None:
        near = zone(id="near", polygon=[[0.3, 0.4], [0.49, 0.4], [0.49, 0.9], [0.3, 0.9]])
        far = zone(id="far", polygon=[[0.3, 0.3], [0.7, 0.3], [0.7, 0.95], [0.3, 0.95]])
        for zones in ([near, far], [far, near]):
            found = confirmed(play(judge(zones, PARKING), [Actor("car", standing(CAR))], 90))
            assert [c.site.zone.id for _, c in found] == ["far"]

    def test_a_box_round_a_case_is_no_second_one(self) -> None:
        wide = Actor("car", standing((0.38, 0.30, 0.57, 0.71), 30))
        found = play(judge([zone()], PARKING), [Actor("car", standing(CAR, 0, 200)), wide], 260)
        assert issues(found) == ["parking.motor"]

    @given(x=st.floats(0.0, 0.25), width=st.floats(0.02, 0.6), y=st.floats(0.3, 0.7))
    @settings(max_examples=15, deadline=None)
    def test_a_wide_box_beside_the_zone_is_outside(self, x: float, width: float, y: float) -> None:
        right = min(x + width, 0.3 + 0.49 * width)
        box = (right - width, y, right, y + 0.15) if right >= width else (0.0, y, min(0.3, width), y + 0.15)
        inside = max(0.0, box[2] - 0.3)
        assert inside / (box[2] - box[0]) < 0.5
        assert not confirmed(play(judge([zone()], PARKING), [Actor("car", standing(box))], 90, 5.0))


class TestCycles:
    @staticmethod
    def bike(n: int, begin: float = 0.0) -> Actor:
        return Actor("bicycle", standing((0.34 + 0.06 * n, 0.6, 0.38 + 0.06 * n, 0.7), begin))

    @pytest.mark.parametrize(
        ("kind", "issue"), [("pavement", "parking.non_motor"), ("fire_lane", "parking.fire_lane")]
    )
    @pytest.mark.parametrize("together", [3, 5])
    def test_three_and_more_are_one_case_with_a_count(self, kind: str, issue: str, together: int) -> None:
        found = confirmed(
            play(judge([zone(kind)], PARKING), [self.bike(n) for n in range(together)], 100, 2.0)
        )
        assert [(c.site.issue.value, c.site.count) for _, c in found] == [(issue, together)]

    def test_two_are_two(self) -> None:
        assert len(issues(play(judge([zone("pavement")], PARKING), [self.bike(0), self.bike(2)], 200))) == 2

    def test_a_heap_that_grows_stays_one_case(self) -> None:
        bikes = [self.bike(n, begin=12.0 * n) for n in range(5)]
        found = play(judge([zone("pavement")], PARKING), bikes, 150)
        assert issues(found) == ["parking.non_motor"]
        assert not [c for _, c in found if c.kind == "cleared"]

    def test_a_rider_who_waits_or_passes_is_none(self) -> None:
        rider = Actor("person", standing((0.335, 0.42, 0.385, 0.68)))
        assert not issues(play(judge([zone("pavement")], PARKING), [self.bike(0), rider], 300))

        def riding(t: float, up: float = 0.0) -> Box:
            x = (t % 10) / 10 * 0.9
            return x, 0.6 - up, x + 0.04, 0.7 - up / 2

        passing = [Actor("bicycle", riding), Actor("person", lambda t: riding(t, 0.15))]
        assert not issues(play(judge([zone("pavement")], PARKING), passing, 300, 0.5))


class TestStalls:
    PARTS = (
        Actor("umbrella", standing((0.42, 0.42, 0.52, 0.56))),
        Actor("table", standing((0.43, 0.56, 0.53, 0.66))),
    )
    VENDOR = Actor("person", standing((0.54, 0.42, 0.60, 0.68)))
    DAY = ({"begin": "06:00", "end": "22:00"},)
    NIGHT = ({"begin": "18:00", "end": "23:00"},)

    @pytest.mark.parametrize(
        ("what", "point", "expected"),
        [
            ("in its hours", {"schedule": DAY}, []),
            ("out of its hours", {"schedule": NIGHT}, ["vendor.out_of_permit"]),
            ("before it is valid", {"schedule": [{"valid_from": "2026-06-01"}]}, ["vendor.out_of_permit"]),
            ("after it was valid", {"schedule": [{"valid_to": "2026-05-01"}]}, ["vendor.out_of_permit"]),
            ("on its last day", {"schedule": [{"valid_to": "2026-05-06"}]}, []),
            (
                "beyond its area",
                {"polygon": [[0.3, 0.4], [0.46, 0.4], [0.46, 0.9], [0.3, 0.9]]},
                ["vendor.out_of_permit"],
            ),
            (
                "elsewhere",
                {"polygon": [[0.6, 0.4], [0.7, 0.4], [0.7, 0.9], [0.6, 0.9]]},
                ["vendor.unlicensed"],
            ),
        ],
    )
    def test_a_permitted_point(self, what: str, point: dict[str, Any], expected: list[str]) -> None:
        zones = [zone("no_vending"), zone("permitted_vending", holder="Ms Li", **point)]
        found = confirmed(play(judge(zones, STALLS), [*self.PARTS, self.VENDOR], 200, 2.0))
        assert [c.site.issue.value for _, c in found] == expected, what
        if expected == ["vendor.out_of_permit"]:
            assert "Ms Li" in (found[0][1].site.zone.permit or "")

    def test_a_point_that_closes_gives_the_dwell_to_pack_up(self) -> None:
        # The script begins at 10:00 local time.
        point = zone("permitted_vending", schedule=[{"begin": "06:00", "end": "10:02"}])
        found = confirmed(play(judge([point], STALLS), [*self.PARTS, self.VENDOR], 400))
        assert [c.site.issue.value for _, c in found] == ["vendor.out_of_permit"]
        assert 180 <= found[0][0] <= 183

    def test_a_stall_that_moves_on_is_none(self) -> None:
        def pushed(t: float) -> Box:
            x = 0.3 + (t % 40) / 100
            return x, 0.5, x + 0.08, 0.65

        zones = [
            zone("no_vending"),
            zone("permitted_vending", schedule=self.NIGHT, polygon=[[0.0, 0.4], [0.2, 0.4], [0.2, 0.6]]),
        ]
        assert not issues(play(judge(zones, STALLS), [Actor("cart", pushed)], 300))

    def test_attendance_that_changes_makes_no_second_case(self) -> None:
        vendor = Actor("person", standing((0.54, 0.42, 0.60, 0.68), 0, 120))
        assert issues(play(judge([zone("no_vending")], STALLS), [*self.PARTS, vendor], 900, 2.0)) == [
            "vendor.unlicensed"
        ]

    def test_still_goods_without_a_name_join_a_named_part_and_are_no_stall_alone(self) -> None:
        for table, lain, expected in (
            (True, 40.0, ["street_occupation.roadside"]),
            (True, 10.0, []),
            (False, 40.0, []),
        ):
            goods = LeftObject((0.54, 0.58, 0.62, 0.66), 5000.0, 0.005, lain, 1)
            actors = [self.PARTS[1]] if table else []
            assert (
                issues(play_left(judge([zone("no_vending")], STALLS), actors, 100, lambda _t, g=goods: [g]))
                == expected
            )

    def test_one_large_thing_beyond_the_line_counts_by_its_area(self) -> None:
        people = [
            Actor("person", standing((0.05 + 0.01 * n, 0.45, 0.08 + 0.01 * n, 0.65))) for n in range(0, 9, 3)
        ]
        for height, expected in ((0.16, ["street_occupation.shopfront"]), (0.03, [])):
            table = Actor("table", standing((0.42, 0.66 - height, 0.62, 0.66)))
            assert issues(play(judge([zone("frontage")], STALLS), [table, *people], 100)) == expected


class TestRuler:
    BOX: Box = (0.2, 0.5, 0.3, 0.6)

    def test_the_ground_measures_lengths_and_areas(self) -> None:
        ruler = Ruler(flat_ground(32.0))
        assert ruler.distance_m((0.1, 0.4, 0.2, 0.5), (0.35, 0.4, 0.45, 0.5), 16 / 9) == pytest.approx(
            8.0, rel=0.01
        )
        assert ruler.area_m2(self.BOX, 16 / 9) == pytest.approx(3.2 * 1.8, rel=0.01)

    def test_people_measure_where_there_is_no_ground(self) -> None:
        ruler = Ruler()
        assert ruler.area_m2(self.BOX, 16 / 9) is None
        for n in range(ENOUGH_PEOPLE):
            y = 0.4 + 0.04 * n
            ruler.observe([(0.1, y - 0.5 * y, 0.15, y)])
        assert ruler.person_height(0.6) == pytest.approx(0.3, rel=0.02)
        metre = 0.3 / PERSON_M
        assert ruler.area_m2(self.BOX, 16 / 9) == pytest.approx(0.1 * 16 / 9 / metre * 0.1 / metre, rel=0.05)
        assert ruler.plausible_vehicle((0.2, 0.3, 0.4, 0.6))
        assert not ruler.plausible_vehicle((0.2, 0.55, 0.4, 0.6)), "a car as high as a kerb"


@given(box=st.tuples(*[st.floats(allow_nan=True, allow_infinity=True, width=32)] * 4))
@settings(max_examples=100, deadline=None)
def test_no_box_whatever_it_is_breaks_the_judgement(box: tuple[float, float, float, float]) -> None:
    import numpy as np

    subject = judge([zone(), zone("pavement"), zone("no_vending"), zone("no_dumping")])
    raw = np.asarray([box], np.float32) * W
    found = Detections.clean(raw, np.array([0.9], np.float32), np.array([1], np.int32), ("person", "car"))
    for n in range(3):
        subject.observe(Observation(START, 5000.0 + n, W, 360, found))
    assert all(0 <= v <= 1 for s in subject.sites() for v in s.box)
