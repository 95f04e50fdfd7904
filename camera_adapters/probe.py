"""What a person wants to know of a camera in five seconds."""

from __future__ import annotations

import itertools
import statistics
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2

from camera_adapters.clock import Clock
from camera_adapters.frame import Frame
from camera_adapters.mends import habits, mend_for
from camera_adapters.open import open_stream
from camera_adapters.redact import redact
from camera_adapters.ring import RingPacket
from camera_adapters.stream import Demand, StreamEvent, StreamOptions, StreamState


@dataclass
class ProbeReport:
    """The findings. Times in seconds; `url` without its credentials; `mend` is empty when all is well."""

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
    connected_s: float | None = None
    first_picture_s: float | None = None
    clock_source: str = ""
    clock_offset_s: float | None = None
    picture: str = ""
    advice: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return asdict(self)


class _Watch:
    """Notes when things happened; `over` is set when the stream has given up for now."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._begin = clock, clock.monotonic()
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
) -> ProbeReport:
    """Watch an address for `seconds` and report; a saved picture goes to `picture` (its suffix names the format).

    Raises:
        ValueError: no adapter knows the address.
    """
    watch = _Watch(clock)
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
    report = ProbeReport(redact(url), connected_s=watch.live_s, first_picture_s=watch.first_s)
    _measure(report, packets)
    _judge(report, watch)
    if picture is not None and watch.frame is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        if cv2.imwrite(str(picture), cv2.cvtColor(watch.frame.rgb(), cv2.COLOR_RGB2BGR)):
            report.picture = str(picture)
    return report


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
    keys = [float(p.pts * p.params.time_base) for p in packets if p.key and p.pts is not None]
    if len(keys) > 1:
        report.key_interval_s = round(statistics.median(b - a for a, b in itertools.pairwise(keys)), 2)
    elif keys:
        # One key frame only: the interval is at least the time watched since.
        report.key_interval_s = round(times[-1] - keys[0], 2)


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
