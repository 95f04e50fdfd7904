"""Enrolment by code, desired and reported state, and a configuration that a box takes back by itself."""

from __future__ import annotations

import hashlib
import json
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fleet_parts import City, city
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from street_clip import make_clip
from test_apply import camera, config_of

from camera_adapters.testing.loopcam import Camera
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam
from contract.fleet import ConfigOrder
from contract.signing import SignedError, key_text, open_config, read_key, sign_config
from edge.box import Box
from edge.changes import Changes, RefusedConfigError
from edge.fleet.central_config import ConfigFromCentre
from edge.fleet.enrol import EnrolError, enrol
from edge.fleet.health_window import HealthWindow, Look
from edge.log import get_logger


def wait(met: Callable[[], Any], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.1)


def test_a_code_enrols_one_box_once(town: City, tmp_path: Path) -> None:
    told = {"device_id": "box-1", "labels": {"ring": "early"}, "hours": 1}
    old = town.admin.post("/fleet/codes", json=told).json()["code"]
    code = town.admin.post("/fleet/codes", json=told).json()["code"]
    with httpx.Client(timeout=60, base_url=town.url, trust_env=False) as nobody:
        for wrong in (old, code[:-1] + ("0" if code[-1] != "0" else "1"), "box-1.x" * 3):
            with pytest.raises(EnrolError, match="403"):
                enrol(tmp_path / "b", nobody, wrong)
        got = enrol(tmp_path / "b", nobody, code)
        with pytest.raises(EnrolError, match="403"):
            enrol(tmp_path / "thief", nobody, code)
        late = town.admin.post("/fleet/codes", json={"device_id": "box-2", "hours": 1}).json()["code"]
        town.clock.pass_s(3601)
        with pytest.raises(EnrolError, match="too old"):
            enrol(tmp_path / "c", nobody, late)
    token = tmp_path / "b" / "box.token"
    assert token.read_text() == got.token
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert not (tmp_path / "thief" / "box.token").exists()
    chain = town.admin.get("/devices/box-1/chain").json()
    assert len(chain["keys"]) == 1, "the key is believed at once"
    seen = town.admin.get("/fleet/boxes").json()
    assert [(b["device_id"], b["labels"]) for b in seen] == [("box-1", {"ring": "early"})]


def test_a_box_whose_key_is_in_a_token_is_told_so_before_it_has_a_second_one(tmp_path: Path) -> None:
    (tmp_path / "identity.public").write_text("{}")
    with httpx.Client() as nobody, pytest.raises(EnrolError, match="curbwatch api device add box-7"):
        enrol(tmp_path, nobody, "box-7.0123456789")
    assert not (tmp_path / "identity.key").exists()


def test_a_proof_by_another_key_enrols_nobody(town: City, tmp_path: Path) -> None:
    code = town.admin.post("/fleet/codes", json={"device_id": "box-1"}).json()["code"]
    other = CryptoSigner.generate_ed25519()
    from contract.signing import proof_of
    from edge.identity import load_signer, public_key

    body = {
        "code": code,
        "key": public_key(load_signer(tmp_path / "k"), "box-1"),
        "proof": proof_of(other, code),
    }
    with httpx.Client(timeout=60, base_url=town.url, trust_env=False) as nobody:
        assert nobody.post("/enrol", json=body).status_code == 403
        enrol(tmp_path / "b", nobody, code)  # the code was not burnt


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("cameras: [", "line 1"),
        ("api: {url: http://elsewhere}\ncameras: [{url: 'rtsp://a'}]", "body.api"),
        ("cameras: []", "at least one"),
        ("cameras: [{id: a}]", r"cameras\[0\].url"),
        ("cameras: [{id: a, url: 'rtsp://u:pw@cam/1'}]", "holds a password"),
    ],
)
def test_the_centre_refuses_a_configuration_that_no_box_could_take(
    town: City, tmp_path: Path, body: str, word: str
) -> None:
    town.enrolled(tmp_path).close()
    answer = town.admin.put("/fleet/boxes/box-1/config", json={"body": body})
    assert answer.status_code == 422
    import re

    assert re.search(word, answer.json()["detail"])
    assert "pw@" not in answer.text


@pytest.mark.parametrize(
    ("code", "word"), [("b.c", "code: write it as"), ("box-7.0123456789", "is it the centre that answers")]
)
def test_enrolment_says_what_is_wrong_in_its_own_words(tmp_path: Path, code: str, word: str) -> None:
    portal = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>sign in</html>"))
    with (
        httpx.Client(transport=portal, base_url="http://portal") as nobody,
        pytest.raises(EnrolError, match=word) as caught,
    ):
        enrol(tmp_path, nobody, code)
    assert "pydantic" not in str(caught.value)
    assert not (tmp_path / "box.token").exists()


def test_a_signed_configuration_is_for_one_box_and_cannot_be_changed() -> None:
    signer, body = CryptoSigner.generate_ed25519(), "cameras: [1]"
    order = ConfigOrder(
        device_id="a",
        version=1,
        body=body,
        sha256=hashlib.sha256(body.encode()).hexdigest(),
        issued_at=datetime.now(UTC),
    )
    text, key = sign_config(signer, order), read_key(key_text(signer.public_key))
    assert open_config(text, key, "a") == order
    with pytest.raises(SignedError, match="is for a"):
        open_config(text, key, "b")
    with pytest.raises(SignedError, match="not signed"):
        open_config(text, read_key(key_text(CryptoSigner.generate_ed25519().public_key)), "a")
    told = json.loads(text)
    told["payload"] = told["payload"][:-8] + "AAAAAAA="
    with pytest.raises(SignedError):
        open_config(json.dumps(told), key, "a")
    with pytest.raises(SignedError, match="its hash"):
        open_config(sign_config(signer, order.model_copy(update={"body": "cameras: [2]"})), key, "a")


cams = st.frozensets(st.integers(0, 30).map(str), max_size=30)


@given(before=cams, wanted=cams, down=st.integers(0, 30))
def test_health_falls_when_more_than_a_tenth_of_the_kept_cameras_is_down(
    before: frozenset[str], wanted: frozenset[str], down: int
) -> None:
    kept = sorted(before & wanted)
    live = frozenset(kept[down:]) | (wanted - before)
    window = HealthWindow(Look(0, before, before), 60, 20)
    said = [window.observe(Look(at, live, wanted)) for at in (1, 10, 25, 30, 61)]
    lost = min(down, len(kept))
    if lost > len(kept) // 10:
        assert said[3] == "bad"
    elif wanted and not live:
        assert said[4] == "bad"
    else:
        assert said == ["waiting"] * 4 + ["good"]


def test_a_start_in_the_middle_of_a_trial_goes_back(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"held": 0, "trial": 3, "seen": 3}))
    central = ConfigFromCentre(tmp_path, None, "box-1", get_logger())
    assert (central.version, central.phase, central.refused[0]) == (0, "rolled_back", 3)


def test_a_full_disk_stops_no_start_and_what_was_decided_is_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    part = folder / "config.json.part"
    part.mkdir(parents=True)  # so that the state cannot be written
    (folder / "config.json").write_text(json.dumps({"held": 0, "trial": 3, "seen": 3}))
    for _ in range(2):
        central = ConfigFromCentre(tmp_path, None, "box-1", get_logger())
        assert (central.version, central.phase, central.refused[0]) == (0, "rolled_back", 3)
    part.rmdir()
    central.watch(Look(0.0, frozenset(), frozenset()), lambda _: Changes())
    assert json.loads((folder / "config.json").read_text())["refused"] == 3


OUR_404 = httpx.Response(404, json={"detail": "no version 7 of this box's configuration"})


@pytest.mark.parametrize(
    ("answer", "phase"),
    [
        (httpx.Response(200, text="<html>sign in</html>"), "none"),
        (httpx.Response(200, text="x" * 2_000_001), "none"),
        (httpx.Response(302, headers={"location": "/login"}), "none"),
        (httpx.Response(404, text="default backend - 404"), "none"),
        (httpx.Response(502), "none"),
        (httpx.Response(200, json={"envelope": "{}"}), "refused"),
        (OUR_404, "refused"),
        (None, "none"),
    ],
)
def test_a_configuration_is_refused_by_the_centres_own_word_alone(
    tmp_path: Path, answer: httpx.Response | None, phase: str
) -> None:
    folder, signer = tmp_path / "fleet", CryptoSigner.generate_ed25519()
    folder.mkdir()
    (folder / "fleet.pub").write_text(key_text(signer.public_key))
    asked: list[str] = []
    if answer is None:  # good, and there is no room on the disk
        body = "cameras: [{id: a, url: 'rtsp://127.0.0.1:9/a', place: {lon: 1, lat: 1}}]"
        order = ConfigOrder(
            device_id="box-1",
            version=7,
            body=body,
            sha256=hashlib.sha256(body.encode()).hexdigest(),
            issued_at=datetime.now(UTC),
        )
        answer = httpx.Response(200, json={"envelope": sign_config(signer, order)})
        (folder / "config-7.yaml.part").mkdir()

    def centre(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        assert answer is not None
        return answer

    central = ConfigFromCentre(tmp_path, None, "box-1", get_logger())
    central.base = config_of(tmp_path, camera("own", "rtsp://127.0.0.1:9/none"))
    nothing = Look(0.0, frozenset(), frozenset())
    with httpx.Client(transport=httpx.MockTransport(centre), base_url="http://centre") as client:
        for _ in range(3):
            central.take(7, client, lambda _: Changes(), lambda: nothing, 60.0)
    assert (central.phase, len(asked)) == (phase, 1 if phase == "refused" else 3)
    assert ("version 7 waits" in central.waits) == (phase == "none")


def test_a_box_takes_a_configuration_while_it_runs_and_takes_a_bad_one_back(tmp_path: Path) -> None:
    film = RtpClip(make_clip(tmp_path / "street.mp4", 12))
    with (
        ServedLoopCam({name: Camera(film) for name in "ab"}) as served,
        city(tmp_path / "centre", clock=lambda: datetime.now(UTC)) as town,
    ):
        town.enrolled(tmp_path / "box", "box").close()
        api = {"url": town.url, "token_file": str(tmp_path / "box" / "box.token"), "heartbeat_s": 1}
        start = config_of(tmp_path, camera("a", served.url("a")), api=api, fleet={"window_s": 20})
        box = Box(start, get_logger())
        box.start()

        def give(*cameras: dict[str, Any]) -> int:
            body = yaml.safe_dump({"cameras": list(cameras)})
            answer = town.admin.put("/fleet/boxes/box/config", json={"body": body})
            return int(answer.raise_for_status().json()["version"])

        def told() -> dict[str, Any]:
            return dict(town.admin.get("/fleet/boxes/box").json())

        def fleet() -> dict[str, Any]:
            return dict(told()["reported"].get("fleet", {}))

        try:
            wait(lambda: "clock_offset_s" in told()["reported"])
            assert {"load", "disk_bytes", "versions"} <= set(told()["reported"])
            kept = box.worker.lane("a")
            give(camera("a", served.url("a")), camera("b", served.url("b")))
            wait(lambda: fleet().get("config_version") == 1)
            assert box.worker.lane("b") is not None
            assert box.worker.lane("a") is kept, "nothing was restarted"
            wait(lambda: fleet().get("config_phase") == "held")
            assert told()["drift"] == []
            give(camera("a", "rtsp://127.0.0.1:1/gone"), camera("b", "rtsp://127.0.0.1:1/gone2"))
            wait(lambda: fleet().get("config_phase") == "rolled_back")
            state = told()
            assert state["reported"]["fleet"]["config_version"] == 1
            assert "are down" in state["drift"][0]
            assert {c.id for c in box.config.cameras} == {"a", "b"}
            wait(lambda: box._signs.look().live)
            assert give({"id": "a", "url": served.url("a"), "nonsense": 1}) == 3
            wait(lambda: fleet().get("config_phase") == "refused")
            assert "config-3.yaml" in told()["drift"][0]
            # An older version is sent anew, under the next number.
            town.admin.put("/fleet/boxes/box", json={"config_version": 1}).raise_for_status()
            wait(lambda: fleet().get("config_version") == 4)
        finally:
            box.stop()
        # The box starts with the centre's cameras: the trial was not over, so with the last good ones.
        again = Box(start, get_logger())
        assert {c.id for c in again.config.cameras} == {"a", "b"}
        again.start()
        again.stop()


@pytest.mark.parametrize("trouble", ["a refused file", "the held version rots", "a clip is gone"])
def test_whatever_stands_against_going_back_the_heartbeats_go_on(tmp_path: Path, trouble: str) -> None:
    film = make_clip(tmp_path / "street.mp4", 12)
    with (
        ServedLoopCam({"a": Camera(RtpClip(film))}) as served,
        city(tmp_path / "centre", clock=lambda: datetime.now(UTC)) as town,
    ):
        town.enrolled(tmp_path / "box", "box").close()
        api = {"url": town.url, "token_file": str(tmp_path / "box" / "box.token"), "heartbeat_s": 1}
        cam = camera("a", served.url("a"))
        start = config_of(tmp_path, cam, api=api, fleet={"window_s": 6})
        box = Box(start, get_logger())
        box.start()

        def give(*cameras: dict[str, Any]) -> None:
            told = {"body": yaml.safe_dump({"cameras": list(cameras)})}
            town.admin.put("/fleet/boxes/box/config", json=told).raise_for_status()

        def phase(version: int) -> str:
            told = town.admin.get("/fleet/boxes/box").json()["reported"].get("fleet") or {}
            mine = version in (told.get("config_version"), told.get("config_refused"))
            return str(told.get("config_phase")) if mine else ""

        try:
            wait(lambda: box._signs.look().live)
            give(cam, camera("clip", str(film)))
            wait(lambda: phase(1) == "held")
            give(camera("a", "rtsp://127.0.0.1:1/gone"))
            wait(lambda: phase(2) == "trial")
            if trouble == "a refused file":
                with pytest.raises(RefusedConfigError):
                    box.apply_file(start.model_copy(update={"metrics_port": 9}))
            elif trouble == "the held version rots":
                (tmp_path / "box" / "fleet" / "config-1.yaml").write_text("cameras: [")
            else:
                film.unlink()
            wait(lambda: phase(2) == "rolled_back", 30)
            back = {"a", "clip"} if trouble == "a refused file" else {"a"}
            assert {c.id for c in box.config.cameras} == back
            if trouble != "a clip is gone":
                wait(lambda: box._signs.look().live, 30)
        finally:
            box.stop()
