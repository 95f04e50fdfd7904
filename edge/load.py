"""When the box has too much to do, every camera is looked at a little later; none of them goes blind.

One factor stretches the intervals of all cameras. It grows while the box is overloaded and shrinks while there is room:
quick to yield, slow to come back, so that it does not swing.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

MAX_STRETCH = 8.0
# A second. A new factor shows only after one interval, of a dozen seconds at most: by a quarter a second it ran to the end
# of its range and the cameras waited three times as long as they had to (`curbwatch bench scheduler`).
GROWS, SHRINKS = 1.08, 0.98
# The detector's thread is free for a tenth of the time at least, or frames begin to wait.
BUSY_HIGH, BUSY_LOW = 0.9, 0.7
# A frame that waits this long for the detector is late whatever the shares say.
WAIT_HIGH_S = 2.0
AGES = 2048


@dataclass(frozen=True, slots=True)
class Load:
    """How the box stands. Shares 0-1, ages in seconds between a picture's time and its detection."""

    stretch: float
    overloaded: bool
    overloads: int
    busy: float
    cpu: float
    age_p50_s: float
    age_p95_s: float
    age_p99_s: float


class LoadGovernor:
    """Finds the factor by which all intervals are stretched. Fed by one thread, read by any."""

    def __init__(self) -> None:
        self._stretch, self._overloads, self._overloaded = 1.0, 0, False
        self._busy = self._cpu = 0.0
        self._ages: deque[float] = deque(maxlen=AGES)
        self._lock = threading.Lock()

    @property
    def stretch(self) -> float:
        """The factor on every interval, 1 to `MAX_STRETCH`."""
        return self._stretch

    @property
    def overloaded(self) -> bool:
        """Whether the box has too much to do, or had a moment ago."""
        return self._overloaded

    def detected(self, age_s: float) -> None:
        """Note how old a picture was when it was detected."""
        with self._lock:
            self._ages.append(max(0.0, age_s))

    def observe(self, busy: float, cpu: float, longest_wait_s: float, seconds: float = 1.0) -> float:
        """Take the shares of the last `seconds` and return the new factor.

        Args:
            busy: share of the time in which the detector's thread was at work.
            cpu: share of the cores that this process may use that it did use.
            longest_wait_s: longest wait of a frame between its plan and the detector.
            seconds: how long these shares were measured.
        """
        high = max(busy, cpu) > BUSY_HIGH or longest_wait_s > WAIT_HIGH_S
        low = max(busy, cpu) < BUSY_LOW and not high
        if high:
            self._stretch = min(MAX_STRETCH, self._stretch * GROWS**seconds)
        elif low:
            self._stretch = max(1.0, self._stretch * SHRINKS**seconds)
        if high and not self._overloaded:
            self._overloads += 1
        self._overloaded = high or (self._overloaded and self._stretch > 1.0)
        self._busy, self._cpu = busy, cpu
        return self._stretch

    def load(self) -> Load:
        """Return how the box stands."""
        with self._lock:
            ages = np.array(self._ages, np.float64)
        p50, p95, p99 = np.quantile(ages, (0.5, 0.95, 0.99)).tolist() if len(ages) else (0.0, 0.0, 0.0)
        return Load(self._stretch, self._overloaded, self._overloads, self._busy, self._cpu, p50, p95, p99)
