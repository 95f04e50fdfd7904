"""Loudspeakers: a column over HTTP, and a camera's audio output over the ONVIF backchannel, both on loopback."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camera_adapters.backchannel import AudioOut, BackchannelError, audio_out
from camera_adapters.speaker import HttpSpeaker, Message, OnvifSpeaker, SpeakerError, g711

SECRET = "s3cr3t"
SDP = """v=0
m=video 0 RTP/AVP 96
a=control:video
a=recvonly
m=audio 0 RTP/AVP 97 8 0
a=control:back
a=sendonly
m=audio 0 RTP/AVP 0
a=control:mic
a=recvonly
"""


def tone(path: Path, seconds: float = 0.5, rate: int = 44100) -> Path:
    """A 440 Hz tone as a stereo WAV."""
    wave_ = np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate) * 12000
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.repeat(wave_.astype("<i2"), 2).tobytes())
    return path


class Camera:
    """A camera with an audio output: RTSP with digest login, and what it heard."""

    def __init__(self, password: str = SECRET, sdp: str = SDP, knows: bool = True) -> None:
        self.password, self.sdp, self.knows = password, sdp, knows
        self.heard, self.packets, self.methods = b"", 0, []  # type: ignore[var-annotated]
        self.stamps: list[int] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://op:{password}@127.0.0.1:{self.server.getsockname()[1]}/live"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        link, _ = self.server.accept()
        with link, link.makefile("rb") as stream:
            while first := stream.read(1):
                if first == b"$":
                    _, size = struct.unpack("!BH", stream.read(3))
                    packet = stream.read(size)
                    self.heard += packet[12:]
                    self.packets += 1
                    self.stamps.append(struct.unpack("!I", packet[4:8])[0])
                    assert packet[1] & 0x7F == 0
                    continue
                lines = [first + stream.readline()]
                while (line := stream.readline()) not in {b"\r\n", b""}:
                    lines.append(line)
                if not self._answer(link, b"".join(lines).decode()):
                    return

    def _answer(self, link: socket.socket, text: str) -> bool:
        method, url, _ = text.split(" ", 2)
        headers = dict(re.findall(r"(?m)^([\w-]+): (.*?)\r$", text))
        self.methods.append(method)
        body, more, status = "", "", "200 OK"
        if not self.knows or headers.get("Require") != "www.onvif.org/ver20/backchannel":
            status = "551 Option not supported"
        elif not self._known(method, url, headers.get("Authorization", "")):
            status, more = (
                "401 Unauthorized",
                'WWW-Authenticate: Digest realm="cam", nonce="n1", qop="auth"\r\n',
            )
        elif method == "DESCRIBE":
            body = self.sdp
            # A packet of the camera's own video in the middle of the answers.
            link.sendall(b"$\x02\x00\x04abcd")
        elif method == "SETUP":
            assert url.endswith("/live/back")
            more = "Session: 77;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        else:
            assert headers["Session"] == "77"
        head = f"RTSP/1.0 {status}\r\nCSeq: {headers['CSeq']}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        link.sendall((head + body).encode())
        return method != "TEARDOWN"

    def _known(self, method: str, url: str, given: str) -> bool:
        told = dict(re.findall(r'(\w+)="?([^",]*)"?', given))
        if told.get("username") != "op":
            return False
        secret = hashlib.md5(f"op:cam:{self.password}".encode()).hexdigest()  # noqa: S324
        asked = hashlib.md5(f"{method}:{url}".encode()).hexdigest()  # noqa: S324
        middle = f"n1:{told['nc']}:{told['cnonce']}:auth"
        return told["response"] == hashlib.md5(f"{secret}:{middle}:{asked}".encode()).hexdigest()  # noqa: S324


def test_a_camera_plays_the_message_whole_and_at_its_pace(tmp_path: Path) -> None:
    camera, slept = Camera(), []
    file = tone(tmp_path / "move.wav")
    OnvifSpeaker(camera.url, {"move": Message(file)}, 5, slept.append).play("move")
    camera.thread.join(60)
    assert camera.methods == ["DESCRIBE", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN"]
    assert camera.heard == g711(file)
    assert abs(len(camera.heard) - 4000) <= 80, "half a second of 8000 a second"
    assert {b - a for a, b in zip(camera.stamps, camera.stamps[1:], strict=False)} == {160}
    assert max(slept) > 0.1, "sent at its own pace, not at once"


def test_g711_is_the_tone(tmp_path: Path) -> None:
    heard = np.frombuffer(g711(tone(tmp_path / "t.wav", 1.0)), np.uint8).astype(np.int32)
    # ITU-T G.711 table 2a, decoded.
    inverted = ~heard & 0xFF
    step = ((inverted & 0x0F) << 3) + 0x84 << ((inverted >> 4) & 7)
    linear = np.where(inverted & 0x80, 0x84 - step, step - 0x84)
    spectrum = np.abs(np.fft.rfft(linear[:8000]))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert 9000 < np.abs(linear).max() < 14000
    bad = tmp_path / "x.wav"
    bad.write_bytes(b"no audio")
    with pytest.raises(SpeakerError, match="cannot be read as audio"):
        g711(bad)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "other"}, "refuses the login"),
        ({"knows": False}, "knows no audio backchannel"),
        ({"sdp": SDP.replace("a=sendonly", "a=recvonly")}, "no G.711"),
    ],
)
def test_a_camera_that_cannot_says_why_without_its_password(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    camera = Camera(**change)
    url = camera.url.replace("other", "s3cr3t")
    with pytest.raises(SpeakerError, match=words) as caught:
        OnvifSpeaker(url, {"move": Message(tone(tmp_path / "m.wav"))}, 5).play("move")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "op:s3cr3t@192.0.2.1:99999/live",
        "op:s3cr3t/x@192.0.2.1/live",
        "op:s3cr3t[@192.0.2.1/live",
        "op:s3cr3t@.x/",
    ],
)
def test_an_address_that_cannot_be_read_is_told_without_its_password(tmp_path: Path, address: str) -> None:
    speaker = OnvifSpeaker(f"rtsp://{address}", {"move": Message(tone(tmp_path / "m.wav"))}, 5)
    with pytest.raises(SpeakerError, match="the address cannot be read") as caught:
        speaker.play("move")
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(SpeakerError, match="cannot be reached"):
        HttpSpeaker("http://op:s3cr3t@.x/", {"move": Message(text="move on")}, 5).play("move")


def test_the_section_that_listens() -> None:
    assert audio_out(SDP) == AudioOut("back", 0)
    assert audio_out(SDP.replace(" 97 8 0", " 8")) == AudioOut("back", 8)
    with pytest.raises(BackchannelError):
        audio_out("v=0\r\nm=audio 0 RTP/AVP 97\r\na=control:x\r\na=sendonly\r\n")


@contextmanager
def column(status: int = 200) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://op:s3cr3t@127.0.0.1:{server.server_port}/play", got
    finally:
        server.shutdown()
        server.server_close()


def test_a_column_takes_audio_or_words(tmp_path: Path) -> None:
    file = tone(tmp_path / "m.wav", 0.1)
    with column() as (url, got):
        speaker = HttpSpeaker(url, {"move": Message(file), "say": Message(text="请尽快驶离")})
        speaker.play("move")
        speaker.play("say")
        with pytest.raises(SpeakerError, match="this box has move, say"):
            speaker.play("sing")
    assert got[0] == ("audio/wav", file.read_bytes())
    assert json.loads(got[1][1]) == {"text": "请尽快驶离"}
    with column(503) as (url, _), pytest.raises(SpeakerError, match="HTTP 503"):
        HttpSpeaker(url, {"move": Message(file)}).play("move")
    with pytest.raises(SpeakerError, match="cannot be reached") as caught:
        HttpSpeaker("http://op:s3cr3t@127.0.0.1:9/x", {"move": Message(file)}).play("move")
    assert "s3cr3t" not in str(caught.value)
