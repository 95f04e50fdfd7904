"""What a camera's detector saw in the last hour, so that other zones can be tried on it. In memory, bounded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from edge.left_objects import LeftObject
from edge.site_view import Observation
from models.detections import Detections

# Denser looks are thinned out; the rules count time, not pictures.
LEAST_GAP_S, KEPT_S = 2.0, 3600.0
# 1800 looks of at most 30 objects: under 2 MB a camera, usually 0.5.
MOST_LOOKS, MOST_OBJECTS = 1800, 30


@dataclass(frozen=True, slots=True)
class _Look:
    at: datetime
    mono_s: float
    width: int
    height: int
    boxes: bytes
    scores: bytes
    classes: bytes
    names: tuple[str, ...]
    left: tuple[LeftObject, ...]
    view_ok: bool


class Tape:
    """The record of one camera. Written by the detector's thread, read by any."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque(maxlen=MOST_LOOKS)
        self._lock = threading.Lock()

    def keep(self, seen: Observation) -> None:
        """Keep a look, unless the last one is too near."""
        with self._lock:
            if self._looks and seen.mono_s - self._looks[-1].mono_s < LEAST_GAP_S:
                return
            while self._looks and seen.mono_s - self._looks[0].mono_s > KEPT_S:
                self._looks.popleft()
            best = np.argsort(-seen.detections.scores)[:MOST_OBJECTS]
            kept = seen.detections.select(best)
            self._looks.append(
                _Look(
                    seen.captured_at, seen.mono_s, seen.width, seen.height, kept.boxes.astype(np.float32, copy=False).tobytes(),
                    kept.scores.astype(np.float16).tobytes(), kept.classes.astype(np.uint16).tobytes(), kept.names,
                    tuple(seen.left)[:MOST_OBJECTS], seen.view_ok,
                )
            )  # fmt: skip

    def since(self, seconds: float) -> Sequence[Observation]:
        """Return the looks of the last `seconds`, the oldest first, without their pictures."""
        with self._lock:
            looks = list(self._looks)
        first = looks[-1].mono_s - seconds if looks else 0.0
        return list(_played([x for x in looks if x.mono_s >= first]))


def _played(looks: Sequence[_Look]) -> Iterator[Observation]:
    before: float | None = None
    for x in looks:
        boxes = np.frombuffer(x.boxes, np.float32).reshape(-1, 4)
        scores = np.frombuffer(x.scores, np.float16).astype(np.float32)
        classes = np.frombuffer(x.classes, np.uint16).astype(np.int32)
        yield Observation(
            x.at, x.mono_s, x.width, x.height, Detections(boxes, scores, classes, x.names), x.left, x.view_ok,
            LEAST_GAP_S if before is None else x.mono_s - before,
        )  # fmt: skip
        before = x.mono_s
