"""One picture out of a ring: the nearest to a moment, decoded from its key frame, one decoded picture in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import av

from camera_adapters.decoder import software
from camera_adapters.ring import NoPicturesError, PacketRing, RingPacket

# 150 pictures of 1080p are half a second of a core; behind a "smart" codec's GOP of minutes the key frame must do.
MOST_PACKETS = 150
# Pictures that a decoder holds back in streams with B-frames.
REORDER = 4


def picture_at(
    ring: PacketRing,
    at: datetime,
    tolerance_s: float = 2.0,
    most: int = MOST_PACKETS,
    key_within_s: float = 0.0,
) -> tuple[datetime, av.VideoFrame]:
    """Return the undamaged picture nearest to a moment with its time.

    A whole key frame at most `key_within_s` seconds away stands for it: one decoded picture instead of a GOP's. Where its
    GOP is longer than `most` packets up to it, the nearest key frame does in any case.

    Raises:
        NoPicturesError: there is none within `tolerance_s` seconds.
    """
    packets = _connection(ring, at, tolerance_s)
    quick = _nearest_key(packets, at, min(key_within_s, tolerance_s))
    if quick is not None:
        found = _decoded([quick], quick.at)
        if found is not None:
            return found
    nearest = min(range(len(packets)), key=lambda i: abs((packets[i].at - at).total_seconds()))
    begin = max((i for i in range(nearest + 1) if packets[i].key), default=None)
    if begin is not None and nearest - begin < most and _off(packets[nearest], at) <= tolerance_s:
        found = _decoded(packets[begin : nearest + 1 + REORDER], packets[nearest].at)
        if found is not None:
            return found
    key = key_at(ring, at, tolerance_s)
    found = _decoded([key], key.at)
    if found is None:
        raise NoPicturesError(f"the key frame of {key.at.isoformat()} does not decode whole")
    return found


def key_at(ring: PacketRing, at: datetime, tolerance_s: float = 2.0) -> RingPacket:
    """Return the key frame nearest to a moment, compressed.

    Raises:
        NoPicturesError: there is none within `tolerance_s` seconds.
    """
    key = _nearest_key(_connection(ring, at, tolerance_s), at, tolerance_s)
    if key is None:
        raise NoPicturesError(f"no key frame within {tolerance_s:g} s of {at.isoformat()}")
    return key


def decode_key(packet: RingPacket) -> av.VideoFrame | None:
    """Return a key frame's picture; None where it is damaged."""
    found = _decoded([packet], packet.at)
    return None if found is None else found[1]


def _nearest_key(packets: Sequence[RingPacket], at: datetime, within_s: float) -> RingPacket | None:
    near = [p for p in packets if p.key and _off(p, at) <= within_s]
    return min(near, key=lambda p: _off(p, at), default=None)


def _off(packet: RingPacket, at: datetime) -> float:
    return abs((packet.at - at).total_seconds())


def _connection(ring: PacketRing, at: datetime, tolerance_s: float) -> list[RingPacket]:
    """Return the packets of the connection that was there at a moment."""
    held = ring.held()
    if not held:
        raise NoPicturesError("the ring is empty")
    nearest = min(held, key=lambda p: _off(p, at))
    if _off(nearest, at) > tolerance_s:
        raise NoPicturesError(f"no picture within {tolerance_s:g} s of {at.isoformat()}")
    return [p for p in held if p.params.epoch == nearest.params.epoch]


def _decoded(packets: Sequence[RingPacket], at: datetime) -> tuple[datetime, av.VideoFrame] | None:
    """Decode packets that begin with a key frame; return the picture nearest to `at`, None where damage reaches it."""
    params = packets[0].params
    context = software(params.codec, params.extradata)
    best: tuple[datetime, av.VideoFrame, bool] | None = None
    tainted = False
    for i in range(len(packets) + 1):
        packet = av.Packet(bytes(packets[i].data)) if i < len(packets) else None
        if packet is not None:
            packet.pts = packet.dts = i
        try:
            frames = context.decode(packet)
        except (av.error.InvalidDataError, EOFError):
            tainted = packet is not None or tainted
            continue
        for frame in frames:
            tainted = bool(frame.is_corrupt) or (tainted and not frame.key_frame)
            its = packets[min(max(int(frame.pts or 0), 0), len(packets) - 1)].at
            if best is None or abs(its - at) < abs(best[0] - at):
                best = (its, frame, tainted)
    return None if best is None or best[2] else (best[0], best[1])
