"""Three cameras see one street: the alerts of one car are one case, and a car's place is its middle from every side."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench.overlap import LAT, LON, M_PER_DEG, Car, View, score
from edge.geometry import GroundPlane
from edge.zones import GroundConfig


def test_the_alerts_of_one_car_become_one_case(tmp_path: Path) -> None:
    result = score(tmp_path, 6, 40)
    assert result.alerts > result.cars >= 10
    assert result.both >= 5
    assert result.precision == 1.0
    assert result.recall >= 0.9


@pytest.mark.parametrize("from_deg", range(0, 360, 45))
@pytest.mark.parametrize("turn_deg", [0, 90])
def test_a_car_stands_where_its_middle_is_from_every_side(from_deg: int, turn_deg: int) -> None:
    a = math.radians(from_deg)
    view = View((20 * math.cos(a), 20 * math.sin(a), 7.0), (0.0, 0.0, 0.0), 0.8)
    corners = Car(0, 0, math.radians(turn_deg), 0).corners()
    seen = view.project(corners)
    box = (*seen.min(0).tolist(), *seen.max(0).tolist())
    pairs = []
    for x in (-6.0, 0.0, 6.0):
        for y in (-6.0, 0.0, 6.0):
            px, py = view.project(np.array([[x, y, 0.0]]))[0].tolist()
            lon = LON + x / (M_PER_DEG * math.cos(math.radians(LAT)))
            if 0 <= px <= 1 and 0 <= py <= 1:
                pairs.append({"picture": [px, py], "lon": lon, "lat": LAT + y / M_PER_DEG})
    plane = GroundPlane.fit(GroundConfig.model_validate({"pairs": pairs}))
    middle, side = plane.centre(box, True), plane.place((box[0] + box[2]) / 2, box[3])
    assert middle is not None
    assert side is not None

    def off(lon: float, lat: float) -> float:
        east = (lon - LON) * M_PER_DEG * math.cos(math.radians(LAT))
        return math.hypot(east, (lat - LAT) * M_PER_DEG)

    assert off(middle.lon, middle.lat) < 1.3
    assert off(middle.lon, middle.lat) < off(side.lon, side.lat)
