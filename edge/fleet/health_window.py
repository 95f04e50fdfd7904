"""Is the box as well as before a change? A pure judgement over a window of looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["waiting", "good", "bad"]
# A camera that connects again after a change needs this long; RTSP cameras were live again within 6 s.
GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class Look:
    """How a box stands at one moment (monotonic seconds)."""

    at_s: float
    live: frozenset[str]
    wanted: frozenset[str]
    overloaded: bool = False
    failing: bool = False  # the detector fails on frames


class HealthWindow:
    """Compares the looks after a change with the one before it.

    A camera that was live before and is still wanted must be live again: if a tenth of them (one at least) is down at
    two looks in a row after the grace, or the box is overloaded or fails where it did not before, the change is bad. Cameras
    that the change brings count when none of the wanted ones lives at the end.
    """

    def __init__(self, before: Look, window_s: float, grace_s: float = GRACE_S) -> None:
        """`before` is taken before the change; the window begins there."""
        self._before, self._end = before, before.at_s + window_s
        self._grace = before.at_s + min(grace_s, window_s / 2)
        self._bad_looks = 0
        self.reason = ""

    def observe(self, look: Look) -> Verdict:
        """Take a look and say whether the change may stay."""
        if look.at_s < self._grace:
            return "waiting"
        fault = self._fault(look)
        self._bad_looks = self._bad_looks + 1 if fault else 0
        if fault and (self._bad_looks >= 2 or look.at_s >= self._end):
            self.reason = fault
            return "bad"
        if look.at_s < self._end:
            return "waiting"
        return "good"

    def _fault(self, look: Look) -> str:
        kept = self._before.live & look.wanted
        down = sorted(kept - look.live)
        if len(down) > len(kept) // 10:
            return f"{len(down)} of {len(kept)} cameras that were live are down, such as {down[0]}"
        if look.at_s >= self._end and look.wanted and not look.live:
            return "no camera is live"
        if look.failing and not self._before.failing:
            return "the detector fails"
        if look.overloaded and not self._before.overloaded:
            return "the box is overloaded"
        return ""
