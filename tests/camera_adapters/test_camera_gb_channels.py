"""The channels of GB/T 28181 devices, of which one may tell less than it should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from camera_parts import send, web
from click.testing import CliRunner

from camera_adapters.gb_platform import GbPlatform
from camera_adapters.reasons import StreamFaultError
from camera_adapters.testing.gbdevice import GbDevice
from curbwatch.commands.camera import cli
from curbwatch.gb_channels import channels_of_devices

DEVICES = ["34020000001320000001", "34020000001320000002"]
CHANNELS = [(f"3402000000132000010{n}", f"gate{n}", 116.4, 39.9) for n in range(4)]
IDS = [channel for channel, *_ in CHANNELS]


class Repeating(GbDevice):
    """Says everything twice, as one does whose answer was slow."""

    def _request(self, method: str, extra: dict[str, str], body: bytes = b"") -> None:
        for _ in range(1 if method == "REGISTER" else 2):
            super()._request(method, extra, body)


class Short(GbDevice):
    """Promises one channel more than it tells."""

    def _request(self, method: str, extra: dict[str, str], body: bytes = b"") -> None:
        super()._request(method, extra, body.replace(b"<SumNum>4<", b"<SumNum>5<"))


class Mute(GbDevice):
    """Tells no channels."""

    def _tell_channels(self, number: str) -> None:
        pass


@contextmanager
def registered(clip: Path, *kinds: type[GbDevice]) -> Iterator[GbPlatform]:
    with ExitStack() as stack:
        platform = stack.enter_context(GbPlatform(("127.0.0.1", 0), "12345678"))
        for kind, device in zip(kinds, DEVICES, strict=False):
            stack.enter_context(kind(device, "12345678", platform.address, clip, CHANNELS))
            platform.wait_for(device, 60)
        yield platform


def test_what_is_told_twice_counts_once(clips: dict[str, Path]) -> None:
    with registered(clips["h264"], Repeating) as platform:
        assert [c["DeviceID"] for c in platform.catalog(DEVICES[0], 60)] == IDS


@pytest.mark.parametrize(
    ("kind", "came", "why"),
    [
        (Short, IDS, "timeout: the device told 4 channels of 5"),
        (Mute, [], "timeout: the device told no channel"),
    ],
)
def test_a_device_that_tells_less_costs_the_others_nothing(
    clips: dict[str, Path], kind: type[GbDevice], came: list[str], why: str
) -> None:
    with registered(clips["h264"], kind, GbDevice) as platform:
        told = channels_of_devices(platform, 5.0)
    assert [(c["device"], c["channel"]) for c in told["channels"]] == [
        (device, channel) for device, ids in zip(DEVICES, (came, IDS), strict=True) for channel in ids
    ]
    assert told["missing"] == [{"device": DEVICES[0], "reason": why}]


def test_where_no_device_tells_any_it_is_a_failure(clips: dict[str, Path]) -> None:
    each = f"{DEVICES[0]}: .*{DEVICES[1]}: "
    with (
        registered(clips["h264"], Mute, Mute) as platform,
        pytest.raises(StreamFaultError, match=each) as said,
    ):
        channels_of_devices(platform, 0.2)
    assert said.value.code == "timeout"


def listed(pages: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Ask, by the command, a gateway that answers so for each device: an answer, or its rows."""

    def answer(to: Any) -> None:
        parts = urlsplit(to.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        if parts.path.endswith("device/list"):
            told: Any = {"DeviceCount": len(pages), "DeviceList": [{"ID": d} for d in pages]}
            rows = None
        else:
            told, rows = {}, pages[query["serial"]]
        if isinstance(rows, list):
            begin = int(query["start"])
            told = {"ChannelList": rows[begin : begin + 100]}
        elif rows is not None:
            told = rows
        send(to, 200, json.dumps(told).encode())

    with web(answer) as port:
        told = CliRunner().invoke(cli, ["probe", "--gb28181", f"gb28181+http://127.0.0.1:{port}", "--json"])
    return told.exit_code, json.loads(told.output)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"ID": f"{34020000001320000100 + number}", "Name": "gate", "Status": "ON", **more}


def test_a_device_that_is_offline_costs_the_others_of_its_gateway_nothing() -> None:
    code, told = listed({DEVICES[0]: {"error": "device offline"}, DEVICES[1]: [row(1)]})
    assert code == 0
    assert [c["device"] for c in told["channels"]] == [DEVICES[1]]
    assert told["missing"] == [{"device": DEVICES[0], "reason": "timeout: the gateway says: device offline"}]


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ([row(n) for n in range(250)], 250),
        # Takes no notice of the page that was asked for.
        ({"ChannelList": [row(n) for n in range(7)]}, 7),
        ({"ChannelList": [row(1), None], "ChannelCount": 2}, 1),
        ({"ChannelList": [row(1)], "ChannelCount": "two"}, 1),
        ({"ChannelList": None, "ChannelCount": 0}, 0),
    ],
    ids=["no count", "no pages", "an empty row", "a count in words", "none"],
)
def test_lists_of_gateways(answer: Any, count: int) -> None:
    code, told = listed({DEVICES[0]: answer})
    assert code == 0
    assert len(told["channels"]) == count


def test_an_answer_that_is_no_list() -> None:
    code, told = listed({DEVICES[0]: {"ChannelList": {"a": 1}}})
    assert code == 1
    assert "protocol: " in told["reason"]


@pytest.mark.parametrize(
    ("place", "read"),
    [
        (("116.4", 39.9), [116.4, 39.9]),
        ((0, 0), None),
        (("NaN", "NaN"), None),
        (("1e999", 1), None),
        ((116.4, None), None),
        ((39.9, 116.4), None),
    ],
)
def test_places(place: tuple[Any, Any], read: list[float] | None) -> None:
    _, told = listed({DEVICES[0]: [row(1, Longitude=place[0], Latitude=place[1])]})
    assert told["channels"][0]["place"] == read
