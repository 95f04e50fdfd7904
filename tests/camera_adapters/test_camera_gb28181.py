"""The native GB/T 28181 client against our device simulator, over real sockets."""

from __future__ import annotations

import itertools
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import pytest
from camera_parts import QUICK, Memory, wait_for
from click.testing import CliRunner

from bench.ports import free_port
from camera_adapters import gb_platform
from camera_adapters.clock import SystemClock
from camera_adapters.demand import Demand
from camera_adapters.gb import _PLATFORMS, GbStream, bind_of, platform_at
from camera_adapters.gb_platform import OFFLINE_S, Address, GbPlatform, gb_xml
from camera_adapters.sip import SipMessage, digest_fields, digest_response, parse_sip, user_of
from camera_adapters.stream import StreamOptions, StreamState
from camera_adapters.testing.gbdevice import GbDevice
from camera_adapters.testing.served import make_clip
from curbwatch.commands.camera import cli

DEVICE, CHANNEL = "34020000001320000001", "34020000001320000101"
CHANNELS = [(CHANNEL, "东门", 116.39, 39.9), ("34020000001320000102", "gate2", 116.4, 39.91)]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_register_catalog_play_bye(
    clips: dict[str, Path], codec: str, transport: str, tmp_path: Path
) -> None:
    memory = Memory()
    with (
        GbPlatform(("127.0.0.1", 0), "12345678") as platform,
        GbDevice(DEVICE, "12345678", platform.address, clips[codec], CHANNELS) as device,
    ):
        platform.wait_for(DEVICE, 60)
        names = {c["DeviceID"]: c["Name"] for c in platform.catalog(DEVICE)}
        assert names[CHANNEL] == "东门"
        assert len(names) == 2
        url = f"gb28181://:12345678@127.0.0.1/{DEVICE}/{CHANNEL}?transport={transport}"
        stream = GbStream("gate", url, memory, QUICK, SystemClock(), platform)
        stream.demand = Demand("all")
        stream.start()
        try:
            wait_for(lambda: len(memory.frames) >= 25)
            metas = [f.meta for f in memory.frames]
            assert {(m.width, m.height) for m in metas} == {(320, 240)}
            assert not any(m.tainted for m in metas)
            assert stream.ring is not None
            end = metas[-1].captured_at
            clip = stream.ring.clip(end - timedelta(seconds=1), end, tmp_path / "c.mp4")
        finally:
            stream.close(5)
        wait_for(lambda: "bye" in device.log)
    with av.open(str(clip.path)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 9


@contextmanager
def played(clip: Path, options: StreamOptions = QUICK, **device: Any) -> Iterator[tuple[Memory, GbStream]]:
    memory = Memory()
    with (
        GbPlatform(("127.0.0.1", 0), "12345678") as platform,
        GbDevice(DEVICE, "12345678", platform.address, clip, CHANNELS, **device),
    ):
        platform.wait_for(DEVICE, 60)
        url = f"gb28181://:12345678@127.0.0.1/{DEVICE}/{CHANNEL}?transport=udp"
        stream = GbStream("gate", url, memory, options, SystemClock(), platform)
        stream.demand = Demand("all")
        stream.start()
        try:
            yield memory, stream
        finally:
            stream.close(5)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_after_a_lost_packet_pictures_are_tainted_until_a_key_frame(
    clips: dict[str, Path], codec: str
) -> None:
    def change(number: int, packets: list[bytes]) -> list[bytes]:
        # Of each GOP of ten the fourth picture.
        return packets[1:] if number % 10 == 4 else packets

    with played(clips[codec], StreamOptions(), change=change) as (memory, _):
        wait_for(lambda: sum(f.meta.key for f in memory.frames) >= 4)
        metas = [f.meta for f in memory.frames]
    keys = [i for i, m in enumerate(metas) if m.key]
    for begin, end in itertools.pairwise(keys):
        gop = metas[begin:end]
        assert [m.tainted for m in gop] == [i >= 4 for i in range(len(gop))]
        assert codec == "hevc" or len(gop) == 9


def test_a_camera_that_sends_no_key_frame_stalls(clips: dict[str, Path]) -> None:
    def change(number: int, packets: list[bytes]) -> list[bytes]:
        return packets if number % 10 else []

    with played(clips["h264"], change=change) as (memory, _):
        wait_for(lambda: StreamState.BACKING_OFF in memory.states())
        assert StreamState.STALLED in memory.states()
        assert "no_key" in memory.reasons()


@pytest.mark.parametrize("lost", [False, True], ids=["whole", "a packet lost"])
def test_a_long_gop_is_a_fault_only_after_a_loss(lost: bool, tmp_path: Path) -> None:
    def change(number: int, packets: list[bytes]) -> list[bytes]:
        return packets[1:] if lost and number == 5 else packets

    # Seven times as long as a key frame is waited for.
    clip = make_clip(tmp_path / "long.mp4", seconds=10.5, gop_s=10.5)
    with played(clip, change=change) as (memory, _):
        if lost:
            wait_for(lambda: StreamState.BACKING_OFF in memory.states())
            assert "no_key" in memory.reasons()
        else:
            wait_for(lambda: len(memory.frames) >= 40)
            assert StreamState.STALLED not in memory.states()
            assert not any(f.meta.tainted for f in memory.frames)


def test_packets_that_give_no_picture_stall_a_camera(clips: dict[str, Path]) -> None:
    def change(_: int, packets: list[bytes]) -> list[bytes]:
        # The parameter sets stay, slices become units of filler.
        return [re.sub(rb"\x00\x00\x01[\x65\x41\x61]", b"\0\0\1\x0c", p) for p in packets]

    with played(clips["h264"], change=change) as (memory, stream):
        wait_for(lambda: StreamState.BACKING_OFF in memory.states())
        assert stream.health().frames_decoded == 0
        assert "codec: " in memory.reasons()


@pytest.mark.parametrize(
    ("name", "first_pts"),
    [("h264", 2**33 - 9 * 9000), ("h264", 2**32 - 9 * 9000), ("bframes", 2**33 - 9 * 9000)],
    ids=["33 bits", "32 bits", "B-frames"],
)
def test_a_clip_over_the_end_of_the_counter_plays_as_fast_as_it_was(
    clips: dict[str, Path], name: str, first_pts: int, tmp_path: Path
) -> None:
    with played(clips[name], first_pts=first_pts) as (memory, stream):
        wait_for(lambda: len(memory.frames) >= 25)
        assert stream.ring is not None
        held = stream.ring.held()
        clip = stream.ring.clip(held[0].at, held[-1].at, tmp_path / "c.mp4")
    with av.open(str(clip.path)) as container:
        times = [float(f.time or 0) for f in container.decode(video=0)]
    # At the clip's end a picture may be missing that was still to come.
    gaps = [round(b - a, 2) for a, b in itertools.pairwise(times)][:20]
    assert gaps == [0.1] * 20


def test_a_wrong_password_never_registers(clips: dict[str, Path]) -> None:
    with (
        GbPlatform(("127.0.0.1", 0), "12345678") as platform,
        GbDevice(DEVICE, "wrong", platform.address, clips["h264"], CHANNELS) as device,
    ):
        wait_for(lambda: "refused" in device.log)
        assert platform.devices() == []


@pytest.mark.parametrize("fault", [None, RuntimeError("s3cr3t")], ids=["the login's own", "any other"])
def test_one_strange_datagram_does_not_end_the_platform(
    clips: dict[str, Path],
    fault: Exception | None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    strange = SipMessage("REGISTER sip:x SIP/2.0", {"from": f"<sip:{DEVICE}@x>"}).pack()
    strange = strange.replace(b"\r\n\r\n", b'\r\nauthorization: Digest response="\xff"\r\n\r\n')
    with GbPlatform(("127.0.0.1", 0), "12345678") as platform:
        with monkeypatch.context() as patch, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            if fault is not None:
                patch.setattr(gb_platform, "digest_response", lambda *_: (_ for _ in ()).throw(fault))
            stranger.sendto(strange, platform.address)
            stranger.settimeout(5 if fault is None else 1)
            if fault is None:
                assert parse_sip(stranger.recv(2000)).status == 401
            else:
                with pytest.raises(TimeoutError):
                    stranger.recv(2000)
        with GbDevice(DEVICE, "12345678", platform.address, clips["h264"], CHANNELS):
            platform.wait_for(DEVICE, 60)
    told = "".join(capfd.readouterr())
    assert ("RuntimeError" in told) == (fault is not None)
    assert "s3cr3t" not in told


def test_a_message_without_a_login_moves_no_device(clips: dict[str, Path]) -> None:
    later_s = 0.0
    keepalive = SipMessage(
        "MESSAGE sip:x SIP/2.0",
        {"from": f"<sip:{DEVICE}@x>"},
        b"<Notify><CmdType>Keepalive</CmdType></Notify>",
    )

    def status(of: socket.socket) -> int | None:
        of.settimeout(60)
        of.sendto(keepalive.pack(), platform.address)
        return parse_sip(of.recv(2000)).status

    with (
        GbPlatform(("127.0.0.1", 0), "12345678", monotonic=lambda: time.monotonic() + later_s) as platform,
        GbDevice(DEVICE, "12345678", platform.address, clips["h264"], CHANNELS) as device,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host,
    ):
        platform.wait_for(DEVICE, 60)
        port.bind(("127.0.0.1", 0))
        host.bind(("127.0.0.2", 0))
        assert [status(s) for s in (port, host)] == [403, 403]
        assert platform._where(DEVICE) == device._socket.getsockname()
        assert len(platform.catalog(DEVICE)) == 2, "its own messages count"
        later_s = OFFLINE_S
        assert status(host) == 403
        assert status(port) == 200, "behind a NAT its port changes while it is silent"
        wait_for(lambda: platform._where(DEVICE) == port.getsockname())


def test_a_changed_password_is_taken_up_where_the_platform_listens_already(clips: dict[str, Path]) -> None:
    host, port = "127.0.0.1", free_port(socket.SOCK_DGRAM)
    try:
        before = platform_at(host, port, "old")
        with GbDevice(DEVICE, "new", (host, port), clips["h264"], CHANNELS) as device:
            wait_for(lambda: "refused" in device.log)
        assert platform_at(host, port, "new") is before
        with GbDevice(DEVICE, "new", (host, port), clips["h264"], CHANNELS):
            before.wait_for(DEVICE, 60)
    finally:
        _PLATFORMS.pop((host, port)).close()


def test_sip_round_trip() -> None:
    request = SipMessage("MESSAGE sip:a@b SIP/2.0", {"from": "<sip:1@b>", "cseq": "1 MESSAGE"}, b"x\r\n\r\ny")
    again = parse_sip(request.pack())
    assert (again.method, again.body, again.status) == ("MESSAGE", b"x\r\n\r\ny", None)
    assert parse_sip(again.answer("200 OK").pack()).status == 200
    with pytest.raises(ValueError, match="SIP"):
        parse_sip(b"GET / HTTP/1.1\r\n\r\n")


def test_compact_header_names() -> None:
    request = parse_sip(
        f"REGISTER sip:x SIP/2.0\r\nf: <sip:{DEVICE}@x>;tag=1\r\nv: SIP/2.0/UDP h\r\ni: 7\r\n\r\n".encode()
    )
    assert user_of(request.headers["from"]) == DEVICE
    assert request.answer("200 OK").headers["via"] == "SIP/2.0/UDP h"
    assert request.key == ("7", "")


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("gb18030", "GB2312"), ("gb18030", ""), ("utf-8", "GB2312"), ("utf-8", "UTF-8"), ("utf-8", "")],
)
@pytest.mark.parametrize("name", ["东门", "一楼", "一路", "十楼", "东门·西", "gate 2"])
def test_the_encoding_that_devices_claim(name: str, encoding: str, declared: str) -> None:
    claim = f' encoding="{declared}"' if declared else ""
    text = f'<?xml version="1.0"{claim}?><R><Name>{name}</Name></R>'
    assert gb_xml(text.encode(encoding)).findtext("Name") == name


def login(to: Address, of: socket.socket) -> tuple[bytes, SipMessage]:
    """Register as a device does; return what proved it, and the answer."""
    headers = {
        "from": f"<sip:{DEVICE}@x>;tag=1",
        "to": f"<sip:{DEVICE}@x>",
        "call-id": "1",
        "cseq": "1 REGISTER",
    }
    of.settimeout(60)
    of.sendto(SipMessage("REGISTER sip:x SIP/2.0", headers).pack(), to)
    asked = digest_fields(parse_sip(of.recv(4000)).headers["www-authenticate"])
    response = digest_response(DEVICE, asked["realm"], "12345678", asked["nonce"], "REGISTER", "sip:x")
    headers["authorization"] = (
        f'Digest username="{DEVICE}", realm="{asked["realm"]}", nonce="{asked["nonce"]}", '
        f'uri="sip:x", response="{response}"'
    )
    proof = SipMessage("REGISTER sip:x SIP/2.0", headers).pack()
    of.sendto(proof, to)
    return proof, parse_sip(of.recv(4000))


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_devices_are_told_beijing_time(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        with (
            GbPlatform(("127.0.0.1", 0), "12345678") as platform,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device,
        ):
            date = login(platform.address, device)[1].headers["date"]
    time.tzset()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", date)
    told = datetime.fromisoformat(f"{date}+08:00")
    assert abs(datetime.now(UTC) - told) < timedelta(minutes=5)


def test_a_login_is_for_a_host_and_for_a_while() -> None:
    later_s = 0.0
    with (
        GbPlatform(("127.0.0.1", 0), "12345678", monotonic=lambda: time.monotonic() + later_s) as platform,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):

        def answer_to(of: socket.socket, request: bytes) -> SipMessage:
            of.settimeout(60)
            of.sendto(request, platform.address)
            return parse_sip(of.recv(4000))

        proof, answer = login(platform.address, device)
        assert answer.status == 200
        stranger.bind(("127.0.0.2", 0))
        assert answer_to(stranger, proof).status == 401
        assert answer_to(port, proof).status == 200, "a NAT may give each request another port"
        later_s = 3600.0
        late = answer_to(device, proof)
        wrong = answer_to(device, proof.replace(b'response="', b'response="0'))
        asked, anew = (digest_fields(m.headers["www-authenticate"]) for m in (late, wrong))
        assert (late.status, asked.get("stale")) == (401, "true")
        assert (wrong.status, anew.get("stale")) == (401, None)
        assert asked["nonce"].encode() not in proof
        assert login(platform.address, device)[1].status == 200


def test_only_what_is_understood_is_asked_for() -> None:
    with (
        GbPlatform(("127.0.0.1", 0), "12345678") as platform,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device,
    ):
        login(platform.address, device)
        platform.wait_for(DEVICE, 60)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(platform.invite, DEVICE, CHANNEL, ("127.0.0.1", 9), False, 60.0)
            request = parse_sip(device.recv(4000))
            device.sendto(request.answer("200 OK").pack(), platform.address)
            asked.result(60)
    body = request.body.decode()
    assert "m=video 9 RTP/AVP 96\r\n" in body
    assert re.findall("a=rtpmap:(.*)\r", body) == ["96 PS/90000"]


def test_a_port_at_which_a_box_listens_is_told_as_that() -> None:
    with GbPlatform(("127.0.0.1", 0), "12345678") as platform:
        url = f"gb28181://:12345678@127.0.0.1:{platform.address[1]}"
        for asked in (["--gb28181", url], [f"{url}/{DEVICE}/{CHANNEL}", "--seconds", "1"]):
            told = CliRunner().invoke(cli, ["probe", *asked])
            assert told.exit_code == 1
            assert "in_use: " in told.output
            assert "Stop the box" in told.output
            assert "12345678" not in told.output


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])  # noqa: S104
def test_an_address_that_no_device_can_send_to(host: str) -> None:
    with pytest.raises(ValueError, match="this machine's own address"):
        bind_of(f"gb28181://:12345678@{host}:5060")
    told = CliRunner().invoke(cli, ["probe", "--gb28181", f"gb28181://:12345678@{host}:5060"])
    assert told.exit_code == 2
    assert "this machine's own address" in told.output
    assert "12345678" not in told.output


@pytest.mark.parametrize("url", ["gb28181://h/1/2", f"gb28181:///{DEVICE}/{CHANNEL}"])
def test_a_bad_address(url: str) -> None:
    with pytest.raises(ValueError, match="20 digits"):
        GbStream("gate", url, Memory(), QUICK, SystemClock())
