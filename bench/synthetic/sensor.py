"""A made camera and detector: what the judgement sees of a script, with all that goes wrong on the way."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.synthetic.street import Actor, Script
from contract import GeoPoint
from contract.geo import ErrorEllipse
from edge.geometry import Box, covered
from edge.judge import Change, Judge, Observation
from edge.left_objects import LeftObject
from edge.site_store import SiteStore
from edge.zones import PolicyConfig
from models.detections import Detections
from models.roles import DEFAULT_ROLES

NAMES = tuple(DEFAULT_ROLES)
WIDTH, HEIGHT = 640, 360
GREY_WIDTH, GREY_HEIGHT = 320, 180
# An object of which more than this is behind others is seen by no detector.
BEHIND = 0.6
NOISE_PICTURES = 5
STILL_S = 1.0


@dataclass(frozen=True)
class Heard:
    """One change of a site, with the second of the script."""

    at_s: float
    change: Change


class _Eye:
    """Draws the grey picture: a street with a texture of its own, and a texture an object."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._street = _texture(rng, GREY_WIDTH, GREY_HEIGHT, 9) * 0.5 + 60
        self._noise = [rng.normal(0, 2.0, (GREY_HEIGHT, GREY_WIDTH)) for _ in range(NOISE_PICTURES)]
        self._looks: dict[int, NDArray[np.float32]] = {}
        self._n = 0

    def draw(self, there: list[tuple[Actor, Box]], light: float) -> NDArray[np.uint8]:
        picture = self._street.copy()
        for actor, box in there:
            x1, x2 = max(0, round(box[0] * GREY_WIDTH)), min(GREY_WIDTH, round(box[2] * GREY_WIDTH))
            y1, y2 = max(0, round(box[1] * GREY_HEIGHT)), min(GREY_HEIGHT, round(box[3] * GREY_HEIGHT))
            if x2 - x1 > 1 and y2 - y1 > 1:
                if actor.texture not in self._looks:
                    self._looks[actor.texture] = _texture(np.random.default_rng(actor.texture), 48, 48, 6)
                picture[y1:y2, x1:x2] = cv2.resize(self._looks[actor.texture], (x2 - x1, y2 - y1))
        self._n += 1
        noisy = picture * light + self._noise[self._n % NOISE_PICTURES]
        return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def _texture(rng: np.random.Generator, width: int, height: int, cells: int) -> NDArray[np.float32]:
    rough = rng.uniform(20, 235, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


class _Detector:
    """Says what it sees: misses that stick, jitter, confusions, false boxes, and nothing of what is behind others."""

    def __init__(self, script: Script, rng: np.random.Generator) -> None:
        self._script, self._rng = script, rng
        self._luck = rng.uniform(0, 1, max(1, len(script.actors)))

    def detect(self, there: list[tuple[Actor, Box]], t: float) -> Detections:
        c = self._script.conditions
        changes = 1.0 if c.stick_s <= 0 else 1 - float(np.exp(-c.step_s / c.stick_s))
        again = self._rng.uniform(0, 1, len(self._luck)) < changes
        self._luck = np.where(again, self._rng.uniform(0, 1, len(self._luck)), self._luck)
        luck = {id(a): u for a, u in zip(self._script.actors, self._luck, strict=False)}
        rows: list[tuple[Box, str]] = []
        for i, (actor, box) in enumerate(there):
            behind = max((covered(box, other) for _, other in there[i + 1 :]), default=0.0)
            if actor.left_since is not None or behind > BEHIND or luck[id(actor)] >= actor.rate(t):
                continue
            other = actor.other_name is not None and self._rng.uniform() < actor.confused
            rows.append((self._jittered(box), actor.other_name if other and actor.other_name else actor.name))
        for _ in range(self._rng.poisson(c.phantoms)):
            x, y = self._rng.uniform(0, 0.85, 2)
            w, h = self._rng.uniform(0.03, 0.15, 2)
            rows.append(((x, y, x + w, y + h), NAMES[self._rng.integers(len(NAMES))]))
        return self._packed(rows)

    def _jittered(self, box: Box) -> Box:
        w, h = box[2] - box[0], box[3] - box[1]
        noise = self._rng.normal(0, self._script.conditions.jitter, 4) * [w, h, w, h]
        x1, y1, x2, y2 = np.asarray(box) + np.clip(noise, -0.3 * w, 0.3 * w)
        return float(x1), float(y1), float(x2), float(y2)

    def _packed(self, rows: list[tuple[Box, str]]) -> Detections:
        if not rows:
            return Detections.empty(NAMES)
        boxes = np.asarray([b for b, _ in rows]) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        scores = self._rng.uniform(0.35, 0.9, len(rows)).astype(np.float32)
        classes = np.asarray([NAMES.index(n) for _, n in rows], np.int32)
        return Detections.clean(boxes.astype(np.float32), scores, classes, NAMES)


def play(script: Script) -> list[Heard]:
    """Play a script through the real judgement and return every change."""
    with tempfile.TemporaryDirectory(prefix="cw-synthetic-") as folder:
        return _Run(script, Path(folder)).run()


class _Run:
    def __init__(self, script: Script, folder: Path) -> None:
        self._script, self._folder = script, folder
        self._rng = np.random.default_rng(script.seed)
        self._eye, self._detector = _Eye(self._rng), _Detector(script, self._rng)
        self._store: SiteStore | None = None
        self._mono = 5000.0

    def run(self) -> list[Heard]:
        script, c, heard = self._script, self._script.conditions, list[Heard]()
        pauses = sorted(c.restarts)
        judge = self._judge()
        t, last = 0.0, 0.0
        while t <= script.seconds:
            if pauses and t >= pauses[0][0]:
                t += pauses.pop(0)[1]
                # The monotonic clock of another start begins anywhere.
                self._mono = float(self._rng.uniform(10, 1e6)) - t
                judge, last = self._judge(), t
                continue
            if self._rng.uniform() >= c.dropped:
                heard += [Heard(t, change) for change in judge.observe(self._observation(t, t - last))]
                judge.save()
                last = t
            t += c.step_s
        if self._store is not None:
            self._store.close()
        return heard

    def _judge(self) -> Judge:
        s = self._script
        if s.conditions.restarts:
            if self._store is not None:
                self._store.close()
            self._store = SiteStore(self._folder / "sites.db")
        place = GeoPoint(
            lon=112.5489,
            lat=37.8706,
            error=ErrorEllipse(semi_major_m=40, semi_minor_m=40),
            source="camera_point",
        )
        return Judge(
            s.camera, s.zones, PolicyConfig.model_validate(s.policy), place, s.ground, store=self._store
        )

    def _observation(self, t: float, interval_s: float) -> Observation:
        script, c = self._script, self._script.conditions
        there = [(a, box) for a in script.actors if (box := a.at(t)) is not None]
        there.sort(key=lambda pair: pair[1][3])
        left = [
            LeftObject(box, self._mono + a.left_since, _area(box), t - a.left_since, i, 5)
            for i, (a, box) in enumerate(there)
            if a.left_since is not None and t - a.left_since >= STILL_S
        ]
        return Observation(
            captured_at=script.start + timedelta(seconds=t + c.wall_shift(t)),
            mono_s=self._mono + t,
            width=WIDTH,
            height=HEIGHT,
            detections=self._detector.detect(there, t),
            left=[LeftObject(o.box, o.born_mono_s, o.area, o.stable_s, _key(o), 5) for o in left],
            interval_s=interval_s,
            grey=self._eye.draw(there, c.light(t)),
        )


def _key(item: LeftObject) -> int:
    """Name a left object by where it lies, so that the name stays with it."""
    return int(item.box[0] * 1000) * 1000 + int(item.box[1] * 1000)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
