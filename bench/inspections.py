"""Re-inspection on real clips: looks while the thing is there and after it has gone, against what a person read off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.events import run_clip
from bench.manifest import Clip, Expectation, Manifest
from bench.score import match
from camera_adapters.frame import Frame
from contract import InspectionLook
from edge.inspection import SILENT, Subject, conclude, look
from edge.judge import Change
from edge.scene import things_of
from models.detections import Detections
from models.detector import Detector

GREY_WIDTH, NEEDED = 320, 4
# The moment read off is good to about a second; a car takes another to leave its place.
MARGIN_S, LEAVING_S = 1.0, 2.0


@dataclass
class Answer:
    """What a series of looks said, and what was true."""

    clip: str
    issue: str
    truth: str
    result: str
    reason: str
    looks: int


@dataclass
class _Seen:
    subject: Subject
    confirmed_s: float
    looks: list[tuple[float, InspectionLook]] = field(default_factory=list)


class _Looker:
    """Looks once every `every_s` seconds at each confirmed site."""

    def __init__(self, detector: Detector, every_s: float) -> None:
        self._detector, self._every = detector, every_s
        self._first: float | None = None
        self._last = float("-inf")
        self.seen: list[_Seen] = []

    def confirmed(self, change: Change, frame: Frame) -> None:
        """Keep the place's look."""
        site, now = change.site, self._now(frame)
        self.seen.append(_Seen(Subject.of(site.box, site.issue, _grey(frame)), now))

    def due(self, frame: Frame) -> bool:
        """True when a look is due."""
        now = self._now(frame)
        return bool(self.seen) and now - self._last >= self._every

    def look(self, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Look at every site that was confirmed before this frame."""
        if not self.due(frame):
            return
        self._last = now = self._now(frame)
        things, _ = things_of(detections, width, height, self._detector.bundle.roles)
        for seen in self.seen:
            if now > seen.confirmed_s:
                seen.looks.append((now, look(seen.subject, _grey(frame), things, frame.meta.captured_at)))

    def _now(self, frame: Frame) -> float:
        self._first = frame.meta.mono_s if self._first is None else self._first
        return frame.meta.mono_s - self._first


def _grey(frame: Frame) -> NDArray[np.uint8]:
    return frame.luma(GREY_WIDTH, max(2, round(GREY_WIDTH * frame.meta.height / frame.meta.width)))


def inspect_clip(clip: Clip, folder: Path, detector: Detector, every_s: float = 1.0) -> list[Answer]:
    """Play a clip; return one answer for the time in which each found event lasts, and one for the time after it."""
    looker = _Looker(detector, every_s)
    run = run_clip(clip, folder, detector, looker=looker)
    match(clip, run.alerts, run.length_s)
    answers = []
    for alert, seen in zip(run.alerts, looker.seen, strict=True):
        if alert.matched is None:
            continue
        event = clip.expect[alert.matched]
        for truth, fits in _spans(event):
            answers += _answer(clip, event, truth, [x for at, x in seen.looks if fits(at)])
    return answers


def _spans(event: Expectation) -> list[tuple[str, Callable[[float], bool]]]:
    end = event.ends_s
    if end is None:
        return [("persists", lambda _at: True)]
    return [("persists", lambda at: at < end - MARGIN_S), ("cleared", lambda at: at > end + LEAVING_S)]


def _answer(clip: Clip, event: Expectation, truth: str, looks: list[InspectionLook]) -> list[Answer]:
    """One order as the box works it off: until enough looks can be used, or twice as many were taken."""
    out, taken = [], list[InspectionLook]()
    for one in looks:
        taken.append(one)
        if sum(x.found not in SILENT for x in taken) >= NEEDED or len(taken) >= 2 * NEEDED:
            result, reason = conclude(taken)
            out.append(Answer(clip.id, event.issue, truth, result.value, reason, len(taken)))
            taken = []
    return out


def run_all(plan: Manifest, folder: Path, detector: Detector, every_s: float = 1.0) -> list[Answer]:
    """Return the answers of every clip with expected events."""
    return [a for clip in plan.clips if clip.expect for a in inspect_clip(clip, folder, detector, every_s)]
