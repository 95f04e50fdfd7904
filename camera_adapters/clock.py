"""Clocks. Durations come from the monotonic one, moments from UTC; a virtual clock replays files."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the rooms ask for the time."""

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never step back, whatever happens to the wall clock."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()


class VirtualClock:
    """A clock that stands still until it is advanced: a file's hours pass in seconds."""

    def __init__(
        self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC), mono_start_s: float = 1000.0
    ) -> None:
        self._start, self._mono_start, self._elapsed = start, mono_start_s, 0.0

    def now(self) -> datetime:
        """Return the virtual moment in UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the virtual monotonic seconds."""
        return self._mono_start + self._elapsed

    def advance_to(self, mono_s: float) -> None:
        """Move to a later monotonic time; an earlier one changes nothing."""
        self._elapsed = max(self._elapsed, mono_s - self._mono_start)
