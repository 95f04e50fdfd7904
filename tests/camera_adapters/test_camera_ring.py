"""The ring of compressed packets: its limits, its memory, and the clips that are cut from it."""

from __future__ import annotations

import itertools
import random
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from camera_parts import Memory, handles_of
from hypothesis import given
from hypothesis import strategies as st

from camera_adapters import blocks
from camera_adapters import ring as ring_module
from camera_adapters.blocks import BLOCK, PADDING
from camera_adapters.clock import VirtualClock
from camera_adapters.open import open_stream
from camera_adapters.ring import NoPicturesError, PacketRing, RingPacket, StreamParams
from camera_adapters.stream import StreamOptions

T0 = datetime(2026, 3, 1, 8, tzinfo=UTC)


def _packet(n: int, key: bool, size: int = 100, epoch: int = 1) -> RingPacket:
    params = StreamParams("h264", 64, 48, Fraction(1, 10), None, epoch)
    return RingPacket(T0 + timedelta(seconds=n / 10), key, n, n, bytes(size), params)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4000)), max_size=200))
def test_the_ring_keeps_its_limits(items: list[tuple[bool, int]]) -> None:
    ring = PacketRing(5.0, 20_000)
    for n, (key, size) in enumerate(items):
        ring.push(_packet(n, key, size))
        assert ring.size <= 20_000


@given(st.lists(st.integers(1, 700_000), min_size=1, max_size=40), st.integers(0, 39))
def test_a_snapshot_keeps_its_bytes_while_the_ring_goes_on(sizes: list[int], when: int) -> None:
    ring, snapshot = PacketRing(60, 2 << 20), PacketRing()
    for n, size in enumerate(sizes):
        ring.push(replace(_packet(n, n % 5 == 0, 1), data=bytes([n]) * size, mono_s=float(n)))
        if n == min(when, len(sizes) - 1):
            snapshot = ring.timed_by(T0, 0.0)
    for held in (ring.held(), snapshot.held()):
        for p in held:
            assert bytes(p.data) == bytes([p.pts or 0]) * sizes[p.pts or 0]


def test_what_leaves_the_ring_leaves_the_memory() -> None:
    process, ring = psutil.Process(), PacketRing(60, 4 << 20)
    rng, others = random.Random(3), []

    def turn(pictures: int) -> int:
        for n in range(pictures):
            ring.push(_packet(n, n % 50 == 0, rng.randrange(2_000, 60_000)))
            # What else a box keeps for longer, and would lie between the packets.
            others.append(bytes(600))
        return int(process.memory_info().rss)

    before = turn(500)
    assert turn(10_000) - before < 24 << 20, "310 MB went through 4 MB"


def test_a_clip_starts_at_a_key_frame_of_the_connection_of_its_time() -> None:
    ring = PacketRing(60, 1 << 20)
    for n in range(40):
        ring.push(_packet(n, n % 10 == 0, epoch=1 if n < 20 else 2))
    packets = ring.packets(T0 + timedelta(seconds=2.5), T0 + timedelta(seconds=3.5))
    assert (packets[0].pts, packets[-1].pts) == (20, 35)
    with pytest.raises(NoPicturesError, match="in the ring"):
        ring.packets(T0 - timedelta(hours=2), T0 - timedelta(hours=1))


@pytest.mark.parametrize(
    ("window", "moment", "wanted"),
    [
        ((-20, 20), 0, (-20, 8)),
        ((-2, 20), 0, (-2, 8)),
        ((-20, 20), 13, (12, 20)),
        ((-20, 20), 9, (-20, 8)),
        ((-20, 20), None, (-20, 8)),
        ((6, 40), None, (12, 40)),
        ((9, 20), 10, (12, 20)),
    ],
    ids=[
        "the longer one has it", "the shorter one has it", "the later one has it", "in the gap: the nearer one",
        "no moment: most of the time", "no moment: the later one has more", "the earlier one had ended",
    ],
)  # fmt: skip
def test_a_clip_of_two_connections_shows_the_one_of_its_moment(
    window: tuple[int, int], moment: int | None, wanted: tuple[int, int]
) -> None:
    def at(seconds: int) -> datetime:
        return T0 + timedelta(seconds=seconds)

    ring = PacketRing(100, 1 << 20)
    for second in (*range(-30, 9), *range(12, 41)):
        ring.push(_packet(10 * second, second % 2 == 0, epoch=1 if second < 9 else 2))
    told = () if moment is None else (at(moment),)
    packets = ring.packets(at(window[0]), at(window[1]), *told)
    assert (packets[0].at, packets[-1].at) == (at(wanted[0]), at(wanted[1]))
    assert len({p.params.epoch for p in packets}) == 1
    part = ring.part(at(window[0]), at(window[1]), *told)
    assert part.held() == packets
    shown_s = wanted[1] - max(wanted[0], window[0])
    assert ring.covered_s(at(window[0]), at(window[1]), *told) == shown_s


@pytest.mark.parametrize("name", ["h264", "mpeg4"])
def test_a_clip_on_a_full_disk_leaves_no_half_file_and_no_open_one(
    clips: dict[str, Path], tmp_path: Path, name: str
) -> None:
    stream = open_stream("gate", str(clips[name]), Memory(), StreamOptions(), VirtualClock(T0))
    stream.run(threading.Event())
    ring = stream.ring
    assert ring is not None
    wanted = T0, T0 + timedelta(seconds=1)
    with pytest.raises(FileNotFoundError):
        ring.clip(*wanted, tmp_path / "no" / "folder" / "clip.mp4")
    for _ in range(4):
        (tmp_path / "clip.mp4.part").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left"):
            ring.clip(*wanted, tmp_path / "clip.mp4")
    assert handles_of(Path("/dev/full")) == 0
    assert not list(tmp_path.iterdir())


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the blocks that were asked of the system since."""
    sizes: list[int] = []
    made = blocks._mapped
    monkeypatch.setattr(blocks, "_mapped", lambda size: sizes.append(size) or made(size))  # type: ignore[func-returns-value]
    return sizes


def test_a_rings_memory_is_used_again_but_never_under_a_packet_that_is_held(mapped: list[int]) -> None:
    params = StreamParams("h264", 320, 240, Fraction(1, 90_000), None, 1)
    ring, held = PacketRing(10.0), []
    size = BLOCK // 8
    for n in range(800):
        at = T0 + timedelta(seconds=n / 2)
        ring.push(RingPacket(at, n % 4 == 0, n, None, bytes([n % 251]) * size, params))
        if n % 97 == 0:
            held.append((n, ring.held()[-1]))
        if n == 400:
            held.clear()
        for k, packet in (*held, *((n - i, p) for i, p in enumerate(reversed(ring.held())))):
            assert packet.data[0] == packet.data[-1] == k % 251
    # Three blocks of eight packets hold ten seconds; the held packets keep some more.
    assert len(mapped) < 16
    ring.push(RingPacket(T0 + timedelta(seconds=401), True, 0, None, bytes(BLOCK * 3), params))
    assert mapped[-1] == BLOCK * 3 + PADDING


def test_a_pushed_packet_is_the_rings_and_its_bytes_are_a_copy() -> None:
    ring, taken = PacketRing(10.0), bytearray(b"abc")
    params = StreamParams("h264", 320, 240, Fraction(1, 90_000), None, 1)
    packet = RingPacket(T0, True, 0, None, memoryview(taken), params)
    kept = ring.push(packet)
    taken[:] = b"xyz"
    assert ring.held() == [packet]
    assert packet.data is kept
    assert kept == b"abc"
    assert kept.readonly


def test_what_is_behind_a_packet_can_be_read_as_far_as_ffmpeg_looks() -> None:
    """A picture that ended with its block ended the process: PyAV hands FFmpeg the bytes where they lie."""
    ring = PacketRing(1e9)
    params = StreamParams("h264", 320, 240, Fraction(1, 90_000), None, 1)
    sizes = [
        BLOCK - PADDING,
        BLOCK,
        3 * BLOCK,
        *[BLOCK // 8] * 20,
        BLOCK - PADDING + 1,
        100,
        BLOCK - 200,
        100,
    ]
    for n, size in enumerate(sizes):
        kept = ring.push(RingPacket(T0 + timedelta(seconds=n), True, n, None, bytes(size), params))
        block = np.frombuffer(kept.obj, np.uint8)
        begin = np.frombuffer(kept, np.uint8).ctypes.data - block.ctypes.data
        assert begin + size + PADDING <= block.size


def test_blocks_that_a_clip_holds_keep_no_others_from_being_used_again(mapped: list[int]) -> None:
    params = StreamParams("h264", 320, 240, Fraction(1, 90_000), None, 1)
    ring, clip = PacketRing(10.0), []
    for n in range(2000):
        ring.push(RingPacket(T0 + timedelta(seconds=n / 2), n % 4 == 0, n, None, bytes(BLOCK // 8), params))
        if n == 100:
            clip = ring.held()
    # Three to four blocks hold ten seconds, and as many are the clip's for a quarter of an hour.
    assert len(clip) > 15
    assert len(mapped) <= 8


@pytest.mark.parametrize(
    ("shown", "timestamps"),
    [
        ([0, 3, 1, 2, 6, 4, 5], [(1, 0), (4, 1), (2, 2), (3, 3), (7, 4), (5, 5), (6, 6)]),
        ([5, 6, 7], [(0, 0), (1, 1), (2, 2)]),
        ([4, 4, 5], [(1, 0), (1, 1), (2, 2)]),
    ],
)
def test_where_only_the_times_of_showing_are_known_decoding_comes_before(
    shown: list[int], timestamps: list[tuple[int, int]]
) -> None:
    params = StreamParams("h264", 320, 240, Fraction(1, 10), None, 1)
    packets = [RingPacket(T0, n == 0, pts, None, b"", params) for n, pts in enumerate(shown)]
    made = ring_module._timestamps(packets)
    assert [dts for _, dts in made] == sorted({dts for _, dts in made})
    assert all(pts >= dts for pts, dts in made)
    assert made == timestamps


def test_a_time_line_that_was_set_back_is_no_reordering() -> None:
    params = StreamParams("h264", 320, 240, Fraction(1, 90_000), None, 1)
    times = [*range(0, 90_000, 3600), *range(-3600 * 90_000, -3599 * 90_000, 3600)]
    packets = [RingPacket(T0, n == 0, pts, None, b"", params) for n, pts in enumerate(times)]
    made = ring_module._timestamps(packets)
    assert made[0] == (0, 0)
    assert all(b[1] > a[1] and b[0] >= b[1] for a, b in itertools.pairwise(made))
    assert max(pts for pts, _ in made) < 3 * 90_000


def test_the_end_of_a_clip_with_b_frames_has_the_pictures_that_they_refer_to(tmp_path: Path) -> None:
    path, noise = tmp_path / "b.mp4", np.random.default_rng(1).integers(0, 255, (60, 100, 3), np.uint8)
    with av.open(str(path), "w") as made:
        stream = made.add_stream("libx264", rate=25, options={"bf": "3", "b_strategy": "0", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for i in range(40):
            picture = np.repeat(np.repeat(noise[i // 2 : i // 2 + 32, i : i + 40], 4, 0), 4, 1)
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        made.mux(stream.encode(None))
    ring = PacketRing()
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        params = StreamParams(
            "h264", 160, 128, Fraction(video.time_base or 1), video.codec_context.extradata, 1
        )
        for p in container.demux(video):
            if p.size:
                at = T0 + timedelta(seconds=float(p.pts * p.time_base))
                ring.push(RingPacket(at, p.is_keyframe, p.pts, p.dts, bytes(p), params))
    times = sorted(p.at for p in ring.held())
    whole = {at: frame.to_ndarray(format="gray") for at, frame in ring.frames(times[0], times[-1])}
    assert len(whole) == 40
    for end in times[20:36]:
        shown = ring.frames(times[0], end)
        assert [at for at, _ in shown] == [at for at in times if at <= end]
        assert all((frame.to_ndarray(format="gray") == whole[at]).all() for at, frame in shown)
