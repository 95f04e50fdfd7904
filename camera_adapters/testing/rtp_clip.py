"""A video file, packetised once into RTP, so that serving it costs one write a picture."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from copy import copy
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

MTU = 1400
_START_CODE = re.compile(rb"\x00\x00(?:\x00)?\x01")


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One picture: time in 90 kHz, the '$'-framed RTP packets in one buffer, and where each begins."""

    pts90k: int
    key: bool
    blob: bytearray
    offsets: tuple[int, ...]


class RtpClip:
    """H.264 (RFC 6184) or H.265 (RFC 7798) of a file as RTP packets and an SDP description."""

    def __init__(self, path: Path) -> None:
        self._sets: dict[int, bytes] = {}
        self.units: list[AccessUnit] = []
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            self.codec = video.codec_context.name
            if self.codec not in {"h264", "hevc"}:
                raise ValueError(f"{path}: the codec is {self.codec}; serve H.264 or H.265 (see `as_h264`)")
            self.h265 = self.codec == "hevc"
            self.size = (video.codec_context.width, video.codec_context.height)
            self.fps = float(video.average_rate or 25)
            base = video.time_base or Fraction(1, 90_000)
            annexb = BitStreamFilterContext("hevc_mp4toannexb" if self.h265 else "h264_mp4toannexb", video)
            first: int | None = None
            for packet in container.demux(video):
                for unit in annexb.filter(packet) if packet.size else []:
                    pts = unit.pts or 0
                    first = pts if first is None else first
                    nals = [n for n in _START_CODE.split(bytes(unit)) if n]
                    self.units.append(
                        self._pack(round((pts - first) * base * 90_000), unit.is_keyframe, nals)
                    )
        if not self.units:
            raise ValueError(f"{path}: has no pictures")
        self.duration90k = round(len(self.units) * 90_000 / self.fps)

    def led_in(self, units: int, of: int) -> RtpClip:
        """Return the clip after a lead of `units` pictures: its first `of`, again and again, so that the last of them comes right before it.

        Raises:
            ValueError: the lead would not begin with a key frame.
        """
        led = copy(self)
        lead = [(j - units) % of for j in range(units)] if of > 0 else []
        if not 0 < of <= len(self.units) or (lead and not self.units[lead[0]].key):
            raise ValueError(f"a lead of {units} pictures, {of} again and again, begins with no key frame")
        led.units = [
            replace(self.units[i], pts90k=self.units[i].pts90k + round((at - i) * 90_000 / self.fps))
            for at, i in enumerate([*lead, *range(len(self.units))])
        ]
        led.duration90k = round(len(led.units) * 90_000 / self.fps)
        return led

    def _pack(self, pts90k: int, key: bool, nals: list[bytes]) -> AccessUnit:
        payloads: list[bytes] = []
        for nal in nals:
            kind = (nal[0] >> 1) & 63 if self.h265 else nal[0] & 31
            if kind in ((32, 33, 34) if self.h265 else (7, 8)):
                self._sets.setdefault(kind, nal)
            payloads += [nal] if len(nal) <= MTU else self._fragments(nal, kind)
        blob, offsets = bytearray(), []
        for i, payload in enumerate(payloads):
            offsets.append(len(blob))
            marker = 0x80 if i == len(payloads) - 1 else 0
            blob += b"$\0" + struct.pack("!HBBHII", len(payload) + 12, 0x80, 96 | marker, 0, 0, 0) + payload
        return AccessUnit(pts90k, key, blob, tuple(offsets))

    def _fragments(self, nal: bytes, kind: int) -> list[bytes]:
        header = 2 if self.h265 else 1
        indicator = bytes([(nal[0] & 0x81) | 49 << 1, nal[1]]) if self.h265 else bytes([nal[0] & 0xE0 | 28])
        body = nal[header:]
        out = []
        for o in range(0, len(body), MTU):
            flags = (0x80 if o == 0 else 0) | (0x40 if o + MTU >= len(body) else 0)
            out.append(indicator + bytes([kind | flags]) + body[o : o + MTU])
        return out

    def sdp(self) -> str:
        """Return the session description (RFC 8866) with the parameter sets."""

        def coded(kind: int) -> str:
            return base64.b64encode(self._sets[kind]).decode()

        if self.h265:
            fmtp = f"sprop-vps={coded(32)};sprop-sps={coded(33)};sprop-pps={coded(34)}"
        else:
            fmtp = f"packetization-mode=1;profile-level-id={self._sets[7][1:4].hex()};sprop-parameter-sets={coded(7)},{coded(8)}"
        lines = [
            "v=0",
            "o=- 1 1 IN IP4 127.0.0.1",
            "s=loopcam",
            "c=IN IP4 0.0.0.0",
            "t=0 0",
            "a=control:*",
            "a=range:npt=now-",
            "m=video 0 RTP/AVP 96",
            f"a=rtpmap:96 H26{5 if self.h265 else 4}/90000",
            f"a=fmtp:96 {fmtp}",
            "a=control:track0",
        ]
        return "".join(f"{line}\r\n" for line in lines)


def as_h264(path: Path, cache: Path, gop_s: float = 2.0) -> Path:
    """Return an H.264 file of the same pictures with a key frame every `gop_s` seconds, made once into `cache`."""
    with av.open(str(path)) as container:
        if container.streams.video[0].codec_context.name in {"h264", "hevc"}:
            return path
    with path.open("rb") as file:
        name = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    target = cache / f"{name}-gop{gop_s:g}.mp4"
    if target.is_file():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with av.open(str(path)) as source, av.open(str(part), "w", format="mp4") as out:
        video = source.streams.video[0]
        rate = video.average_rate or Fraction(25)
        gop = str(max(1, round(float(rate) * gop_s)))
        stream = out.add_stream(
            "libx264",
            rate=rate,
            options={"preset": "veryfast", "crf": "20", "bf": "0", "g": gop, "keyint_min": gop},
        )
        stream.width, stream.height, stream.pix_fmt = video.width // 2 * 2, video.height // 2 * 2, "yuv420p"
        for n, frame in enumerate(source.decode(video)):
            picture = frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
            picture.pts, picture.time_base = n, 1 / rate
            picture.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    part.replace(target)
    return target
