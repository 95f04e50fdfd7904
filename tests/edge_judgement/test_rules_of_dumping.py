"""What the rules of dumping call an issue and what not, on scripts of tracks through the real judge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from scripts_of_streets import (
    SHORT,
    START,
    Actor,
    confirmed,
    flat_ground,
    issues,
    judge,
    play,
    play_left,
    standing,
    zone,
)

from contract import GeoPoint
from edge.geometry import Box
from edge.judge import Change, Judge
from edge.left_objects import LeftObject
from edge.zones import PolicyConfig


class TestDumping:
    POLICY: dict[str, Any] = {"dumping.act": {"settle_s": 10, "owner_gone_s": 8}}  # noqa: RUF012
    BAG: Box = (0.45, 0.62, 0.48, 0.66)
    NEAR: Box = (0.44, 0.45, 0.50, 0.66)

    def bag(self, born: float, box: Box | None = None) -> Callable[[float], list[LeftObject]]:
        def left(t: float) -> list[LeftObject]:
            return [LeftObject(box or self.BAG, 5000.0 + born, 0.001, t - born, 7)] if t >= born + 1 else []

        return left

    def walker(self, until: float, back: float = 1e9) -> Actor:
        """Stands at the bag until a moment, walks off, and may come back."""

        def at(t: float) -> Box | None:
            gone = (
                0.06 * (min(t, back) - until)
                if t < back
                else max(0.0, 0.06 * (back - until) - 0.06 * (t - back))
            )
            shift = max(0.0, gone)
            return (
                None
                if shift > 0.5
                else (self.NEAR[0] + shift, self.NEAR[1], self.NEAR[2] + shift, self.NEAR[3])
            )

        return Actor("person", at)

    def run(
        self,
        actors: list[Actor],
        left: Callable[[float], list[LeftObject]],
        seconds: float = 80.0,
        **more: Any,
    ) -> list[tuple[float, Change]]:
        subject = Judge("cam", [zone("no_dumping")], PolicyConfig.model_validate(self.POLICY), PLACE, **more)
        return confirmed(play_left(subject, actors, seconds, left))

    @pytest.mark.parametrize("until", [12.0, 30.0])
    def test_the_owner_must_be_away_as_long_as_asked(self, until: float) -> None:
        found = self.run([self.walker(until)], self.bag(8))
        assert [c.site.issue.value for _, c in found] == ["dumping.act"]
        # It takes some seconds to walk 1.5 heights.
        assert until + 8 <= found[0][0] <= until + 8 + 7
        assert found[0][1].site.dwell_s == pytest.approx(found[0][0] - 8, abs=0.6)

    def test_an_owner_who_comes_back_cancels(self) -> None:
        assert not self.run([self.walker(12.0, back=18.0)], self.bag(8))

    def test_what_nobody_put_there_is_no_act(self) -> None:
        passer = Actor("person", standing((0.9, 0.45, 0.95, 0.66)))
        assert not self.run([passer], self.bag(8))

    def test_who_passes_far_behind_is_no_owner(self) -> None:
        """Two boxes touch in the picture, metres apart in depth."""
        behind = Actor("person", lambda t: (0.3 + 0.02 * t, 0.35, 0.34 + 0.02 * t, 0.50))
        assert not self.run([behind], self.bag(8))

    def test_what_is_as_large_as_its_owner_is_somebody_whom_the_detector_missed(self) -> None:
        assert not self.run([self.walker(12.0)], self.bag(8, (0.40, 0.46, 0.46, 0.66)))

    def test_a_car_that_stops_and_unloads_is_the_owner_and_one_that_passes_is_none(self) -> None:
        stops = Actor("car", standing((0.49, 0.50, 0.66, 0.68), 2, 14))
        assert [c.site.issue.value for _, c in self.run([stops], self.bag(8))] == ["dumping.act"]
        passes = Actor("car", lambda t: (0.1 * (t % 10), 0.50, 0.1 * (t % 10) + 0.17, 0.68))
        assert not self.run([passes], self.bag(8))

    def test_a_bag_that_falls_over_is_one_case_from_its_first_moment(self) -> None:
        def left(t: float) -> list[LeftObject]:
            box = self.BAG if t < 17 else (0.43, 0.64, 0.50, 0.665)
            return [LeftObject(box, 5008.0, 0.001, t - 8, 7)] if t >= 9 and not 17 <= t < 19 else []

        found = self.run([self.walker(12.0)], left)
        assert len(found) == 1
        assert (found[0][1].site.first_seen_at - START).total_seconds() == pytest.approx(8, abs=0.1)

    def test_the_distance_is_in_metres_where_the_ground_is_known(self) -> None:
        """On a scale at which 1.5 heights are 20 m, three metres are enough."""
        plane = flat_ground(100.0)
        walked = Actor(
            "person",
            lambda t: (
                self.NEAR
                if t < 12
                else tuple(v + (0.12 if i % 2 == 0 else 0) for i, v in enumerate(self.NEAR))
            ),
        )  # type: ignore[arg-type,return-value]
        assert not self.run([walked], self.bag(8))
        assert len(self.run([walked], self.bag(8), ground=plane)) == 1

    @pytest.mark.parametrize(
        ("what", "boxes", "expected"),
        [
            ("a heap", [(0.4, 0.6, 0.5, 0.7)], 1),
            ("one small bag", [(0.4, 0.68, 0.41, 0.70)], 0),
            ("three small bags", [(0.4 + 0.012 * n, 0.68, 0.41 + 0.012 * n, 0.70) for n in range(3)], 1),
        ],
    )
    def test_exposed_garbage_by_area_or_number(self, what: str, boxes: list[Box], expected: int) -> None:
        people = [Actor("person", standing((0.05 + 0.04 * n, 0.5, 0.08 + 0.04 * n, 0.7))) for n in range(3)]
        actors = [Actor("garbage", standing(b)) for b in boxes] + people
        policy = {"dumping.exposed": SHORT}
        assert len(issues(play(judge([zone("no_dumping")], policy), actors, 150))) == expected, what


PLACE = GeoPoint.model_validate(
    {"lon": 116.4, "lat": 39.9, "error": {"semi_major_m": 40, "semi_minor_m": 40}, "source": "camera_point"}
)
