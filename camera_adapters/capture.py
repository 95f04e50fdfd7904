"""When a picture was taken: the camera's own clock where it can be trusted, else the smoothed arrival."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from camera_adapters.frame import ClockSource

# A jump of the stream's timestamps against the arrival beyond this is a new time line, not jitter.
JUMP_S = 5.0
# The floor of the delay rises slowly, so that it follows a camera whose crystal runs slow (100 ppm at most).
_FLOOR_RISE = 0.002


@dataclass(slots=True)
class Capture:
    """The moment of one picture.

    Attributes:
        at: UTC.
        mono_s: the box's monotonic clock; it owes nothing to any wall clock, so that no clock step breaks a dwell.
        source: whose clock gave `at`.
        offset_s: camera clock minus box clock in seconds; None where the camera does not tell.
    """

    at: datetime
    mono_s: float
    source: ClockSource
    offset_s: float | None


class CaptureClock:
    """Smooths one connection's arrival times and checks the camera's clock against the box's."""

    def __init__(self, max_skew_s: float) -> None:
        self._max_skew = max_skew_s
        self._floor: float | None = None

    def stamp(
        self, pts_s: float | None, camera_time: datetime | None, now: datetime, mono_s: float
    ) -> Capture:
        """Return the capture time of a packet that arrived at `now` / `mono_s`.

        Args:
            pts_s: the packet's presentation time in seconds on any base; None where it has none.
            camera_time: UTC by the camera's sender report; None where there is none.
            now: the box's UTC.
            mono_s: the box's monotonic seconds.
        """
        taken = mono_s if pts_s is None else self._smoothed(pts_s, mono_s)
        arrived = now - timedelta(seconds=mono_s - taken)
        if camera_time is None:
            return Capture(arrived, taken, "arrival", None)
        skew = (camera_time - arrived).total_seconds()
        if abs(skew) > self._max_skew:
            return Capture(arrived, taken, "arrival", skew)
        return Capture(camera_time, taken, "rtcp_sender_report", skew)

    def _smoothed(self, pts_s: float, mono_s: float) -> float:
        delay = mono_s - pts_s
        if self._floor is None or abs(delay - self._floor) > JUMP_S or delay < self._floor:
            self._floor = delay
        else:
            self._floor += (delay - self._floor) * _FLOOR_RISE
        return min(pts_s + self._floor, mono_s)


class Monotone:
    """Keeps the times of delivered frames in order: monotonic always, UTC but for a true step of the clock."""

    def __init__(self, step_s: float = 2.0) -> None:
        self._step = timedelta(seconds=step_s)
        self._at: datetime | None = None
        self._mono: float | None = None

    def ordered(self, at: datetime, mono_s: float) -> tuple[datetime, float]:
        """Return both times, moved just after the frame before where they fell behind it."""
        if self._mono is not None and mono_s <= self._mono:
            mono_s = self._mono + 1e-6
        if self._at is not None and self._at - self._step < at <= self._at:
            at = self._at + timedelta(microseconds=1)
        self._at, self._mono = at, mono_s
        return at, mono_s
