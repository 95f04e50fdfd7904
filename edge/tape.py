"""What a camera's detector saw in the last hour, so that other zones can be tried on it. In memory, bounded."""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from edge.left_objects import LeftObject
from edge.site_view import Observation
from models.detections import Detections

# Denser looks are thinned out; the rules count time, not pictures.
LEAST_GAP_S, KEPT_S = 2.0, 3600.0
# 1800 looks of at most 30 objects: under 2 MB a camera, usually 0.5.
MOST_LOOKS, MOST_OBJECTS = 1800, 30


# Of one look: its times, the picture's size, whether the view was right, which names, how many boxes.
_HEAD = struct.Struct("<qdHH?HH")
_BOX = np.dtype([("box", np.float32, 4), ("score", np.float16), ("class", np.uint16)])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Tape:
    """The record of one camera. Written by the detector's thread, read by any."""

    def __init__(self) -> None:
        # Looks as bytes, one object each: an hour of thirty cameras is 60 000 of them.
        self._looks: deque[bytes] = deque()
        self._left: dict[float, tuple[LeftObject, ...]] = {}
        self._names: list[tuple[str, ...]] = []
        self._lock = threading.Lock()

    def keep(self, seen: Observation) -> None:
        """Keep a look, unless the last one is too near."""
        with self._lock:
            if self._looks and seen.mono_s - _mono_of(self._looks[-1]) < LEAST_GAP_S:
                return
            while self._looks and (
                len(self._looks) == MOST_LOOKS or seen.mono_s - _mono_of(self._looks[0]) > KEPT_S
            ):
                self._left.pop(_mono_of(self._looks.popleft()), None)
            found = seen.detections
            best = slice(None) if len(found) <= MOST_OBJECTS else np.argsort(-found.scores)[:MOST_OBJECTS]
            boxes = np.empty(min(len(found), MOST_OBJECTS), _BOX)
            boxes["box"], boxes["score"], boxes["class"] = (
                found.boxes[best],
                found.scores[best],
                found.classes[best],
            )
            micros = round((seen.captured_at - _EPOCH) / timedelta(microseconds=1))
            head = _HEAD.pack(
                micros,
                seen.mono_s,
                seen.width,
                seen.height,
                seen.view_ok,
                self._named(found.names),
                len(boxes),
            )
            self._looks.append(head + boxes.tobytes())
            if seen.left:
                self._left[seen.mono_s] = tuple(seen.left)[:MOST_OBJECTS]

    def _named(self, names: tuple[str, ...]) -> int:
        """Return the number of a model's names; a model that comes anew lets go of those that no look has."""
        if names not in self._names:
            used = {_HEAD.unpack_from(look)[5] for look in self._looks}
            free = next((n for n in range(len(self._names)) if n not in used), len(self._names))
            self._names[free : free + 1] = [names]
        return self._names.index(names)

    def since(self, seconds: float) -> Sequence[Observation]:
        """Return the looks of the last `seconds`, the oldest first, without their pictures."""
        with self._lock:
            looks, left, names = list(self._looks), dict(self._left), list(self._names)
        first = _mono_of(looks[-1]) - seconds if looks else 0.0
        return list(_played([x for x in looks if _mono_of(x) >= first], left, names))


def _mono_of(look: bytes) -> float:
    return float(_HEAD.unpack_from(look)[1])


def _played(
    looks: Sequence[bytes], left: dict[float, tuple[LeftObject, ...]], all_names: list[tuple[str, ...]]
) -> Iterator[Observation]:
    before: float | None = None
    for look in looks:
        micros, mono_s, width, height, view_ok, names, count = _HEAD.unpack_from(look)
        boxes = np.frombuffer(look, _BOX, count, _HEAD.size)
        found = Detections(
            np.ascontiguousarray(boxes["box"]),
            boxes["score"].astype(np.float32),
            boxes["class"].astype(np.int32),
            all_names[names],
        )
        yield Observation(
            _EPOCH + timedelta(microseconds=micros), mono_s, width, height, found, left.get(mono_s, ()), view_ok,
            LEAST_GAP_S if before is None else mono_s - before,
        )  # fmt: skip
        before = mono_s
