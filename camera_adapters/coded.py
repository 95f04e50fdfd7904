"""One compressed picture on its way from a reader to the ring and the decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, cast

import av


@dataclass(slots=True)
class CodedPicture:
    """A compressed picture of our own readers, in Annex B. It becomes FFmpeg's packet only where it is decoded, as few are.

    Attributes:
        pts: presentation time in the stream's time base; None where the stream does not tell.
        is_corrupt: a packet of it, or one before it, did not come.
    """

    data: bytes | memoryview
    is_keyframe: bool
    pts: int | None
    is_corrupt: bool
    dts: int | None = None


# FFmpeg's packets say the same by the same names.
Coded: TypeAlias = "CodedPicture | av.Packet[av.VideoStream]"


def bytes_of(coded: Coded) -> bytes | memoryview:
    """Return the picture's bytes, not copied."""
    return coded.data if isinstance(coded, CodedPicture) else memoryview(coded)


def packet_of(coded: Coded) -> av.Packet[av.VideoStream]:
    """Return the picture as FFmpeg's packet."""
    if not isinstance(coded, CodedPicture):
        return coded
    # Whatever is a buffer, though its type says bytes.
    packet = av.Packet(coded.data)  # type: ignore[arg-type]
    packet.pts, packet.dts = coded.pts, coded.dts
    packet.is_keyframe, packet.is_corrupt = coded.is_keyframe, coded.is_corrupt
    return cast("av.Packet[av.VideoStream]", packet)
