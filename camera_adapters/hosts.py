"""Limits per host: a recorder with 64 channels, back after a power cut, is not stormed."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

V = TypeVar("V")
# Twice as many as a box has cameras.
MAX_LOGINS = 1024


@dataclass
class _Lane:
    busy: int = 0
    next_at: float = 0.0


class Slot:
    """The right to connect. Released when the stream is live, or when the attempt has failed; twice does no harm."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Give the slot back."""
        release, self._release = self._release, None
        if release is not None:
            release()


def _note(book: OrderedDict[tuple[str, int], V], key: tuple[str, int], value: V) -> None:
    book[key] = value
    book.move_to_end(key)
    while len(book) > MAX_LOGINS:
        book.popitem(last=False)


class HostGate:
    """At most `limit` connection attempts at a time to one host, begun `spacing_s` seconds apart."""

    def __init__(
        self, limit: int = 8, spacing_s: float = 0.05, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        if limit < 1:
            raise ValueError(f"limit: {limit} lets nobody connect; give 1 or more")
        self._limit, self._spacing, self._monotonic = limit, spacing_s, monotonic
        self._lanes: dict[str, _Lane] = {}
        # Until when a login is not to be tried, and which ones were right; hashes, not logins.
        self._locked: OrderedDict[tuple[str, int], float] = OrderedDict()
        self._good: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Hosts remembered now; those that are idle are forgotten at the next attempt."""
        return len(self._lanes)

    def acquire(self, host: str, stop: threading.Event) -> Slot | None:
        """Wait for a slot; None when `stop` was set meanwhile."""
        with self._changed:
            self._forget_idle()
            while not stop.is_set():
                lane = self._lanes.setdefault(host, _Lane())
                now = self._monotonic()
                if lane.busy < self._limit and now >= lane.next_at:
                    lane.busy += 1
                    lane.next_at = now + self._spacing
                    return Slot(lambda: self._free(host))
                self._changed.wait(min(max(lane.next_at - now, 0.01), 0.2))
        return None

    def refused(self, host: str, login: str, seconds: float) -> None:
        """Note that a host would not have a login: no other channel is to try it for so long.

        Not for a login that was right before: there it is the channel that this user may not see.
        """
        with self._changed:
            key = (host, hash(login))
            if key not in self._good:
                _note(self._locked, key, self._monotonic() + seconds)

    def accepted(self, host: str, login: str) -> None:
        """Note that a login is right."""
        with self._changed:
            key = (host, hash(login))
            self._locked.pop(key, None)
            _note(self._good, key, None)

    def locked_s(self, host: str, login: str) -> float:
        """Return for how many seconds a login is not to be tried; 0 when it may."""
        with self._changed:
            until = self._locked.get((host, hash(login)))
            return 0.0 if until is None else max(0.0, until - self._monotonic())

    def _free(self, host: str) -> None:
        with self._changed:
            self._lanes[host].busy -= 1
            self._changed.notify_all()

    def _forget_idle(self) -> None:
        now = self._monotonic()
        for host in [h for h, lane in self._lanes.items() if not lane.busy and lane.next_at < now]:
            del self._lanes[host]


# One for the process: the limit is the host's, whoever opens the streams.
SHARED_GATE = HostGate()
