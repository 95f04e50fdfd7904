"""Re-inspection from the unit's "done" to the advice: a real pipeline on clips, a real centre, orders by heartbeat."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_parts import Centre, centre
from street_clip import HEIGHT, WIDTH, ColourDetector, draw, make_clip
from test_box_parts import camera_config

from api import inspections
from api.examples import HEARTBEAT
from api.pack import HERE, load_pack
from camera_adapters.clock import VirtualClock
from camera_adapters.open import open_stream
from camera_adapters.stream import StreamOptions
from contract import InspectionLook, InspectionResult, IssueClass, new_id
from edge.agent import CentreAgent
from edge.inspection import Subject, conclude, look
from edge.inspector import Inspector
from edge.judge import Judge
from edge.ledger import AlertLedger
from edge.log import get_logger
from edge.orders import OrderBook
from edge.outbox import Outbox
from edge.pipeline import CameraPipeline
from edge.recorder import AlertRecorder, BoxFacts
from edge.references import ReferenceStore
from edge.scene import Thing
from edge.score_floor import ScoreFloor
from edge.site_store import SiteStore
from edge.stills import StillStore
from edge.uplink import Uplink
from edge.worker import picture_for


class EdgeBox:
    """The parts of a box on a folder, without threads, its uplink a real client of the centre."""

    def __init__(self, folder: Path, house: Centre) -> None:
        self.house, self.camera, log = house, camera_config("x"), get_logger()
        self.clock = VirtualClock(house.clock())
        self.outbox, self.ledger = Outbox(folder / "outbox"), AlertLedger(folder / "alerts.db")
        self.sites = SiteStore(folder / "sites.db")
        self.references = ReferenceStore(folder / "references")
        self.book = OrderBook(folder / "orders", "box-1", ["cam"])
        self.floor = ScoreFloor(folder / "thresholds.json", "Asia/Shanghai")
        self.client = house.box()
        self.uplink = Uplink(self.outbox, self.client, log)
        self.agent = CentreAgent("box-1", self.book, self.floor, {}, self.client, self.clock.now, log)
        facts = BoxFacts("box-1", ColourDetector.ref, "0", True)
        self.recorder = AlertRecorder(
            self.camera, facts, lambda: None, StillStore(folder / "stills"), self.outbox, self.ledger,
            folder / "clips", log, None, self.references, self.floor,
        )  # fmt: skip
        inspector = Inspector("cam", facts, self.book, self.references, self.outbox, log)
        judge = Judge(
            "cam", self.camera.zones, self.camera.policy, self.camera.place.point(), store=self.sites
        )
        self.pipeline = CameraPipeline(self.camera, judge, self.recorder, lookers=[inspector])
        self.detector = ColourDetector()

    def on_frame(self, frame: Any) -> None:
        plan = self.pipeline.offer(frame)
        self.stream.demand = plan.demand
        if plan.judge:
            picture = picture_for(frame, self.detector.input_size)
            self.pipeline.judge(frame, self.detector.detect([picture])[0], picture.shape[1], picture.shape[0])

    def on_event(self, event: Any) -> None:
        pass

    def watch(self, clip: Path) -> None:
        """Play a clip to its end, then send what there is, then beat once."""
        self.stream = open_stream("cam", str(clip), self, StreamOptions(), self.clock)
        self.stream.run(threading.Event())
        self.house.clock.at = self.clock.now()
        while self.uplink.send_once(threading.Event()):
            pass
        self.beat()

    def beat(self) -> None:
        body = {**HEARTBEAT, "id": new_id(), "at": self.clock.now().isoformat()}
        body["cameras"] = [{**HEARTBEAT["cameras"][0], "camera_id": "cam"}]
        self.agent.obey(self.client.post("/heartbeats", json=body))

    def close(self) -> None:
        for part in (self.outbox, self.ledger, self.sites):
            part.close()


def quick_pack(folder: Path, auto_close: bool = False, human: float = 0.05) -> Path:
    """The example pack with looks within seconds."""
    text = (HERE / "example.yaml").read_text(encoding="utf-8")
    text = text.replace("span_s: 300", "span_s: 6").replace("human_share: 0.05", f"human_share: {human}")
    if auto_close:
        text = text.replace(
            "    closing: The vehicle has left.", "    closing: The vehicle has left.\n    auto_close: true"
        )
    path = folder / "city.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_pack(str(path)).issues[IssueClass.PARKING_MOTOR].auto_close is auto_close
    return path


def to_recheck(house: Centre, case: str) -> None:
    root, han = house.person("root", "admin"), house.person("han", "handler")
    assert root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).is_success
    for by, step in ((root, "file"), (root, "accept"), (root, "dispatch"), (han, "start"), (han, "done")):
        assert by.post(f"/cases/{case}/steps", json={"step": step}).is_success, step


def black(path: Path, seconds: float) -> Path:
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        picture = np.full((HEIGHT, WIDTH, 3), 8, np.uint8)
        for _ in range(round(seconds * 10)):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("second", "result", "advice"),
    [("empty", "cleared", "close"), ("car", "persists", "rework"), ("black", "inconclusive", "look")],
)
def test_done_is_looked_at_by_the_same_camera(tmp_path: Path, second: str, result: str, advice: str) -> None:
    with centre(tmp_path / "data", pack=str(quick_pack(tmp_path))) as house:
        box = EdgeBox(tmp_path / "box", house)
        box.watch(make_clip(tmp_path / "car.mp4", 12))
        root = house.person("root", "admin")
        (case,) = root.get("/cases").json()["items"]
        to_recheck(house, case["id"])
        box.beat()
        assert [o.alert_id for o in box.book.of("cam")] == [case["alerts"][0]["id"]]
        clips = {
            "empty": lambda p: make_clip(p, 16, car_to=0),
            "car": lambda p: make_clip(p, 16),
            "black": lambda p: black(p, 20),
        }
        box.watch(clips[second](tmp_path / "after.mp4"))
        (seen,) = root.get(f"/cases/{case['id']}/inspections").json()
        assert (seen["result"], seen["advice"], seen["why"]) == (result, advice, "done"), seen
        assert root.get(f"/cases/{case['id']}").json()["state"] == "recheck", "advice, never a silent closing"
        before, after = seen["before"], seen["after"]
        assert (before["width"], before["height"]) == (after["width"], after["height"]), "the same crop"
        pair = [root.get(f"/evidence/{e['sha256']}") for e in (before, after, seen["context"])]
        assert [p.status_code for p in pair] == [200, 200, 200]
        if second != "black":
            said = {x["found"] for x in seen["looks"]}
            assert said - {"unsure", "hidden"} == {"clear" if second == "empty" else "persists"}
            moments = [datetime.fromisoformat(x["at"]) for x in seen["looks"]]
            assert (moments[-1] - moments[0]).total_seconds() >= 5.9
        else:
            assert seen["looks"][0]["view"] == "dark"
        assert box.book.reports() == []
        box.close()


@pytest.mark.parametrize(
    ("human", "state", "advice"), [(0.05, "closed", "closed"), (1.0, "recheck", "close")]
)
def test_a_class_that_opted_in_closes_but_a_share_is_left_to_people(
    tmp_path: Path, human: float, state: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if human < 1:
        monkeypatch.setattr("api.rechecks.for_people", lambda _id, _share: False)
    with centre(tmp_path / "data", pack=str(quick_pack(tmp_path, True, human))) as house:
        box = EdgeBox(tmp_path / "box", house)
        box.watch(make_clip(tmp_path / "car.mp4", 12))
        root = house.person("root", "admin")
        (case,) = root.get("/cases").json()["items"]
        to_recheck(house, case["id"])
        box.beat()
        box.watch(make_clip(tmp_path / "after.mp4", 16, car_to=0))
        told = root.get(f"/cases/{case['id']}").json()
        (seen,) = root.get(f"/cases/{case['id']}/inspections").json()
        assert (told["state"], seen["advice"], seen["sampled"]) == (state, advice, human == 1)
        audit = root.get(f"/cases/{case['id']}/audit").json()
        assert audit["intact"]
        last = audit["entries"][-1]
        closed = (last["actor"], last["action"]) == ("machine:inspection", "step.close")
        assert closed is (state == "closed")
        box.close()


def test_one_in_twenty_is_drawn_for_people() -> None:
    from api.rechecks import for_people

    drawn = sum(for_people(new_id(), 0.05) for _ in range(4000))
    assert 120 < drawn < 290


def test_looks_before_the_deadline_and_orders_that_run_out(house: Centre) -> None:
    root, han = house.person("root", "admin"), house.person("han", "handler")
    case = house.case()
    root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    for by, step in ((root, "file"), (root, "accept"), (root, "dispatch"), (han, "start")):
        by.post(f"/cases/{case}/steps", json={"step": step})
    pack = house.core.pack

    def sweep() -> int:
        with house.core.db.write() as session:
            return inspections.sweep(session, house.clock(), pack)

    assert sweep() == 0, "two urgent hours: not yet"
    house.clock.pass_s(91 * 60)
    assert sweep() == 1
    assert sweep() == 0, "one look before a deadline"
    box = house.box()
    beat = box.post("/heartbeats", json=HEARTBEAT).json()
    (order,) = beat["inspections"]
    other = house.box("box-2")
    report = {
        "order_id": order["id"], "alert_id": order["alert_id"], "camera_id": order["camera_id"], "device_id": "box-1",
        "result": "persists", "reason": "3 persists", "finished_at": house.clock().isoformat(),
        "looks": [{"at": house.clock().isoformat(), "found": "persists"}] * 3,
    }  # fmt: skip
    path = f"/inspections/{order['id']}/report"
    assert other.post(path, json=report).status_code == 422
    assert other.post(path, json=report | {"device_id": "box-2"}).status_code == 404
    unfounded = report | {"result": "cleared"}
    assert box.post(path, json=unfounded).status_code == 422, "three clear looks, or it is not cleared"
    assert box.post(path, json=report).status_code == 204
    assert box.post(path, json=report).status_code == 204, "twice is once"
    (seen,) = root.get(f"/cases/{case}/inspections").json()
    assert (seen["why"], seen["advice"]) == ("deadline", "remind")
    again = root.post(f"/cases/{case}/inspections").json()
    assert root.post(f"/cases/{case}/inspections").json()["id"] == again["id"], "one order at a time"
    house.clock.pass_s(63 * 60)
    assert sweep() == 1
    root = house.person("root", "admin")
    newest = root.get(f"/cases/{case}/inspections").json()[0]
    assert (newest["state"], newest["result"], newest["advice"]) == ("expired", "inconclusive", "look")


AT = "2026-03-04T08:00:00Z"
L = InspectionLook


def looks(*found: str) -> list[L]:
    return [
        L.model_validate({"at": AT, "found": f, "view": "moved" if f == "bad_view" else "good"})
        for f in found
    ]


@pytest.mark.parametrize(
    ("found", "result"),
    [
        (("clear",) * 3, "cleared"),
        (("clear", "hidden", "clear", "bad_view", "clear"), "cleared"),
        (("clear",) * 2, "inconclusive"),
        (("clear",) * 9 + ("persists",), "inconclusive"),
        (("clear",) * 3 + ("unsure",), "cleared"),
        (("clear",) * 3 + ("unsure",) * 4, "inconclusive"),
        (("persists",) * 3 + ("unsure", "other"), "persists"),
        (("persists",) * 3 + ("other",) * 2, "inconclusive"),
        (("other",) * 4, "inconclusive"),
        (("bad_view",) * 8, "inconclusive"),
        ((), "inconclusive"),
    ],
)
def test_what_looks_mean_together(found: tuple[str, ...], result: str) -> None:
    made, reason = conclude(looks(*found))
    assert made is InspectionResult(result)
    assert "moved" in reason or "bad_view" not in found or result == "cleared"


CAR = (120 / WIDTH, 110 / HEIGHT, 190 / WIDTH, 160 / HEIGHT)


def grey(car: bool, shift: int = 0, dim: float = 1.0) -> Any:
    picture = draw(30.0, 0 if car else 99, 100)
    return np.roll((picture.mean(axis=2) * dim).astype(np.uint8), shift, axis=1)


@pytest.mark.parametrize(
    ("now", "things", "found"),
    [
        (grey(True), [Thing(CAR, "car", "vehicle", 0.9)], "persists"),
        (grey(True, dim=0.8), [], "persists"),
        (grey(False), [], "clear"),
        (grey(False), [Thing(CAR, "car", "vehicle", 0.9)], "other"),
        (grey(False), [Thing((0.3, 0.3, 0.7, 0.9), "person", "person", 0.9)], "hidden"),
        (grey(True), [Thing(CAR, "bus", "vehicle", 0.9), Thing(CAR, "person", "person", 0.9)], "persists"),
        (grey(False), [Thing((0.0, 0.4, 0.3, 0.7), "car", "vehicle", 0.9)], "clear"),
        (grey(False, shift=90), [], "bad_view"),
        (grey(True, dim=0.1), [], "bad_view"),
    ],
)
def test_one_look(now: Any, things: list[Thing], found: str) -> None:
    subject = Subject.of(CAR, IssueClass.PARKING_MOTOR, grey(True))
    told = look(subject, now, things, datetime(2026, 3, 4, tzinfo=UTC))
    assert told.found == found, told


def test_orders_survive_a_restart_and_run_out(tmp_path: Path, house: Centre) -> None:
    from contract import InspectionOrder

    now = house.clock()
    order = InspectionOrder.model_validate(
        {
            "id": new_id(), "alert_id": new_id(), "camera_id": "cam", "issue": "parking.motor", "box": CAR,
            "not_before": now, "expires_at": now + timedelta(minutes=5),
        }
    )  # fmt: skip
    OrderBook(tmp_path, "b", ["cam"]).accept(
        [order, order.model_copy(update={"id": new_id(), "camera_id": "x"})], now
    )
    (tmp_path / "waiting" / "torn.json").write_text("{")
    book = OrderBook(tmp_path, "b", ["cam"])
    assert book.of("cam") == [order]
    assert [r.reason for r in book.reports()] == ["this box has no camera x"]
    book.accept([order], now + timedelta(minutes=6))
    assert book.of("cam") == []
    assert {r.result for r in book.reports()} == {InspectionResult.INCONCLUSIVE}
    assert len(book.reports()) == 2
    for report in book.reports():
        book.told(report.order_id)
    assert OrderBook(tmp_path, "b", ["cam"]).reports() == []


def test_a_least_score_holds_back_what_is_below_it(tmp_path: Path, house: Centre) -> None:
    box = EdgeBox(tmp_path / "box", house)
    root = house.person("root", "admin")
    box.beat()
    told = {"camera_id": "cam", "issue": "parking.motor", "min_score": 0.95}
    assert root.post("/thresholds", json=told).status_code == 201
    box.beat()
    box.watch(make_clip(tmp_path / "car.mp4", 12))
    assert root.get("/cases").json()["items"] == []
    assert box.floor.held_back == 1
    again = ScoreFloor(tmp_path / "box" / "thresholds.json", "Asia/Shanghai")
    assert again.least("cam", IssueClass.PARKING_MOTOR, house.clock()) == 0.95
    box.close()
