"""Three cameras on one street: made cars, projected into each view, judged by each box, merged by the real centre.

A car is a block of 3.6 to 5.2 m by 1.6 to 2.0 m; its box in a view is that of its eight corners, so that the contact point of each
camera is another side of the car, as it is in the street. Truth is the car; what is scored is which alerts became one case.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from api.app import create_app
from api.examples import ALERT_EVENT
from api.security import add_device
from api.settings import Settings
from bench.synthetic.draw import Draw, SeededDraw
from bench.synthetic.sensor import play
from bench.synthetic.street import WORKDAY, Actor, Conditions, Script, always, rectangle, stand
from contract import new_id
from edge.geometry import Box, GroundPlane, iou
from edge.judge import SiteView
from edge.zones import GroundConfig

Floats = NDArray[np.float64]
LON, LAT, M_PER_DEG = 112.5489, 37.8706, 111_320.0
SECONDS, CONFIRM_S = 240.0, 60.0


@dataclass(frozen=True)
class View:
    """A pinhole camera in metres east, north and up; `focal` in picture widths, 16:9."""

    at: tuple[float, float, float]
    to: tuple[float, float, float]
    focal: float

    def project(self, points: Floats) -> Floats:
        """Return shares of width and height (N, 2) of points (N, 3); NaN behind the camera."""
        forward = np.subtract(self.to, self.at)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right = right / np.linalg.norm(right)
        down = np.cross(forward, right)
        seen = (points - np.asarray(self.at)) @ np.stack([right, down, forward]).T
        depth = np.where(seen[:, 2] > 0.5, seen[:, 2], np.nan)
        x = 0.5 + self.focal * seen[:, 0] / depth
        y = 0.5 + self.focal * seen[:, 1] / depth * 16 / 9
        return np.stack([x, y], 1)


@dataclass(frozen=True)
class Car:
    """Where a car stands, metres, and how it is turned, radians."""

    x: float
    y: float
    turn: float
    texture: int
    size: tuple[float, float, float] = (4.5, 1.8, 1.5)

    def corners(self) -> Floats:
        """Return its eight corners (8, 3)."""
        length, width, height = self.size
        out = []
        for a in (-length / 2, length / 2):
            for b in (-width / 2, width / 2):
                x = self.x + a * math.cos(self.turn) - b * math.sin(self.turn)
                y = self.y + a * math.sin(self.turn) + b * math.cos(self.turn)
                out += [(x, y, 0.0), (x, y, height)]
        return np.array(out)


def _views(draw: Draw) -> list[View]:
    out = []
    for spot in ((-8.0, -9.0), (20.0, -13.0), (48.0, -9.0)):
        at = (spot[0] + draw.real(-4, 4), spot[1] + draw.real(-3, 3), draw.real(6, 9))
        out.append(View(at, (20 + draw.real(-4, 4), 2 + draw.real(-2, 2), 0.0), draw.real(0.55, 0.8)))
    return out


def _car(draw: Draw, x: float, y: float) -> Car:
    size = (draw.real(3.6, 5.2), draw.real(1.6, 2.0), draw.real(1.4, 2.0))
    return Car(x, y, draw.real(-0.08, 0.08), draw.whole(1, 10**6), size)


def _cars(draw: Draw) -> list[Car]:
    cars, x = [], draw.real(0, 6)
    while x < 40:
        cars.append(_car(draw, x, draw.real(-0.3, 0.3)))
        x += draw.real(5.8, 12)
    if draw.whole(0, 1):
        # The other side of the street, behind them as most cameras see it.
        cars.append(_car(draw, draw.real(5, 35), draw.real(6.5, 8)))
    return cars


def _ground(draw: Draw, view: View) -> GroundPlane | None:
    pairs = []
    for x in np.linspace(0, 40, 9):
        for y in (-3.0, 3.5, 8.0):
            px, py = view.project(np.array([[x, y, 0.0]]))[0]
            px, py = px + draw.real(-0.002, 0.002), py + draw.real(-0.003, 0.003)
            if not (0 <= px <= 1 and 0 <= py <= 1):
                continue
            # Points clicked on a map are good to a few decimetres.
            east, north = x + draw.real(-0.4, 0.4), y + draw.real(-0.4, 0.4)
            lon = LON + east / (M_PER_DEG * math.cos(math.radians(LAT)))
            pairs.append({"picture": [float(px), float(py)], "lon": lon, "lat": LAT + north / M_PER_DEG})
    if len(pairs) < 6:
        return None
    return GroundPlane.fit(GroundConfig.model_validate({"pairs": pairs}))


def _box(view: View, car: Car) -> Box | None:
    points = view.project(car.corners())
    if np.isnan(points).any():
        return None
    low, high = points.min(0), points.max(0)
    if (low < 0.01).any() or (high > 0.99).any() or high[0] - low[0] < 0.03:
        return None
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


@dataclass(frozen=True)
class Seen:
    """One alert of one camera, and the car that it is of."""

    camera: str
    car: int
    at_s: float
    site: SiteView


def street(draw: Draw, seed: int) -> list[Seen]:
    """Return the alerts of three cameras on one made street, in order of time."""
    cars, out = _cars(draw), list[Seen]()
    begins = [draw.real(5, 60) for _ in cars]
    for n, view in enumerate(_views(draw)):
        ground = _ground(draw, view)
        if ground is None:
            continue
        boxes = [_box(view, car) for car in cars]
        actors = [
            Actor("car", stand(box, begin), always(draw.real(0.6, 0.95)), car.texture)
            for car, box, begin in zip(cars, boxes, begins, strict=True)
            if box is not None
        ]
        script = Script(
            f"overlap {seed}",
            [rectangle("no_parking", 0.0, 0.0, 1.0, 1.0)],
            actors,
            SECONDS,
            policy={"parking.motor": {"candidate_s": 20, "confirm_s": CONFIRM_S}},
            conditions=Conditions(step_s=2.0),
            seed=seed * 3 + n,
            camera=f"cam-{n}",
            ground=ground,
        )
        for heard in play(script):
            if heard.change.kind == "confirmed":
                site = heard.change.site
                near = [iou(site.box, b) if b else 0.0 for b in boxes]
                out.append(Seen(script.camera, int(np.argmax(near)), heard.at_s, site))
    return sorted(out, key=lambda s: s.at_s)


@contextmanager
def _centre(data: Path) -> Iterator[TestClient]:
    app = create_app(Settings(data=data, min_free_bytes=0), now=lambda: WORKDAY + timedelta(hours=1))
    try:
        with app.state.core.db.write() as session:
            token = add_device(session, "bench", WORKDAY, "/")
        client = TestClient(app, base_url="http://centre")
        client.headers["Authorization"] = f"Bearer {token}"
        yield client
    finally:
        app.state.core.db.close()


def _message(seen: Seen, street_no: int) -> dict[str, Any]:
    message: dict[str, Any] = copy.deepcopy(ALERT_EVENT)
    alert, site = message["data"], seen.site
    camera, confirmed = f"s{street_no}-{seen.camera}", WORKDAY + timedelta(seconds=seen.at_s)
    place = site.place.model_dump(mode="json")
    # Streets lie a kilometre apart, so that none reaches into another.
    place["lat"] += street_no * 0.01
    alert |= {
        "id": site.site_id,
        "device_id": "bench",
        "issue": site.issue.value,
        "camera_id": camera,
        "place": place,
        "key": {"site_id": site.site_id, "ground_cell": f"{street_no}:{site.ground_cell}"},
        "evidence": [],
        "stage": "opened",
        "occurred_at": confirmed.isoformat(),
    }
    for name, value in (
        ("first_seen_at", site.first_seen_at),
        ("candidate_at", site.candidate_at or confirmed),
        ("confirmed_at", confirmed),
    ):
        alert["dwell"][name] = min(value, confirmed).isoformat()
    message |= {
        "id": new_id(),
        "subject": alert["id"],
        "time": confirmed.isoformat(),
        "source": f"/device/{alert['device_id']}/camera/{camera}",
        "type": "city.curbwatch.alert.opened.v1",
    }
    return message


@dataclass(frozen=True)
class MergeScore:
    """Pairs of alerts of two cameras: of one car and in one case, or not."""

    streets: int
    alerts: int
    cars: int
    cases: int
    both: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the merged pairs that are of one car."""
        return self.both / (self.both + self.wrong) if self.both + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Share of the pairs of one car that were merged."""
        return self.both / (self.both + self.missed) if self.both + self.missed else 1.0


def score(
    data: Path, streets: int, seed: int, on_street: Callable[[int], None] = lambda _n: None
) -> MergeScore:
    """Make `streets`, post their alerts to a centre in `data`, and compare its cases with the cars."""
    both = wrong = missed = alerts = cars = 0
    cases: set[str] = set()
    with _centre(data) as client:
        for n in range(streets):
            seen = street(SeededDraw(seed + n), seed + n)
            found: list[tuple[Seen, str]] = []
            for one in seen:
                answer = client.post("/alerts", json=_message(one, n))
                answer.raise_for_status()
                found.append((one, str(answer.json()["case_id"])))
            for (a, case_a), (b, case_b) in combinations(found, 2):
                both += a.car == b.car and case_a == case_b
                wrong += a.car != b.car and case_a == case_b
                missed += a.car == b.car and case_a != case_b
            alerts, cars = alerts + len(seen), cars + len({s.car for s in seen})
            cases |= {case for _, case in found}
            on_street(n)
    return MergeScore(streets, alerts, cars, len(cases), both, wrong, missed)
