"""A decoded frame with its capture time. Conversions are lazy and scale inside the decoder's own scaler."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

ClockSource = Literal["rtcp_sender_report", "arrival", "file"]
Role = Literal["main", "sub"]
Picture = NDArray[np.uint8]
Masks = Sequence[Sequence[tuple[float, float]]]
# A city's cameras have three or four shapes, each of which is asked for in two sizes.
MAX_SCALERS = 8


@dataclass(frozen=True, slots=True)
class FrameMeta:
    """What is known of a frame.

    Attributes:
        seq: counts decoded frames of this camera up from 0.
        captured_at: UTC, from the source that `clock_source` names.
        mono_s: the box's monotonic clock in seconds (a file's own time for files).
        clock_offset_s: camera clock minus box clock in seconds, where the camera tells its time.
        tainted: the picture may show damage, or was predicted from a damaged one.
        epoch: counts connections; packets of two epochs never share a clip.
        width, height: size of the source picture in pixels, or of the shape that it is given (`Frame.shaped`).
        role: which of the camera's streams it is of.
    """

    camera_id: str
    seq: int
    captured_at: datetime
    mono_s: float
    clock_source: ClockSource
    clock_offset_s: float | None
    key: bool
    tainted: bool
    epoch: int
    width: int
    height: int
    role: Role = "main"


class Frame:
    """One picture. Safe to hand to another thread; the arrays it returns are the caller's own."""

    __slots__ = ("_array", "_masks", "_video", "meta")

    def __init__(
        self, meta: FrameMeta, video: av.VideoFrame | None = None, array: Picture | None = None
    ) -> None:
        if (video is None) == (array is None):
            raise ValueError("give either a decoded video frame or an array")
        self.meta, self._video, self._array = meta, video, array
        self._masks: Masks = ()

    @classmethod
    def from_rgb(cls, array: Picture, meta: FrameMeta) -> Frame:
        """Make a frame of an RGB uint8 (H, W, 3) array; its size must be that of `meta`."""
        if array.shape != (meta.height, meta.width, 3) or array.dtype != np.uint8:
            raise ValueError(
                f"array: expected uint8 ({meta.height}, {meta.width}, 3), got {array.dtype} {array.shape}"
            )
        return cls(meta, array=array)

    def masked(self, masks: Masks) -> Frame:
        """Return the frame with polygons cut out of every picture that it gives from now on."""
        if not masks:
            return self
        frame = Frame(self.meta, self._video, self._array)
        frame._masks = (*self._masks, *masks)
        return frame

    def shaped(self, width: int, height: int, role: Role) -> Frame:
        """Return the frame as one of another size: every picture that it gives is scaled to that shape."""
        frame = Frame(replace(self.meta, width=width, height=height, role=role), self._video, self._array)
        frame._masks = self._masks
        return frame

    def rgb(self, width: int | None = None, height: int | None = None) -> Picture:
        """Return RGB uint8 (height, width, 3), scaled to the size asked for, at source size by default."""
        w, h = width or self.meta.width, height or self.meta.height
        if self._array is not None:
            if (h, w) == self._array.shape[:2]:
                return cut(self._array.copy(), self._masks)
            scaled = cv2.resize(self._array, (w, h), interpolation=cv2.INTER_AREA)
            return cut(np.asarray(scaled, np.uint8), self._masks)
        # FAST_BILINEAR: 0.63 ms for 1080p -> 640 x 360, a third of BILINEAR; it also honours full-range video.
        video = self._video
        if video is None:
            raise ValueError("a frame without picture data")
        small = _SCALERS.of(video, w, h).reformat(
            video, width=w, height=h, format="rgb24", interpolation="FAST_BILINEAR", threads=1
        )
        # The scaled picture is this call's own, and is copied only where its rows lie apart. Where nothing was to be scaled it is the frame.
        array = np.ascontiguousarray(small.to_ndarray(), np.uint8)
        return cut(array.copy() if small is video else array, self._masks)

    def luma(self, width: int | None = None, height: int | None = None) -> Picture:
        """Return the grey picture as uint8 (height, width), straight from the luma plane where there is one."""
        w, h = width or self.meta.width, height or self.meta.height
        if self._video is None or not _planar_luma(self._video):
            grey = cv2.cvtColor(self.rgb(), cv2.COLOR_RGB2GRAY)
        else:
            plane = self._video.planes[0]
            grey = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[
                :, : plane.width
            ]
        if grey.shape == (h, w):
            return cut(np.array(grey, np.uint8), self._masks)
        # INTER_AREA: sampling single pixels instead turned sensor noise and compression grain into motion.
        small = shrunk(grey, w, h)
        if small.shape != (h, w):
            small = cv2.resize(small, (w, h), interpolation=cv2.INTER_AREA)
        return cut(np.asarray(small, np.uint8), self._masks)


class _Scalers(threading.local):
    """A thread's scalers, one a pair of shapes: to make one takes a fifth of a scaling.

    The one that PyAV keeps with a frame hangs for ever when two threads ask at once.
    """

    def __init__(self) -> None:
        self._by: OrderedDict[tuple[object, ...], VideoReformatter] = OrderedDict()

    def of(self, video: av.VideoFrame, width: int, height: int) -> VideoReformatter:
        """Return the scaler for a frame and the size that is asked for."""
        kind = video.format.name, video.colorspace, video.color_range
        key = (*kind, video.width, video.height, width, height)
        scaler = self._by.pop(key, None) or VideoReformatter()
        self._by[key] = scaler
        if len(self._by) > MAX_SCALERS:
            self._by.popitem(last=False)
        return scaler


_SCALERS = _Scalers()


def cut(picture: Picture, masks: Masks) -> Picture:
    """Fill polygons (shares of width and height) of an RGB or grey uint8 picture with black in place, and return it.

    The edge is drawn two pixels wide, since scaling lets a pixel's neighbours shine into it.
    """
    size = np.asarray([picture.shape[1], picture.shape[0]], np.float64)
    for mask in masks:
        corners = [np.rint(np.asarray(mask, np.float64) * size).astype(np.int32)]
        cv2.fillPoly(picture, corners, (0, 0, 0))
        cv2.polylines(picture, corners, True, (0, 0, 0), 2)
    return picture


def shrunk(grey: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Return the picture shrunk by a whole number, to no less than the size asked for; each pixel is a block's mean.

    OpenCV has vector code for halves and for box filters, but adds up blocks of other sizes pixel by pixel: halving and then
    thinning a box filter out takes 1920 x 1080 to 320 x 180 in two thirds of that time, half of which is reading the frame.
    Reading two rows of each block takes a third of the time, but makes grain twice as coarse and fine lines beat. Four rows take three
    quarters of it: shutters with lines three rows apart, which sway by a pixel, were motion and left objects.
    Less than one block is cut off at the right and at the bottom, by which a place moves less than a pixel of the small picture.
    """
    while min(grey.shape[1] // width, grey.shape[0] // height) >= 2:
        h, w = grey.shape
        if min(w // width, h // height) == 3:
            # Means of 3 x 3 pixels everywhere, of which every third is a block's.
            return np.ascontiguousarray(cv2.blur(grey, (3, 3))[1 : h - h % 3 : 3, 1 : w - w % 3 : 3])
        grey = cv2.resize(grey[: h - h % 2, : w - w % 2], (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(grey)


def _planar_luma(video: av.VideoFrame) -> bool:
    return video.format.name in {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "nv12", "gray"}
