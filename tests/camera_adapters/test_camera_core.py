"""The parts without a network: states, clocks, reasons, limits, redaction, ring, file."""

from __future__ import annotations

import random
import threading
import wave
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import numpy as np
import pytest
from camera_parts import Memory
from hypothesis import given
from hypothesis import strategies as st

from camera_adapters.capture import CaptureClock, Monotone
from camera_adapters.clock import VirtualClock
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.hosts import HostGate
from camera_adapters.hwaccel import Accelerator, candidates
from camera_adapters.open import open_stream
from camera_adapters.reasons import StreamFaultError, backoff_s, classify, family
from camera_adapters.redact import check_login, redact, secrets_of
from camera_adapters.stream import IllegalStepError, StreamOptions, StreamState, step

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


@pytest.mark.parametrize("password", ["Geheim77/x", "Geheim77#x", "Geheim77?x", "Ge[heim77", "Geheim77/"])
@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "onvif", "gb28181+http"])
def test_a_password_that_is_not_escaped_is_refused_without_a_word_of_it(scheme: str, password: str) -> None:
    with pytest.raises(ValueError, match="%2F") as refused:
        check_login(f"{scheme}://op:{password}@192.0.2.1:554/live")
    assert "eheim" not in str(refused.value)
    check_login(f"{scheme}://op:{quote(password, safe='')}@192.0.2.1:554/live?user=a@b")


def test_what_stands_where_a_port_should_is_not_told() -> None:
    for text in ("Invalid port: 'Geheim77'", "Port could not be cast to integer value as 'Geheim77'"):
        assert "Geheim" not in redact(text)


@pytest.mark.parametrize(
    "path",
    [
        "/srv/a@b.mp4",
        "file:///srv/a@b.mp4",
        "clip.mp4",
        "rtsp://10.6.8.161:554/user=admin&password=a@123&channel=1&stream=0.sdp?",
        "http://10.0.0.1/s.m3u8?user=op@site",
        "rtsp://[fe80::1]/cam@1",
    ],
)
def test_a_path_is_no_login(path: str) -> None:
    check_login(path)


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


def test_a_file_of_sound_alone_says_so(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    memory = Memory()
    open_stream("gate", str(tmp_path / "a.wav"), memory, StreamOptions(), VirtualClock(T0)).run(
        threading.Event()
    )
    assert [(e.state, e.reason) for e in memory.events] == [
        (StreamState.FAILED, "codec: the file holds no video")
    ]


def test_a_file_keeps_the_interval(clips: dict[str, Path]) -> None:
    memory = Memory()
    stream = open_stream("gate", str(clips["h264"]), memory, StreamOptions(), VirtualClock(T0))
    stream.demand = Demand("all", 0.5)
    stream.run(threading.Event())
    assert [round(f.meta.mono_s - 1000, 3) for f in memory.frames] == [0, 0.5, 1.0, 1.5]


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


@pytest.mark.parametrize("given", ["gray", "rgb24"])
@pytest.mark.parametrize(("width", "height"), [(64, 54), (97, 54), (702, 54), (640, 360)])
def test_a_picture_is_the_callers_own(given: str, width: int, height: int) -> None:
    meta = FrameMeta("c", 0, datetime.now(UTC), 0.0, "file", None, True, False, 1, 640, 360)
    shape = (360, 640, 3) if given == "rgb24" else (360, 640)
    frame = Frame(meta, av.VideoFrame.from_ndarray(np.full(shape, 90, np.uint8), format=given))
    picture, other = frame.rgb(width, height), frame.rgb(width, height)
    picture[:] = 7
    assert picture.flags.c_contiguous
    assert (other > 80).all()
    assert (frame.rgb(width, height) == other).all()
    assert (frame.masked(((((0, 0), (1, 0), (1, 1), (0, 1))),)).luma() == 0).all()
    assert (frame.rgb(width, height) == other).all()


def test_a_frame_scales(clips: dict[str, Path]) -> None:
    meta = FrameMeta("c", 0, T0, 0.0, "file", None, True, False, 1, 40, 20)
    frame = Frame.from_rgb(np.full((20, 40, 3), 128, np.uint8), meta)
    assert frame.rgb(20, 10).shape == (10, 20, 3)
    assert frame.luma(10, 5).tolist() == [[128] * 10] * 5
    with pytest.raises(ValueError, match="expected uint8"):
        Frame.from_rgb(np.zeros((4, 4, 3), np.uint8), meta)
