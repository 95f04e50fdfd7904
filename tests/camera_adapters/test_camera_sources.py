"""HTTP, folders, ONVIF, the gateway, the probe and the commands, all on loopback."""

from __future__ import annotations

import base64
import hashlib
import http.server
import re
import socket
import stat
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import yaml
from camera_parts import Memory, running, self_signed, send, wait_for, web
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from camera_adapters.clock import SystemClock, VirtualClock
from camera_adapters.demand import Demand
from camera_adapters.folder import time_of
from camera_adapters.http import without_login
from camera_adapters.jpeg import MultipartPictures, jpeg_size
from camera_adapters.onvif import with_login
from camera_adapters.open import open_stream
from camera_adapters.stream import StreamOptions, StreamState
from curbwatch.camera_entry import insert_entry
from curbwatch.commands.camera import cli
from edge.config import load_box


def _jpeg(value: int, width: int = 64, height: int = 48) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), value, np.uint8))[1].tobytes()


def answers_digest(given: str, method: str, path: str, password: str) -> bool:
    """Check an answer as RFC 7616, 3.4.1 has it: whoever does not know the password cannot make it."""
    said = {k: v.strip('"') for k, v in re.findall(r'(\w+)=("[^"]*"|[^,\s]+)', given)}
    if not given.startswith("Digest ") or (said["username"], said["nonce"], said["uri"]) != (
        "viewer",
        "n",
        path,
    ):
        return False

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    secret, asked = md5(f"viewer:x:{password}"), md5(f"{method}:{path}")
    return (
        said["response"] == md5(":".join((secret, "n", said["nc"], said["cnonce"], said["qop"], asked)))
        and said["qop"] == "auth"
    )


@pytest.mark.parametrize("password", ["another-word", "s3cret-word"])
@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_snapshots(scheme: str, password: str, tmp_path: Path) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        given = to.headers.get("Authorization", "")
        right = base64.b64encode(b"viewer:s3cret-word").decode()
        if given != f"Basic {right}" and not answers_digest(given, to.command, to.path, password):
            challenge = 'Basic realm="x"' if scheme == "Basic" else 'Digest realm="x", nonce="n", qop="auth"'
            send(to, 401, b"", WWW_Authenticate=challenge)
        else:
            send(to, 200, _jpeg(100), Content_Type="image/jpeg")

    with (
        web(answer) as port,
        running(f"http://viewer:s3cret-word@127.0.0.1:{port}/s.jpg?channel=1") as (stream, memory),
    ):
        if scheme == "Digest" and password != "s3cret-word":
            wait_for(lambda: "auth: " in memory.reasons())
            assert not memory.frames
            return
        wait_for(lambda: len(memory.frames) >= 5)
        assert stream.state is StreamState.LIVE
        meta = memory.frames[-1].meta
        assert (meta.width, meta.height, meta.clock_source) == (64, 48, "arrival")
        assert abs(int(memory.frames[-1].luma()[10, 10]) - 100) < 3
        assert stream.ring is not None
        now = meta.captured_at
        clip = stream.ring.clip(now - timedelta(seconds=5), now, tmp_path / "c.mp4")
        assert clip.transcoded
    assert "s3cret" not in memory.reasons()


@pytest.mark.parametrize("lengths", [True, False])
def test_mjpeg(lengths: bool) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Type", 'multipart/x-mixed-replace; boundary="frame"')
        to.end_headers()
        for n in range(12):
            picture = _jpeg(10 * n)
            length = f"Content-Length: {len(picture)}\r\n" if lengths else ""
            to.wfile.write(
                f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + picture + b"\r\n"
            )

    with web(answer) as port, running(f"http://127.0.0.1:{port}/mjpg") as (_, memory):
        wait_for(lambda: len(memory.frames) >= 11)
        wait_for(lambda: "eof: the server closed" in memory.reasons())


@pytest.mark.parametrize(
    ("status", "kind", "body", "code"),
    [
        (404, "text/html", b"", "not_found"),
        (403, "text/html", b"", "auth"),
        (500, "text/html", b"", "server"),
        (200, "text/html", b"<html>", "codec"),
        (200, "multipart/x-mixed-replace", b"", "protocol"),
    ],
)
def test_http_failures(status: int, kind: str, body: bytes, code: str) -> None:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        send(to, status, body, Content_Type=kind)

    with web(answer) as port, running(f"http://127.0.0.1:{port}/x") as (_, memory):
        wait_for(lambda: StreamState.BACKING_OFF in memory.states())
    assert next(e for e in memory.events if e.state is StreamState.BACKING_OFF).reason.startswith(code)


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    context = self_signed(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as plain,
        context.wrap_socket(plain, server_side=True) as server,
    ):
        server.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(OSError):
                    server.accept()[0].close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        told = CliRunner().invoke(
            cli, ["probe", f"https://127.0.0.1:{server.getsockname()[1]}/s.jpg", "--seconds", "2"]
        )
        over.set()
        thread.join(60)
    assert "failed      tls" in told.output
    assert "an authority that this machine trusts" in told.output


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), st.booleans())
def test_multipart_is_cut_the_same_however_it_arrives(cuts: list[int], lengths: bool) -> None:
    parts = [bytes([n]) * (n * 7 + 1) for n in range(1, 6)]
    stream = (
        b"".join(
            b"--b\r\n"
            + (f"Content-Length: {len(p)}\r\n".encode() if lengths else b"X: y\r\n")
            + b"\r\n"
            + p
            + b"\r\n"
            for p in parts
        )
        + b"--b--\r\n"
    )
    reader, found, at = MultipartPictures("b"), [], 0
    while at < len(stream):
        size = cuts[at % len(cuts)]
        found += list(reader.feed(stream[at : at + size]))
        at += size
    assert found == parts


def test_jpeg_size() -> None:
    assert jpeg_size(_jpeg(1, 120, 40)) == (120, 40)
    with pytest.raises(ValueError, match="no JPEG"):
        jpeg_size(b"<html>")


def test_a_login_is_taken_out_of_an_address() -> None:
    assert without_login("http://a:p%40b@h:81/x?y=1") == ("http://h:81/x?y=1", ("a", "p@b"))


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("cam_20260301T080000Z.jpg", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ("2026-03-01_08-00-01.5.jpg", datetime(2026, 3, 1, 8, 0, 1, 500_000, tzinfo=UTC)),
    ],
)
def test_the_time_is_in_the_name(name: str, time: datetime) -> None:
    assert time_of(Path(name)) == time


def test_a_folder_is_a_camera(tmp_path: Path) -> None:
    for n in (3, 1, 2):
        (tmp_path / f"20260301T08000{n}Z.jpg").write_bytes(_jpeg(n * 20))
    (tmp_path / "notes.txt").write_text("no still")
    memory = Memory()
    stream = open_stream("gate", str(tmp_path), memory, StreamOptions(), VirtualClock())
    stream.demand = Demand("all")
    stream.run(threading.Event())
    assert [f.meta.captured_at.second for f in memory.frames] == [1, 2, 3]
    assert [f.meta.mono_s for f in memory.frames] == [1000, 1001, 1002]


def test_a_folder_is_watched(tmp_path: Path) -> None:
    with running(str(tmp_path)) as (_, memory):
        for n in range(2):
            (tmp_path / f"20260301T08000{n}Z.png").write_bytes(
                cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
            )
            wait_for(lambda n=n: len(memory.frames) == n + 1)
        assert memory.frames[0].meta.width == 30


def test_a_login_joins_an_address() -> None:
    assert with_login("rtsp://h/x", "a", "p@/b") == "rtsp://a:p%40%2Fb@h/x"
    assert with_login("rtsp://u:v@h/x", "a", "b") == "rtsp://u:v@h/x"


@pytest.mark.parametrize("url", ["onvif:///x", "onvif://h/?role=big"])
def test_a_bad_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url: "):
        open_stream("gate", url, Memory(), StreamOptions(), SystemClock())


BOX = """\
device: box-1   # the one at the gate
api:
  url: http://127.0.0.1:9/
  token: t
cameras:
  - id: old
    url: rtsp://h/x
    place: {lon: 1, lat: 2}

outbox:
  quota_mib: 64
"""


def test_add_keeps_the_file(tmp_path: Path) -> None:
    box = tmp_path / "box.yaml"
    box.write_text(BOX)
    args = ["add", "gate", "rtsp://u:p%40w@10.0.0.1/x", "--place", "120.15,30.28", "--box", str(box)]
    told = CliRunner().invoke(cli, args)
    assert told.exit_code == 0, told.output
    text = box.read_text()
    assert "# the one at the gate" in text
    assert "p%40w" not in text
    assert [c["id"] for c in yaml.safe_load(text)["cameras"]] == ["old", "gate"]
    again = CliRunner().invoke(cli, args)
    assert again.exit_code == 1
    assert "used twice" in again.output
    assert box.read_text() == text


def test_add_with_a_sub_stream_and_its_password(tmp_path: Path) -> None:
    box = tmp_path / "box.yaml"
    box.write_text(BOX)
    (tmp_path / "box.env").write_text("OTHER=1\nCAMERA_GATE_PASSWORD=old\n")
    (tmp_path / "box.env").chmod(0o600)
    main = "rtsp://u:p%40w@10.0.0.1/Streaming/Channels/101"
    args = ["add", "gate", main, "--place", "1,2", "--box", str(box), "--save-password"]
    told = CliRunner().invoke(cli, [*args, "--sub", "auto"])
    assert told.exit_code == 0, told.output
    assert "p%40w" not in told.output + box.read_text()
    assert stat.S_IMODE((tmp_path / "box.env").stat().st_mode) == 0o600
    added = load_box(box).cameras[-1]
    assert added.url.get_secret_value() == main
    assert added.sub_url is not None
    assert added.sub_url.get_secret_value() == main.replace("/101", "/102")
    assert (tmp_path / "box.env").read_text() == "OTHER=1\nCAMERA_GATE_PASSWORD=p%40w\n"
    other = CliRunner().invoke(cli, ["add", "b", main, "--place", "1,2", "--sub", "rtsp://u:q@10.0.0.1/s"])
    assert yaml.safe_load(other.stdout)[0]["sub_url"] == "rtsp://u:${CAMERA_B_SUB_PASSWORD}@10.0.0.1/s"
    unknown = CliRunner().invoke(cli, ["add", "b", "rtsp://h/x", "--place", "1,2", "--sub", "auto"])
    assert "--sub auto: this maker's" in unknown.output


def test_add_prints(tmp_path: Path) -> None:
    told = CliRunner().invoke(cli, ["add", "gate", "rtsp://h/x", "--place", "120.15,30.28"])
    assert yaml.safe_load(told.output)[0]["place"] == {"lon": 120.15, "lat": 30.28}
    assert CliRunner().invoke(cli, ["add", "gate", "rtsp://h/x", "--place", "here"]).exit_code == 2


def test_a_file_without_a_list_of_cameras_takes_none() -> None:
    with pytest.raises(ValueError, match="cameras:"):
        insert_entry("device: x\n", "  - id: a\n")


def test_av_is_what_the_clips_need() -> None:
    assert "libx264" in av.codecs_available
