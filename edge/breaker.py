"""When a worker that ended starts again: at once, later, or in safe mode. Pure; the clock is given."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
SAFE_S, LONGEST_SAFE_S = 900.0, 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Restart:
    """What comes next: wait so many seconds, then start, in safe mode or not; `safe_s` is how long safe mode lasts."""

    wait_s: float
    safe: bool = False
    safe_s: float = 0.0


class CrashBreaker:
    """Counts ends of one worker. `limit` within `window_s` seconds put it into safe mode, twice as long each time.

    A worker that ran a whole window since the last trip has proved itself: safe mode is as short again as at first.
    """

    def __init__(self, limit: int = 5, window_s: float = 600.0) -> None:
        self._limit, self._window_s = limit, window_s
        self._ends: deque[float] = deque(maxlen=limit)
        self._trips, self._total = 0, 0

    @property
    def total(self) -> int:
        """Ends that nobody asked for, since the supervisor began."""
        return self._total

    def ended(self, began_s: float, now_s: float) -> Restart:
        """Answer the end of a worker that ran from `began_s` to `now_s` (monotonic seconds)."""
        self._total += 1
        if now_s - began_s >= self._window_s:
            self._ends.clear()
            self._trips = 0
        self._ends.append(now_s)
        recent = sum(1 for end in self._ends if now_s - end < self._window_s)
        if recent >= self._limit:
            self._ends.clear()
            safe_s = min(SAFE_S * 2**self._trips, LONGEST_SAFE_S)
            self._trips += 1
            return Restart(FIRST_WAIT_S, True, safe_s)
        return Restart(min(FIRST_WAIT_S * 2 ** (recent - 1), LONGEST_WAIT_S))
