"""What a person wants to know of a camera in five seconds."""

from __future__ import annotations

import itertools
import statistics
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import av
import cv2

from camera_adapters.clock import Clock
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame
from camera_adapters.mends import LIKELY_PATHS, habits, mend_for
from camera_adapters.open import open_stream
from camera_adapters.redact import redact, secrets_of
from camera_adapters.ring import RingPacket
from camera_adapters.stream import StreamEvent, StreamOptions, StreamState


@dataclass
class ProbeReport:
    """The findings. Times in seconds; `url` without its credentials; `mend` is empty when all is well.

    Attributes:
        gop: pictures from one key frame to the next; `gop_is_least` when only one key frame came in the time watched.
        answering: likely addresses on the same host that do give a picture, when the one asked for is not found.
    """

    url: str
    ok: bool = False
    reason: str = ""
    mend: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float | None = None
    kbit_s: float | None = None
    key_interval_s: float | None = None
    gop: int | None = None
    gop_is_least: bool = False
    connected_s: float | None = None
    first_picture_s: float | None = None
    clock_source: str = ""
    clock_offset_s: float | None = None
    picture: str = ""
    advice: list[str] = field(default_factory=list)
    answering: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return asdict(self)


class _Watch:
    """Notes when things happened; `over` is set when the stream has given up for now."""

    def __init__(self, clock: Clock, on_live: Callable[[], None]) -> None:
        self._clock, self._begin, self._on_live = clock, clock.monotonic(), on_live
        self.live_s: float | None = None
        self.first_s: float | None = None
        self.frame: Frame | None = None
        self.failure = ""
        self.over = threading.Event()

    def on_frame(self, frame: Frame) -> None:
        if self.first_s is None:
            self.first_s = self._clock.monotonic() - self._begin
        self.frame = frame

    def on_event(self, event: StreamEvent) -> None:
        if event.state is StreamState.LIVE:
            if self.live_s is None:
                self._on_live()
            self.live_s = self._clock.monotonic() - self._begin
        elif event.state in {StreamState.BACKING_OFF, StreamState.FAILED}:
            self.failure = event.reason
            self.over.set()


def probe(
    url: str,
    clock: Clock,
    seconds: float = 5.0,
    transport: str = "tcp",
    picture: Path | None = None,
    on_live: Callable[[], None] = lambda: None,
) -> ProbeReport:
    """Watch an address for `seconds` and report; a saved picture goes to `picture` (its suffix names the format).

    `on_live` is called on the stream's thread when the first packet has come, and must return at once.

    Raises:
        ValueError: no adapter knows the address.
    """
    watch = _Watch(clock, on_live)
    options = StreamOptions(
        transport="udp" if transport == "udp" else "tcp",
        stall_s=max(4.0, seconds),
        key_stall_s=seconds,
        ring_seconds=seconds + 5,
        paced=True,
    )
    stream = open_stream("probe", url, watch, options, clock)
    stream.demand = Demand("all")
    stream.start()
    if _silent(watch, seconds):
        watch.over.wait(seconds * 2)
    packets = stream.ring.held() if stream.ring is not None else []
    stream.close(seconds + 5)
    report = ProbeReport(
        redact(url, secrets_of(url)), connected_s=watch.live_s, first_picture_s=watch.first_s
    )
    _measure(report, packets)
    _judge(report, watch)
    if report.reason.startswith("not_found"):
        report.answering = paths_that_answer(url)
    if picture is not None and watch.frame is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        if cv2.imwrite(str(picture), cv2.cvtColor(watch.frame.rgb(), cv2.COLOR_RGB2BGR)):
            report.picture = str(picture)
    return report


def paths_that_answer(url: str, timeout_s: float = 2.0) -> list[str]:
    """Try the paths of common makers on an RTSP address's host, with its login, and return those that describe a video.

    Only after the host has said that it does not know a path: it then knows the login, and locks nobody out.
    """
    parts, found = urlsplit(url), []
    if parts.scheme not in {"rtsp", "rtsps"}:
        return []
    options = {
        "rtsp_transport": "tcp",
        "timeout": str(int(timeout_s * 1e6)),
        "probesize": "32",
        "analyzeduration": "0",
    }
    for maker, path in LIKELY_PATHS:
        other, _, query = path.partition("?")
        guess = urlunsplit((parts.scheme, parts.netloc, other, query, ""))
        try:
            with av.open(guess, options=options, timeout=(timeout_s, timeout_s)) as container:
                if container.streams.video:
                    found.append(f"{redact(guess, secrets_of(url))} ({maker})")
        except (OSError, av.error.FFmpegError) as exc:
            if isinstance(exc, (ConnectionRefusedError, TimeoutError, av.error.HTTPUnauthorizedError)):
                break
    return found


def _silent(watch: _Watch, seconds: float) -> bool:
    """Wait the watching time; True while the camera has neither shown itself nor failed."""
    watch.over.wait(seconds)
    return watch.live_s is None and not watch.over.is_set()


def _measure(report: ProbeReport, packets: list[RingPacket]) -> None:
    if not packets:
        return
    params = packets[-1].params
    report.codec, report.width, report.height = params.codec, params.width, params.height
    times = sorted(float(p.pts * p.params.time_base) for p in packets if p.pts is not None)
    gaps = [b - a for a, b in itertools.pairwise(times) if b > a]
    if gaps:
        report.fps = round(1 / statistics.median(gaps), 2)
        report.kbit_s = round(sum(len(p.data) for p in packets) * 8 / max(times[-1] - times[0], 0.04) / 1000)
    at = [i for i, p in enumerate(packets) if p.key]
    # By the time of capture, since a stream's first packet, a key frame, often comes without a timestamp.
    keys = [packets[i].at.timestamp() for i in at]
    if len(keys) > 1:
        report.key_interval_s = round(statistics.median(b - a for a, b in itertools.pairwise(keys)), 2)
        report.gop = round(statistics.median(b - a for a, b in itertools.pairwise(at)))
    elif keys:
        # One key frame only: the interval is at least the time watched since.
        report.key_interval_s, report.gop_is_least = round(packets[-1].at.timestamp() - keys[0], 2), True
        report.gop = len(packets) - at[0]


def _judge(report: ProbeReport, watch: _Watch) -> None:
    if watch.frame is not None:
        meta = watch.frame.meta
        report.ok = True
        report.width, report.height = meta.width, meta.height
        report.clock_source, report.clock_offset_s = meta.clock_source, meta.clock_offset_s
        report.advice = habits(report.codec, report.key_interval_s, report.fps, report.clock_offset_s)
        return
    reason = watch.failure or (
        "no_key: packets come, but no key frame" if watch.live_s is not None else "timeout: no answer"
    )
    code, _, text = reason.partition(": ")
    # A server that refuses the transport and one that is silent look alike until the wait is over.
    report.reason = f"{code}: {text.split('; next try')[0]}"
    report.mend = mend_for(code)
