"""Zones, windows and the ground plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from shapely.geometry import Polygon
from shapely.geometry import box as rectangle

from contract.datum import Datum, to_datum
from edge.config import CameraPlace
from edge.geometry import Box, GroundPlane, lower_strip
from edge.scene import ZoneShape
from edge.zones import GroundConfig, Window, ZoneConfig

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("polygon", "error"),
    [
        ([[0, 0], [1, 0], [1, 1]], None),
        ([[1, 1], [1, 0], [0, 0]], None),
        ([[0, 0], [1, 1], [1, 0], [0, 1]], "self-intersection"),
        ([[0, 0], [1, 1]], "at least 3"),
        ([[0, 0], [0.5, 0.5], [1, 1]], "polygon"),
        ([[0, 0], [2, 0], [1, 1]], "less than or equal to 1"),
        ([[0, 0], [math.nan, 0], [1, 1]], "polygon"),
    ],
)
def test_polygons(polygon: list[list[float]], error: str | None) -> None:
    fields = {"id": "z", "kind": "no_parking", "polygon": polygon}
    if error is None:
        ZoneConfig.model_validate(fields)
    else:
        with pytest.raises(ValidationError, match=error):
            ZoneConfig.model_validate(fields)


@pytest.mark.parametrize(
    ("window", "local", "inside"),
    [
        ({"begin": "08:00", "end": "12:00"}, "2026-05-06 08:00", True),
        ({"begin": "08:00", "end": "12:00"}, "2026-05-06 12:00", False),
        ({"begin": "22:00", "end": "06:00"}, "2026-05-06 23:00", True),
        ({"begin": "22:00", "end": "06:00"}, "2026-05-06 05:59", True),
        ({"begin": "22:00", "end": "06:00"}, "2026-05-06 07:00", False),
        ({"days": ["fri"], "begin": "22:00", "end": "06:00"}, "2026-05-09 01:00", True),
        ({"days": ["fri"], "begin": "22:00", "end": "06:00"}, "2026-05-08 01:00", False),
        ({"days": ["workday"]}, "2025-10-01 10:00", False),  # National Day, a Wednesday
        ({"days": ["workday"]}, "2025-10-11 10:00", True),  # a Saturday that is worked for it
        ({"days": ["restday"]}, "2025-10-11 10:00", False),
        ({"valid_to": "2026-05-05"}, "2026-05-06 00:00", False),
        ({"valid_from": "2026-05-06"}, "2026-05-06 00:00", True),
    ],
)
def test_windows(window: dict[str, Any], local: str, inside: bool) -> None:
    moment = datetime.fromisoformat(local).replace(tzinfo=SHANGHAI)
    assert Window.model_validate(window).covers(moment) is inside


def zone_of(corners: Sequence[tuple[float, float]]) -> ZoneShape:
    return ZoneShape(
        ZoneConfig.model_validate({"id": "z", "kind": "no_parking", "polygon": [list(c) for c in corners]})
    )


@st.composite
def stars(draw: st.DrawFn) -> list[tuple[float, float]]:
    """A simple polygon, mostly not convex: corners round a middle, each at its own distance."""
    reach = draw(st.lists(st.floats(0.05, 0.5), min_size=3, max_size=30))
    angles = [2 * math.pi * i / len(reach) for i in range(len(reach))]
    return [(0.5 + r * math.cos(a), 0.5 + r * math.sin(a)) for r, a in zip(reach, angles, strict=True)]


@given(stars(), st.floats(-0.2, 0.9), st.floats(-0.2, 0.9), st.floats(0.001, 0.7), st.floats(0.001, 0.7))
@settings(max_examples=200)
def test_a_share_is_that_of_the_geometry(
    corners: list[tuple[float, float]], x: float, y: float, w: float, h: float
) -> None:
    box: Box = (x, y, x + w, y + h)
    exact = rectangle(*box).intersection(Polygon(corners)).area / rectangle(*box).area
    assert zone_of(corners).share_of(box) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(
    ("foot", "inside"),
    [((0.5, 0.5), True), ((0.2, 0.5), True), ((0.8, 0.8), True), ((0.5, 0.81), False), ((0.1, 0.5), False)],
)
def test_a_foot_on_the_line_is_in_the_zone(foot: tuple[float, float], inside: bool) -> None:
    zone = zone_of([(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)])
    assert zone.touched_by((foot[0] - 0.125, foot[1] - 0.25, foot[0] + 0.125, foot[1])) is inside


@given(
    x=st.floats(0, 0.5),
    y=st.floats(0, 0.5),
    w=st.floats(0.02, 0.5),
    h=st.floats(0.02, 0.5),
    turn=st.integers(0, 3),
    back=st.booleans(),
)
def test_a_polygon_of_any_winding_judges_alike(
    x: float, y: float, w: float, h: float, turn: int, back: bool
) -> None:
    corners = [(0.3, 0.3), (0.8, 0.35), (0.75, 0.9), (0.25, 0.8)]
    turned = corners[turn:] + corners[:turn]
    box = lower_strip((x, y, x + w, y + h))
    one, other = (
        zone_of(corners).share_of(box),
        zone_of(turned[::-1] if back else turned).share_of(box),
    )
    assert one == pytest.approx(other, abs=1e-9)
    assert 0 <= one <= 1 + 1e-9


def pairs(noise_m: float = 0.0) -> list[dict[str, Any]]:
    """Points of a street plane through a made perspective."""
    rng = np.random.default_rng(1)
    out = []
    for x, y in [(0.1, 0.9), (0.9, 0.9), (0.3, 0.4), (0.7, 0.45), (0.5, 0.7), (0.2, 0.6)]:
        depth = 10 / (y - 0.2)
        east, north = (x - 0.5) * depth * 1.2 + rng.normal(0, noise_m), depth + rng.normal(0, noise_m)
        out.append(
            {
                "picture": [x, y],
                "lon": 116.4 + east / (111132 * math.cos(math.radians(39.9))),
                "lat": 39.9 + north / 111132,
            }
        )
    return out


@pytest.mark.parametrize(
    ("order", "why"), [((0, 1, 3, 2), "horizon"), ((1, 0, 3, 2), "from below"), ((1, 0, 2, 3), "horizon")]
)
def test_exchanged_map_points_are_refused_though_four_always_fit(order: tuple[int, ...], why: str) -> None:
    right = pairs()[:4]
    GroundPlane.fit(GroundConfig.model_validate({"pairs": right}))
    wrong = [{**p, "lon": right[n]["lon"], "lat": right[n]["lat"]} for p, n in zip(right, order, strict=True)]
    with pytest.raises(ValueError, match=f"ground.pairs: .*{why}.*exchanged"):
        GroundPlane.fit(GroundConfig.model_validate({"pairs": wrong}))


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValidationError, match="valid_to: 2026-05-01 is before valid_from, 2026-05-02"):
        Window.model_validate({"valid_from": "2026-05-02", "valid_to": "2026-05-01"})
    Window.model_validate({"valid_from": "2026-05-02", "valid_to": "2026-05-02"})


def test_the_ground_plane_finds_a_point_again() -> None:
    plane = GroundPlane.fit(GroundConfig.model_validate({"pairs": pairs()}))
    depth = 10 / (0.55 - 0.2)
    place = plane.place(0.4, 0.55)
    assert place is not None
    assert (place.lat - 39.9) * 111132 == pytest.approx(depth, abs=0.2)
    assert place.error.semi_major_m >= place.error.semi_minor_m > 0


@pytest.mark.parametrize("datum", ["gcj02", "bd09"])
def test_points_read_off_a_chinese_map_come_home(datum: Datum) -> None:
    shifted = []
    for pair in pairs():
        lon, lat = to_datum(pair["lon"], pair["lat"], datum)
        shifted.append({**pair, "lon": lon, "lat": lat})
    home = GroundPlane.fit(GroundConfig.model_validate({"pairs": pairs()})).place(0.4, 0.6)
    read = GroundPlane.fit(GroundConfig.model_validate({"pairs": shifted, "datum": datum})).place(0.4, 0.6)
    assert home is not None
    assert read is not None
    assert abs(read.lat - home.lat) * 111_132 < 0.05
    assert abs(read.lon - home.lon) * 85_000 < 0.05
    lon, lat = to_datum(116.4, 39.9, datum)
    point = CameraPlace(lon=lon, lat=lat, datum=datum).point()
    assert (point.lon, point.lat) == pytest.approx((116.4, 39.9), abs=1e-7)


def test_farther_points_are_less_certain_and_the_sky_is_nowhere() -> None:
    plane = GroundPlane.fit(GroundConfig.model_validate({"pairs": pairs(0.3)}))
    near, far = plane.place(0.5, 0.85), plane.place(0.5, 0.35)
    assert near is not None
    assert far is not None
    assert far.error.semi_major_m > near.error.semi_major_m
    assert plane.place(0.5, 0.05) is None


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda p: [{**q, "picture": [q["picture"][0], 0.5]} for q in p], "on a line"),
        (lambda p: [{**p[0], "lat": p[0]["lat"] + 0.01}, *p[1:]], "misplaced"),
    ],
)
def test_bad_pairs_are_refused_with_the_reason(spoil: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        GroundPlane.fit(GroundConfig.model_validate({"pairs": spoil(pairs())}))
