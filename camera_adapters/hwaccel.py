"""Hardware decode where the machine has it, software otherwise; which of them, and why, is said in the stream's state.

NVDEC and VAAPI are FFmpeg's hardware accelerations of its own decoders, QSV is a decoder of its own. PyAV's wheels have
NVDEC and QSV; VAAPI needs a PyAV that was built against an FFmpeg with it, and is said to be missing elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

import av
import numpy as np
from av.codec.hwaccel import HWAccel

Hardware = Literal["auto", "none", "cuda", "vaapi", "qsv"]
Kind = Literal["cuda", "vaapi", "qsv"]
Make = Callable[[str, str, bytes | None], av.VideoCodecContext]
_NODES: dict[str, tuple[str, str]] = {
    "cuda": ("/dev", "nvidia[0-9]*"),
    "qsv": ("/dev/dri", "renderD*"),
    "vaapi": ("/dev/dri", "renderD*"),
}
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
_AUTO = ("cuda", "qsv", "vaapi")
SOFTWARE = "software"


def _there(kind: str) -> bool:
    folder, pattern = _NODES[kind]
    return any(Path(folder).glob(pattern))


def candidates(wanted: Hardware, there: Callable[[str], bool] = _there) -> tuple[str, ...]:
    """Return the kinds to try, the best first. `auto` leaves out those whose device node is missing."""
    if wanted == "none":
        return ()
    return tuple(kind for kind in _AUTO if there(kind)) if wanted == "auto" else (wanted,)


def hardware_decoder(kind: str, codec: str, extradata: bytes | None) -> av.VideoCodecContext:
    """Return a decoder on the hardware for a codec (`h264`, `hevc`), which has shown that it works.

    Raises:
        av.error.FFmpegError, NotImplementedError, ValueError, RuntimeError, OSError: it is not to be had here.
    """
    prove(kind, codec)
    return _context(kind, codec, extradata)


@lru_cache
def prove(kind: str, codec: str) -> None:
    """Decode two pictures on the hardware: QSV opens without a device, and older cards know no H.265.

    Raises: as `hardware_decoder`, for a picture that does not come too.
    """
    encoder = cast(av.VideoCodecContext, av.CodecContext.create(_ENCODERS.get(codec, codec), "w"))
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 320, 240, "yuv420p", Fraction(1, 10)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    if codec == "hevc":
        encoder.options |= {"x265-params": "log-level=none"}
    grey = np.full((240, 320, 3), 90, np.uint8)
    packets = [p for _ in range(2) for p in encoder.encode(av.VideoFrame.from_ndarray(grey, format="rgb24"))]
    decoder = _context(kind, codec, encoder.extradata)
    pictures = [x for p in [*packets, *encoder.encode(None), None] for x in decoder.decode(p)]
    if not any((x.width, x.height) == (320, 240) for x in pictures):
        raise ValueError("it gives no picture")


def _context(kind: str, codec: str, extradata: bytes | None) -> av.VideoCodecContext:
    if kind == "qsv":
        context = av.CodecContext.create(f"{codec}_qsv", "r")
        # One picture in, one picture out: a queue of four would be four intervals of delay.
        context.options = {"async_depth": "1"}
    else:
        context = av.CodecContext.create(codec, "r", hwaccel=HWAccel(kind, allow_software_fallback=False))
        if not context.is_hwaccel:
            # PyAV goes on in software without a word, whatever was asked for.
            raise ValueError("this PyAV was built without it")
    if extradata:
        context.extradata = extradata
    return cast(av.VideoCodecContext, context)


class Accelerator:
    """Chooses for one stream. What could not be opened, or gave no picture, is not tried again."""

    def __init__(
        self, wanted: Hardware, there: Callable[[str], bool] = _there, make: Make = hardware_decoder
    ) -> None:
        self._wanted, self._left, self._make = wanted, list(candidates(wanted, there)), make
        self._reasons: dict[str, str] = {}
        self.active = SOFTWARE

    def decoder(self, codec: str, extradata: bytes | None) -> av.VideoCodecContext | None:
        """Return a hardware decoder for the next connection; None means software."""
        for kind in list(self._left):
            try:
                made = self._make(kind, codec, extradata)
            except (av.error.FFmpegError, NotImplementedError, ValueError, RuntimeError, OSError) as exc:
                self.failed(kind, str(exc) or type(exc).__name__)
            else:
                self.active = kind
                return made
        self.active = SOFTWARE
        return None

    def failed(self, kind: str, why: str) -> None:
        """Note that a kind is no use, and go on in software."""
        if kind in self._left:
            self._left.remove(kind)
        self._reasons[kind] = why.split("; ")[0][:60]
        self.active = SOFTWARE

    @property
    def note(self) -> str:
        """What decodes, as a suffix of the state's reason; empty where software is what was asked for or all there is."""
        if self.active != SOFTWARE:
            return f", decoded by {self.active}"
        told = ", ".join(f"{kind}: {why}" for kind, why in self._reasons.items())
        return f", decoded in software ({told})" if told else ""
