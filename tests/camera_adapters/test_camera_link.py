"""Words on an RTSP connection: addresses of tracks, logins, and answers of cameras that are not strict."""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from contextlib import suppress

import pytest
from scripted_camera import Scripted, pictures, sdp, serving

from camera_adapters.reasons import StreamFaultError
from camera_adapters.rtp import UnreadableError
from camera_adapters.rtsp_link import control_url
from camera_adapters.rtsp_reader import RtspReader
from camera_adapters.sip import digest_fields


@pytest.mark.parametrize(
    ("base", "control", "url"),
    [
        ("rtsp://h/a/", "track1", "rtsp://h/a/track1"),
        ("rtsp://h/a?x=1", "track1", "rtsp://h/a?x=1/track1"),
        ("rtsp://h/a", "rtsp://h/b", "rtsp://h/b"),
        ("rtsp://h/a", "*", "rtsp://h/a"),
        ("rtsp://h/a", "", "rtsp://h/a"),
    ],
)
def test_where_a_track_is(base: str, control: str, url: str) -> None:
    assert control_url(base, control) == url


@pytest.mark.parametrize(
    ("offered", "scheme"),
    [
        (['Digest realm="a, b", nonce="n", qop="auth-int,auth"', 'Basic realm="a"'], "MD5"),
        (['Basic realm="a"', 'Digest realm="a, b", nonce="n"'], "MD5"),
        (['Digest realm="a, b", nonce="n", algorithm=SHA-256, qop="auth"', 'Digest realm="a, b", nonce="n"'], "SHA-256"),
        (['Digest realm="a, b", nonce="n", algorithm=SHA-512', 'Digest realm="a, b", nonce="n", algorithm=MD5'], "MD5"),
        (['Digest realm="a, b", nonce="n", algorithm=MD5-sess, qop="auth", opaque="o"'], "MD5-sess"),
        (['Basic realm="a"'], "Basic"),
        (["Negotiate"], ""),
    ],
)  # fmt: skip
def test_the_login_that_a_camera_offers(offered: list[str], scheme: str) -> None:
    camera = Scripted()
    camera.refusal["DESCRIBE"] = "401 Unauthorized\r\n" + "\r\n".join(
        f"WWW-Authenticate: {o}" for o in offered
    )
    with serving(camera) as url, pytest.raises((StreamFaultError, UnreadableError)) as refused:
        RtspReader(url, 5)
    asked = [headers.get("authorization", "") for method, _, headers in camera.asked if method == "DESCRIBE"]
    if not scheme:
        assert isinstance(refused.value, UnreadableError)
        assert asked == [""], "no login is tried in vain"
        return
    assert asked[0] == ""
    if scheme == "Basic":
        assert asked[1] == "Basic " + base64.b64encode(b"viewer:s3cret-word").decode()
        return
    given = digest_fields(asked[1].removeprefix("Digest "))
    hashed = {"SHA-256": hashlib.sha256}.get(scheme, hashlib.md5)

    def h(*parts: str) -> str:
        return hashed(":".join(parts).encode()).hexdigest()

    secret = h("viewer", "a, b", "s3cret-word")
    secret = h(secret, "n", given["cnonce"]) if scheme.endswith("sess") else secret
    middle = ("n", given["nc"], given["cnonce"], "auth") if "qop" in given else ("n",)
    assert given["response"] == h(secret, *middle, h("DESCRIBE", given["uri"]))
    assert given.get("algorithm", "MD5") == scheme
    assert ("opaque" in given) is ("opaque" in offered[0])
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\r\n", b""),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 5\r\n\r\n", b""),
        (b"RTSP/1.0 200 OK\r\nCSeq: 0\r\n\r\n", b"CSeq: 009\r\n"),
        (b"$\0\0\3abc", b"CSeq: x\r\n"),
    ],
)
def test_answers_of_cameras_that_are_not_strict(before: bytes, after: bytes) -> None:
    camera = Scripted()
    camera.play = lambda to: to.sendall(camera.packet())

    def answer(to: socket.socket, method: str, url: str, headers: dict[str, str]) -> None:
        body = sdp().encode() if method == "DESCRIBE" else b""
        head = b"rtsp/1.0  200\nTransport: x;interleaved=2-3\nContent-Length: %d\n%s\n" % (
            len(body),
            after.replace(b"\r", b""),
        )
        to.sendall(before + head + body)
        if method == "PLAY":
            camera.play(to)

    camera.answer = answer  # type: ignore[method-assign]
    with serving(camera) as url, RtspReader(url, 5) as reader:
        assert pictures(reader, 1)[0].key


def test_a_camera_that_never_answers_is_not_waited_for_though_it_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = Scripted()

    def forever(to: socket.socket, *_: object) -> None:
        with suppress(OSError):
            while True:
                to.sendall(camera.packet())
                time.sleep(0.02)

    camera.answer = forever  # type: ignore[method-assign, assignment]
    with serving(camera) as url, pytest.raises(StreamFaultError) as fault:
        RtspReader(url, 0.3)
    assert fault.value.code == "timeout"


@pytest.mark.parametrize(
    "url", ["rtsp://viewer:s3#cret-word@127.0.0.1/x", "rtsp://[::1/x", "rtsp:///x", "rtsp://h:99999/x"]
)
def test_an_address_that_cannot_be_taken_apart_is_not_repeated(url: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        RtspReader(url, 1)
    assert "cret" not in str(refused.value)


def test_a_long_answer_is_short_in_the_log() -> None:
    camera = Scripted()
    camera.refusal["OPTIONS"] = "400 " + "\x1b[31m" + "a" * 60_000
    with serving(camera) as url, pytest.raises(UnreadableError) as refused:
        RtspReader(url, 5)
    assert len(str(refused.value)) < 160
    assert "\x1b" not in str(refused.value)
