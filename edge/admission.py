"""Whose key frame is decoded next, where more cameras want to be looked at than the detector can."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

# So many pictures should wait for the detector: more are older when they are judged, fewer leave it idle at times.
LINE = 8
# Where so few wait the detector is about to have nothing to do, and whoever asks comes in time.
IDLE = 2
# How long the detector's pace is looked back at. One that waits and asks no more has gone after so long.
PACE_S, GONE_S = 4.0, 30.0
# How soon a camera that is put off asks again: with its next key frame. This much until it is known, and that much at most.
USUAL_GOP_S, LONGEST_GOP_S = 2.0, 12.0
# What was never looked at is so late when it asks first: earlier than all, in the order of asking.
MOST_LATE_S = 120.0


@dataclass(slots=True)
class _Wish:
    due: float
    asked: float


class Admission:
    """Lets in the cameras that have waited longest, at the detector's pace (earliest due date first). Times are monotonic seconds.

    A camera asks only when a key frame comes, every two seconds say, and is let in when it will be among those served before it
    can ask again. So nobody waits for luck, and no more is decoded than will be judged. Not for two threads at once.
    """

    def __init__(self) -> None:
        self._wishes: dict[str, _Wish] = {}
        # The due times of all wishes in order.
        self._dues: list[float] = []
        # Seconds between the key frames of cameras that were put off.
        self._gops: dict[str, float] = {}
        self._served: deque[float] = deque()
        self._tidied = 0.0

    def served(self, cameras: Iterable[str], now: float) -> None:
        """Note that the detector has taken pictures of these cameras, whether they had asked or not."""
        for camera_id in cameras:
            self._served.append(now)
            self._drop(camera_id)
        self._look_back(now)

    def ask(self, camera_id: str, due: float, line: int, now: float) -> bool:
        """Whether a camera's key frame is decoded; `due` is when it should have been, `line` how many will be served before it by now."""
        self._tidy(now)
        due = max(due, now - MOST_LATE_S)
        wish = self._wishes.get(camera_id)
        if wish is not None:
            due = min(due, wish.due)
            self._gops[camera_id] = min(LONGEST_GOP_S, now - wish.asked)
            self._drop(camera_id)
        pace, before = len(self._served) / PACE_S, bisect_left(self._dues, due)
        # So many will be served before it asks again, less those by whom the line is too long. No hard end of the line: key frames come
        # at their own beat, and a camera that asks just after the others would find it full each time.
        if line < IDLE or before + 1 <= pace * self._gops.get(camera_id, USUAL_GOP_S) + LINE - line:
            return True
        insort(self._dues, due)
        self._wishes[camera_id] = _Wish(due, now)
        return False

    def forget(self, camera_id: str) -> None:
        """Forget a camera that will not ask again."""
        self._drop(camera_id)
        self._gops.pop(camera_id, None)

    def _drop(self, camera_id: str) -> None:
        wish = self._wishes.pop(camera_id, None)
        if wish is not None:
            del self._dues[bisect_left(self._dues, wish.due)]

    def _look_back(self, now: float) -> None:
        while self._served and self._served[0] < now - PACE_S:
            self._served.popleft()

    def _tidy(self, now: float) -> None:
        self._look_back(now)
        if now - self._tidied >= 1.0:
            self._tidied = now
            for camera_id in [c for c, wish in self._wishes.items() if now - wish.asked > GONE_S]:
                self.forget(camera_id)
