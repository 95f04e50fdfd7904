"""What the camera tests share: a sink that remembers, and waiting for a condition."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from camera_adapters.frame import Frame
from camera_adapters.stream import StreamEvent, StreamOptions, StreamState

QUICK = StreamOptions(
    stall_s=1.5, backoff_base_s=0.1, quick_cap_s=0.3, backoff_cap_s=0.3, auth_backoff_s=0.3, key_stall_s=1.5
)


class Memory:
    """Keeps what a stream says."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.events: list[StreamEvent] = []
        self.changed = threading.Condition()

    def on_frame(self, frame: Frame) -> None:
        with self.changed:
            self.frames.append(frame)
            self.changed.notify_all()

    def on_event(self, event: StreamEvent) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def states(self) -> list[StreamState]:
        return [e.state for e in self.events]

    def reasons(self) -> str:
        return " | ".join(f"{e.state}: {e.reason}" for e in self.events)


def wait_for(met: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until `met()` is true; fail after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.02)
