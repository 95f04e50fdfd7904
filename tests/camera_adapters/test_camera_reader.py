"""The reader of RTSP: what it says to a camera, what it understands, and when it leaves a camera to FFmpeg."""

from __future__ import annotations

import base64
import re
import socket
import time
from pathlib import Path

import pytest
from camera_parts import QUICK, Memory, wait_for
from scripted_camera import KEY, SETS, Scripted, pictures, sdp, serving

from camera_adapters.clock import SystemClock
from camera_adapters.demand import Demand
from camera_adapters.hosts import HostGate
from camera_adapters.reasons import StreamFaultError
from camera_adapters.rtp import UnreadableError
from camera_adapters.rtsp import RtspStream
from camera_adapters.rtsp_reader import RtspReader, video_track
from camera_adapters.stream import StreamState
from camera_adapters.testing.loopcam import Camera
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam, make_clip


def test_it_asks_as_cameras_want_to_be_asked_and_says_goodbye() -> None:
    camera = Scripted()
    camera.base = "rtsp://camera/cam/realmonitor?channel=1&subtype=0/"
    camera.play = lambda to: to.sendall(camera.packet())
    with serving(camera) as url:
        with RtspReader(url, 5) as reader:
            assert pictures(reader, 1)[0].data == b"\0\0\0\1" + KEY
        wait_for(lambda: "TEARDOWN" in camera.methods())
    bare = re.sub(r"//[^@]*@", "//", url)
    assert [(m, u) for m, u, _ in camera.asked] == [
        ("OPTIONS", bare),
        ("DESCRIBE", bare),
        # Behind the query, as the camera's own base has it.
        ("SETUP", camera.base + "trackID=1"),
        ("PLAY", camera.base),
        ("TEARDOWN", camera.base),
    ]
    assert camera.asked[2][2]["transport"] == "RTP/AVP/TCP;unicast;interleaved=0-1"
    assert camera.asked[3][2]["session"] == "77"
    assert not any("authorization" in headers for _, _, headers in camera.asked), "not before it is asked for"


def test_words_and_noise_between_pictures() -> None:
    camera = Scripted()

    def play(to: socket.socket) -> None:
        to.sendall(camera.packet(stamp=0))
        for piece in (b"RTSP/1.0 200 OK\r\nCSe", b"q: 9\r\nContent-Length: 4\r\n\r\n$$", b"$$"):
            to.sendall(piece)
            time.sleep(0.05)
        to.sendall(b"OPTIONS rtsp://box RTSP/1.0\r\nCSeq: 1\r\n\r\n" + camera.packet(stamp=3600))
        # Some end their lines otherwise.
        to.sendall(b"RTSP/1.0 200 OK\nCSeq: 9\n\n" + camera.packet(stamp=5400))
        to.sendall(b"\1\2$\3noise that is neither, a good deal of it" + camera.packet(stamp=7200))
        to.sendall(camera.packet(stamp=10800))

    camera.play = play
    with serving(camera) as url, RtspReader(url, 5) as reader:
        units = pictures(reader, 5)
    told = [(0, False), (3600, False), (5400, False), (7200, True), (10800, False)]
    assert [(u.pts, u.torn) for u in units] == told


def test_it_stays_alive_by_requests_with_the_newest_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camera_adapters.rtsp_reader._MOST_ALIVE_S", 0.1)
    monkeypatch.setattr("camera_adapters.rtsp_reader._LEAST_ALIVE_S", 0.05)
    camera = Scripted(public="OPTIONS, GET_PARAMETER")
    camera.refusal["GET_PARAMETER"] = '401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", nonce="newer"'
    with serving(camera) as url, RtspReader(url, 5) as reader:

        def heard() -> bool:
            reader.read(0.05)
            asked = [h for m, _, h in camera.asked if m == "GET_PARAMETER"]
            return len(asked) > 2 and 'nonce="newer"' in asked[-1].get("authorization", "")

        wait_for(heard)
        assert all(h["session"] == "77" for m, _, h in camera.asked if m == "GET_PARAMETER")
    assert not camera.reports, "some cameras know no reports in this connection"


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        ("DESCRIBE", '401 Unauthorized\r\nWWW-Authenticate: Basic realm="a"', "auth"),
        ("OPTIONS", "403 Forbidden", "auth"),
        ("DESCRIBE", "404 Not Found", "not_found"),
        ("SETUP", "401 Unauthorized", ""),
        ("PLAY", "453 Not Enough Bandwidth", "server"),
        ("SETUP", "503 Service Unavailable", "server"),
        ("SETUP", "461 Unsupported Transport", ""),
        ("DESCRIBE", "301 Moved", ""),
        ("OPTIONS", "501 Not Implemented", ""),
    ],
)
def test_a_refusal_has_its_meaning_and_what_is_unclear_is_left_to_ffmpeg(
    method: str, status: str, code: str
) -> None:
    camera = Scripted()
    camera.refusal[method] = status
    with serving(camera) as url, pytest.raises((StreamFaultError, UnreadableError)) as refused:
        RtspReader(url, 5)
    assert getattr(refused.value, "code", "") == code
    assert "s3cret" not in str(refused.value)


def test_what_a_description_says() -> None:
    sets = ",".join(base64.b64encode(one).decode() for one in SETS)
    track = video_track(sdp(fmtp=f"packetization-mode=1; sprop-parameter-sets={sets}"))
    assert (track.codec, track.control, track.payload_type) == ("h264", "trackID=1", 96)
    assert track.extradata == b"\0\0\0\1\x67sps\0\0\0\1\x68pps"
    hevc = ";".join(f"sprop-{n}={base64.b64encode(n.encode()).decode()}" for n in ("vps", "sps", "pps"))
    assert video_track(sdp("H265", hevc)).extradata == b"\0\0\0\1vps\0\0\0\1sps\0\0\0\1pps"
    assert video_track(sdp(fmtp="sprop-parameter-sets=Z3Nwcw,")).extradata == b"\0\0\0\1gsps"
    assert video_track(sdp()).extradata is None
    for other in (
        sdp("MP4V-ES"),
        sdp().replace("video 0 RTP/AVP", "video 0 RTP/SAVP"),
        sdp(fmtp="packetization-mode=2"),
        sdp(fmtp="sprop-parameter-sets=%%%"),
        sdp(fmtp="sprop-parameter-sets=ä"),
        sdp("H265", "sprop-max-don-diff=2"),
        "v=0\r\nm=audio 0 RTP/AVP 0\r\n",
        "",
    ):
        with pytest.raises(UnreadableError):
            video_track(other)


def test_a_track_whose_address_is_refused_is_asked_for_by_ffmpeg() -> None:
    camera = Scripted(sdp(session="a=control:rtsp://camera/whole/\r\n"))
    camera.base = "/relative/"
    camera.refusal["SETUP"] = "404 Not Found"
    with serving(camera) as url, pytest.raises(UnreadableError):
        RtspReader(url, 5)
    assert camera.asked[-1][1] == "rtsp://camera/whole/trackID=1"


def test_what_it_cannot_read_ffmpeg_plays_and_the_state_says_so(
    rtp: RtpClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def unreadable(self: RtspReader, url: str, timeout_s: float) -> None:
        asked.append(url)
        raise UnreadableError("viewer:s3cret-word packs in a rare way")

    monkeypatch.setattr(RtspReader, "__init__", unreadable)
    memory = Memory()
    with ServedLoopCam({"gate": Camera(rtp)}, ("viewer", "s3cret-word")) as served:
        stream = RtspStream("gate", served.url("gate"), memory, QUICK, SystemClock(), gate=HostGate())
        stream.demand = Demand("all")
        stream.start()
        wait_for(lambda: len(memory.frames) > 10)
        assert stream.state is StreamState.LIVE
        wait_for(lambda: "packs in a rare way" in memory.reasons())
        # A connection that breaks is not tried by the reader again.
        served.stop()
        served.restart()
        wait_for(lambda: memory.states().count(StreamState.LIVE) == 2)
        assert "packs in a rare way" in stream.health().reason
        stream.close(8)
    assert len(asked) == 1
    assert "s3cret" not in memory.reasons()


def test_a_camera_that_refreshes_in_stripes_is_read(tmp_path: Path) -> None:
    """After the first picture it sends no IDR; its recovery points are where decoding can begin."""
    path = make_clip(tmp_path / "stripes.mp4", seconds=30, more={"x264-params": "intra-refresh=1:keyint=10"})
    clip, memory = RtpClip(path), Memory()
    with ServedLoopCam({"gate": Camera(clip)}) as served:
        stream = RtspStream("gate", served.url("gate"), memory, QUICK, SystemClock(), gate=HostGate())
        stream.demand = Demand("all")
        stream.start()
        wait_for(lambda: len(memory.frames) > 60)
        assert stream.health().connects == 1
        assert "FFmpeg" not in memory.reasons()
        assert stream.ring is not None
        flagged = [p.key for p in stream.ring.held()]
        stream.close(8)
    assert flagged[:50] == [unit.key for unit in clip.units][:50]
    assert sum(flagged[:50]) > 3


@pytest.mark.parametrize(("code", "again"), [("timeout", 1), ("not_found", 1), ("eof", 2), ("server", 2)])
def test_where_the_reader_has_never_read_a_camera_ffmpeg_has_the_next_turn(
    rtp: RtpClip, monkeypatch: pytest.MonkeyPatch, code: str, again: int
) -> None:
    made, asked = RtspReader.__init__, list[int]()

    def fails_once(self: RtspReader, url: str, timeout_s: float) -> None:
        asked.append(1)
        if len(asked) == 1:
            raise StreamFaultError(code, "not today")
        made(self, url, timeout_s)

    monkeypatch.setattr(RtspReader, "__init__", fails_once)
    memory = Memory()
    with ServedLoopCam({"gate": Camera(rtp)}) as served:
        stream = RtspStream("gate", served.url("gate"), memory, QUICK, SystemClock(), gate=HostGate())
        stream.demand = Demand("all")
        stream.start()
        wait_for(lambda: len(memory.frames) > 35)
        assert ("read by FFmpeg: not today" in stream.health().reason) is (again == 1)
        served.stop()
        served.restart()
        wait_for(lambda: memory.states().count(StreamState.LIVE) == 2)
        stream.close(8)
    assert len(asked) == (1 if again == 1 else 3)
