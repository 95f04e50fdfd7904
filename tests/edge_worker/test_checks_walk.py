"""An engineer's questions: from the centre's page through the heartbeat to the box, and the answer back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from api_parts import Centre
from test_box_parts import camera_config
from test_inspection_walk import EdgeBox

from api.examples import HEARTBEAT
from camera_adapters.frame import Frame, FrameMeta
from contract import GeoPoint, new_id
from edge.agent import CentreAgent
from edge.checks import Checks, SnapshotLooker, Snapshots, trial
from edge.left_objects import LeftObject
from edge.log import get_logger
from edge.site_view import Observation
from edge.tape import KEPT_S, LEAST_GAP_S, Tape
from edge.zones import PolicyConfig, ZoneConfig
from models.detections import Detections

NAMES = ("person", "car")
ROAD = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]
CORNER = [[0.0, 0.0], [0.1, 0.0], [0.1, 0.1], [0.0, 0.1]]
START = datetime(2026, 3, 4, 2, tzinfo=UTC)
CAR = (200, 200, 360, 320)


def found(*boxes: tuple[int, int, int, int]) -> Detections:
    many = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(many, np.full(len(boxes), 0.9, np.float32), np.ones(len(boxes), np.int32), NAMES)


def seen(t: float, *boxes: tuple[int, int, int, int]) -> Observation:
    return Observation(START + timedelta(seconds=t), 100.0 + t, 640, 480, found(*boxes))


def recorded(seconds: int, every_s: float = 2.0) -> Tape:
    tape = Tape()
    for n in range(round(seconds / every_s)):
        tape.keep(seen(n * every_s, CAR))
    return tape


def test_the_record_is_thinned_and_bounded() -> None:
    dense = recorded(100, 0.5)
    looks = dense.since(3600)
    assert len(looks) == 50
    assert all(b.mono_s - a.mono_s >= LEAST_GAP_S for a, b in itertools.pairwise(looks))
    assert len(dense.since(20)) == 11
    long = recorded(3 * 3600).since(1e9)
    assert long[-1].mono_s - long[0].mono_s <= KEPT_S
    assert len(long) <= 1801
    crowd = Tape()
    crowd.keep(seen(0, *[(i, 0, i + 10, 50) for i in range(200)]))
    assert len(crowd.since(1)[0].detections) == 30
    assert Tape().since(60) == []


def test_the_record_gives_back_what_was_seen_whatever_the_model_called_it() -> None:
    tape, given = Tape(), []
    for n in range(2500):
        names = NAMES if n < 2000 else ("cart", f"model {n // 100}")
        boxes = np.array([[n % 640 + 0.125, 7, n % 640 + 9.5, 90]] * (n % 4), np.float32).reshape(-1, 4)
        few = Detections(boxes, np.full(len(boxes), 0.75, np.float32), np.ones(len(boxes), np.int32), names)
        left = (LeftObject((0.1, 0.2, 0.3, 0.4), 5.0 + n, 0.02, 4.5, n, 3),) if n % 5 == 0 else ()
        at = START + timedelta(seconds=2 * n, microseconds=n)
        given.append(Observation(at, 100.5 + 2 * n, 1920, 1080, few, left, n % 7 > 0))
        tape.keep(given[-1])
    kept = tape.since(1e9)
    assert len(kept) == 1800
    for back, put in zip(kept, given[-1800:], strict=True):
        assert (back.captured_at, back.mono_s, back.width, back.height) == (
            put.captured_at, put.mono_s, put.width, put.height,
        )  # fmt: skip
        assert (back.left, back.view_ok, back.detections.names) == (
            put.left,
            put.view_ok,
            put.detections.names,
        )
        assert np.array_equal(back.detections.boxes, put.detections.boxes)
        assert np.array_equal(back.detections.scores, put.detections.scores)
        assert np.array_equal(back.detections.classes, put.detections.classes)
    assert len(tape._left) == 360
    assert len(tape._names) == 6


@pytest.mark.parametrize(
    ("kind", "polygon", "minutes", "raised"),
    [
        ("no_parking", ROAD, 10, 1),
        ("no_parking", ROAD, 3, 0),
        ("no_parking", CORNER, 10, 0),
        ("parking_bay", ROAD, 10, 0),
        ("fire_lane", ROAD, 10, 1),
    ],
)
def test_a_trial_says_what_the_rules_would_have_raised(
    kind: str, polygon: Any, minutes: int, raised: int
) -> None:
    zone = ZoneConfig.model_validate({"id": "draft", "kind": kind, "polygon": polygon})
    looks = recorded(minutes * 60).since(3600)
    place = GeoPoint.model_validate(camera_config("x").place.point().wire())
    cases = trial("cam", [zone], PolicyConfig(), place, None, "Asia/Shanghai", None, looks)
    assert len(cases) == raised
    if raised:
        assert cases[0].zone_id == "draft"
        assert cases[0].dwell_s >= 180


class Asked:
    """A box that answers, without its threads but that of the questions."""

    def __init__(self, folder: Path, house: Centre, url: str, tape: Tape | None) -> None:
        self.box, self.house = EdgeBox(folder, house), house
        self.snapshots = Snapshots()
        camera = camera_config(url)
        checks = Checks(
            "box-1", lambda i: camera if i == "gate" else None, lambda i: tape if i == "gate" else None,
            self.snapshots, self.box.clock, "Asia/Shanghai", None, True, get_logger(),
        )  # fmt: skip
        self.agent = CentreAgent(
            "box-1", self.box.book, self.box.floor, {}, self.box.client, house.clock, get_logger(), checks
        )

    def answered(self, path: str, meanwhile: Callable[[], None] = lambda: None) -> Any:
        who = self.house.person("root", "admin")
        for _ in range(200):
            beat_once(self)
            meanwhile()
            told = who.get(path).json()
            if told["state"] == "done":
                return told
            time.sleep(0.05)
        raise AssertionError(told)


def beat_once(asked: Asked) -> Any:
    answer = asked.box.client.post("/heartbeats", json=HEARTBEAT | {"id": new_id()})
    asked.agent.obey(answer)
    return answer.json()


def test_a_draft_is_tried_on_the_boxs_own_record(house: Centre, tmp_path: Path) -> None:
    asked, root = Asked(tmp_path / "box", house, "x", recorded(600)), house.person("root", "admin")
    assert beat_once(asked)["checks"] == []
    assert house.person("rita").post("/cameras/gate/checks", json={"kind": "probe"}).status_code == 403
    setup = {"zones": [{"id": "draft", "kind": "no_parking", "polygon": ROAD}]}
    for wrong, field in [
        ({"kind": "trial"}, "setup"),
        ({"kind": "probe", "setup": setup}, "setup"),
        ({"kind": "look"}, "kind"),
    ]:
        answer = root.post("/cameras/gate/checks", json=wrong)
        assert (answer.status_code, field in answer.text) == (422, True)
    made = root.post("/cameras/gate/checks", json={"kind": "trial", "setup": setup})
    assert (made.status_code, made.json()["state"]) == (202, "waiting"), made.text
    path = f"/cameras/gate/checks/{made.json()['id']}"
    told = asked.answered(path)
    assert (told["ok"], told["raised"], told["looks"]) == (True, 1, 300)
    assert told["seen_from"] == START.isoformat().replace("+00:00", "Z")
    assert (told["cases"][0]["zone_id"], told["cases"][0]["issue"]) == ("draft", "parking.motor")
    assert beat_once(asked)["checks"] == [], "answered once"
    body = {
        "order_id": made.json()["id"],
        "camera_id": "gate",
        "device_id": "box-2",
        "ok": False,
        "at": told["answered_at"],
    }
    stranger = house.box("box-2").post(f"/checks/{made.json()['id']}/report", json=body)
    assert stranger.status_code == 404
    assert house.person("ann", "admin", "/north").get(path).status_code == 404
    asked.box.close()


def test_a_probe_names_the_fault_and_no_password(house: Centre, tmp_path: Path) -> None:
    asked = Asked(tmp_path / "box", house, "rtsp://viewer:geheim7@127.0.0.1:1/x", None)
    root = house.person("root", "admin")
    beat_once(asked)
    made = root.post("/cameras/gate/checks", json={"kind": "probe"}).json()
    told = asked.answered(f"/cameras/gate/checks/{made['id']}")
    assert told["ok"] is False
    assert told["reason"]
    assert "geheim7" not in str(told)
    assert dict(told["facts"])["url"].endswith("127.0.0.1:1/x")
    early = root.post("/cameras/gate/checks", json={"kind": "trial", "setup": {"zones": []}}).json()
    assert "no record" in asked.answered(f"/cameras/gate/checks/{early['id']}")["reason"]
    asked.box.close()


def test_a_snapshot_is_of_now_and_blurred(house: Centre, tmp_path: Path) -> None:
    asked, root = Asked(tmp_path / "box", house, "x", None), house.person("root", "admin")
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)
    meta = FrameMeta("gate", 0, house.clock(), 0.0, "arrival", None, True, False, 1, 640, 480)
    frame, looker = Frame.from_rgb(picture, meta), SnapshotLooker("gate", asked.snapshots)
    person = Detections(
        np.array([[100, 100, 200, 400]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), NAMES
    )
    beat_once(asked)
    assert not looker.due(frame)
    made = root.post("/cameras/gate/checks", json={"kind": "snapshot"}).json()

    def look() -> None:
        if looker.due(frame):
            looker.look(frame, person, 640, 480)

    path = f"/cameras/gate/checks/{made['id']}"
    assert root.get(f"{path}/picture").status_code == 404
    assert asked.answered(path, look)["has_picture"] is True
    got = root.get(f"{path}/picture")
    assert (got.status_code, got.headers["content-type"]) == (200, "image/jpeg")
    shown = cv2.imdecode(np.frombuffer(got.content, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    head, street = shown[105:150, 110:190], shown[105:150, 310:390]
    assert head.std() < 0.6 * street.std()
    asked.box.close()


def test_questions_are_bounded_and_run_out(house: Centre, tmp_path: Path) -> None:
    asked, root = Asked(tmp_path / "box", house, "x", None), house.person("root", "admin")
    beat_once(asked)
    made = [root.post("/cameras/gate/checks", json={"kind": "probe"}) for _ in range(9)]
    assert [m.status_code for m in made] == [202] * 8 + [409]
    house.clock.pass_s(400)
    (*_, first) = root.get("/cameras/gate/checks").json()
    assert first["state"] == "expired"
    assert root.post("/cameras/gate/checks", json={"kind": "probe"}).status_code == 202
    for _ in range(12):
        house.clock.pass_s(400)
        root.post("/cameras/gate/checks", json={"kind": "probe"})
    assert len(root.get("/cameras/gate/checks").json()) == 12
    asked.box.close()
