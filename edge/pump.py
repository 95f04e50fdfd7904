"""One detector for many cameras: a latest-frame slot per camera, a bounded window, fair turns, counted drops."""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from edge.admission import IDLE, Admission

T = TypeVar("T")
# A picture that is being decoded has its place in the line. Else all who ask meanwhile are told that there is room, and decode beside the
# detector's one thread (docs/decisions/0004). One of a camera that never asks again loses its place after so many seconds: on a full core
# decoding takes longer than it should.
COMING_S = 10.0


class LatestSlots(Generic[T]):
    """The newest unjudged frame of each camera. A newer frame replaces an older one, so memory is one frame a camera."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots: OrderedDict[str, T] = OrderedDict()
        self._since: dict[str, float] = {}
        # When each camera was taken last; those that never were come first.
        self._turn: dict[str, float] = {}
        self._urgent: set[str] = set()
        self._clock = clock
        self._longest = 0.0
        self._admission = Admission()
        self._ready = threading.Condition()
        self._closed = False
        self._dropped: dict[str, int] = {}
        # Until when each camera's picture that is being decoded is waited for.
        self._coming: OrderedDict[str, float] = OrderedDict()
        # Cameras whose last such picture never came: they are let in, but hold no place against the others.
        self._lost: set[str] = set()
        # Key frames that were left in their streams because too many others waited.
        self.left_out = 0

    def offer(self, camera_id: str, frame: T, urgent: bool = False) -> bool:
        """Put the newest frame of a camera; False when it replaced one that nobody judged (counted).

        The camera keeps its place in the line, so a fast camera cannot push a slow one back. An `urgent` frame, or the one that
        takes its place, goes before all that are not.
        """
        with self._ready:
            fresh = camera_id not in self._slots
            self._slots[camera_id] = frame
            if urgent:
                self._urgent.add(camera_id)
            if fresh:
                self._since[camera_id] = self._clock()
            else:
                self._dropped[camera_id] = self._dropped.get(camera_id, 0) + 1
            self._ready.notify()
            return fresh

    def has_room(self, camera_id: str, late_s: float) -> bool:
        """Whether a camera should decode another frame, which it wanted `late_s` seconds ago; False is counted.

        The frame has its place in the line until it `arrived`, unless the camera's last one never did.
        """
        with self._ready:
            now = self._clock()
            while self._coming and next(iter(self._coming.values())) <= now:
                self._lost.add(self._coming.popitem(last=False)[0])
            if self._coming.pop(camera_id, None) is not None:
                self._lost.add(camera_id)
            # A connection that is new does not make its camera later than its last turn.
            turn = self._turn.get(camera_id, float("-inf"))
            room = self._admission.ask(camera_id, max(now - late_s, turn), self._before(turn), now)
            if room and camera_id not in self._lost:
                self._coming[camera_id] = now + COMING_S
            self.left_out += not room
        return room

    def _before(self, turn: float) -> int:
        """Return how many in the line `take` will serve before a camera whose last turn was at `turn`.

        What never asked is in the line as well, dense pictures above all: were they counted, whoever asks would be left out for as long as
        they alone are enough for the detector.
        """
        line = self._slots.keys() | self._coming.keys()
        if len(line) < IDLE:
            return len(line)
        return max(IDLE, sum(self._turn.get(c, float("-inf")) <= turn for c in line))

    def away(self, camera_id: str) -> None:
        """Note that a camera gives nothing for now: the others wait for it no longer."""
        with self._ready:
            self._coming.pop(camera_id, None)
            self._admission.forget(camera_id)

    def arrived(self, camera_id: str) -> None:
        """Note that the frame for which there was room is decoded, whether it will be judged or not."""
        with self._ready:
            self._coming.pop(camera_id, None)
            self._lost.discard(camera_id)

    def take(self, most: int, timeout_s: float) -> list[tuple[str, T]]:
        """Return up to `most` frames, of the cameras whose last turn is longest ago; empty after `timeout_s` seconds without one.

        In the order of their coming half of the cameras got two turns for one of the others: those whose frame came just
        after the line had moved on offered the next one before they were served.
        """
        with self._ready:
            if not self._slots and not self._closed and timeout_s > 0:
                self._ready.wait(timeout_s)
            if not self._slots:
                return []
            # Stable: of those that never had a turn the longest waiting is the first.
            first = heapq.nsmallest(most, self._slots, key=self._rank)
            taken = [(camera_id, self._slots.pop(camera_id)) for camera_id in first]
            now = self._clock()
            self._admission.served(first, now)
            for camera_id, _ in taken:
                self._turn[camera_id] = now
                self._urgent.discard(camera_id)
                self._longest = max(self._longest, now - self._since.pop(camera_id))
            return taken

    def _rank(self, camera_id: str) -> tuple[bool, float]:
        return camera_id not in self._urgent, self._turn.get(camera_id, float("-inf"))

    def longest_wait_s(self) -> float:
        """Return the longest wait of a camera in the line since the last call, those who still wait included."""
        with self._ready:
            now = self._clock()
            longest = max([self._longest, *(now - t for t in self._since.values())])
            self._longest = 0.0
            return longest

    def dropped(self, camera_id: str) -> int:
        """Return how many frames of a camera were replaced before they were judged."""
        with self._ready:
            return self._dropped.get(camera_id, 0)

    def forget(self, camera_id: str) -> None:
        """Remove a camera that is no longer there."""
        with self._ready:
            self.away(camera_id)
            self._slots.pop(camera_id, None)
            self._since.pop(camera_id, None)
            self._turn.pop(camera_id, None)
            self._urgent.discard(camera_id)
            self._lost.discard(camera_id)
            self._dropped.pop(camera_id, None)

    def close(self) -> None:
        """Wake whoever waits in `take`."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
