"""What all live adapters share: the state machine, the reconnect, the health, the thread."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

from camera_adapters.capture import Monotone
from camera_adapters.clock import Clock
from camera_adapters.decoder import Decoded
from camera_adapters.demand import Demand
from camera_adapters.frame import ClockSource, Frame, FrameMeta
from camera_adapters.hosts import SHARED_GATE, HostGate, Slot
from camera_adapters.meter import METER
from camera_adapters.reasons import StreamFaultError, backoff_s, classify, family
from camera_adapters.redact import redact, secrets_of
from camera_adapters.ring import PacketRing
from camera_adapters.stream import (
    FrameSink,
    StreamEvent,
    StreamHealth,
    StreamOptions,
    StreamState,
    step,
)

REASON_LENGTH = 200


class _LockedError(StreamFaultError):
    """The login was not tried: it was wrong for another channel a moment ago."""


class LiveStream:
    """A camera that is there as long as the box runs. An adapter gives `_session`: one connection, until it breaks."""

    def __init__(
        self,
        camera_id: str,
        url: str,
        host: str,
        sink: FrameSink,
        options: StreamOptions,
        clock: Clock,
        uniform: Callable[[float, float], float] = random.uniform,
        gate: HostGate = SHARED_GATE,
    ) -> None:
        self.camera_id = camera_id
        self.ring: PacketRing | None = PacketRing(options.ring_seconds, options.ring_bytes)
        self.demand = Demand("key")
        self._url, self._host, self._sink, self._options, self._clock = url, host, sink, options, clock
        self._uniform, self._gate = uniform, gate
        self._secrets, self._account = secrets_of(url), _login_of(url)
        self._state, self._reason = StreamState.CONNECTING, ""
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._slot: Slot | None = None
        self._seq = self._epoch = self._packets = self._tainted = 0
        self._attempts, self._family = 0, ""
        self._skew: float | None = None
        self._last_frame_at: datetime | None = None
        self._live_since: float | None = None
        self._order = Monotone()

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        return self._state

    def health(self) -> StreamHealth:
        """Return the counts since the start."""
        return StreamHealth(
            state=self._state,
            reason=self._reason,
            connects=self._epoch,
            packets=self._packets,
            frames_decoded=self._seq,
            tainted_ratio=self._tainted / self._seq if self._seq else 0.0,
            clock_skew_s=self._skew,
            last_frame_at=self._last_frame_at,
        )

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread = threading.Thread(
            target=self.run, args=(self._stop,), name=f"camera-{self.camera_id}", daemon=True
        )
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop and wait for the thread's end; a native call that hangs is left to its own timeout."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def run(self, stop: threading.Event) -> None:
        """Connect, work, wait and connect again until `stop` is set."""
        while not stop.is_set():
            began, self._live_since = self._clock.monotonic(), None
            try:
                self._slot = self._gate.acquire(self._host, stop)
                began = self._clock.monotonic()
                if self._slot is not None:
                    self._check_account()
                    with METER.stage("network"):
                        self._session(stop)
            # A camera may fail in any way at all; none of them may end its thread.
            except Exception as exc:
                self._back_off(exc, began, stop)
            finally:
                self._release()

    def _check_account(self) -> None:
        if self._account and self._gate.locked_s(self._host, self._account):
            raise _LockedError("auth", "the host has refused this login for another channel")

    def _session(self, stop: threading.Event) -> None:
        """Connect and deliver until `stop` is set; any end before that is an exception."""
        raise NotImplementedError

    def _forgiven(self) -> int:
        """Failures that the last connection made good: six for `steady_s` seconds, so that a long past weighs nothing."""
        if self._live_since is None:
            return 0
        return int((self._clock.monotonic() - self._live_since) * 6 / self._options.steady_s)

    def _back_off(self, exc: Exception, began: float, stop: threading.Event) -> None:
        elapsed = 0.0 if self._live_since is not None else self._clock.monotonic() - began
        code = classify(exc, elapsed, self._options.stall_s)
        before = self._attempts if family(code) == self._family else 0
        if code == "auth" and self._account and not isinstance(exc, _LockedError):
            self._gate.refused(self._host, self._account, self._options.auth_backoff_s)
        # Not before: whoever waits for the slot must see that the login is wrong.
        self._release()
        self._family, self._attempts = family(code), max(0, before - self._forgiven()) + 1
        wait = backoff_s(self._attempts, code, self._options, self._uniform)
        text = redact(str(exc), self._secrets) or type(exc).__name__
        self._go(StreamState.BACKING_OFF, f"{code}: {text[:140]}; next try in {wait:.1f} s")
        stop.wait(wait)
        if not stop.is_set():
            self._go(StreamState.CONNECTING, "")

    def _release(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()

    def _go(self, state: StreamState, reason: str) -> None:
        self._state = step(self._state, state)
        self._reason = redact(reason, self._secrets)[:REASON_LENGTH]
        self._sink.on_event(StreamEvent(self.camera_id, state, self._reason, self._clock.now()))

    def _packet_came(self, what: str) -> None:
        """Count a packet; the first of a connection makes the stream live."""
        self._packets += 1
        if self._live_since is None:
            self._live_since = self._clock.monotonic()
            self._release()
            if self._account:
                self._gate.accepted(self._host, self._account)
            self._go(StreamState.LIVE, what)

    def _deliver(self, picture: Decoded, source: ClockSource, offset_s: float | None) -> None:
        self._tainted += picture.tainted
        at, mono_s = self._order.ordered(picture.stamp.at, picture.stamp.mono_s)
        meta = FrameMeta(
            camera_id=self.camera_id,
            seq=self._seq,
            captured_at=at,
            mono_s=mono_s,
            clock_source=source,
            clock_offset_s=offset_s,
            key=bool(picture.video.key_frame),
            tainted=picture.tainted,
            epoch=self._epoch,
            width=picture.video.width,
            height=picture.video.height,
        )
        self._seq += 1
        self._last_frame_at = at
        self._sink.on_frame(Frame(meta, picture.video))


def _login_of(url: str) -> str:
    """Return user, password, host and port of an address; "" where it has no login."""
    try:
        netloc = urlsplit(url).netloc
    except ValueError:
        return ""
    return netloc if "@" in netloc else ""
