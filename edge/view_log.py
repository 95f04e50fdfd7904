"""What the view checks of a box have said: told to the log, to the metrics, and to the centre until it has heard."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from camera_adapters.view_watch import FIT
from contract import CameraEvent, View

# As many as a heartbeat takes.
MOST = 256


class ViewLog:
    """Camera-health events that wait for a heartbeat. Written by the cameras' threads, read by the heartbeat's."""

    def __init__(self, now: Callable[[], datetime], log: Any, most: int = MOST) -> None:
        self._now, self._log, self._most = now, log, most
        self._waiting: OrderedDict[tuple[str, datetime], CameraEvent] = OrderedDict()
        self._since: dict[str, datetime] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        # Set when there is something to tell.
        self.changed = threading.Event()

    def note(self, camera_id: str, was: View, view: View) -> None:
        """Take a change of the verdict. From `unknown` to `good` and back is no event."""
        at = self._now()
        event = None if {was, view} <= FIT else CameraEvent(camera_id=camera_id, at=at, was=was, view=view)
        with self._lock:
            self._since[camera_id] = at
            if event is not None:
                self._counts[camera_id] += 1
                self._waiting[(camera_id, at)] = event
                # The centre was away for so long that the oldest no longer matter.
                while len(self._waiting) > self._most:
                    self._waiting.popitem(last=False)
        if event is None:
            self._log.info("camera.view", camera=camera_id, view=view, was=was)
        else:
            self._log.warning("camera.view", camera=camera_id, view=view, was=was)
            self.changed.set()

    def waiting(self) -> tuple[CameraEvent, ...]:
        """Return the events that the centre has not confirmed, the oldest first."""
        with self._lock:
            return tuple(self._waiting.values())

    def sent(self, events: Sequence[CameraEvent]) -> None:
        """Forget what the centre has confirmed."""
        with self._lock:
            for event in events:
                self._waiting.pop((event.camera_id, event.at), None)

    def since(self, camera_id: str) -> datetime | None:
        """Return when a camera's verdict last changed; None before its first one."""
        with self._lock:
            return self._since.get(camera_id)

    def forget(self, camera_id: str) -> None:
        """Forget a camera that is no longer there; what it had to tell is still told."""
        with self._lock:
            self._since.pop(camera_id, None)
            self._counts.pop(camera_id, None)

    def count(self, camera_id: str) -> int:
        """Return how many events a camera has had since the start."""
        return self._counts[camera_id]
