"""RTSP over real sockets: what works, and what goes wrong."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import av
import numpy as np
import pytest
from camera_parts import QUICK, Memory, wait_for

from camera_adapters.clock import SystemClock
from camera_adapters.demand import Demand
from camera_adapters.hosts import HostGate
from camera_adapters.hwaccel import Accelerator
from camera_adapters.ring import NoPicturesError, PacketRing
from camera_adapters.rtsp import RtspStream
from camera_adapters.still import key_at, picture_at
from camera_adapters.stream import StreamOptions, StreamState
from camera_adapters.testing.loopcam import Camera, Faults
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam

EVERY = Demand("all")
AUTH = ("viewer", "s3cret-word")


@contextmanager
def streaming(
    url: str, options: StreamOptions = QUICK, mode: Demand = EVERY
) -> Iterator[tuple[RtspStream, Memory]]:
    memory = Memory()
    stream = RtspStream("gate", url, memory, options, SystemClock(), gate=HostGate())
    stream.demand = mode
    stream.start()
    try:
        yield stream, memory
    finally:
        stream.close(8)
        assert "s3cret-word" not in memory.reasons()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("name", ["h264", "hevc", "bframes"])
def test_it_plays(clips: dict[str, Path], name: str, transport: str, tmp_path: Path) -> None:
    cameras = {"gate": Camera(RtpClip(clips[name]))}
    options = replace(QUICK, transport=transport)
    with ServedLoopCam(cameras, AUTH) as served, streaming(served.url("gate"), options) as (stream, memory):
        wait_for(lambda: len(memory.frames) >= 25)
        health = stream.health()
        assert (health.state, health.connects) == (StreamState.LIVE, 1)
        metas = [f.meta for f in memory.frames]
        assert {(m.width, m.height) for m in metas} == {(320, 240)}
        assert all(
            a.mono_s < b.mono_s and a.captured_at < b.captured_at for a, b in itertools.pairwise(metas)
        )
        assert metas[-1].clock_source == "rtcp_sender_report"
        assert abs(metas[-1].clock_offset_s or 0) < 1
        assert memory.frames[-1].rgb(64, 48).shape == (48, 64, 3)
        assert stream.ring is not None
        end = metas[-1].captured_at
        clip = stream.ring.clip(end - timedelta(seconds=1), end, tmp_path / "clip.mp4")
    with av.open(str(clip.path)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 9
    assert not clip.transcoded


@pytest.mark.parametrize("name", ["h264", "hevc", "bframes"])
def test_one_picture_of_the_ring_is_the_picture_of_that_moment(clips: dict[str, Path], name: str) -> None:
    cameras = {"gate": Camera(RtpClip(clips[name]))}
    with ServedLoopCam(cameras) as served, streaming(served.url("gate")) as (stream, memory):
        wait_for(lambda: len(memory.frames) >= 30)
    assert stream.ring is not None
    whole = [f for f in memory.frames if f.meta.seq > 0]
    for frame in (whole[3], whole[11], whole[17], whole[-1]):
        at, video = picture_at(stream.ring, frame.meta.captured_at + timedelta(milliseconds=20))
        assert at == frame.meta.captured_at
        assert np.array_equal(video.to_ndarray(format="rgb24"), frame.rgb())
    frame = whole[15]
    key, video = picture_at(stream.ring, frame.meta.captured_at, most=1)
    assert video.key_frame, "behind a long GOP the key frame stands for it"
    assert key == key_at(stream.ring, frame.meta.captured_at).at
    assert picture_at(stream.ring, frame.meta.captured_at, key_within_s=2.0)[0] == key
    near = abs(key - frame.meta.captured_at).total_seconds()
    assert near > 0.1, "a picture between key frames"
    exact = picture_at(stream.ring, frame.meta.captured_at, key_within_s=near - 0.05)
    assert exact[0] == frame.meta.captured_at, "a key frame that is too far away does not stand for it"
    with pytest.raises(NoPicturesError):
        picture_at(stream.ring, frame.meta.captured_at - timedelta(seconds=60))


def test_a_damaged_picture_is_no_evidence(rtp: RtpClip) -> None:
    with ServedLoopCam({"gate": Camera(rtp)}) as served, streaming(served.url("gate")) as (stream, memory):
        wait_for(lambda: len(memory.frames) >= 15)
    assert stream.ring is not None
    at, broken = memory.frames[12].meta.captured_at, PacketRing()
    for packet in stream.ring.held():
        data = packet.data if packet.key or packet.at > at else b""
        broken.push(replace(packet, data=data[: len(data) // 2] if packet.key else data))
    with pytest.raises(NoPicturesError):
        picture_at(broken, at)


@pytest.mark.parametrize(
    ("path", "login", "fault", "code"),
    [
        ("gate", "viewer:wrong-word", Faults(), "auth"),
        ("nowhere", None, Faults(), "not_found"),
        ("gate", None, Faults(status="453 Not Enough Bandwidth"), "server"),
        ("gate", None, Faults(status="503 Service Unavailable"), "server"),
        ("gate", None, Faults(close_s=0.5), "eof"),
        ("gate", None, Faults(stall_s=0.5), "timeout"),
        ("gate", None, Faults(no_key=True), "no_key"),
    ],
)
def test_a_failure_has_its_reason(
    rtp: RtpClip, path: str, login: str | None, fault: Faults, code: str
) -> None:
    with (
        ServedLoopCam({"gate": Camera(rtp, fault)}, AUTH) as served,
        streaming(served.url(path, login)) as (_, memory),
    ):
        wait_for(lambda: StreamState.BACKING_OFF in memory.states())
        first = next(e for e in memory.events if e.state is StreamState.BACKING_OFF)
    assert first.reason.startswith(f"{code}: ")


def test_a_recorder_of_many_channels_is_not_stormed_nor_locks_the_box_out() -> None:
    """24 channels of a recorder that takes connections and says nothing, and 24 with a wrong password."""
    open_now: list[socket.socket] = []
    most, times, over = [0], list[float](), threading.Event()

    def serve(server: socket.socket) -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                made, _ = server.accept()
                times.append(time.monotonic())
                open_now[:] = [s for s in open_now if not _is_closed(s)] + [made]
                most[0] = max(most[0], len(open_now))

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        gate, port = HostGate(), server.getsockname()[1]
        streams = [
            RtspStream(f"c{n}", f"rtsp://127.0.0.1:{port}/{n}", Memory(), QUICK, SystemClock(), gate=gate)
            for n in range(24)
        ]
        for stream in streams:
            stream.start()
        wait_for(lambda: len(times) >= 20)
        for stream in streams:
            stream.close(0)
        over.set()
        for stream in streams:
            stream.close(10)
        thread.join(60)
    for each in open_now:
        each.close()
    assert most[0] == 8
    assert times[7] - times[0] >= 7 * 0.05 * 0.9

    asked: list[str] = []
    patient = replace(QUICK, auth_backoff_s=60.0)
    with ServedLoopCam({}, AUTH) as served:
        loopcam = served._server
        assert loopcam is not None
        check = loopcam._authorised
        loopcam._authorised = lambda method, header: asked.append(header) or check(method, header)  # type: ignore[method-assign, func-returns-value]
        memories = [Memory() for _ in range(24)]
        url = served.url("gate", "viewer:wrong-word")
        wrong = [
            RtspStream("c", f"{url}{n}", memories[n], patient, SystemClock(), gate=gate) for n in range(24)
        ]
        for stream in wrong:
            stream.start()
        wait_for(lambda: all(StreamState.BACKING_OFF in m.states() for m in memories))
        for stream in wrong:
            stream.close(5)
    assert sum("response" in header for header in asked) <= 8, "the wrong password was not tried 24 times"
    assert any("has refused this login for another channel" in m.reasons() for m in memories)
    assert not any("wrong-word" in m.reasons() for m in memories)


def _is_closed(sock: socket.socket) -> bool:
    try:
        left = sock.recv(4096, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    if left == b"":
        sock.close()
        return True
    return _is_closed(sock)


def test_refused_then_back(rtp: RtpClip) -> None:
    with ServedLoopCam({"gate": Camera(rtp)}) as served, streaming(served.url("gate")) as (stream, memory):
        wait_for(lambda: stream.state is StreamState.LIVE)
        served.stop()
        wait_for(lambda: any(e.reason.startswith("refused") for e in memory.events))
        served.restart()
        before = len(memory.frames)
        wait_for(lambda: len(memory.frames) > before + 5)
        metas = [f.meta for f in memory.frames]
        assert metas[-1].epoch > 1
        assert all(a.mono_s < b.mono_s for a, b in itertools.pairwise(metas))


@pytest.mark.parametrize("fault", ["stall", "close"])
def test_it_comes_back_and_the_ring_never_mixes(rtp: RtpClip, fault: str, tmp_path: Path) -> None:
    faults = Faults(stall_s=0.8) if fault == "stall" else Faults(close_s=0.8)
    camera = Camera(rtp, faults)
    with ServedLoopCam({"gate": camera}) as served, streaming(served.url("gate")) as (stream, memory):
        wait_for(lambda: StreamState.BACKING_OFF in memory.states())
        camera.faults = Faults()
        wait_for(lambda: stream.health().connects > 1 and stream.state is StreamState.LIVE)
        count = len(memory.frames)
        wait_for(lambda: len(memory.frames) > count + 5)
        assert stream.ring is not None
        newest = memory.frames[-1].meta.captured_at
        packets = stream.ring.packets(newest - timedelta(seconds=30), newest)
        assert len({p.params.epoch for p in packets}) == 1
        assert packets[0].key


def test_a_new_resolution_is_a_new_epoch(rtp: RtpClip, clips: dict[str, Path], tmp_path: Path) -> None:
    camera = Camera(rtp, Faults(switch_to=RtpClip(clips["small"])))
    with ServedLoopCam({"gate": camera}) as served, streaming(served.url("gate")) as (stream, memory):
        wait_for(lambda: any(f.meta.width == 160 for f in memory.frames))
        size = len(memory.frames)
        wait_for(lambda: len(memory.frames) > size + 8)
        assert stream.ring is not None
        end = memory.frames[-1].meta.captured_at
        begin = end - timedelta(seconds=20)
        clip = stream.ring.part(begin, end, end).clip(begin, end, tmp_path / "c.mp4")
        assert (clip.width, clip.height) == (160, 120)
        assert stream.health().connects == 2


def test_a_new_codec_is_noticed(rtp: RtpClip, clips: dict[str, Path]) -> None:
    hevc = RtpClip(clips["hevc"])
    camera = Camera(rtp, Faults(switch_to=hevc))
    options = replace(QUICK, max_barren=15)
    with ServedLoopCam({"gate": camera}) as served, streaming(served.url("gate"), options) as (_, memory):
        wait_for(lambda: len(memory.frames) > 3)
        camera.clip = hevc
        wait_for(lambda: any("hevc" in e.reason for e in memory.events))


@pytest.mark.parametrize("fault", [Faults(loss=0.05), Faults(corrupt=0.05)])
def test_damage_is_marked_never_fatal(rtp: RtpClip, fault: Faults) -> None:
    with (
        ServedLoopCam({"gate": Camera(rtp, fault)}) as served,
        streaming(served.url("gate")) as (stream, _memory),
    ):
        wait_for(lambda: stream.health().packets > 40)
        assert stream.state in {StreamState.LIVE, StreamState.BACKING_OFF, StreamState.CONNECTING}


@pytest.mark.parametrize("skew", [3600.0, -7200.0])
def test_a_camera_with_a_wrong_clock_is_stamped_by_arrival(rtp: RtpClip, skew: float) -> None:
    with (
        ServedLoopCam({"gate": Camera(rtp, Faults(clock_skew_s=skew))}) as served,
        streaming(served.url("gate")) as (stream, memory),
    ):
        wait_for(lambda: stream.health().clock_skew_s is not None and len(memory.frames) > 10)
        assert stream.health().clock_skew_s == pytest.approx(skew, abs=1)
        last = memory.frames[-1].meta
        assert last.clock_source == "arrival"
        assert abs((last.captured_at - SystemClock().now()).total_seconds()) < 3


def test_demand_changes_while_it_runs(rtp: RtpClip) -> None:
    with (
        ServedLoopCam({"gate": Camera(rtp)}) as served,
        streaming(served.url("gate"), mode=Demand("none")) as (stream, memory),
    ):
        wait_for(lambda: stream.health().packets > 12)
        assert not memory.frames
        stream.demand = Demand("key")
        wait_for(lambda: len(memory.frames) >= 2)
        assert all(f.meta.key for f in memory.frames)
        count = len(memory.frames)
        stream.demand = Demand("all")
        wait_for(lambda: len(memory.frames) > count + 15)
        # Promotion decodes the GOP at hand, so the first pictures are whole.
        assert not any(f.meta.tainted for f in memory.frames)


@pytest.mark.parametrize("mode", [EVERY, Demand("key")])
@pytest.mark.parametrize(
    ("made_of", "decoder", "said"),
    [
        ("h264", "cuda", "decoded by cuda"),
        # It opens, as a card without free sessions does, and then gives no picture.
        ("png", "software", "decoded in software (cuda: "),
    ],
)
def test_a_hardware_decoder_works_or_software_goes_on(
    rtp: RtpClip, mode: Demand, made_of: str, decoder: str, said: str
) -> None:
    def make(_kind: str, _codec: str, extradata: bytes | None) -> av.VideoCodecContext:
        context = av.CodecContext.create(made_of, "r")
        if made_of == "h264":
            context.extradata = extradata
        return context  # type: ignore[return-value]

    memory = Memory()
    with ServedLoopCam({"gate": Camera(rtp)}) as served:
        stream = RtspStream("gate", served.url("gate"), memory, QUICK, SystemClock(), gate=HostGate())
        stream._accelerator = Accelerator("cuda", make=make)
        stream.demand = mode
        stream.start()
        wait_for(lambda: len(memory.frames) >= 4)
        stream.close(8)
    assert stream.health().decoder == decoder
    assert said in memory.events[-1].reason
    assert stream.health().connects == 1, "no reconnection was needed"
    assert not any(f.meta.tainted for f in memory.frames)


def test_requested_hardware_that_this_machine_lacks(rtp: RtpClip) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has it")
    with (
        ServedLoopCam({"gate": Camera(rtp)}) as served,
        streaming(served.url("gate"), replace(QUICK, hardware="cuda")) as (stream, memory),
    ):
        wait_for(lambda: len(memory.frames) >= 5)
        assert stream.state is StreamState.LIVE
        assert "decoded in software (cuda: " in memory.events[0].reason
        assert stream.health().decoder == "software"


def test_reconnecting_leaves_nothing_behind(rtp: RtpClip) -> None:
    camera = Camera(rtp, Faults(close_s=0.05))
    with ServedLoopCam({"gate": camera}) as served:
        options = replace(QUICK, backoff_base_s=0.01, quick_cap_s=0.02)
        fds, threads = 0, 0
        with streaming(served.url("gate"), options) as (_stream, _):
            wait_for(lambda: camera.plays >= 5)
            fds, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
            wait_for(lambda: camera.plays >= 25)
            assert len(list(Path("/proc/self/fd").iterdir())) <= fds + 3
            assert threading.active_count() <= threads
