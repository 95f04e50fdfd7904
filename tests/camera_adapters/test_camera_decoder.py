"""What is decoded, and what damage does."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import pytest
from camera_parts import Memory

from camera_adapters.clock import VirtualClock
from camera_adapters.decoder import OnDemandDecoder, Stamp, software
from camera_adapters.demand import Demand
from camera_adapters.open import open_stream
from camera_adapters.stream import StreamOptions
from camera_adapters.testing.served import make_clip

T0 = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("gap", "times"),
    [
        (float("inf"), [0.0, 4.0]),
        # From the GOP at hand, at the interval asked for, until the next key frame.
        (1.5, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
    ],
)
def test_a_long_gop_is_bridged_from_the_packets_at_hand(
    tmp_path: Path, gap: float, times: list[float]
) -> None:
    memory = Memory()
    clip = make_clip(tmp_path / "smart.mp4", seconds=6.0, gop_s=4.0)
    stream = open_stream("gate", str(clip), memory, StreamOptions(), VirtualClock(T0))
    stream.demand = Demand("key", 1.0, gap)
    stream.run(threading.Event())
    assert [round(f.meta.mono_s - 1000, 3) for f in memory.frames] == times
    assert not any(f.meta.tainted for f in memory.frames)


@pytest.mark.parametrize(
    ("interval", "times"),
    [(3.0, [0.0, 4.0, 8.0, 12.0]), (5.0, [0.0, 4.0, 8.0, 12.0]), (6.5, [0.0, 8.0]), (9.0, [0.0, 8.0])],
    ids=["the next", "a second early", "a second and a half late", "early again"],
)
def test_a_key_frame_that_is_early_is_taken_where_the_next_is_far_too_late(
    tmp_path: Path, interval: float, times: list[float]
) -> None:
    clip = make_clip(tmp_path / "slow.mp4", seconds=13.0, gop_s=4.0)
    memory = Memory()
    stream = open_stream("gate", str(clip), memory, StreamOptions(), VirtualClock(T0))
    stream.demand = Demand("key", interval, 2 * interval)
    stream.run(threading.Event())
    assert [round(f.meta.mono_s - 1000, 3) for f in memory.frames] == times


@pytest.mark.parametrize(
    ("gop_s", "times"),
    [(2.0, [0.0, 8.0, 16.0]), (2.2, [0.0, 8.8, 17.6])],
    ids=["as often as asked", "more than half a gap apart"],
)
def test_a_key_frame_that_is_put_off_is_not_made_up_for_by_whole_gops(
    tmp_path: Path, gop_s: float, times: list[float]
) -> None:
    asked: list[float] = []

    def room(late_s: float) -> bool:
        asked.append(late_s)
        return late_s >= 6.0

    clip = make_clip(tmp_path / "street.mp4", seconds=20.0, gop_s=gop_s)
    memory = Memory()
    stream = open_stream("gate", str(clip), memory, StreamOptions(), VirtualClock(T0))
    stream.demand = Demand("key", 2.0, 4.0, room=room)
    stream.run(threading.Event())
    # Long after the gap, but key frames came all the time.
    assert [round(f.meta.mono_s - 1000, 3) for f in memory.frames] == times
    waits = [n * gop_s - 2.0 for n in (1, 2, 3, 4)]
    assert asked == [
        float("inf"),
        *(pytest.approx(late, abs=1e-3) for late in [*waits, *waits, waits[0]][: len(asked) - 1]),
    ]
    assert len(asked) >= 9


def test_a_decoder_that_is_asked_for_nothing_is_let_go_of(clips: dict[str, Path]) -> None:
    made: list[av.VideoCodecContext] = []

    def renew() -> av.VideoCodecContext:
        made.append(software("h264", extradata))
        return made[-1]

    with av.open(str(clips["h264"])) as container:
        extradata = container.streams.video[0].codec_context.extradata
        packets = [p for p in container.demux(video=0) if p.size]
    decoder = OnDemandDecoder(renew(), renew)
    asked = [*["none"] * 3, *["all"] * 4, *["none"] * 5, *["key"] * 4, *["all"] * 4]
    seen = []
    for n, (mode, packet) in enumerate(zip(asked, packets, strict=True)):
        stamp = Stamp(T0 + timedelta(seconds=n / 10), n / 10)
        seen.append(
            [(round(p.stamp.mono_s * 10), p.tainted) for p in decoder.feed(packet, stamp, Demand(mode))]
        )
    assert len(made) == 2, "once, however long nothing is asked for; a decoder that never decoded stays"
    # Asked for anew, it begins with the GOP at hand (10 pictures), whole.
    assert seen[3] == [(n, False) for n in range(4)]
    assert seen[7:12] == [[]] * 5
    assert seen[16] == [(n, False) for n in range(10, 17)]


def test_a_packet_that_is_known_to_be_torn_taints_to_the_next_key_frame(clips: dict[str, Path]) -> None:
    with av.open(str(clips["h264"])) as container:
        extradata = container.streams.video[0].codec_context.extradata
        packets = [p for p in container.demux(video=0) if p.size]
    decoder, seen = OnDemandDecoder(software("h264", extradata)), []
    for n, packet in enumerate(packets[:14]):
        packet.is_corrupt = n == 4
        stamp = Stamp(T0 + timedelta(seconds=n / 10), n / 10)
        seen += [p.tainted for p in decoder.feed(packet, stamp, Demand("all"))]
    assert [p.is_keyframe for p in packets[:14]] == [n % 10 == 0 for n in range(14)]
    assert seen == [4 <= n < 10 for n in range(14)]
