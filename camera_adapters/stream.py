"""What every adapter promises: one camera, an explicit state, frames on demand."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

from camera_adapters.demand import Demand
from camera_adapters.frame import Frame

if TYPE_CHECKING:
    from camera_adapters.ring import PacketRing


class StreamState(StrEnum):
    """Where a stream stands."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    BACKING_OFF = "backing_off"
    FAILED = "failed"


_STEPS: dict[StreamState, frozenset[StreamState]] = {
    StreamState.CONNECTING: frozenset({StreamState.LIVE, StreamState.BACKING_OFF, StreamState.FAILED}),
    StreamState.LIVE: frozenset({StreamState.STALLED, StreamState.BACKING_OFF, StreamState.FAILED}),
    StreamState.STALLED: frozenset({StreamState.LIVE, StreamState.BACKING_OFF, StreamState.FAILED}),
    StreamState.BACKING_OFF: frozenset({StreamState.CONNECTING, StreamState.FAILED}),
    StreamState.FAILED: frozenset({StreamState.CONNECTING}),
}


class IllegalStepError(RuntimeError):
    """A stream was asked to go where its state does not lead."""


def step(old: StreamState, new: StreamState) -> StreamState:
    """Return `new`.

    Raises:
        IllegalStepError: `old` does not lead to `new`.
    """
    if new not in _STEPS[old]:
        raise IllegalStepError(
            f"a stream cannot go from {old} to {new}; it can go to {', '.join(sorted(_STEPS[old]))}"
        )
    return new


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """A change of state. `reason` never holds credentials."""

    camera_id: str
    state: StreamState
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """Counts of one stream since the start."""

    state: StreamState
    reason: str = ""
    connects: int = 0
    packets: int = 0
    frames_decoded: int = 0
    tainted_ratio: float = 0.0
    clock_skew_s: float | None = None
    last_frame_at: datetime | None = None
    # `software`, or the kind of hardware that decodes.
    decoder: str = "software"


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How to keep a stream. Times in seconds."""

    transport: Literal["tcp", "udp"] = "tcp"
    stall_s: float = 6.0
    ring_seconds: float = 60.0
    ring_bytes: int = 48 * 2**20
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 60.0
    # For a peer that is down or silent: a camera is seen again within seconds of its return.
    quick_cap_s: float = 6.0
    # Cameras lock an address out after a few wrong passwords.
    auth_backoff_s: float = 300.0
    steady_s: float = 30.0
    max_skew_s: float = 2.0
    # No key frame for this long after the connection, or for four times the longest GOP seen: nothing can be decoded.
    key_stall_s: float = 20.0
    # This many packets in a row, over `stall_s` at least, without a picture: the codec has changed under the connection.
    max_barren: int = 10
    hardware: Literal["auto", "none", "cuda", "vaapi", "qsv"] = "none"
    # Least seconds between two requests to an HTTP snapshot camera.
    snapshot_s: float = 1.0
    paced: bool = field(default=False)


class FrameSink(Protocol):
    """Receives frames and events on the stream's own thread; must return soon."""

    def on_frame(self, frame: Frame) -> None:
        """Take a decoded frame."""
        ...

    def on_event(self, event: StreamEvent) -> None:
        """Take a change of state."""
        ...


class CameraStream(Protocol):
    """One camera."""

    camera_id: str
    ring: PacketRing | None

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        ...

    @property
    def demand(self) -> Demand:
        """What is decoded now; may be set at any time from any thread."""
        ...

    @demand.setter
    def demand(self, value: Demand) -> None: ...

    def health(self) -> StreamHealth:
        """Return the counts since the start."""
        ...

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, or until a file ends."""
        ...

    def start(self) -> None:
        """Run in a thread of its own."""
        ...

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop and wait for the thread's end."""
        ...
