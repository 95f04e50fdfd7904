"""WGS-84 inside, GCJ-02 and BD-09 at a map's edge."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.datum import Datum, from_datum, to_datum


def metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    return math.hypot((a[0] - b[0]) * 111_320 * math.cos(math.radians(a[1])), (a[1] - b[1]) * 111_320)


@pytest.mark.parametrize(
    ("datum", "expected"),
    [
        # The worked example that the libraries in use agree on: Tiananmen.
        ("wgs84", (116.404, 39.915)),
        ("gcj02", (116.41024449916938, 39.91640428150164)),
    ],
)
def test_the_known_point(datum: Datum, expected: tuple[float, float]) -> None:
    assert metres(to_datum(116.404, 39.915, datum), expected) < 0.01


def test_the_known_point_of_baidu() -> None:
    gcj = (116.404, 39.915)
    wgs = from_datum(*gcj, "gcj02")
    assert metres(to_datum(*wgs, "bd09"), (116.41036949371029, 39.92133699351021)) < 0.01


@given(
    lon=st.floats(73.6, 134.7), lat=st.floats(18.2, 53.5), datum=st.sampled_from(["wgs84", "gcj02", "bd09"])
)
def test_there_and_back_is_less_than_a_centimetre(lon: float, lat: float, datum: Datum) -> None:
    shown = to_datum(lon, lat, datum)
    assert metres(from_datum(*shown, datum), (lon, lat)) < 0.01
    assert metres(shown, (lon, lat)) < 3000


@given(lon=st.floats(-180, 70), lat=st.floats(-85, 85), datum=st.sampled_from(["gcj02", "bd09"]))
def test_the_rest_of_the_world_is_not_shifted(lon: float, lat: float, datum: Datum) -> None:
    assert to_datum(lon, lat, datum) == (lon, lat)
    assert from_datum(lon, lat, datum) == (lon, lat)
