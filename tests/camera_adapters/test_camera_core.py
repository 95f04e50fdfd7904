"""The parts without a network: states, clocks, reasons, limits, redaction, ring, file."""

from __future__ import annotations

import itertools
import random
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from camera_parts import Memory, handles_of
from hypothesis import given
from hypothesis import strategies as st

from camera_adapters import ring as ring_module
from camera_adapters.capture import CaptureClock, Monotone
from camera_adapters.clock import VirtualClock
from camera_adapters.decoder import OnDemandDecoder, Stamp, software
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.hosts import HostGate
from camera_adapters.hwaccel import Accelerator, candidates
from camera_adapters.open import open_stream
from camera_adapters.reasons import StreamFaultError, backoff_s, classify, family
from camera_adapters.redact import redact, secrets_of
from camera_adapters.ring import BLOCK, NoPicturesError, PacketRing, RingPacket, StreamParams
from camera_adapters.stream import IllegalStepError, StreamOptions, StreamState, step
from camera_adapters.testing.served import make_clip

T0 = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "legal"),
    [
        ("connecting", "live", True),
        ("connecting", "stalled", False),
        ("live", "stalled", True),
        ("live", "connecting", False),
        ("stalled", "backing_off", True),
        ("backing_off", "connecting", True),
        ("backing_off", "live", False),
        ("failed", "connecting", True),
    ],
)
def test_steps(old: str, new: str, legal: bool) -> None:
    if legal:
        assert step(StreamState(old), StreamState(new)) == new
    else:
        with pytest.raises(IllegalStepError, match="it can go to"):
            step(StreamState(old), StreamState(new))


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("open rtsp://admin:hunter2@10.0.0.1/x failed", "hunter2"),
        ("rtsp://a:p@ss/word@10.0.0.1/x", "word"),
        ("http://10.0.0.1/s.jpg?user=a&password=hunter2", "hunter2"),
        ("rtsp://10.0.0.1/user=admin_password=hunter2_channel=1", "hunter2"),
        ("Authorization: Basic aHVudGVyMjpodW50ZXIy", "aHVudGVy"),
    ],
)
def test_credentials_never_show(text: str, gone: str) -> None:
    assert gone not in redact(text)
    assert "***" in redact(text)


def test_a_password_is_found_in_both_forms() -> None:
    secrets = secrets_of("rtsp://u:p%40ss%2Fw@h/")
    assert redact("login p@ss/w or p%40ss%2Fw refused", secrets) == "login *** or *** refused"


@given(st.integers(1, 60), st.sampled_from(["refused", "timeout", "eof", "server", "protocol", "not_found"]))
def test_backoff_grows_to_its_cap(attempt: int, reason: str) -> None:
    options = StreamOptions()
    waits = [backoff_s(attempt, reason, options, random.Random(s).uniform) for s in range(5)]
    cap = options.quick_cap_s if reason in {"refused", "timeout", "eof"} else options.backoff_cap_s
    assert all(0.25 <= w <= cap for w in waits)
    assert 300 <= backoff_s(attempt, "auth", options, random.uniform) <= 360


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("refused", "eof", True),
        ("refused", "no_key", False),
        ("auth", "eof", False),
        ("server", "codec", True),
    ],
)
def test_failures_of_another_kind_start_anew(one: str, other: str, together: bool) -> None:
    assert (family(one) == family(other)) is together


@pytest.mark.parametrize(
    ("exc", "elapsed", "code"),
    [
        (StreamFaultError("no_key", "x"), 0.0, "no_key"),
        (ConnectionRefusedError(), 0.0, "refused"),
        (ConnectionResetError(), 0.0, "eof"),
        (TimeoutError(), 0.0, "timeout"),
        (ValueError("x"), 0.0, "protocol"),
        (ValueError("x"), 6.0, "timeout"),
    ],
)
def test_reasons(exc: Exception, elapsed: float, code: str) -> None:
    assert classify(exc, elapsed, 6.0) == code


def test_a_host_is_not_stormed() -> None:
    gate, stop = HostGate(limit=2, spacing_s=0.0), threading.Event()
    first, second = gate.acquire("nvr", stop), gate.acquire("nvr", stop)
    assert first
    assert second
    assert gate.acquire("other", stop)
    taken: list[object] = []
    waiting = threading.Thread(target=lambda: taken.append(gate.acquire("nvr", stop)))
    waiting.start()
    waiting.join(0.3)
    assert not taken
    first.release()
    first.release()
    waiting.join(5)
    assert taken[0] is not None
    stop.set()
    assert gate.acquire("nvr", stop) is None


def test_a_login_that_was_refused_is_not_tried_by_every_channel() -> None:
    now = [0.0]
    gate = HostGate(monotonic=lambda: now[0])
    assert gate.locked_s("nvr", "viewer:wrong") == 0
    gate.refused("nvr", "viewer:wrong", 300)
    assert gate.locked_s("nvr", "viewer:wrong") == 300
    assert gate.locked_s("nvr", "viewer:right") == gate.locked_s("other", "viewer:wrong") == 0
    now[0] = 301.0
    assert gate.locked_s("nvr", "viewer:wrong") == 0
    # A channel that this user may not see says nothing of the login, which serves others.
    gate.accepted("nvr", "viewer:right")
    gate.refused("nvr", "viewer:right", 300)
    assert gate.locked_s("nvr", "viewer:right") == 0
    for n in range(5000):
        gate.refused(f"host-{n}", "viewer:wrong", 300)
        gate.accepted(f"host-{n}", "viewer:right")
    assert len(gate._locked) <= 1024 >= len(gate._good)


@given(st.lists(st.floats(0, 0.4), min_size=2, max_size=80), st.floats(-1e6, 1e6))
def test_arrival_is_smoothed_and_never_in_the_future(jitter: list[float], base: float) -> None:
    clock, order, last = CaptureClock(2.0), Monotone(), -1e9
    for n, late in enumerate(jitter):
        mono = 100 + n * 0.04 + late
        capture = clock.stamp(base + n * 0.04, None, T0 + timedelta(seconds=mono), mono)
        assert capture.mono_s <= mono + 1e-6
        _, ordered = order.ordered(capture.at, capture.mono_s)
        assert ordered > last
        last = ordered


def test_a_step_of_the_boxs_clock_leaves_the_monotonic_time_alone() -> None:
    clock = CaptureClock(2.0)
    times = []
    for n in range(100):
        now = T0 + timedelta(seconds=n * 0.1 + (3600 if n >= 50 else 0))
        times.append(clock.stamp(n * 0.1, T0 + timedelta(seconds=n * 0.1), now, 50 + n * 0.1))
    assert np.allclose(np.diff([c.mono_s for c in times]), 0.1)
    assert times[10].source == "rtcp_sender_report"
    assert (times[60].source, round(times[60].offset_s or 0)) == ("arrival", -3600)


def test_a_jump_of_the_timestamps_is_a_new_time_line() -> None:
    clock = CaptureClock(2.0)
    clock.stamp(1000.0, None, T0, 5.0)
    assert clock.stamp(0.0, None, T0, 5.04).mono_s == pytest.approx(5.04)


@pytest.mark.parametrize(
    ("wanted", "there", "kinds"),
    [
        ("none", {"cuda"}, ()),
        ("auto", {"cuda", "qsv", "vaapi"}, ("cuda", "qsv", "vaapi")),
        ("auto", {"vaapi"}, ("vaapi",)),
        ("auto", set(), ()),
        ("qsv", {"qsv"}, ("qsv",)),
        ("cuda", set(), ("cuda",)),
    ],
)
def test_hardware_is_chosen_by_what_is_there(wanted: str, there: set[str], kinds: tuple[str, ...]) -> None:
    assert candidates(wanted, there.__contains__) == kinds  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("kind", ["cuda", "qsv", "vaapi"])
def test_hardware_that_is_not_there_is_software_and_says_why(kind: str, codec: str) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dri").exists():
        pytest.skip("this machine has what should be missing")
    chosen = Accelerator(kind)  # type: ignore[arg-type]
    assert chosen.decoder(codec, None) is None
    assert chosen.active == "software"
    assert chosen.note.startswith(f", decoded in software ({kind}: ")
    quiet = Accelerator("auto")
    assert quiet.decoder(codec, None) is None
    assert quiet.note == "", "nothing is missing where nothing was asked for"


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


def test_a_clip_starts_at_a_key_frame_of_the_last_connection() -> None:
    ring = PacketRing(60, 1 << 20)
    for n in range(40):
        ring.push(_packet(n, n % 10 == 0, epoch=1 if n < 20 else 2))
    packets = ring.packets(T0 + timedelta(seconds=2.5), T0 + timedelta(seconds=3.5))
    assert (packets[0].pts, packets[-1].pts) == (20, 35)
    with pytest.raises(NoPicturesError, match="in the ring"):
        ring.packets(T0 - timedelta(hours=2), T0 - timedelta(hours=1))


@pytest.mark.parametrize(("name", "transcoded"), [("h264", False), ("hevc", False), ("mpeg4", True)])
def test_a_file_is_a_camera(clips: dict[str, Path], tmp_path: Path, name: str, transcoded: bool) -> None:
    runs = []
    for _ in range(2):
        memory = Memory()
        stream = open_stream("gate", str(clips[name]), memory, StreamOptions(), VirtualClock(T0))
        stream.demand = Demand("all")
        stream.run(threading.Event())
        runs.append([(f.meta.captured_at, f.meta.mono_s, f.meta.key) for f in memory.frames])
        assert memory.states() == [StreamState.LIVE, StreamState.FAILED]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 20
    assert stream.ring is not None
    clip = stream.ring.clip(T0, T0 + timedelta(seconds=1.9), tmp_path / "clip.mp4")
    assert clip.transcoded is transcoded
    with av.open(str(clip.path)) as container:
        assert container.streams.video[0].codec_context.name == ("hevc" if name == "hevc" else "h264")
        assert sum(1 for _ in container.decode(video=0)) >= 18
    assert len(stream.ring.frames(T0, T0 + timedelta(seconds=0.9))) >= 9


def test_a_file_keeps_the_interval(clips: dict[str, Path]) -> None:
    memory = Memory()
    stream = open_stream("gate", str(clips["h264"]), memory, StreamOptions(), VirtualClock(T0))
    stream.demand = Demand("all", 0.5)
    stream.run(threading.Event())
    assert [round(f.meta.mono_s - 1000, 3) for f in memory.frames] == [0, 0.5, 1.0, 1.5]


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


@pytest.mark.parametrize(
    ("url", "said"), [("gopher://x/y", "no adapter"), ("/no/such/file.mp4", "is no file")]
)
def test_a_bad_address_says_what_is_known(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        open_stream("gate", url, Memory(), StreamOptions(), VirtualClock())


def test_two_threads_may_ask_one_frame_for_its_picture(clips: dict[str, Path]) -> None:
    """PyAV's own scaler of a frame is shared; two threads in it waited for each other for ever."""
    memory = Memory()
    stream = open_stream("gate", str(clips["h264"]), memory, StreamOptions(), VirtualClock())
    stream.demand = Demand("all")
    stream.run(threading.Event())
    wanted = [f.rgb(97, 55) for f in memory.frames]
    for _ in range(8):
        for frame, right in zip(memory.frames, wanted, strict=True):
            got: list[Any] = []
            pair = [
                threading.Thread(target=lambda f=frame, g=got: g.append(f.rgb(97, 55)), daemon=True)
                for _ in "ab"
            ]
            for thread in pair:
                thread.start()
            for thread in pair:
                thread.join(20)
            assert len(got) == 2
            assert all(np.array_equal(g, right) for g in got)


def test_a_frame_scales(clips: dict[str, Path]) -> None:
    meta = FrameMeta("c", 0, T0, 0.0, "file", None, True, False, 1, 40, 20)
    frame = Frame.from_rgb(np.full((20, 40, 3), 128, np.uint8), meta)
    assert frame.rgb(20, 10).shape == (10, 20, 3)
    assert frame.luma(10, 5).tolist() == [[128] * 10] * 5
    with pytest.raises(ValueError, match="expected uint8"):
        Frame.from_rgb(np.zeros((4, 4, 3), np.uint8), meta)


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


def test_a_rings_memory_is_used_again_but_never_under_a_packet_that_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mapped: list[int] = []
    made = ring_module._mapped
    monkeypatch.setattr(ring_module, "_mapped", lambda size: mapped.append(size) or made(size))  # type: ignore[func-returns-value]
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
    assert mapped[-1] == BLOCK * 3


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
