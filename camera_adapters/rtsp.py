"""RTSP: one thread a camera. It demuxes always (0.2 % of a core), decodes on demand, and comes back by itself."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import av

from camera_adapters.clock import Clock
from camera_adapters.decoder import OnDemandDecoder, Stamp
from camera_adapters.frame import ClockSource, Frame, FrameMeta
from camera_adapters.redact import redact
from camera_adapters.ring import PacketRing, RingPacket, StreamParams
from camera_adapters.stream import (
    Demand,
    FrameSink,
    StreamEvent,
    StreamHealth,
    StreamOptions,
    StreamState,
    step,
)


class StallError(Exception):
    """No packet came for longer than the stall clock allows."""


class StreamEndedError(Exception):
    """The server closed the stream; PyAV's demuxer just ends, without an exception."""


def classify(exc: BaseException, elapsed_s: float, timeout_s: float) -> str:
    """Return the reason code of a failure: auth, not_found, refused, timeout, server, eof or protocol."""
    if isinstance(exc, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        return "auth"
    if isinstance(exc, av.error.HTTPNotFoundError):
        return "not_found"
    # A server that accepts and stays silent raises InvalidDataError after the timeout, not a timeout error.
    if isinstance(exc, (StallError, TimeoutError, av.error.ExitError)) or elapsed_s >= timeout_s * 0.95:
        return "timeout"
    if isinstance(exc, ConnectionRefusedError):
        return "refused"
    if isinstance(exc, StreamEndedError):
        return "eof"
    if isinstance(exc, (av.error.HTTPOtherClientError, av.error.HTTPServerError)):
        return "server"
    return "protocol"


def backoff_s(
    attempt: int, reason: str, options: StreamOptions, uniform: Callable[[float, float], float]
) -> float:
    """Return the seconds to wait before attempt number `attempt` + 1: exponential with jitter and a cap."""
    if reason == "auth":
        return options.auth_backoff_s
    grown = options.backoff_base_s * 2.0 ** min(attempt, 16)
    return min(options.backoff_cap_s, grown) * uniform(0.5, 1.0)


class RtspStream:
    """A camera over RTSP. See `camera_adapters.stream.CameraStream`."""

    def __init__(
        self,
        camera_id: str,
        url: str,
        sink: FrameSink,
        options: StreamOptions,
        clock: Clock,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.camera_id = camera_id
        self._url, self._sink, self._options, self._clock, self._uniform = url, sink, options, clock, uniform
        self.ring: PacketRing | None = PacketRing(options.ring_seconds, options.ring_bytes)
        self.demand = Demand("key")
        self._state = StreamState.CONNECTING
        self._reason = ""
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._seq = self._epoch = self._packets = self._tainted = 0
        self._skew: float | None = None
        self._last_frame_at: datetime | None = None
        self._live_since: float | None = None

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        return self._state

    def health(self) -> StreamHealth:
        """Return the counts since the start."""
        ratio = self._tainted / self._seq if self._seq else 0.0
        return StreamHealth(
            self._state,
            self._reason,
            self._epoch,
            self._packets,
            self._seq,
            ratio,
            self._skew,
            self._last_frame_at,
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
        attempt = 0
        while not stop.is_set():
            began = self._clock.monotonic()
            self._live_since = None
            try:
                self._session(stop)
            except Exception as exc:
                failed = self._clock.monotonic()
                steady = self._live_since is not None and failed - self._live_since > self._options.steady_s
                attempt = 0 if steady else attempt + 1
                elapsed = 0.0 if self._live_since is not None else failed - began
                reason = classify(exc, elapsed, self._options.stall_s)
                wait = backoff_s(attempt, reason, self._options, self._uniform)
                self._go(StreamState.BACKING_OFF, f"{reason}: {redact(exc)}; next try in {wait:.1f} s")
                stop.wait(wait)
                if not stop.is_set():
                    self._go(StreamState.CONNECTING, "")

    def _go(self, state: StreamState, reason: str) -> None:
        self._state, self._reason = step(self._state, state), reason[:200]
        self._sink.on_event(StreamEvent(self.camera_id, state, self._reason, self._clock.now()))

    def _open(self) -> av.container.InputContainer:
        stall = self._options.stall_s
        options = {
            "rtsp_transport": self._options.transport,
            # Microseconds; "stimeout" is silently ignored since FFmpeg 5, and without a timeout the open hangs.
            "timeout": str(int(stall * 1e6)),
            # 0.06 s to open instead of 1.1 s; "nobuffer" would drop the first GOP.
            "probesize": "32",
            "analyzeduration": "0",
            "allowed_media_types": "video",
        }
        return av.open(self._url, options=options, timeout=(stall, stall * 2))

    def _session(self, stop: threading.Event) -> None:
        with self._open() as container:
            video = container.streams.video[0]
            codec = video.codec_context
            self._epoch += 1
            decoder = OnDemandDecoder(video)
            base = video.time_base or Fraction(1, 90_000)
            params = StreamParams(codec.name, codec.width, codec.height, base, codec.extradata, self._epoch)
            last = self._clock.monotonic()
            for packet in container.demux(video):
                mono = self._clock.monotonic()
                # The parser flushes at 1x the timeout; the library's own exception comes only at 2x.
                if mono - last > self._options.stall_s * 0.95:
                    self._go(StreamState.STALLED, f"no packet for {mono - last:.1f} s")
                    raise StallError(f"no packet for {mono - last:.1f} s")
                last = mono
                if stop.is_set():
                    return
                if packet.size:
                    self._packet(packet, decoder, params, mono)
        if not stop.is_set():
            raise StreamEndedError("the server closed the stream")

    def _packet(
        self, packet: av.Packet[av.VideoStream], decoder: OnDemandDecoder, params: StreamParams, mono: float
    ) -> None:
        self._packets += 1
        if self._live_since is None:
            self._live_since = mono
            self._go(StreamState.LIVE, f"{params.codec} {params.width}x{params.height}")
        at, source, offset = self._capture_time(packet)
        if self.ring is not None:
            self.ring.push(RingPacket(at, packet.is_keyframe, packet.pts, packet.dts, bytes(packet), params))
        # The capture moment on the monotonic clock: what the packet's age is, subtracted from now.
        age = min(max((self._clock.now() - at).total_seconds(), 0.0), 10.0)
        for picture in decoder.feed(packet, Stamp(at, mono - age), self.demand):
            self._tainted += picture.tainted
            meta = FrameMeta(
                self.camera_id,
                self._seq,
                picture.stamp.at,
                picture.stamp.mono_s,
                source,
                offset,
                bool(picture.video.key_frame),
                picture.tainted,
                self._epoch,
                picture.video.width,
                picture.video.height,
            )
            self._seq += 1
            self._last_frame_at = picture.stamp.at
            self._sink.on_frame(Frame(meta, picture.video))

    def _capture_time(self, packet: av.Packet[av.VideoStream]) -> tuple[datetime, ClockSource, float | None]:
        now = self._clock.now()
        if not packet.has_sidedata("prft"):
            return now, "arrival", None
        micros = struct.unpack("<q", bytes(packet.get_sidedata("prft"))[:8])[0]
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
        self._skew = skew = (at - now).total_seconds()
        if abs(skew) > self._options.max_skew_s:
            return now, "arrival", skew
        return at, "rtcp_sender_report", skew
