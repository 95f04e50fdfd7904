"""What a stream is asked to decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Demand:
    """What a stream should decode: nothing, key frames, all but unreferenced frames, or all; at most one per interval.

    With key frames alone, `max_gap_s` without a picture makes the stream decode on from the GOP at hand until the next
    key frame: vendors' "smart" codecs send one every 10 s and more.
    """

    mode: Literal["none", "key", "nonref", "all"]
    min_interval_s: float = 0.0
    max_gap_s: float = float("inf")
