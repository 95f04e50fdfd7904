"""ONVIF against the simulator over real sockets: discovery by multicast on the loopback, facts, presets, streams."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from camera_parts import QUICK, Memory, self_signed, send, wait_for, web
from click.testing import CliRunner

from camera_adapters.clock import SystemClock
from camera_adapters.onvif import OnvifAddress, check_preset, describe, rtsp_url
from camera_adapters.onvif_discovery import discover
from camera_adapters.open import open_stream
from camera_adapters.reasons import StreamFaultError
from camera_adapters.stream import StreamState
from camera_adapters.testing.loopcam import Camera
from camera_adapters.testing.onvifcam import OnvifCam, SimulatedProfile
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam
from curbwatch.commands.camera import cli

PROFILE = {"main": SimulatedProfile("rtsp://127.0.0.1:9/x", 1920, 1080)}
PRESETS = (("1", "gate", (0.25, -0.1, 0.0)), ("2", "yard", None))


def multicast_works() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            member = socket.inet_aton("239.255.255.250") + socket.inet_aton("127.0.0.1")
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        except OSError:
            return False
    return True


@pytest.mark.skipif(
    not multicast_works(), reason="the kernel lets nobody join a multicast group on the loopback"
)
def test_discovery_by_multicast() -> None:
    with OnvifCam(PROFILE, discoverable=True) as camera:
        found = discover(1.0, ["127.0.0.1"])
        address = f"http://127.0.0.1:{camera.port}/onvif/device_service"
        assert found == [
            {"name": "sim-gate", "hardware": "sim-1", "location": "east gate", "address": address}
        ]
        assert "Probe" in camera.calls
        # As a person asks: all of this machine's interfaces at once, the loopback among them.
        told = CliRunner().invoke(cli, ["probe", "--discover", "--json"])
        assert address in [d["address"] for d in json.loads(told.output)["found"]]
    assert discover(0.5, ["127.0.0.1"]) == []


def test_discovery_without_a_network_says_so() -> None:
    assert discover(0.2, ["203.0.113.1"]) == []
    with pytest.raises(OSError, match="no IPv4 network"):
        discover(0.2, [])


def test_facts_and_streams(rtp: RtpClip) -> None:
    with ServedLoopCam({"main": Camera(rtp), "sub": Camera(rtp)}, ("admin", "secret")) as served:
        profiles = {
            "sub": SimulatedProfile(served.url("sub", ""), 320, 240),
            "main": SimulatedProfile(served.url("main", ""), 1920, 1080),
        }
        with OnvifCam(profiles, place=(120.15, 30.28), presets=PRESETS) as camera:
            facts = describe(OnvifAddress.parse(f"onvif://admin:secret@127.0.0.1:{camera.port}/"))
            assert [p.token for p in facts.profiles] == ["main", "sub"]
            assert (facts.profiles[0].width, facts.profiles[0].codec) == (1920, "H264")
            assert (facts.maker, facts.model) == ("sim-manufacturer", "sim-model")
            assert (facts.serial, facts.firmware) == ("sim-serialnumber", "sim-firmwareversion")
            assert facts.place == (120.15, 30.28)
            assert facts.location == "east gate"
            assert facts.clock_offset_s == pytest.approx(0, abs=2)
            assert facts.presets == (("1", "gate"), ("2", "yard"))
            with pytest.raises(StreamFaultError) as refused:
                describe(OnvifAddress.parse(f"onvif://admin:wrong@127.0.0.1:{camera.port}/"))
            assert refused.value.code == "auth"
            memory = Memory()
            url = f"onvif://admin:secret@127.0.0.1:{camera.port}/?role=sub"
            stream = open_stream("gate", url, memory, QUICK, SystemClock())
            stream.start()
            try:
                wait_for(lambda: len(memory.frames) > 1)
                assert served.cameras["sub"].plays == 1
                assert stream.state is StreamState.LIVE
            finally:
                stream.close(8)


def test_h265_is_described_by_media2_alone(clips: dict[str, Path]) -> None:
    cameras = {"main": Camera(RtpClip(clips["hevc"])), "sub": Camera(RtpClip(clips["small"]))}
    with ServedLoopCam(cameras, ("admin", "secret")) as served:
        profiles = {
            "a-sub": SimulatedProfile(served.url("sub", ""), 160, 120),
            "b-main": SimulatedProfile(served.url("main", ""), 320, 240, "H265"),
        }
        with OnvifCam(profiles, media2=True) as camera:
            url = f"onvif://admin:secret@127.0.0.1:{camera.port}/"
            facts = describe(OnvifAddress.parse(url))
            assert [(p.token, p.codec, p.width, p.fps) for p in facts.profiles] == [
                ("b-main", "H265", 320, 25),
                ("a-sub", "H264", 160, 25),
            ]
            told = CliRunner().invoke(cli, ["probe", f"{url}?role=main", "--seconds", "3", "--json"])
            report = json.loads(told.output)
            assert (report["codec"], report["width"]) == ("hevc", 320)
            assert (report["sub"]["codec"], report["sub"]["width"]) == ("h264", 160)


def test_a_camera_that_knows_its_place_is_added_without(tmp_path: Path) -> None:
    with OnvifCam(PROFILE, place=(120.15, 30.28)) as camera:
        url = f"onvif://admin:secret@127.0.0.1:{camera.port}/"
        added = CliRunner().invoke(cli, ["add", "gate", url])
        assert yaml.safe_load(added.stdout)[0]["place"] == {"lon": 120.15, "lat": 30.28}
        wrong = CliRunner().invoke(cli, ["add", "gate", url.replace("secret", "wr0ng-word")])
        assert wrong.exit_code == 1
        assert "wr0ng-word" not in wrong.output
    with OnvifCam(PROFILE) as camera:
        told = CliRunner().invoke(cli, ["add", "gate", f"onvif://admin:secret@127.0.0.1:{camera.port}/"])
        assert told.exit_code == 2
        assert "does not know its place" in told.output


@pytest.mark.parametrize(
    ("preset", "position", "found", "there"),
    [
        ("gate", (0.25, -0.1, 0.0), True, True),
        ("1", (0.2495, -0.1, 0.0), True, True),
        ("gate", (0.6, -0.1, 0.0), True, False),
        ("gate", (0.25, -0.1, 0.5), True, False),
        ("gate", None, True, None),
        ("yard", (0.25, -0.1, 0.0), True, None),
        ("roof", (0.25, -0.1, 0.0), False, None),
    ],
)
def test_a_preset_is_checked(
    preset: str, position: tuple[float, float, float] | None, found: bool, there: bool | None
) -> None:
    with OnvifCam(PROFILE, presets=PRESETS, position=position) as camera:
        url = f"onvif://admin:secret@127.0.0.1:{camera.port}/"
        check = check_preset(OnvifAddress.parse(url), preset)
        assert (check.found, check.at_preset) == (found, there)
        told = CliRunner().invoke(cli, ["probe", "--onvif", url, "--preset", preset, "--json"])
        assert json.loads(told.output)["preset"]["at_preset"] is there
        assert told.exit_code == (1 if there is False or not found else 0)


class OddCam(OnvifCam):
    """A camera that answers some operations with `status` and `body` whatever is asked."""

    odd: dict[str, tuple[int, bytes]]

    def answer(self, request: bytes) -> tuple[int, bytes]:
        told = super().answer(request)
        return self.odd.get(self.calls[-1], told)


def odd_cam(operation: str, status: int, body: bytes, place: tuple[float, float] | None = None) -> OddCam:
    camera = OddCam(PROFILE, place=place)
    camera.odd = {operation: (status, body)}
    return camera


def switched_off(stack: ExitStack, folder: Path) -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"onvif://admin:secret@127.0.0.1:{server.getsockname()[1]}/"


def silent(stack: ExitStack, folder: Path) -> str:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return f"onvif://admin:secret@127.0.0.1:{server.getsockname()[1]}/"


def nobody_vouches(stack: ExitStack, folder: Path) -> str:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = self_signed(folder).wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stack.callback(thread.join, 60)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return f"onvif+https://admin:secret@127.0.0.1:{server.server_port}/"


def a_web_page(stack: ExitStack, folder: Path) -> str:
    port = stack.enter_context(web(lambda to: send(to, 404, b"<html>", Content_Type="text/html")))
    return f"onvif://admin:secret@127.0.0.1:{port}/"


def nobody_at_ipv6(stack: ExitStack, folder: Path) -> str:
    return "onvif://admin:secret@[::1]:9/"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (switched_off, "refused"),
        (silent, "timeout"),
        (nobody_vouches, "tls"),
        (a_web_page, "server"),
        (nobody_at_ipv6, "refused"),
    ],
)
def test_a_camera_that_is_not_there_is_not_one_without_streams(
    make: Callable[[ExitStack, Path], str], code: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        url = make(stack, tmp_path)
        for ask in (rtsp_url, describe):
            with pytest.raises(StreamFaultError) as refused:
                ask(OnvifAddress.parse(url), 1.0)
            assert refused.value.code == code
        memory = Memory()
        stream = open_stream("gate", url, memory, QUICK, SystemClock())
        stream.start()
        wait_for(lambda: StreamState.BACKING_OFF in memory.states())
        stream.close(8)
        assert f"{StreamState.BACKING_OFF}: {code}: " in memory.reasons()


def test_no_proxy_stands_between_a_box_and_its_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with OnvifCam(PROFILE) as camera:
        address = OnvifAddress.parse(f"onvif://admin:secret@127.0.0.1:{camera.port}/")
        assert rtsp_url(address) == "rtsp://admin:secret@127.0.0.1:9/x"


@pytest.mark.parametrize("media2", [False, True])
def test_a_profile_of_metadata_is_no_sub_stream(media2: bool) -> None:
    profiles = {**PROFILE, "meta": SimulatedProfile("rtsp://127.0.0.1:9/metadata", 0, 0, "")}
    with OnvifCam(profiles, media2=media2) as camera:
        url = f"onvif://admin:secret@127.0.0.1:{camera.port}/?role=sub"
        assert rtsp_url(OnvifAddress.parse(url)) == "rtsp://admin:secret@127.0.0.1:9/x"
        assert [p.token for p in describe(OnvifAddress.parse(url)).profiles] == ["main"]


def test_where_no_profile_tells_an_encoder_each_may_have_one() -> None:
    profiles = {"main": SimulatedProfile("rtsp://127.0.0.1:554/m", 0, 0, codec="")}
    with OnvifCam(profiles, media2=True) as camera:
        address = OnvifAddress.parse(f"onvif://admin:secret@127.0.0.1:{camera.port}/")
        assert rtsp_url(address) == "rtsp://admin:secret@127.0.0.1:554/m"


@pytest.mark.parametrize("media2", [False, True])
def test_a_camera_behind_nat_is_asked_where_it_was_reached(media2: bool) -> None:
    with OnvifCam({"main": SimulatedProfile("rtsp://192.168.1.64:554/m", 320, 240)}, media2=media2) as camera:
        address = OnvifAddress.parse(f"onvif://admin:secret@127.0.0.1:{camera.port}/")
        assert rtsp_url(address) == "rtsp://admin:secret@127.0.0.1:554/m"


def test_an_older_camera_tells_its_services_by_its_capabilities() -> None:
    fault = (
        b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code>'
        b"<s:Value>s:Receiver</s:Value><s:Subcode><s:Value>ter:ActionNotSupported</s:Value></s:Subcode>"
        b"</s:Code><s:Reason><s:Text>Action not supported</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>"
    )
    with odd_cam("GetServices", 400, fault) as camera:
        address = OnvifAddress.parse(f"onvif://admin:secret@127.0.0.1:{camera.port}/")
        assert rtsp_url(address) == "rtsp://admin:secret@127.0.0.1:9/x"


@pytest.mark.parametrize("body", [b"", b"<html><body>Not found<br></body></html>"])
@pytest.mark.parametrize("operation", ["GetGeoLocation", "GetSystemDateAndTime", "GetScopes", "GetPresets"])
def test_what_a_camera_answers_without_sense_is_not_told(operation: str, body: bytes) -> None:
    with odd_cam(operation, 200, body, place=(120.15, 30.28)) as camera:
        url = f"onvif://admin:secret@127.0.0.1:{camera.port}/"
        told = CliRunner().invoke(cli, ["probe", "--onvif", url, "--json"])
        assert told.exit_code == 0, told.exception
        facts = json.loads(told.output)
        assert facts["model"] == "sim-model"
        assert (facts["place"] is None) is (operation == "GetGeoLocation")
        assert (facts["clock_offset_s"] is None) is (operation == "GetSystemDateAndTime")
        added = CliRunner().invoke(cli, ["add", "gate", url])
        assert added.exit_code == (2 if operation == "GetGeoLocation" else 0)


def test_zeroes_are_no_place() -> None:
    with OnvifCam(PROFILE, place=(0.0, 0.0)) as camera:
        told = CliRunner().invoke(cli, ["add", "gate", f"onvif://admin:secret@127.0.0.1:{camera.port}/"])
        assert told.exit_code == 2
        assert "does not know its place" in told.output


def test_the_address_of_a_profile_can_be_asked_for_as_it_is_told() -> None:
    profiles = {"profile 1+h264%2F": SimulatedProfile("rtsp://127.0.0.1:9/x", 1920, 1080)}
    with OnvifCam(profiles) as camera:
        url = f"onvif://admin:secret@127.0.0.1:{camera.port}/"
        told = CliRunner().invoke(cli, ["probe", "--onvif", url, "--json"])
        address = json.loads(told.output)["profiles"][0]["address"].replace("//", "//admin:secret@", 1)
        assert rtsp_url(OnvifAddress.parse(address)) == "rtsp://admin:secret@127.0.0.1:9/x"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_camera_with_an_ipv6_address() -> None:
    with OnvifCam({"main": SimulatedProfile("rtsp://[fe80::9]:554/m", 320, 240)}, host="::1") as camera:
        url = f"onvif://admin:secret@[::1]:{camera.port}/"
        assert rtsp_url(OnvifAddress.parse(url)) == "rtsp://admin:secret@[::1]:554/m"
        told = CliRunner().invoke(cli, ["probe", "--onvif", url, "--json"])
        assert (
            json.loads(told.output)["profiles"][0]["address"] == f"onvif://[::1]:{camera.port}/?profile=main"
        )
