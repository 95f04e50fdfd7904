"""GB/T 28181 gateways: stand-ins that answer as LiveGBS and as WVP do, by their makers' SDK and source."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from camera_parts import QUICK, Memory, send, wait_for, web
from click.testing import CliRunner

from camera_adapters.clock import SystemClock
from camera_adapters.demand import Demand
from camera_adapters.gateway import Gateway, GatewayAddress, GatewayStream
from camera_adapters.open import open_stream
from camera_adapters.reasons import StreamFaultError
from camera_adapters.stream import StreamOptions
from camera_adapters.testing.loopcam import Camera
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam
from curbwatch.commands.camera import cli

DEVICE, CHANNEL = "34020000001320000001", "34020000001320000101"
# The MD5 of the word "secret".
DIGEST = "5ebe2294ecd0e0f08eab7690d2a6ee69"
Handler = http.server.BaseHTTPRequestHandler


class StandIn:
    """A gateway in front of an RTSP address. `calls` has (path, query) of what needs a token."""

    def __init__(self, rtsp: str, wvp: bool = False) -> None:
        self.rtsp, self.wvp = rtsp, wvp
        self.error = ""
        self.calls: list[tuple[str, dict[str, str]]] = []

    def __call__(self, to: Handler) -> None:
        parts = urlsplit(to.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        if to.command == "POST":
            query |= {
                k: v[0]
                for k, v in parse_qs(to.rfile.read(int(to.headers["Content-Length"])).decode()).items()
            }
        if parts.path == "/api/v1/login":
            # WVP answers anybody here, with a token that opens nothing.
            right = self.wvp or query.get("password") == DIGEST
            send(
                to, 200 if right else 401, json.dumps({"URLToken": "dummy" if self.wvp else "t0ken"}).encode()
            )
        elif parts.path == "/api/user/login" and self.wvp:
            right = query.get("password") == DIGEST
            body = {"code": 0, "data": {"accessToken": "t0ken"}} if right else {"code": 100, "msg": "login"}
            send(to, 200 if right else 401, json.dumps(body).encode())
        elif to.headers.get("access-token") != "t0ken":
            send(to, 401, b"{}")
        else:
            self.calls.append((parts.path, query))
            send(to, *self._answer(parts.path, query))

    def _answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        if path == "/api/v1/device/list":
            return 200, json.dumps({"DeviceCount": 1, "DeviceList": [{"ID": DEVICE}]}).encode()
        if path == "/api/v1/device/channellist":
            row = {"ID": CHANNEL, "Name": "东门", "Status": "ON", "Longitude": 120.1, "Latitude": 30.2}
            return 200, json.dumps({"ChannelCount": 1, "ChannelList": [row]}).encode()
        if path == "/api/v1/stream/start":
            return 200, json.dumps({"error": self.error} if self.error else {"RTSP": self.rtsp}).encode()
        if path in {"/api/v1/stream/touch", "/api/v1/stream/stop"}:
            # WVP says null, LiveGBS a bare OK.
            return 200, b"null" if self.wvp else b"OK"
        return 404, b"{}"

    def asked(self, word: str) -> list[dict[str, str]]:
        return [query for path, query in self.calls if path.endswith(word)]


@contextmanager
def gateway_of(rtp: RtpClip, wvp: bool = False) -> Iterator[tuple[StandIn, str, ServedLoopCam]]:
    with ServedLoopCam({"rtp": Camera(rtp)}) as served:
        stand_in = StandIn(served.url("rtp"), wvp)
        with web(stand_in) as port:
            yield stand_in, f"gb28181+http://admin:secret@127.0.0.1:{port}", served


@pytest.mark.parametrize("wvp", [False, True])
def test_list_start_touch_stop(rtp: RtpClip, wvp: bool) -> None:
    with gateway_of(rtp, wvp) as (stand_in, base, served):
        with Gateway(GatewayAddress.parse(base, whole=False)) as gateway:
            (device,) = gateway.devices()
            (channel,) = gateway.channels(device)
        assert device == DEVICE
        assert (channel.channel, channel.name, channel.online) == (CHANNEL, "东门", True)
        assert channel.place == (120.1, 30.2)
        listed = CliRunner().invoke(cli, ["probe", "--gb28181", base, "--json"])
        assert json.loads(listed.output)["channels"][0]["device"] == DEVICE
        memory = Memory()
        url = f"{base}/{DEVICE}/{CHANNEL}?stream=1"
        stream = GatewayStream("gate", url, memory, QUICK, SystemClock(), touch_s=0.2)
        stream.demand = Demand("all")
        stream.start()
        try:
            wait_for(lambda: len(memory.frames) > 2)
            wait_for(lambda: len(stand_in.asked("touch")) >= 2)
            served.stop()
            served.restart()
            wait_for(lambda: len(stand_in.asked("start")) >= 2)
            # A broken connection leaves the play as it is.
            assert stand_in.asked("stop") == []
        finally:
            stream.close(8)
        play = {"serial": DEVICE, "code": CHANNEL}
        assert stand_in.asked("start")[0] == play | {"streamnumber": "1"}
        assert stand_in.asked("touch")[0] == play
        assert stand_in.asked("stop") == [play | {"check_outputs": "true"}]
        assert stream.touch_fault == ""
        assert "secret" not in memory.reasons()


def test_a_gateway_that_stops_for_all_may_be_left_alone(rtp: RtpClip) -> None:
    with gateway_of(rtp) as (stand_in, base, _):
        memory = Memory()
        stream = open_stream("gate", f"{base}/{DEVICE}/{CHANNEL}?stop=no", memory, QUICK, SystemClock())
        stream.start()
        wait_for(lambda: memory.frames)
        stream.close(8)
        assert stand_in.asked("stop") == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("channel[ 1 ]未找到", "not_found"),
        ("channel[ 1 ]offline", "timeout"),
        ("timeout", "timeout"),
        ("收流失败", "server"),
    ],
)
def test_what_wvp_says_with_200(rtp: RtpClip, error: str, code: str) -> None:
    with gateway_of(rtp, wvp=True) as (stand_in, base, _):
        stand_in.error = error
        address = GatewayAddress.parse(f"{base}/{DEVICE}/{CHANNEL}")
        with Gateway(address) as gateway, pytest.raises(StreamFaultError) as said:
            gateway.start(DEVICE, CHANNEL)
        assert said.value.code == code
        assert error in str(said.value)


@pytest.mark.parametrize("wvp", [False, True])
def test_a_wrong_password(rtp: RtpClip, wvp: bool) -> None:
    with gateway_of(rtp, wvp) as (_, base, _served):
        told = CliRunner().invoke(cli, ["probe", "--gb28181", base.replace("secret", "wrong-word")])
        assert told.exit_code == 1
        assert "auth" in told.output
        assert "wrong-word" not in told.output


@pytest.mark.parametrize(
    "url",
    [
        "gb28181+http:///x",
        "gb28181+http://h/1/2",
        f"gb28181+http://h/{DEVICE}/{CHANNEL}?stream=2",
        f"gb28181+http://h/{DEVICE}/{CHANNEL}?stop=maybe",
    ],
)
def test_a_bad_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url: "):
        open_stream("gate", url, Memory(), StreamOptions(), SystemClock())
