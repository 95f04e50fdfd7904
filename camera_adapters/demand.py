"""What a stream is asked to decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

# Camera clocks wander, and a frame that is early by a hair is still the one asked for.
EARLY_S = 0.02


@dataclass(frozen=True, slots=True)
class Demand:
    """What a stream should decode: nothing, key frames, all but unreferenced frames, or all; at most one per interval.

    With key frames alone, `max_gap_s` without a picture makes the stream decode on from the GOP at hand until the next
    key frame: vendors' "smart" codecs send one every 10 s and more.

    `room` is asked before a key frame that is due is decoded, with the seconds by which it is late, and may put it off to the
    next one; `urgent` says that nothing should.
    """

    mode: Literal["none", "key", "nonref", "all"]
    min_interval_s: float = 0.0
    max_gap_s: float = float("inf")
    urgent: bool = False
    room: Callable[[float], bool] | None = field(default=None, compare=False, repr=False)

    def early(self, passed_s: float) -> bool:
        """Whether a picture that comes `passed_s` seconds after the one before comes too early."""
        return passed_s < self.min_interval_s - EARLY_S
