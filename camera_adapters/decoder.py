"""Decode on demand: what is asked for is decoded, damage is remembered until the next clean key frame."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import av

from camera_adapters.coded import Coded, packet_of
from camera_adapters.demand import Demand
from camera_adapters.meter import METER

# A GOP longer than this is no longer held for a retroactive promotion (a "smart" codec's GOP of minutes).
MAX_GOP_PACKETS = 600
# A key frame that comes too early is taken all the same where the next one would come more than this too late: of a GOP of
# ten seconds and an interval of eleven every second one would be left, and the gap filled with whole GOPs.
LATE_S = 2.0
# 8192 x 6144, half as much again as an 8K camera. A header of 20 bytes can promise 65535 x 65535, which is 17 GB decoded.
MAX_PIXELS = 8192 * 6144
# Packets, or key frames alone, that a new decoder may swallow: hardware holds some pictures back.
_CHANCES, _KEY_CHANCES = 12, 2


def bound(codec: av.VideoCodecContext) -> av.VideoCodecContext:
    """Make a decoder that is not open yet refuse pictures larger than any camera's, in one thread, and return it."""
    codec.options = {**codec.options, "max_pixels": str(MAX_PIXELS)}
    # Frame threads add three frames (120 ms) of delay and gain nothing where many cameras share the cores.
    codec.thread_type = "NONE"
    return codec


def software(codec: str, extradata: bytes | None = None) -> av.VideoCodecContext:
    """Return a decoder that is not open yet, `bound`, by the codec's name in FFmpeg."""
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec, "r"))
    if extradata:
        context.extradata = extradata
    return bound(context)


@dataclass(slots=True)
class Stamp:
    """When a packet's picture was taken: UTC, monotonic seconds."""

    at: datetime
    mono_s: float


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded picture."""

    video: av.VideoFrame
    stamp: Stamp
    tainted: bool


class OnDemandDecoder:
    """Feeds the codec only what the demand needs, and promotes retroactively from the GOP at hand."""

    def __init__(
        self, codec: av.VideoCodecContext, renew: Callable[[], av.VideoCodecContext] | None = None
    ) -> None:
        """`renew` gives another such decoder: one that is asked for nothing is let go of, since it holds pictures (4 MB of 1080p)."""
        self._renew, self._opened = renew, False
        self._take_up(codec)
        self._gop: list[tuple[Coded, Stamp]] = []
        self._mode = "none"
        self._tainted = True
        self._last_mono = self._key_mono = self._put_off_mono = float("-inf")
        # Seconds between the last two key frames; infinite at the first one.
        self._gop_s = 0.0
        self._stamps: deque[tuple[int, Stamp]] = deque(maxlen=64)
        self.errors = 0
        # Packets in a row that were decoded without giving a picture.
        self.barren = 0
        self.pictures = 0
        self.last_error = ""

    def _take_up(self, codec: av.VideoCodecContext) -> None:
        self._codec, self._opened = bound(codec), False

    @property
    def hopeless(self) -> bool:
        """True when a decoder that was just taken up has had its chances and gave no picture."""
        chances = _KEY_CHANCES if self._mode == "key" else _CHANCES
        return not self.pictures and self.barren >= chances

    def replace(self, codec: av.VideoCodecContext) -> None:
        """Go on with another decoder, which is given the GOP at hand with the next packet."""
        self._take_up(codec)
        self._mode, self._tainted, self.barren = "none", True, 0

    def feed(self, packet: Coded, stamp: Stamp, demand: Demand) -> Iterator[Decoded]:
        """Take one packet and yield the pictures that the demand wants, spaced by its interval."""
        if packet.is_keyframe:
            self._gop.clear()
            self._gop_s = stamp.mono_s - self._key_mono
            self._key_mono = stamp.mono_s
        if len(self._gop) < MAX_GOP_PACKETS:
            self._gop.append((packet, stamp))
        for waiting, its_stamp in self._todo(packet, stamp, demand):
            for picture in self._decode(waiting, its_stamp):
                # Key frames were chosen before they were decoded.
                if self._mode == "key" or not demand.early(picture.stamp.mono_s - self._last_mono):
                    self._last_mono = picture.stamp.mono_s
                    yield picture

    def finish(self) -> Iterator[Decoded]:
        """Yield the pictures that the codec still holds back at the end of a file."""
        if self._mode in {"nonref", "all", "bridge"}:
            with contextlib.suppress(av.error.FFmpegError):
                for video in self._codec.decode(None):
                    yield Decoded(video, self._stamp_of(video, self._stamps[-1][1]), self._tainted)

    def _todo(self, packet: Coded, stamp: Stamp, demand: Demand) -> list[tuple[Coded, Stamp]]:
        old, self._mode = self._mode, self._wanted(packet, stamp, demand)
        if self._mode == "none":
            if self._opened and self._renew is not None:
                self._take_up(self._renew())
            return []
        if self._mode == "key":
            return [(packet, stamp)] if packet.is_keyframe and self._takes(stamp, demand) else []
        if old in {"none", "key"}:
            self._codec.flush_buffers()
            # A GOP that was not kept whole would decode into a smear of missing references.
            if not self._gop or not self._gop[0][0].is_keyframe or self._gop[-1][0] is not packet:
                self._mode = old
                return []
            return list(self._gop)
        self._codec.skip_frame = "NONREF" if self._mode == "nonref" else "DEFAULT"
        return [(packet, stamp)]

    def _takes(self, stamp: Stamp, demand: Demand) -> bool:
        """Whether a key frame is decoded: it is time, or the next one would come far too late, and there is room for it."""
        passed = stamp.mono_s - self._last_mono
        interval = demand.min_interval_s
        if demand.early(passed) and (passed < interval / 2 or passed + self._gop_s <= interval + LATE_S):
            return False
        if demand.room is None or demand.room(max(0.0, passed - interval)):
            return True
        self._put_off_mono = stamp.mono_s
        return False

    def _wanted(self, packet: Coded, stamp: Stamp, demand: Demand) -> str:
        if demand.mode != "key" or packet.is_keyframe:
            return demand.mode
        # A gap in which key frames came was not for want of them: nobody asked, or there was no room for them.
        long_gop = stamp.mono_s - self._key_mono > demand.max_gap_s / 2
        gap_s = stamp.mono_s - max(self._last_mono, self._put_off_mono)
        if self._mode == "bridge" or (long_gop and gap_s > demand.max_gap_s):
            return "bridge"
        return "key"

    def _decode(self, packet: Coded, stamp: Stamp) -> Iterator[Decoded]:
        self._opened = True
        if packet.pts is not None:
            self._stamps.append((packet.pts, stamp))
        try:
            with METER.stage("decode"):
                pictures = list(self._codec.decode(packet_of(packet)))
                if self._mode == "key":
                    # B-frame streams would hold the key frame back for two GOPs.
                    pictures += self._codec.decode(None)
                    self._codec.flush_buffers()
        except av.error.FFmpegError as exc:
            self.errors += 1
            self.barren += 1
            self._tainted = True
            self.last_error = str(exc)
            return
        self.barren = 0 if pictures else self.barren + 1
        self.pictures += len(pictures)
        for video in pictures:
            # Damage propagates to the next key frame, but only 5-20 % of the damaged pictures carry the flag.
            # A reader that knows of a lost packet says so with the packet itself.
            damaged = bool(video.is_corrupt) or packet.is_corrupt
            self._tainted = damaged or (self._tainted and not video.key_frame)
            yield Decoded(video, self._stamp_of(video, stamp), self._tainted)

    def _stamp_of(self, video: av.VideoFrame, fallback: Stamp) -> Stamp:
        for pts, stamp in reversed(self._stamps):
            if pts == video.pts:
                return stamp
        return fallback
