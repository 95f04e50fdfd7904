"""When a camera's next frame is decoded and judged: by a promised delay, not by frames a second.

A quiet camera costs key frames. A suspicion (motion in a zone, an open candidate, a young object) raises it to
the dense rate for a while. A heartbeat judges a frame even without motion, because a heap that was there before
the box started never moves.

Under load every interval is stretched by one factor for all cameras (`edge.load`), never past `LATEST` of the promised
delay: all cameras a little later, none of them blind. Only the look that ends a dwell is not put off: it is aimed at, and
the detector takes it first.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from camera_adapters.demand import EARLY_S, Demand
from edge.load import MAX_STRETCH

# Stretched intervals end sooner by up to this share, drawn anew at each look. Cameras that waited together in the line
# would otherwise come together again ever after, and a burst every ten seconds looks like too much work at two fifths of it.
SPREAD = 0.3
# The longest interval, as a share of the promised delay. An object is seen one interval late at most, and confirmed by the
# look that is aimed at the end of its dwell: with key frames every 2 s that is 11.4 + 2 + 2.2 s of 30, and one missed look
# is made good within them (11.4 + 2 more). Without the aim it was a third, twice: 10 + 2 + 10 + 2.
LATEST = 0.38
# Where load has stretched the dense interval so far, key frames come as often, and a GOP of 1080p costs eight times its key frame: 120
# cameras with acts to watch for decoded whole GOPs of which a picture in a hundred was looked at, and not one van was in time.
KEYS_DO_S = 2.0
# A look is aimed this long past the end of a dwell: times of capture jitter, and one that is early by a hair confirms nothing.
PAST_END_S = 0.2


class SamplingNumbers(Protocol):
    """The numbers of `edge.config.SamplingConfig`, all in seconds."""

    @property
    def quiet_interval_s(self) -> float: ...
    @property
    def dense_interval_s(self) -> float: ...
    @property
    def hold_s(self) -> float: ...
    @property
    def heartbeat_s(self) -> float: ...
    @property
    def promise_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with a frame, and what to ask of the stream from now on; `aimed`: it may end a dwell, so it goes first."""

    judge: bool
    demand: Demand
    dense: bool
    aimed: bool = False


class CameraScheduler:
    """The plan of one camera. Pure: times come in as seconds on the monotonic clock."""

    def __init__(
        self,
        numbers: SamplingNumbers,
        dense_pays: bool = True,
        stretch: Callable[[], float] = lambda: 1.0,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        """Plan by `numbers`.

        Args:
            numbers: the camera's intervals.
            dense_pays: False where every rule of the camera waits for minutes: a car does not become more parked at
                the dense rate, and whole GOPs of 1080p cost eight times their key frames.
            stretch: factor >= 1 on every interval while the box has too much to do.
            uniform: a number of 0-1, drawn at each look.
        """
        self._n, self._dense_pays, self._stretch, self._uniform = numbers, dense_pays, stretch, uniform
        self._latest = numbers.promise_s * LATEST
        self._sooner = 1.0
        self._suspect_until = float("-inf")
        self._judged_at = float("-inf")
        self._seen_at = float("-inf")
        self._aim = float("inf")

    @property
    def longest_s(self) -> float:
        """The longest interval to which load may stretch that between quiet looks, in seconds."""
        return max(self._n.quiet_interval_s, min(self._n.quiet_interval_s * MAX_STRETCH, self._latest))

    def aim(self, end_s: float) -> None:
        """Take the time at which the next look can end a dwell (`Judge.next_end`), infinity for none; it holds until it is told anew."""
        self._aim = end_s + PAST_END_S

    def suspect(self, now: float) -> None:
        """Note a sign of something going on at `now`."""
        self._suspect_until = max(self._suspect_until, now + self._n.hold_s)

    def demand(self, now: float | None = None) -> Demand:
        """Return what the stream should decode from `now` on; without it, from the last frame on."""
        if now is None:
            now = self._seen_at
        self._seen_at = now
        quiet = self._late(self._n.quiet_interval_s)
        gap = 2 * quiet
        if self._is_dense(now) and (dense := self._late(self._n.dense_interval_s)) < quiet:
            if dense < KEYS_DO_S:
                return Demand("all", dense)
            quiet = dense
        # Not only while it lies ahead: the frame that came at its time may have been torn.
        aimed = self._is_aiming and self._aim < now + quiet
        if aimed:
            quiet = max(self._n.quiet_interval_s, self._aim - now)
        return Demand("key", quiet, gap, aimed)

    @property
    def _is_aiming(self) -> bool:
        return self._judged_at < self._aim - EARLY_S

    def _is_dense(self, now: float) -> bool:
        return self._dense_pays and now < self._suspect_until

    def _late(self, interval_s: float) -> float:
        return max(interval_s, min(interval_s * self._stretch(), self._latest) * self._sooner)

    def plan(self, now: float, moving: bool, attentive: bool) -> Plan:
        """Decide on a decoded frame of the time `now`.

        `moving` is the gate's word on the zones; `attentive` says that a site's dwell clock is running, which wants
        every quiet frame judged but not the dense rate: a parked car does not become more parked.
        """
        if moving:
            self.suspect(now)
        dense = self._is_dense(now)
        if dense:
            wait = self._n.dense_interval_s
        elif attentive or now < self._suspect_until:
            wait = self._n.quiet_interval_s
        else:
            wait = self._n.heartbeat_s
        wait = self._late(wait)
        # 0.6: frames come on the camera's grid, so the interval asked for is met early or late by half a frame step.
        aimed = self._is_aiming and self._aim - EARLY_S <= now
        due = aimed or now - self._judged_at >= 0.6 * wait
        if due:
            self._judged_at = now
            self._sooner = 1.0 - SPREAD * self._uniform()
        return Plan(due, self.demand(now), dense, aimed)
