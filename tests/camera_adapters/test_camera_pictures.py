"""Pictures that come oddly over HTTP or into a folder: cut, without an end, with other line ends, at another time."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_parts import QUICK, Memory, running, send, wait_for, web

from camera_adapters.jpeg import MultipartPictures, is_whole
from camera_adapters.stream import StreamState

_NOISE = np.kron(
    np.random.default_rng(2).integers(0, 255, (30, 40, 3), np.uint8), np.ones((8, 8, 1), np.uint8)
)
JPEG = cv2.imencode(".jpg", _NOISE)[1].tobytes()
PNG = cv2.imencode(".png", _NOISE)[1].tobytes()
# Between the header and the scan, as EXIF has it.
WITH_THUMBNAIL = JPEG[:2] + b"\xff\xe1" + (len(JPEG) + 2).to_bytes(2) + JPEG + JPEG[2:]


@pytest.mark.parametrize(
    ("data", "codec", "whole"),
    [
        (JPEG, "mjpeg", True),
        (JPEG + bytes(5000), "mjpeg", True),
        (JPEG + b"MAKER\xff\xda\x00", "mjpeg", True),
        (JPEG[:-2], "mjpeg", False),
        (JPEG[: len(JPEG) // 2], "mjpeg", False),
        (WITH_THUMBNAIL, "mjpeg", True),
        (WITH_THUMBNAIL[: -len(JPEG) // 2], "mjpeg", False),
        (b"", "mjpeg", False),
        (PNG, "png", True),
        (PNG[: len(PNG) // 2], "png", False),
    ],
)
def test_a_whole_picture_has_its_end(data: bytes, codec: str, whole: bool) -> None:
    assert is_whole(data, codec) is whole


def multipart(
    kind: str, end: bytes = b"\r\n", length: int | None = len(JPEG), data: bytes = JPEG
) -> Callable[..., None]:
    told = b"" if length is None else b"Content-Length: %d" % length + end

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Type", kind)
        to.end_headers()
        with suppress(OSError):
            for _ in range(100):
                to.wfile.write(b"--b" + end + b"Content-Type: image/jpeg" + end + told + end + data + end)
                time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        multipart("Multipart/X-Mixed-Replace; Boundary=b"),
        multipart('multipart/x-mixed-replace; boundary = "b"'),
        multipart("multipart/x-mixed-replace;boundary=--b; charset=x"),
        multipart("multipart/x-mixed-replace; boundary=b", b"\n"),
        multipart("multipart/x-mixed-replace; boundary=b", b"\n", None),
        multipart("multipart/x-mixed-replace; boundary=b", length=len(JPEG) // 2),
        multipart("multipart/x-mixed-replace; boundary=b", length=len(JPEG) * 3 // 2),
        multipart("multipart/x-mixed-replace; boundary=b", length=len(JPEG) - 2, data=JPEG[:-2]),
        multipart("multipart/x-mixed-replace; boundary=b", length=None, data=JPEG[:-2]),
    ],
    ids=[
        "case",
        "quoted",
        "dashes",
        "bare LF",
        "bare LF, no length",
        "length too short",
        "length too long",
        "no end",
        "no end, no length",
    ],
)
def test_multipart_in_the_words_of_many_makers(answer: Callable[..., None]) -> None:
    with web(answer) as port, running(f"http://127.0.0.1:{port}/mjpg") as (stream, memory):
        wait_for(lambda: len(memory.frames) >= 3)
        assert stream.state is StreamState.LIVE
        for frame in memory.frames[:3]:
            assert not frame.meta.tainted
            wrong = np.abs(frame.rgb().astype(int) - _NOISE[..., ::-1]).mean(axis=(1, 2))
            assert wrong.max() < 60, "a part of the picture is missing"


def test_a_whole_part_does_not_wait_for_the_next() -> None:
    reader = MultipartPictures("b")
    assert list(reader.feed(b"--b\r\nContent-Length: %d\r\n\r\n" % len(JPEG) + JPEG)) == [JPEG]


@pytest.mark.parametrize("data", [JPEG[:-2], JPEG + b"MAKER\xff\xda\x00"], ids=["no end", "a trailer"])
def test_a_snapshot_whose_length_was_told_needs_no_end(data: bytes) -> None:
    with (
        web(lambda to: send(to, 200, data, Content_Type="image/jpeg")) as port,
        running(f"http://127.0.0.1:{port}/s.jpg") as (stream, memory),
    ):
        wait_for(lambda: len(memory.frames) >= 2)
        assert stream.state is StreamState.LIVE


def test_a_snapshot_over_a_lean_link_may_take_longer_than_silence_may_last() -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Type", "image/jpeg")
        to.end_headers()
        with suppress(OSError):
            for at in range(0, len(JPEG), len(JPEG) // 8):
                to.wfile.write(JPEG[at : at + len(JPEG) // 8])
                time.sleep(0.25)

    with (
        web(answer) as port,
        running(f"http://127.0.0.1:{port}/s.jpg", replace(QUICK, stall_s=1.0)) as (_, memory),
    ):
        wait_for(lambda: len(memory.frames) >= 1)
        assert not any("timeout" in r for r in memory.reasons())


def test_a_still_without_an_end_is_taken_when_it_has_lain(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG[:-2])
    os.utime(tmp_path / "a.jpg", (time.time() - 300,) * 2)
    (tmp_path / "b.jpg").write_bytes(JPEG[: len(JPEG) // 2])
    with running(str(tmp_path)) as (_, memory):
        wait_for(lambda: len(memory.frames) >= 1)
        time.sleep(1.0)
        assert len(memory.frames) == 1, "what may still be written is left"
        (tmp_path / "b.jpg").write_bytes(JPEG)
        wait_for(lambda: len(memory.frames) == 2)


def drip(to: http.server.BaseHTTPRequestHandler, over: threading.Event) -> Iterator[None]:
    """Send a picture byte by byte; one turn a byte."""
    to.send_response(200)
    to.send_header("Content-Type", "image/jpeg")
    to.end_headers()
    with suppress(OSError):
        for byte in JPEG:
            to.wfile.write(bytes([byte]))
            yield
            if over.wait(0.1):
                return


def test_a_snapshot_that_does_not_end_is_given_up() -> None:
    calls, over = [0], threading.Event()

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        calls[0] += 1
        if calls[0] != 3:
            send(to, 200, JPEG, Content_Type="image/jpeg")
            return
        for _ in drip(to, over):
            pass

    with web(answer) as port, running(f"http://127.0.0.1:{port}/s.jpg") as (_, memory):
        wait_for(lambda: "backing_off: timeout: no whole picture" in memory.reasons())
        seen = len(memory.frames)
        wait_for(lambda: len(memory.frames) > seen)
        over.set()


def test_a_snapshot_that_does_not_end_ends_with_the_camera() -> None:
    begun, over = threading.Event(), threading.Event()

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        for _ in drip(to, over):
            begun.set()

    with (
        web(answer) as port,
        running(f"http://127.0.0.1:{port}/s.jpg", replace(QUICK, stall_s=300)) as (_, memory),
    ):
        assert begun.wait(60)
    assert "camera-gate" not in {t.name for t in threading.enumerate()}
    over.set()
    assert not memory.frames


def test_half_a_snapshot_is_no_picture() -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Type", "image/jpeg")
        to.end_headers()
        to.wfile.write(JPEG[: len(JPEG) // 2])

    with web(answer) as port, running(f"http://127.0.0.1:{port}/s.jpg") as (stream, memory):
        wait_for(lambda: "backing_off: eof: the answer ended" in memory.reasons())
        assert not memory.frames
        assert stream.ring is not None
        assert not stream.ring.held()


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_a_changed_password_costs_one_wrong_login_an_attempt(scheme: str) -> None:
    """Cameras lock an address out after a few wrong ones."""
    sink: list[Memory] = []
    wrong: list[int] = []
    changed = threading.Event()

    def failed() -> int:
        return sink[0].reasons().count("backing_off: auth")

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        given = to.headers.get("Authorization")
        if given and not changed.is_set():
            send(to, 200, JPEG, Content_Type="image/jpeg")
            return
        if given:
            wrong.append(failed())
        nonce = f'Digest realm="x", nonce="{time.monotonic()}", qop="auth"'
        send(to, 401, b"", WWW_Authenticate='Basic realm="x"' if scheme == "Basic" else nonce)

    with web(answer) as port, running(f"http://u:word@127.0.0.1:{port}/s.jpg") as (_, memory):
        sink.append(memory)
        wait_for(lambda: len(memory.frames) >= 2)
        changed.set()
        wait_for(lambda: failed() >= 4)
    # The first may be of a nonce that is too old.
    assert wrong.count(0) <= (1 if scheme == "Basic" else 2)
    assert [wrong.count(n) for n in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize(("picture", "kind"), [(JPEG, "jpg"), (PNG, "png")])
def test_a_still_is_taken_when_the_whole_of_it_is_there(picture: bytes, kind: str, tmp_path: Path) -> None:
    with running(str(tmp_path)) as (stream, memory):
        still = tmp_path / f"still.{kind}"
        with still.open("wb") as file:
            file.write(picture[: len(picture) // 2])
            file.flush()
            os.utime(still, (time.time() - 5,) * 2)
            (tmp_path / "other.jpg").write_bytes(JPEG)
            wait_for(lambda: memory.frames)
            time.sleep(0.5)
            assert len(memory.frames) == 1, "half a still was taken"
            file.write(picture[len(picture) // 2 :])
        wait_for(lambda: len(memory.frames) == 2)
        time.sleep(0.5)
        assert len(memory.frames) == 2, "a still was taken twice"
        assert stream.health().tainted_ratio == 0


def put(folder: Path, named: datetime, written: datetime | None = None) -> None:
    path = folder / (named.strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3] + "Z.jpg")
    path.write_bytes(JPEG)
    at = (written or datetime.now(UTC) - timedelta(seconds=5)).timestamp()
    os.utime(path, (at, at))


@pytest.mark.parametrize("written_too", [False, True])
@pytest.mark.parametrize("off", [timedelta(days=4000), timedelta(hours=-1)])
def test_a_wrong_clock_does_not_blind_a_folder(off: timedelta, written_too: bool, tmp_path: Path) -> None:
    now = datetime.now(UTC) - timedelta(seconds=30)
    with running(str(tmp_path)) as (_, memory):
        for n in range(3):
            put(tmp_path, now + timedelta(seconds=n))
            wait_for(lambda n=n: len(memory.frames) == n + 1)
        assert memory.frames[-1].meta.clock_source == "file"
        odd = now + off
        put(tmp_path, odd, odd if written_too else None)
        wait_for(lambda: len(memory.frames) == 4)
        if off > timedelta() or not written_too:
            meta = memory.frames[-1].meta
            assert abs(meta.captured_at - datetime.now(UTC)) < timedelta(minutes=5)
            assert meta.clock_source == "arrival"
        for n in range(3):
            put(tmp_path, now + timedelta(seconds=5 + n))
            wait_for(lambda n=n: len(memory.frames) == 5 + n)
        assert abs(memory.frames[-1].meta.captured_at - now) < timedelta(seconds=20)


def test_stills_that_were_taken_are_not_taken_again_after_a_folder_was_away(tmp_path: Path) -> None:
    folder, away = tmp_path / "stills", tmp_path / "away"
    folder.mkdir()
    now = datetime.now(UTC) - timedelta(seconds=30)
    put(folder, now)
    with running(str(folder)) as (_, memory):
        wait_for(lambda: len(memory.frames) == 1)
        folder.rename(away)
        wait_for(lambda: StreamState.BACKING_OFF in memory.states())
        away.rename(folder)
        put(folder, now + timedelta(seconds=1))
        wait_for(lambda: len(memory.frames) == 2)
        time.sleep(0.5)
        assert len(memory.frames) == 2
