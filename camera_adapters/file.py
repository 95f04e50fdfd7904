"""A video file as a camera: on a virtual clock faster than real time, or paced like a live one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from fractions import Fraction

import av
from av.bitstream import BitStreamFilterContext

from camera_adapters.clock import Clock, VirtualClock
from camera_adapters.decoder import Decoded, OnDemandDecoder, Stamp
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.reasons import StreamFaultError
from camera_adapters.ring import PacketRing, RingPacket, StreamParams
from camera_adapters.stream import (
    FrameSink,
    StreamEvent,
    StreamHealth,
    StreamOptions,
    StreamState,
    step,
)


class FileStream:
    """Plays one file from its first picture to its last. With a `VirtualClock` it advances the clock itself.

    Without one it waits so that the pictures come at the file's own pace.
    """

    def __init__(
        self, camera_id: str, path: str, sink: FrameSink, options: StreamOptions, clock: Clock
    ) -> None:
        self.camera_id = camera_id
        self._path, self._sink, self._options, self._clock = path, sink, options, clock
        self.ring: PacketRing | None = PacketRing(options.ring_seconds, options.ring_bytes)
        self.demand = Demand("all")
        self._state = StreamState.CONNECTING
        self._reason = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._seq = self._packets = self._tainted = 0
        self._last_frame_at: datetime | None = None

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        return self._state

    def health(self) -> StreamHealth:
        """Return the counts since the start."""
        ratio = self._tainted / self._seq if self._seq else 0.0
        return StreamHealth(
            self._state, self._reason, 1, self._packets, self._seq, ratio, None, self._last_frame_at
        )

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread = threading.Thread(
            target=self.run, args=(self._stop,), name=f"camera-{self.camera_id}", daemon=True
        )
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop and wait for the thread's end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def run(self, stop: threading.Event) -> None:
        """Play the file to its end, or until `stop` is set."""
        try:
            self._play(stop)
        except StreamFaultError as exc:
            self._go(StreamState.FAILED, f"{exc.code}: {exc}")
            return
        except (OSError, av.error.FFmpegError) as exc:
            self._go(StreamState.FAILED, f"protocol: {type(exc).__name__}: the file cannot be played")
            return
        self._go(StreamState.FAILED, "eof: the file has ended")

    def _go(self, state: StreamState, reason: str) -> None:
        self._state, self._reason = step(self._state, state), reason
        self._sink.on_event(StreamEvent(self.camera_id, state, reason, self._clock.now()))

    def _play(self, stop: threading.Event) -> None:
        begin_at, begin_mono = self._clock.now(), self._clock.monotonic()
        with av.open(self._path) as container:
            if not container.streams.video:
                raise StreamFaultError("codec", "the file holds no video")
            video = container.streams.video[0]
            codec = video.codec_context
            base = video.time_base or Fraction(1, 90_000)
            annexb = _AnnexB(video)
            extradata = None if annexb.converts else codec.extradata
            params = StreamParams(codec.name, codec.width, codec.height, base, extradata, 1)
            decoder = OnDemandDecoder(video.codec_context)
            self._go(StreamState.LIVE, f"{codec.name} {codec.width}x{codec.height}")
            first: int | None = None
            step_s = 1 / float(video.average_rate or 25)
            for packet in container.demux(video):
                if stop.is_set():
                    return
                if not packet.size:
                    continue
                pts = packet.pts if packet.pts is not None else packet.dts
                first = pts if first is None else first
                # Some AVI files carry no timestamps at all: then the frame rate is the clock.
                second = (
                    self._packets * step_s if pts is None or first is None else float((pts - first) * base)
                )
                self._packets += 1
                self._wait_until(begin_mono + second, stop)
                stamp = Stamp(begin_at + timedelta(seconds=second), begin_mono + second)
                self._remember(annexb, packet, stamp, params)
                self._deliver(decoder.feed(packet, stamp, self.demand))
            self._deliver(decoder.finish())

    def _remember(
        self, annexb: _AnnexB, packet: av.Packet[av.VideoStream], stamp: Stamp, params: StreamParams
    ) -> None:
        if self.ring is not None:
            data = annexb.data(packet)
            self.ring.push(
                RingPacket(stamp.at, packet.is_keyframe, packet.pts, packet.dts, data, params, stamp.mono_s)
            )

    def _wait_until(self, mono: float, stop: threading.Event) -> None:
        if isinstance(self._clock, VirtualClock):
            self._clock.advance_to(mono)
        elif (wait := mono - self._clock.monotonic()) > 0:
            stop.wait(wait)

    def _deliver(self, pictures: Iterator[Decoded]) -> None:
        for picture in pictures:
            self._tainted += picture.tainted
            meta = FrameMeta(
                self.camera_id,
                self._seq,
                picture.stamp.at,
                picture.stamp.mono_s,
                "file",
                None,
                bool(picture.video.key_frame),
                picture.tainted,
                1,
                picture.video.width,
                picture.video.height,
            )
            self._seq += 1
            self._last_frame_at = picture.stamp.at
            self._sink.on_frame(Frame(meta, picture.video))


class _AnnexB:
    """MP4 and MKV hold H.264 and H.265 with length prefixes; the ring wants start codes, as cameras send them."""

    def __init__(self, video: av.VideoStream) -> None:
        codec = video.codec_context
        lengths = codec.name in {"h264", "hevc"} and (codec.extradata or b"")[:1] == b"\1"
        self._filter = BitStreamFilterContext(f"{codec.name}_mp4toannexb", video) if lengths else None

    @property
    def converts(self) -> bool:
        """Whether packets are rewritten; then each key frame carries the parameter sets itself."""
        return self._filter is not None

    def data(self, packet: av.Packet[av.VideoStream]) -> bytes:
        """Return the packet's bytes with start codes."""
        if self._filter is None:
            return bytes(packet)
        copy = av.Packet(bytes(packet))
        copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
        copy.is_keyframe = packet.is_keyframe
        return b"".join(bytes(part) for part in self._filter.filter(copy))
