"""A live stream whose packets are single pictures; the base of the HTTP and folder adapters."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from camera_adapters.decoder import Decoded, Stamp
from camera_adapters.frame import ClockSource
from camera_adapters.jpeg import PictureDecoder, is_whole, jpeg_size
from camera_adapters.live import LiveStream
from camera_adapters.ring import RingPacket, StreamParams

_MILLI = Fraction(1, 1000)


class PictureStream(LiveStream):
    """Takes pictures one by one: into the ring, and through the decoder when the demand's interval allows."""

    _decoders: dict[str, PictureDecoder]
    _last_mono: float = float("-inf")

    def _take(
        self,
        data: bytes,
        codec: str,
        at: datetime,
        mono_s: float,
        source: ClockSource,
        came_whole: bool = False,
    ) -> bool:
        """Take one picture; False when it is none, or not whole. `came_whole`: the way it came told where it ends.

        Some makers leave out the marker of a JPEG's end.
        """
        if not came_whole and not is_whole(data, codec):
            return False
        if codec == "mjpeg":
            try:
                width, height = jpeg_size(data)
            except ValueError:
                return False
            self._packet_came(f"{codec} {width}x{height}")
            self._keep(data, at, mono_s, width, height)
        else:
            self._packet_came(codec)
        demand = self.demand
        if demand.mode == "none" or demand.early(mono_s - self._last_mono):
            return True
        if not hasattr(self, "_decoders"):
            self._decoders = {}
        decoder = self._decoders.setdefault(codec, PictureDecoder(codec))
        video = decoder.decode(data)
        if video is None:
            return False
        self._last_mono = mono_s
        self._deliver(Decoded(video, Stamp(at, mono_s), False), source, None)
        return True

    def _keep(self, data: bytes, at: datetime, mono_s: float, width: int, height: int) -> None:
        if self.ring is not None:
            millis = round(mono_s * 1000)
            params = StreamParams("mjpeg", width, height, _MILLI, None, self._epoch)
            self.ring.push(RingPacket(at, True, millis, millis, data, params, mono_s))
