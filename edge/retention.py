"""What the box forgets, and when. What is owed to the centre is not forgotten by age: messages and pictures never, clips late.

The box does not know a case's state; it follows it all the same: pictures of what was never confirmed are its candidates,
what the centre has acknowledged is no longer its own, and a file of a case that the centre has emptied is refused there
with 410 and then let go here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from edge.keeping_config import RetentionConfig
from edge.ledger import AlertLedger
from edge.outbox import Outbox
from edge.stills import StillStore

EVERY_S = 3600.0
# A wall clock that jumped by more than this against the monotonic one is believed after so long without another jump.
# A box without a clock of its own jumps at each start, and some run for a day's part alone.
JUMP_S, BELIEVED_S = 3600.0, 3 * 3600.0


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What one sweep forgot."""

    candidates: int = 0
    unsent: int = 0
    messages: int = 0
    alerts: int = 0


class BoxRetention:
    """Forgets by the box's policy."""

    def __init__(
        self,
        policy: RetentionConfig,
        max_age_h: float,
        outbox: Outbox,
        ledger: AlertLedger,
        stills: Callable[[], Iterable[StillStore]],
        now: Callable[[], datetime],
        log: Any,
        leftovers: Callable[[datetime], int] = lambda _before: 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`leftovers` forgets what cameras that are gone have left behind before a time, and says how much it was."""
        self._monotonic = monotonic
        self._offset, self._believed_at = now().timestamp() - monotonic(), monotonic()
        self._leftovers = leftovers
        self._policy, self._max_age = policy, timedelta(hours=max_age_h)
        self._outbox, self._ledger, self._stills, self._now, self._log = outbox, ledger, stills, now, log

    def sweep(self) -> Forgotten:
        """Forget what has had its time; nothing at all under a legal hold, or while the clock is not to be believed."""
        if self._policy.legal_hold or self._jumped():
            return Forgotten()
        now, policy = self._now(), self._policy
        sent = now - timedelta(days=policy.sent_days)
        candidates = now - timedelta(days=policy.candidate_days)
        done = Forgotten(
            candidates=sum(s.expire(candidates) for s in self._stills()) + self._leftovers(candidates),
            unsent=self._outbox.expire(now - self._max_age),
            messages=self._outbox.forget_sent(sent),
            alerts=self._ledger.expire(sent.timestamp()),
        )
        if any((done.candidates, done.unsent, done.messages, done.alerts)):
            self._log.info(
                "retention.swept",
                candidates=done.candidates,
                unsent=done.unsent,
                messages=done.messages,
                alerts=done.alerts,
            )
        return done

    def _jumped(self) -> bool:
        """Whether the wall clock has jumped of late: ages by a wrong clock would cost what is still owed."""
        mono = self._monotonic()
        offset = self._now().timestamp() - mono
        by = offset - self._offset
        if abs(by) > JUMP_S:
            self._offset, self._believed_at = offset, mono + BELIEVED_S
            self._log.warning("retention.clock_jumped", by_s=round(by), rests_s=BELIEVED_S)
        return mono < self._believed_at

    def run(self, stop: threading.Event) -> None:
        """Sweep once an hour until `stop` is set."""
        while not stop.wait(EVERY_S):
            try:
                self.sweep()
            except Exception as exc:
                # A full disk or a locked file: the next hour tries again; the box must not end for it.
                self._log.warning("retention.failed", error=f"{type(exc).__name__}: {exc}")
