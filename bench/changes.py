"""Changes of a clip that a judgement must not mind: light, weather, noise, size, view, rate, start and codec.

A change is made on each decoded frame in memory. Zones and expected boxes follow where the view changes. The codec's own
change (`low_bitrate`) writes a copy of the clip into a folder of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import av
import cv2
import numpy as np

from bench.manifest import Clip
from camera_adapters.frame import Frame, Picture

# What is cut off at the left, the top, the right and the bottom, as shares.
View = tuple[float, float, float, float]
Pixels = Callable[[Picture, np.random.Generator], Picture]


@dataclass(frozen=True)
class Change:
    """One way in which a clip is played differently.

    Attributes:
        pixels: from and to uint8 (H, W) or (H, W, 3), with a generator seeded by the frame.
        mirror: left and right change places.
        cut: what is cut off the view.
        scale: of width and height.
        skip_s: seconds that are left out at the start.
        fps: frames a second that remain.
        dense_interval_s: the detector's rate under suspicion.
        crf: x264's quality of a copy; 23 is usual, 40 is a starved channel.
    """

    pixels: Pixels | None = None
    mirror: bool = False
    cut: View | None = None
    scale: float = 1.0
    skip_s: float = 0.0
    fps: float | None = None
    dense_interval_s: float | None = None
    crf: int | None = None


def _gain(alpha: float, beta: float) -> Pixels:
    return lambda a, _rng: np.asarray(cv2.convertScaleAbs(a, alpha=alpha, beta=beta), np.uint8)


def _noise(sigma: float) -> Pixels:
    def noisy(a: Picture, rng: np.random.Generator) -> Picture:
        return np.asarray(np.clip(a + rng.normal(0, sigma, a.shape), 0, 255), np.uint8)

    return noisy


def _night(a: Picture, rng: np.random.Generator) -> Picture:
    """A quarter of the light, with the noise of a sensor at full gain."""
    return np.asarray(np.clip(a * 0.3 + 8 + rng.normal(0, 4, a.shape), 0, 255), np.uint8)


def _rain(a: Picture, rng: np.random.Generator) -> Picture:
    """Bright streaks, other ones in every frame, through a haze."""
    height, width = a.shape[:2]
    streaks = np.zeros((height, width), np.uint8)
    for x, y in rng.uniform(0, 1, (160, 2)):
        start = (int(x * width), int(y * height))
        cv2.line(streaks, start, (start[0] + width // 160, start[1] + height // 14), 90, 1)
    haze = a.astype(np.float32) * 0.75 + 40
    drops = streaks[..., None] if a.ndim == 3 else streaks
    return np.asarray(np.clip(haze + drops, 0, 255), np.uint8)


CHANGES: Mapping[str, Change] = {
    "as it is": Change(),
    "mirror": Change(mirror=True),
    "dark": Change(_gain(0.5, 0)),
    "bright": Change(_gain(1.25, 10)),
    "low contrast": Change(_gain(0.5, 60)),
    "noise": Change(_noise(6)),
    "night": Change(_night),
    "rain": Change(_rain),
    "half size": Change(scale=0.5),
    "size x 1.5": Change(scale=1.5),
    "cropped": Change(cut=(0.08, 0.04, 0.0, 0.0)),
    "low bitrate": Change(crf=38),
    "5 frames/s": Change(fps=5),
    "every 0.25 s": Change(dense_interval_s=0.25),
    "every 1.0 s": Change(dense_interval_s=1.0),
    "starts 0.7 s later": Change(skip_s=0.7),
    "starts 2 s later": Change(skip_s=2.0),
}


class ChangedFrame(Frame):
    """A frame whose pictures are changed on their way out."""

    __slots__ = ("_change", "_of")

    def __init__(self, of: Frame, change: Change) -> None:
        left, top, right, bottom = change.cut or (0.0, 0.0, 0.0, 0.0)
        width = round(of.meta.width * (1 - left - right) * change.scale)
        height = round(of.meta.height * (1 - top - bottom) * change.scale)
        self.meta = replace(of.meta, width=max(2, width), height=max(2, height))
        self._of, self._change = of, change

    def rgb(self, width: int | None = None, height: int | None = None) -> Picture:
        """Return RGB uint8 (height, width, 3)."""
        return self._changed(self._of.rgb, width, height, 1)

    def luma(self, width: int | None = None, height: int | None = None) -> Picture:
        """Return the grey picture as uint8 (height, width)."""
        return self._changed(self._of.luma, width, height, 2)

    def _changed(
        self, read: Callable[[int, int], Picture], width: int | None, height: int | None, salt: int
    ) -> Picture:
        change, source = self._change, self._of.meta
        size = width or self.meta.width, height or self.meta.height
        if change.cut is None and change.scale == 1.0:
            picture = read(*size)
        else:
            left, top, right, bottom = change.cut or (0.0, 0.0, 0.0, 0.0)
            whole = read(round(source.width * change.scale), round(source.height * change.scale))
            h, w = whole.shape[:2]
            picture = whole[
                round(h * top) : round(h * (1 - bottom)), round(w * left) : round(w * (1 - right))
            ]
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        if change.mirror:
            picture = np.ascontiguousarray(picture[:, ::-1])
        if change.pixels is not None:
            picture = change.pixels(picture, np.random.default_rng((source.seq, salt)))
        return picture


def changed_clip(clip: Clip, change: Change) -> Clip:
    """Return the clip with zones and expected boxes moved as the view moves."""
    left, top, right, bottom = change.cut or (0.0, 0.0, 0.0, 0.0)

    def at(x: float, y: float) -> tuple[float, float]:
        x, y = (x - left) / (1 - left - right), (y - top) / (1 - top - bottom)
        x, y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
        return (1 - x, y) if change.mirror else (x, y)

    zones = [z.model_copy(update={"polygon": tuple(at(*p) for p in z.polygon)}) for z in clip.zones]
    expect = []
    for e in clip.expect:
        (x1, y1), (x2, y2) = at(*e.box[:2]), at(*e.box[2:])
        expect.append(e.model_copy(update={"box": (min(x1, x2), y1, max(x1, x2), y2)}))
    return clip.model_copy(update={"zones": tuple(zones), "expect": tuple(expect)})


def starved_copy(source: Path, target: Path, crf: int) -> None:
    """Write a clip again as H.264 at a quality of `crf`; frames keep their times."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        video = given.streams.video[0]
        stream = made.add_stream("libx264", rate=video.average_rate or 25)
        stream.width, stream.height = video.width // 2 * 2, video.height // 2 * 2
        if video.time_base is not None:
            stream.codec_context.time_base = video.time_base
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(crf), "preset": "veryfast"}
        for frame in given.decode(video):
            frame.pict_type = av.video.frame.PictureType.NONE
            frame.time_base = video.time_base
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
