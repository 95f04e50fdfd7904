"""RTSP: one thread a camera. It receives always, decodes on demand, and comes back by itself.

H.264 and H.265 over TCP are read by `RtspReader`, which takes two thirds of FFmpeg's time; UDP, TLS and whatever that does not know by FFmpeg.
"""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import cast
from urllib.parse import urlsplit

import av

from camera_adapters.capture import CaptureClock
from camera_adapters.clock import Clock
from camera_adapters.coded import Coded, CodedPicture, bytes_of, packet_of
from camera_adapters.decoder import OnDemandDecoder, Stamp, software
from camera_adapters.hosts import SHARED_GATE, HostGate
from camera_adapters.hwaccel import SOFTWARE, Accelerator
from camera_adapters.live import REASON_LENGTH, LiveStream
from camera_adapters.meter import METER
from camera_adapters.parameter_sets import sequence_parameter_set
from camera_adapters.reasons import StreamFaultError
from camera_adapters.redact import redact, secrets_of
from camera_adapters.ring import RingPacket, StreamParams
from camera_adapters.rtp import CLOCK, UnreadableError
from camera_adapters.rtsp_reader import RtspReader
from camera_adapters.stream import FrameSink, StreamEvent, StreamHealth, StreamOptions, StreamState

_SPARSE = frozenset({"none", "key"})
# A thread that is woken for every packet of 25 a second pays a third of its CPU time for waking. Where key frames are enough it
# rests, and then takes what has come at once: half a second of 16 Mbit/s is a megabyte, which the kernel's buffer holds.
REST_S = 0.4
# Not in a connection's first seconds, in which servers send what they kept, and not when packets lie in the socket.
REST_AFTER_S, FRESH_S = 5.0, 0.06
# Where every picture is wanted, the many small pieces in which it comes are not each worth waking for.
DENSE_REST_S, _WAIT_S = 0.01, 0.5
ASK_CAMERA_S = 1.0
# Where FFmpeg can read a camera that the reader could not, the reader does not try again before.
ASIDE_S = 6 * 3600.0
# After so many key frames it has shown that it can. Faults that may be a reader's own, and those that may where it has not.
_KEYS = 3
_READERS = frozenset({"codec", "no_key", "protocol"})
_ANYONES = _READERS | {"auth", "not_found", "timeout"}
_RTP_BASE = Fraction(1, CLOCK)
_Told = Callable[[Coded], "datetime | None"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RtspStream(LiveStream):
    """A camera over RTSP. See `camera_adapters.stream.CameraStream`.

    `resolve` gives the address anew before each connection, for sources whose addresses are short-lived
    (ONVIF, a GB/T 28181 gateway).
    """

    def __init__(
        self,
        camera_id: str,
        url: str,
        sink: FrameSink,
        options: StreamOptions,
        clock: Clock,
        uniform: Callable[[float, float], float] = random.uniform,
        gate: HostGate = SHARED_GATE,
        resolve: Callable[[], str] | None = None,
    ) -> None:
        super().__init__(camera_id, url, host_of(url), sink, options, clock, uniform, gate)
        self._resolve = resolve
        self._accelerator = Accelerator(options.hardware)
        # Whether `RtspReader` has read this camera, ever and in this connection; why it may not be able to, so that the next turn
        # is FFmpeg's; and until when FFmpeg, which could, goes on, and why.
        self._proved, self._reads, self._doubt = False, False, ""
        self._aside_until, self._why = float("-inf"), ""

    def health(self) -> StreamHealth:
        """Return the counts since the start."""
        return replace(super().health(), decoder=self._accelerator.active)

    def _open(self, url: str) -> av.container.InputContainer:
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
        return av.open(url, options=options, timeout=(stall, stall * 2))

    def _session(self, stop: threading.Event) -> None:
        url = self._url if self._resolve is None else self._resolve()
        self._secrets = tuple(dict.fromkeys((*secrets_of(self._url), *secrets_of(url))))
        tcp = self._options.transport == "tcp" and url.startswith("rtsp://")
        if tcp and not self._doubt and self._clock.monotonic() >= self._aside_until:
            self._reads, self._why = False, ""
            try:
                with RtspReader(url, self._options.stall_s) as reader:
                    return self._read(reader, stop)
            except UnreadableError as exc:
                self._doubt = str(exc)
            except StreamFaultError as exc:
                if not self._reads and exc.code in (_READERS if self._proved else _ANYONES):
                    self._doubt = str(exc)
                raise
        self._why, self._doubt = self._doubt or self._why, ""
        try:
            return self._demux(url, stop)
        finally:
            if self._why and self._live_since is not None:
                self._aside_until = self._clock.monotonic() + ASIDE_S

    def _read(self, reader: RtspReader, stop: threading.Event) -> None:
        track = reader.track
        params = StreamParams(track.codec, 0, 0, _RTP_BASE, track.extradata, self._epoch + 1)

        def camera_time(packet: Coded) -> datetime | None:
            return None if packet.pts is None else reader.camera_time(packet.pts)

        self._receive(reader, self._connection(params, camera_time), stop)

    def _receive(self, reader: RtspReader, connection: Connection, stop: threading.Event) -> None:
        last = self._clock.monotonic()
        while not stop.is_set():
            units, more = reader.read(_WAIT_S)
            mono = self._clock.monotonic()
            if units:
                last = mono
            elif mono - last > self._options.stall_s * 0.95:
                self._stalled("timeout", f"no packet for {mono - last:.1f} s")
            for unit in units:
                self._packet(CodedPicture(unit.data, unit.key, unit.pts, unit.torn), connection, mono)
            if not self._reads and connection.keys >= _KEYS:
                self._proved = self._reads = True
            if not more:
                METER.lap()
                stop.wait(
                    REST_S if self.demand.mode in _SPARSE and connection.settled(mono) else DENSE_REST_S
                )

    def _demux(self, url: str, stop: threading.Event) -> None:
        with self._open(url) as container:
            connection = self._demuxed(container)
            if self._live_since is not None:
                self._go_on(connection.params)
            last = self._clock.monotonic()
            for packet in container.demux(video=0):
                mono = self._clock.monotonic()
                # The parser flushes at 1x the timeout; the library's own exception comes only at 2x.
                if mono - last > self._options.stall_s * 0.95:
                    self._stalled("timeout", f"no packet for {mono - last:.1f} s")
                last = mono
                if stop.is_set():
                    return
                if packet.size:
                    self._packet(packet, connection, mono)
                    if self._may_rest(connection, mono):
                        METER.lap()
                        stop.wait(REST_S)
                        last = self._clock.monotonic()
        if not stop.is_set():
            # PyAV's demuxer just ends, without an exception.
            raise StreamFaultError("eof", "the server closed the stream")

    def _may_rest(self, connection: Connection, mono: float) -> bool:
        """Whether packets may gather in the socket for a moment: nobody waits for every picture, and none lies there."""
        sparse = self._options.transport == "tcp" and self.demand.mode in _SPARSE
        return sparse and connection.caught_up(mono)

    def _demuxed(self, container: av.container.InputContainer) -> Connection:
        video = next(iter(container.streams.video), None)
        # A stream whose codec FFmpeg does not know (SVAC, say) has no context.
        codec = cast("av.VideoCodecContext | None", video.codec_context) if video is not None else None
        if video is None or codec is None:
            raise StreamFaultError(
                "codec", "the address gives no video, or in a codec that is not known here"
            )
        base = video.time_base or _RTP_BASE
        params = StreamParams(codec.name, codec.width, codec.height, base, codec.extradata, self._epoch + 1)
        return self._connection(params, _camera_time)

    def _connection(self, params: StreamParams, told: _Told) -> Connection:
        self._epoch = params.epoch

        def decoder() -> av.VideoCodecContext:
            made = self._accelerator.decoder(params.codec, params.extradata)
            return made or software(params.codec, params.extradata)

        capture = CaptureClock(self._options.max_skew_s)
        return Connection(
            params, capture, OnDemandDecoder(decoder(), decoder), self._options, self._clock.monotonic(), told
        )

    def _soften(self, connection: Connection) -> None:
        """Go on in software, from the GOP at hand, when the hardware opened but gives no picture."""
        kind, decoder = self._accelerator.active, connection.decoder
        if kind == SOFTWARE or not decoder.hopeless:
            return
        self._accelerator.failed(kind, decoder.last_error or "no picture")
        decoder.replace(software(connection.params.codec, connection.params.extradata))
        # Said as the state's reason, though the state is the same.
        self._go_on(connection.params)

    def _words(self, params: StreamParams) -> str:
        by = f"; read by FFmpeg: {self._why}" if self._why else ""
        size = f" {params.width}x{params.height}" if params.width else ""
        return f"{params.codec}{size}{self._accelerator.note}{by}"

    def _go_on(self, params: StreamParams) -> None:
        self._reason = redact(self._words(params), self._secrets)[:REASON_LENGTH]
        self._sink.on_event(StreamEvent(self.camera_id, self._state, self._reason, self._clock.now()))

    def _stalled(self, code: str, why: str) -> None:
        if self._state is StreamState.LIVE:
            self._go(StreamState.STALLED, why)
        raise StreamFaultError(code, why)

    def _key_due(self, connection: Connection) -> float:
        """Return when the next key frame is overdue, in monotonic seconds."""
        return connection.last_key + connection.key_wait_s

    def _packet(self, packet: Coded, connection: Connection, mono: float) -> None:
        known = connection.params.width
        params = connection.seen(packet, mono)
        if params.width and not known and self._live_since is not None:
            self._go_on(params)
        self._epoch = max(self._epoch, params.epoch)
        self._packet_came("" if self._live_since is not None else self._words(params))
        if mono > self._key_due(connection):
            self._stalled(
                "no_key", f"no key frame for {mono - connection.last_key:.0f} s; nothing can be decoded"
            )
        pts_s = None if packet.pts is None else packet.pts * connection.tick_s
        capture = connection.capture.stamp(
            pts_s, connection.camera_time(packet, pts_s), self._clock.now(), mono
        )
        self._skew = capture.offset_s
        connection.note_delay(None if pts_s is None else mono - capture.mono_s)
        if self.ring is not None:
            kept = self.ring.push(
                RingPacket(
                    capture.at,
                    packet.is_keyframe,
                    packet.pts,
                    packet.dts,
                    bytes_of(packet),
                    params,
                    capture.mono_s,
                )
            )
            if isinstance(packet, CodedPicture):
                # The GOP at hand lies in the ring's memory.
                packet.data = kept
        for picture in connection.decoder.feed(packet, Stamp(capture.at, capture.mono_s), self.demand):
            self._deliver(picture, capture.source, capture.offset_s)
        self._soften(connection)
        if not connection.decoder.barren:
            connection.last_picture = mono
        elif (
            connection.decoder.barren > self._options.max_barren
            and mono - connection.last_picture > self._options.stall_s
        ):
            self._stalled("codec", f"{connection.decoder.barren} packets in a row did not decode")


class Connection:
    """One connection: its decoder, its clock, and what its key frames say."""

    def __init__(
        self,
        params: StreamParams,
        capture: CaptureClock,
        decoder: OnDemandDecoder,
        options: StreamOptions,
        mono: float,
        told: _Told,
    ) -> None:
        self.capture, self._tell = capture, told
        self.decoder = decoder
        self.last_key = self.last_picture = mono
        self.keys = 0
        self._told: datetime | None = None
        self._told_pts_s = float("-inf")
        self._began = mono
        self._fresh = False
        self.params, self._key_stall = params, options.key_stall_s
        # Once a connection: arithmetic with fractions takes 25 µs a packet.
        self.tick_s = float(params.time_base)
        self._longest_gop = 0.0
        self._sps: bytes | None = None

    def note_delay(self, delay_s: float | None) -> None:
        """Note how much later than the quickest packets one came; None where packets tell no times."""
        self._fresh = delay_s is not None and delay_s < FRESH_S

    def caught_up(self, mono: float) -> bool:
        """Whether the last packet was fresh, on a connection old enough to know its quickest packets."""
        return self._fresh and self.settled(mono)

    def settled(self, mono: float) -> bool:
        """Whether a connection is old enough to know its quickest packets."""
        return mono - self._began > REST_AFTER_S

    def camera_time(self, packet: Coded, pts_s: float | None) -> datetime | None:
        """Return the picture's time by the camera's clock, UTC; None where the camera does not tell.

        It is reckoned from the last sender report; asking FFmpeg takes as long as the rest of a packet, so it is asked for once
        a second and reckoned on by the packets' own times.
        """
        if pts_s is None:
            return self._tell(packet)
        if not 0 <= pts_s - self._told_pts_s < ASK_CAMERA_S:
            self._told, self._told_pts_s = self._tell(packet), pts_s
        return None if self._told is None else self._told + timedelta(seconds=pts_s - self._told_pts_s)

    @property
    def key_wait_s(self) -> float:
        """How long a key frame is waited for; "smart" codecs stretch their GOP, so the longest one seen counts."""
        return max(self._key_stall, self._longest_gop * 4)

    def seen(self, packet: Coded, mono: float) -> StreamParams:
        """Note a packet and return the parameters that it belongs to: a new resolution is a new epoch."""
        if not packet.is_keyframe:
            return self.params
        self.keys += 1
        self._longest_gop = max(self._longest_gop, mono - self.last_key)
        self.last_key = mono
        sps = sequence_parameter_set(self.params.codec, bytes(bytes_of(packet)))
        if not self.params.width:
            width, height = _size_of(self.params, packet)
            self.params = replace(self.params, width=width, height=height)
        elif sps is not None and self._sps is not None and sps != self._sps:
            width, height = _size_of(replace(self.params, extradata=None), packet)
            self.params = replace(
                self.params, width=width, height=height, extradata=None, epoch=self.params.epoch + 1
            )
        self._sps = sps or self._sps
        return self.params


def _size_of(params: StreamParams, packet: Coded) -> tuple[int, int]:
    parser = software(params.codec, params.extradata)
    try:
        pictures = [*parser.decode(av.Packet(bytes(bytes_of(packet)))), *parser.decode(None)]
    except av.error.FFmpegError:
        return 0, 0
    return next(((p.width, p.height) for p in pictures), (0, 0))


def _camera_time(packet: Coded) -> datetime | None:
    """Return the sender-report time that FFmpeg attaches to a packet (`AVProducerReferenceTime`, microseconds)."""
    data = bytes(packet_of(packet).get_sidedata("prft"))
    if len(data) < 8:
        return None
    micros = struct.unpack_from("<q", data)[0]
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None


def host_of(url: str) -> str:
    """Return the host of an address for the limits per host; "" where it names none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
