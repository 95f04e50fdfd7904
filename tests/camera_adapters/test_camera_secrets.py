"""No password in clear: in what is shown, in the box's file, in an error."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from camera_adapters.redact import redact, secrets_of
from curbwatch.camera_entry import hide_secrets
from curbwatch.commands.camera import cli
from edge.config import load_box

BOX = """\
device: box-1
api: {url: http://127.0.0.1:9/, token: t}
cameras:
  - id: old
    url: rtsp://h/x
    place: {lon: 1, lat: 2}
"""


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("rtsp://admin:pa'ss@10.0.0.7/x", "ss@"),
        ('cannot open "rtsp://admin:pa"ss@10.0.0.7/x"', "ss@"),
        ("http://10.0.0.7/snap.cgi?loginuse=admin&loginpas=hunter2", "hunter2"),
        ("http://10.0.0.7/cgi?user=admin&userpwd=hunter2", "hunter2"),
        ("http://10.0.0.7/cgi?usr=admin&psw=hunter2", "hunter2"),
        ("http://10.0.0.7/cgi?usr=admin&pas=hunter2", "hunter2"),
        ("http://10.0.0.7/cgi?user=admin&pw=hunter2", "hunter2"),
        ("http://10.0.0.7/cgi?user=admin&pwd=hun'ter2", "ter2"),
        ('Port could not be cast to integer value as "hun\'ter2"', "ter2"),
    ],
)
def test_odd_passwords_and_their_other_names_never_show(text: str, gone: str) -> None:
    assert gone not in redact(text)
    assert "***" in redact(text)


def test_the_words_round_a_secret_stay() -> None:
    told = redact("http://10.0.0.7/s.jpg?user=admin&pwd=x&channel=1 gave HTTP status 500")
    assert told == "http://10.0.0.7/s.jpg?user=admin&pwd=***&channel=1 gave HTTP status 500"
    for plain in ("bypass=1 compass=north frame_key=7", "monkey=1"):
        assert redact(plain) == plain
    assert (
        redact('{"url":"http://h/x?token=abc123","state":"live"}')
        == '{"url":"http://h/x?token=***","state":"live"}'
    )
    said = "the server closed the stream at rtsp://10.0.0.5/x"
    for url in ("http://h/x?key=stream", "http://h/x?auth=rtsp"):
        assert redact(said, secrets_of(url)) == said
    assert redact("http://h/x?api_key=abc") == "http://h/x?api_key=***"
    told = redact("rtsp://10.0.0.7/user=admin_password=x_channel=1_stream=0.sdp")
    assert told == "rtsp://10.0.0.7/user=admin_password=***_channel=1_stream=0.sdp"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rtsp://u:se cr'et@h/x", "it was se cr'et"),
        ("http://h/x?usr=a&pwd=hun%20ter", "it was hun ter, or hun%20ter"),
    ],
)
def test_an_addresss_own_secrets_are_known(url: str, said: str) -> None:
    assert redact(said, secrets_of(url)).removeprefix("it was ").strip("*, or") == ""


@pytest.mark.parametrize(
    ("url", "address", "secrets"),
    [
        ("rtsp://u:p@h/x", "rtsp://u:${CAMERA_A_1_PASSWORD}@h/x", ["p"]),
        ("rtsp://u:p@q@h/x", "rtsp://u:${CAMERA_A_1_PASSWORD}@h/x", ["p@q"]),
        (
            "gb28181://:s3cretpw@10.0.0.5:5060/1/2?transport=tcp",
            "gb28181://:${CAMERA_A_1_PASSWORD}@10.0.0.5:5060/1/2?transport=tcp",
            ["s3cretpw"],
        ),
        (
            "http://10.0.0.5/snap.jpg?usr=a&pwd=s3cretpw&n=1",
            "http://10.0.0.5/snap.jpg?usr=a&pwd=${CAMERA_A_1_PASSWORD}&n=1",
            ["s3cretpw"],
        ),
        (
            "rtsp://h:554/user=a_password=p@q_channel=1_stream=0.sdp?real_stream",
            "rtsp://h:554/user=a_password=${CAMERA_A_1_PASSWORD}_channel=1_stream=0.sdp?real_stream",
            ["p@q"],
        ),
        (
            "http://u:p@h/x?pwd=p&token=t",
            "http://u:${CAMERA_A_1_PASSWORD}@h/x?pwd=${CAMERA_A_1_PASSWORD}&token=${CAMERA_A_1_PASSWORD_2}",
            ["p", "t"],
        ),
        (
            "rtsp://u:${CAMERA_A_1_PASSWORD}@h/x?token=abc",
            "rtsp://u:${CAMERA_A_1_PASSWORD}@h/x?token=${CAMERA_A_1_PASSWORD_2}",
            ["abc"],
        ),
        ("http://h/x?compass=north&frame_key=7", "http://h/x?compass=north&frame_key=7", []),
        ("rtsp://h/x", "rtsp://h/x", []),
        ("rtsp://[fe80::1]/cam@1", "rtsp://[fe80::1]/cam@1", []),
        ("rtsp://u:${GATE}@h/x?pwd=${GATE}", "rtsp://u:${GATE}@h/x?pwd=${GATE}", []),
    ],
)
def test_each_secret_of_an_address_becomes_a_variable(url: str, address: str, secrets: list[str]) -> None:
    hidden, variables = hide_secrets(url, "a-1")
    assert hidden == address
    assert list(variables.values()) == secrets


@pytest.mark.parametrize(
    "url",
    [
        "gb28181://:s3cret-word@10.0.0.5:5060/34020000001320000001/34020000001320000101",
        "http://10.0.0.5/snap.jpg?usr=a&pwd=s3cret-word",
    ],
)
def test_add_puts_no_password_into_the_boxs_file(url: str, tmp_path: Path) -> None:
    box = tmp_path / "box.yaml"
    box.write_text(BOX)
    args = ["add", "gate", url, "--place", "1,2", "--box", str(box), "--save-password"]
    told = CliRunner().invoke(cli, args)
    assert told.exit_code == 0, told.output
    assert "s3cret-word" not in told.output + box.read_text()
    assert stat.S_IMODE((tmp_path / "box.env").stat().st_mode) == 0o600
    assert (tmp_path / "box.env").read_text() == "CAMERA_GATE_PASSWORD=s3cret-word\n"
    added = load_box(box).cameras[-1]
    assert added.url.get_secret_value() == url
    printed = CliRunner().invoke(cli, ["add", "gate", url, "--place", "1,2"])
    assert "s3cret-word" not in printed.output
    assert "put CAMERA_GATE_PASSWORD=" in printed.stderr
    assert "${CAMERA_GATE_PASSWORD}" in yaml.safe_load(printed.stdout)[0]["url"]


@pytest.mark.parametrize(
    "args",
    [
        ["probe", "--onvif", "onvif://admin:se cr'et/x@127.0.0.1"],
        ["probe", "--onvif", "admin:se cr'et/x@127.0.0.1"],
        ["probe", "--gb28181", "gb28181+http://admin:se cr'et/x@127.0.0.1"],
        ["probe", "rtsp://admin:se cr'et/x@127.0.0.1/live"],
        ["add", "gate", "rtsp://admin:se cr'et/x@127.0.0.1/live", "--place", "1,2"],
        ["add", "gate", "rtsp://h/x", "--sub", "rtsp://admin:se cr'et/x@h/y", "--place", "1,2"],
    ],
)
def test_an_address_that_cannot_be_taken_apart_is_refused_without_a_word_of_it(args: list[str]) -> None:
    told = CliRunner().invoke(cli, args)
    assert told.exit_code == 2
    assert "write / as %2F" in " ".join(told.output.split())
    assert "et/x" not in told.output


@pytest.mark.parametrize("login", ["admin:pa'ss", "admin:se cr'et", 'admin:qu"ote'])
def test_a_report_of_a_probe_shows_no_password(login: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told = CliRunner().invoke(cli, ["probe", f"rtsp://{login}@127.0.0.1:{port}/x", "--seconds", "1"])
    assert "refused" in told.output
    assert login.partition(":")[2][-3:] not in told.output
