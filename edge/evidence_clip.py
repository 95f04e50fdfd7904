"""A clip in which heads and plates are unreadable: decoded, blurred, encoded again, smaller and slower.

10 pictures a second and 960 pixels of width show what a reviewer needs, cost a fifth of the full stream's encoding, and
leave faces fewer pixels to begin with.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from camera_adapters.decoder import software
from camera_adapters.frame import Masks, cut
from camera_adapters.meter import METER
from camera_adapters.ring import ClipInfo, NoPicturesError, PacketRing, RingPacket, fragmented_mp4, keep_whole
from edge.allocator import give_back
from edge.privacy import Sensitive, blur, sensitive_of
from models.detections import Detections
from models.roles import Role

Picture = NDArray[np.uint8]
Detect = Callable[[Sequence[Picture]], list[Detections]]
Look = Callable[[Picture], Sensitive]
FPS, MAX_WIDTH = 10.0, 960
# People walk 1.5 m/s: at five looks a second a head moves less than its own width, and the neighbours' boxes cover it.
DETECT_EVERY = 2
# Compressed pictures of clips that wait their turn: a busy box needs longer for a clip than a ring holds. 32 of 20 s at 2 Mbit/s.
HELD_BYTES = 160 * 2**20
# Nicer than the cameras by this much: the clips' thread gets a tenth of one's share where the core is full.
BEHIND = 10


class ClipMaker:
    """Makes clips on a thread of its own: a blurred one takes seconds, in which no camera may wait."""

    def __init__(
        self,
        blurred: bool,
        detector: Callable[[], Detect | None],
        inline: bool = False,
        roles: Mapping[str, Role] | None = None,
    ) -> None:
        """`inline` makes each clip at once in the caller's thread, for files that run faster than time.

        `detector` is called once, on the clips' own thread, when the first blurred clip is due."""
        self.blurred = blurred
        self._detector = detector
        self._detect: Detect | None = None
        self._roles = roles or {}
        self._pool = None if inline else ThreadPoolExecutor(1, "clips", self._stand_back)
        self._clock: int | None = None
        self._ended = False
        self._held = 0
        self._lock = threading.Lock()

    @property
    def free(self) -> bool:
        """True when one more clip may be asked for; each that waits holds its packets in memory."""
        return self._held < HELD_BYTES

    def cpu_s(self) -> float:
        """Return the CPU seconds that the clips' thread took since the start; 0 where the system does not tell."""
        return 0.0 if self._clock is None or self._ended else time.clock_gettime(self._clock)

    def _stand_back(self) -> None:
        """Take what the cameras leave: a clip may come a minute later, a look may not."""
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        if sys.platform.startswith("linux"):
            # On Linux a thread has a priority of its own; setpriority(2), "C library/kernel differences".
            here = threading.get_native_id()
            with contextlib.suppress(OSError):
                nice = os.getpriority(os.PRIO_PROCESS, here) + BEHIND
                os.setpriority(os.PRIO_PROCESS, here, min(19, nice))

    def warm(self) -> None:
        """Make the clips' own detector now, in the caller's thread, and not when the first blurred clip is due."""
        if self.blurred and self._detect is None:
            self._detect = self._detector()

    def cut(
        self,
        ring: PacketRing,
        t0: datetime,
        t1: datetime,
        path: Path,
        masks: Masks = (),
        moment: datetime | None = None,
    ) -> Future[ClipInfo]:
        """Ask for the clip from `t0` to `t1`, of the connection that shows `moment`, without what `masks` cover.

        Its packets are kept from now on. The future raises NoPicturesError, OSError or ValueError.
        """
        ring = ring.part(t0, t1, moment)
        with self._lock:
            self._held += ring.size
        if self._pool is not None:
            return self._pool.submit(self._cut, ring, t0, t1, path, masks)
        done: Future[ClipInfo] = Future()
        try:
            done.set_result(self._cut(ring, t0, t1, path, masks))
        except (NoPicturesError, OSError, ValueError) as exc:
            done.set_exception(exc)
        return done

    def close(self) -> None:
        """Finish the clip at work, and let go of those that wait."""
        # The clock of a thread that has ended must not be asked.
        self._ended = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _cut(self, ring: PacketRing, t0: datetime, t1: datetime, path: Path, masks: Masks) -> ClipInfo:
        try:
            with METER.stage("evidence"):
                if not self.blurred and not masks:
                    return ring.clip(t0, t1, path)
                if not self.blurred:
                    return blurred_clip(ring, t0, t1, path, _nobody, masks)
                if self._detect is None:
                    self._detect = self._detector()
                return blurred_clip(ring, t0, t1, path, self._detect, masks, roles=self._roles)
        finally:
            with self._lock:
                self._held -= ring.size
            # Its pictures and its encoder leave holes between the cameras' small things, which nothing else fills.
            give_back()


def blurred_clip(
    ring: PacketRing,
    t0: datetime,
    t1: datetime,
    path: Path,
    detect: Detect | None,
    masks: Masks = (),
    threads: int = 1,
    roles: Mapping[str, Role] | None = None,
) -> ClipInfo:
    """Write the ring's pictures from `t0` to `t1` with heads and plates blurred, and return what was written.

    What `masks` cover is cut before anything looks at a picture.

    `detect` finds people and vehicles in RGB pictures, in their own pixels. Without it the whole picture is averaged
    to 32 cells across, since a clip with people in the clear must not leave the box.

    Raises:
        NoPicturesError: the ring has none of that time.
    """
    packets = ring.packets(t0, t1)
    looker = None if detect is None else partial(_look, detect=detect, roles=roles or {})
    (first, last, size), digest = keep_whole(
        path, lambda part: _write(packets, t0, part, looker, masks, threads)
    )
    length = max((last - first).total_seconds(), 1 / FPS)
    return ClipInfo(
        path, digest, path.stat().st_size, first, length, size[0], size[1], "h264", transcoded=True
    )


def _write(
    packets: Sequence[RingPacket],
    t0: datetime,
    part: Path,
    look: Look | None,
    masks: Masks,
    threads: int,
) -> tuple[datetime, datetime, tuple[int, int]]:
    params = packets[0].params
    width = min(MAX_WIDTH, params.width) // 2 * 2
    height = round(params.height * width / params.width) // 2 * 2
    first = last = None
    with fragmented_mp4(part) as out:
        stream = out.add_stream("libx264", rate=round(FPS), options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = threads
        stamp = -1
        for at, picture in _blurred(_sampled(packets, t0, width, height, masks), look):
            first = first or at
            last = at
            stamp = max(stamp + 1, round((at - first).total_seconds() * 1000))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    if first is None or last is None:
        raise NoPicturesError("the packets of that time do not decode")
    return first, last, (width, height)


def _sampled(
    packets: Sequence[RingPacket], t0: datetime, width: int, height: int, masks: Masks
) -> Iterator[tuple[datetime, Picture]]:
    """Decode one picture at a time, so that memory is a few pictures and not a clip."""
    params = packets[0].params
    context = software(params.codec, params.extradata)
    due, step = t0, timedelta(seconds=1 / FPS)
    # The last round drains the decoder, which holds pictures back where the stream has B-frames.
    for i in range(len(packets) + 1):
        packet = None
        if i < len(packets):
            packet = av.Packet(bytes(packets[i].data))
            packet.pts = packet.dts = i
        try:
            # A stage of its own, so that a clip's cost is counted as it arises and not at its end.
            with METER.stage("evidence"):
                frames = context.decode(packet)
        except (av.error.InvalidDataError, EOFError):
            continue
        for frame in frames:
            at = packets[min(max(int(frame.pts or 0), 0), len(packets) - 1)].at
            if at >= due:
                due = max(due + step, at - step / 2)
                small = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
                yield at, cut(np.ascontiguousarray(small.to_ndarray(), np.uint8), masks)


def _blurred(
    pictures: Iterator[tuple[datetime, Picture]], look: Look | None
) -> Iterator[tuple[datetime, Picture]]:
    """Blur each picture by its own looks and by those before and after it: a person missed once stays covered."""
    group: list[tuple[datetime, Picture]] = []
    before, here = Sensitive(), Sensitive()
    for i, (at, picture) in enumerate(pictures):
        if look is None:
            yield at, _veil(picture)
            continue
        if i % DETECT_EVERY == 0:
            after = look(picture)
            yield from _cover(group, before | here | after)
            before, here, group = here, after, []
        group.append((at, picture))
    yield from _cover(group, before | here)


def _cover(group: list[tuple[datetime, Picture]], found: Sensitive) -> Iterator[tuple[datetime, Picture]]:
    for at, picture in group:
        yield at, blur(picture, found)


def _look(picture: Picture, detect: Detect, roles: Mapping[str, Role]) -> Sensitive:
    return sensitive_of(detect([picture])[0], picture.shape[1], picture.shape[0], roles)


def _nobody(pictures: Sequence[Picture]) -> list[Detections]:
    return [Detections.empty() for _ in pictures]


def _veil(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    tiny = cv2.resize(picture, (32, max(1, round(32 * height / width))), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(tiny, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
