"""How far from the limit: our decoding against FFmpeg's, our detector against the bare runtime, and what the rest costs.

Both sides of a pair run by turns in one process on one core, so that a busy machine slows both; what counts is the
median of the rounds' ratios of CPU seconds (of wall seconds where a GPU does the work).
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import av

from bench.limit_bare import bare_session
from camera_adapters.clock import SystemClock, VirtualClock
from camera_adapters.demand import Demand
from camera_adapters.file import FileStream
from camera_adapters.frame import Frame
from camera_adapters.open import open_stream
from camera_adapters.stream import StreamEvent, StreamOptions
from edge.worker import picture_for
from models.bundle import load_bundle
from models.detector import Detector

Mode = Literal["key", "all"]
GPU = frozenset({"cuda", "tensorrt"})
DECODE_TARGET, DETECT_TARGET, REST_TARGET_MS = 1.2, 1.15, 2.0


@dataclass(frozen=True, slots=True)
class Pair:
    """One comparison. Milliseconds are medians a unit; `ratio` is the median of the rounds' ratios."""

    what: str
    unit: str
    ours_ms: float
    bare_ms: float
    ratio: float
    rounds: int
    target: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None else self.ratio <= self.target

    def wire(self) -> dict[str, Any]:
        """Return the pair as JSON."""
        return {**asdict(self), "met": self.met}


def side_by_side(
    what: str,
    unit: str,
    ours: Callable[[], float],
    bare: Callable[[], float],
    rounds: int,
    target: float | None,
) -> Pair:
    """Run both by turns; each returns its milliseconds a unit. One round before the first is thrown away."""
    ours(), bare()
    told = [(ours(), bare()) if i % 2 else _turned(bare(), ours()) for i in range(rounds)]
    ratio = median(a / b for a, b in told)
    return Pair(what, unit, median(a for a, _ in told), median(b for _, b in told), ratio, rounds, target)


def _turned(bare: float, ours: float) -> tuple[float, float]:
    return ours, bare


class Pictures:
    """A sink that counts pictures and keeps none."""

    def __init__(self) -> None:
        self.count = 0

    def on_frame(self, _frame: Frame) -> None:
        """Count a picture."""
        self.count += 1

    def on_event(self, event: StreamEvent) -> None:
        """Take a change of state."""


def ours_decoded(clip: Path, mode: Mode) -> tuple[float, int]:
    """Play a file through our adapter (demux, ring, decode, hand over); return CPU seconds and pictures."""
    sink = Pictures()
    stream = FileStream("bench", str(clip), sink, StreamOptions(), VirtualClock())
    stream.demand = Demand(mode)
    began = time.thread_time()
    stream.run(threading.Event())
    return time.thread_time() - began, sink.count


def libav_decoded(clip: Path, mode: Mode) -> tuple[float, int]:
    """Decode with the same libraries in the shortest loop: one thread, key frames alone where asked."""
    began, count = time.thread_time(), 0
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        video.codec_context.thread_type = "NONE"
        if mode == "key":
            video.codec_context.skip_frame = "NONKEY"
        for _ in container.decode(video):
            count += 1
    return time.thread_time() - began, count


def ffmpeg_decoded(clip: Path, mode: Mode) -> float:
    """CPU seconds of `ffmpeg … -f null -` on one thread.

    Raises:
        FileNotFoundError: there is no ffmpeg.
        subprocess.CalledProcessError: it failed.
    """
    skip = ["-skip_frame", "nokey"] if mode == "key" else []
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", *skip, "-i", str(clip)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "-an", "-fps_mode", "passthrough", "-f", "null", "-"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def decoding(clip: Path, mode: Mode, rounds: int) -> list[Pair]:
    """Compare decoding of one file with the libraries' own loop and, where it is installed, with the ffmpeg program."""
    seen, theirs = ours_decoded(clip, mode)[1], libav_decoded(clip, mode)[1]
    if seen != theirs or seen < 2:
        raise ValueError(f"{clip}: we decode {seen} pictures, libav {theirs}; the two must do the same work")
    name = "key frames" if mode == "key" else "every frame"
    unit, per = f"picture of {_size(clip)}", 1e3 / seen

    def ours() -> float:
        return ours_decoded(clip, mode)[0] * per

    pairs = [
        side_by_side(
            f"{name}: libav's bare loop",
            unit,
            ours,
            lambda: libav_decoded(clip, mode)[0] * per,
            rounds,
            DECODE_TARGET,
        )
    ]
    if shutil.which("ffmpeg"):
        # Both less what the first picture alone takes: starting, opening and probing are paid once.
        with tempfile.TemporaryDirectory() as folder:
            one = beginning(clip, 0.02, Path(folder) / f"one{clip.suffix}")
            more = 1e3 / (seen - 1)

            def beyond() -> float:
                return (ours_decoded(clip, mode)[0] - ours_decoded(one, mode)[0]) * more

            def program() -> float:
                return (ffmpeg_decoded(clip, mode) - ffmpeg_decoded(one, mode)) * more

            pairs.append(
                side_by_side(f"{name}: ffmpeg -f null", unit, beyond, program, rounds, DECODE_TARGET)
            )
    return pairs


def beginning(clip: Path, seconds: float, target: Path) -> Path:
    """Write the first `seconds` of a clip to `target`, packet by packet as they are."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as out:
        video = source.streams.video[0]
        stream = out.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is None:
                continue
            if float(packet.dts * packet.time_base) >= seconds:
                break
            packet.stream = stream
            out.mux(packet)
    return target


def _size(clip: Path) -> str:
    with av.open(str(clip)) as container:
        codec = container.streams.video[0].codec_context
        return f"{codec.width} x {codec.height}"


def receiving(url: str, seconds: float, rounds: int) -> Pair:
    """Compare a camera's thread that only keeps packets with libav's bare demuxing, at the same time from one server."""

    def ours(told: list[float]) -> None:
        sink = Pictures()
        stream = open_stream("bench", url, sink, StreamOptions(), SystemClock())
        stream.demand = Demand("none")
        stop = threading.Event()
        timer = threading.Timer(seconds, stop.set)
        timer.start()
        began = time.thread_time()
        stream.run(stop)
        told.append((time.thread_time() - began) * 1e3 / max(1, stream.health().packets))

    def bare(told: list[float]) -> None:
        options = {
            "rtsp_transport": "tcp",
            "probesize": "32",
            "analyzeduration": "0",
            "allowed_media_types": "video",
            "timeout": "6000000",
        }
        until, began, packets = time.monotonic() + seconds, time.thread_time(), 0
        with av.open(url, options=options) as container:
            for packet in container.demux(video=0):
                packets += bool(packet.size)
                if time.monotonic() > until:
                    break
        told.append((time.thread_time() - began) * 1e3 / max(1, packets))

    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        threads = [
            threading.Thread(target=ours, args=(mine,)),
            threading.Thread(target=bare, args=(theirs,)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ratio = median(a / b for a, b in zip(mine, theirs, strict=True))
    return Pair(
        "RTSP into the ring: bare demuxing", "packet", median(mine), median(theirs), ratio, rounds, None
    )


def detecting(
    model: str, provider: str, frames: list[Frame], batches: tuple[int, ...], rounds: int
) -> list[Pair]:
    """Compare the detector, from decoded pictures to boxes, with the runtime's own call on the same network and batch."""
    bundle = load_bundle(model)
    pairs = []
    for batch in batches:
        detector = Detector(bundle, provider, 1, batch)
        detector.warm()
        some = [frames[i % len(frames)] for i in range(batch)]
        pictures = [picture_for(f, detector.input_size) for f in some]
        tensor = detector.tensor(pictures)
        if batch > detector.batches((tensor.shape[3], tensor.shape[2]))[-1]:
            # It would be taken apart, and there is no such call to compare it with.
            continue
        clock = time.perf_counter if detector.provider in GPU else time.process_time
        bare = bare_session(bundle, detector.provider, tensor)

        name = f"{bundle.manifest.name}, {detector.provider}, {batch} at once"
        bare_ms = _timed(bare, clock, batch)
        whole = _timed(partial(_from_frames, detector, some), clock, batch)
        inner = _timed(partial(detector.detect, pictures), clock, batch)
        for what, ours in ((name, inner), (f"{name}, from the decoder's frame", whole)):
            pairs.append(side_by_side(f"{what}: bare call", "picture", ours, bare_ms, rounds, DETECT_TARGET))
    return pairs


def _from_frames(detector: Detector, frames: Sequence[Frame]) -> object:
    return detector.detect([picture_for(f, detector.input_size) for f in frames])


def _timed(call: Callable[[], object], clock: Callable[[], float], batch: int) -> Callable[[], float]:
    """Return a call that gives its milliseconds a picture."""

    def run() -> float:
        began = clock()
        call()
        return (clock() - began) * 1e3 / batch

    return run


def decoded(clip: Path, most: int, every: int = 1) -> list[av.VideoFrame]:
    """Return up to `most` of a clip's key frames, every n-th of them, decoded."""
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        video.codec_context.skip_frame = "NONKEY"
        out: list[av.VideoFrame] = []
        for i, frame in enumerate(container.decode(video)):
            if i % every == 0:
                out.append(frame)
            if len(out) == most:
                break
    return out
