"""A trace from the frame to the case: a real box on RTSP, a real centre over HTTP, a real OTLP receiver."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from api_parts import asked_metrics, centre, event, missing_metrics
from otlp_collector import Collector, Span, collector
from pydantic import ValidationError
from street_clip import ColourDetector, make_clip

from camera_adapters.testing.loopcam import Camera
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam
from contract import AlertEvent, new_id
from contract.trace import HEADER, parent_of, read_parent, root_span, trace_id
from edge.box import Box
from edge.config import BoxConfig
from edge.log import get_logger
from edge.outbox import Outbox, Priority
from models.bundle import Bundle

sys.path.insert(0, str(Path(__file__).parents[1] / "edge_evidence"))
from case_parts import alert, jpegs, picture_item
from real_centre import real_centre

from bench.ports import free_port

ZONE = {"id": "kerb", "kind": "no_parking", "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]]}


@pytest.fixture
def receiver() -> Iterator[Collector]:
    with collector() as made:
        yield made


def _until(ready: Callable[[], object], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.05)


class _Colours(ColourDetector):
    def __init__(self, bundle: Bundle, *_: object) -> None:
        self.bundle = bundle


def test_from_frame_to_case(
    tmp_path: Path, receiver: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edge.box.Detector", _Colours)
    clip = RtpClip(make_clip(tmp_path / "street.mp4", 20))
    page, port = "http://traces.example/{trace_id}", free_port()
    with (
        real_centre(tmp_path / "centre", otlp_endpoint=receiver.url, trace_page=page) as there,
        ServedLoopCam({"gate": Camera(clip)}, ("viewer", "s3cr3t")) as street,
    ):
        config = {
            "device": "box-1", "metrics_port": port, "data_dir": str(tmp_path / "box"), "otlp_endpoint": receiver.url,
            "api": {"url": there.url, "token": there.token}, "model": {"bundle": "centernet", "max_batch": 1},
            "cameras": [{
                "id": "gate", "url": street.url("gate"), "place": {"lon": 1, "lat": 2}, "zones": [ZONE],
                "policy": {"parking.motor": {"candidate_s": 1, "confirm_s": 2}}, "clip": {"pre_s": 1, "post_s": 1},
            }],
        }  # fmt: skip
        box = Box(BoxConfig.model_validate(config), get_logger())
        box.start()
        try:
            _until(lambda: any(s.name == "PUT /evidence/{sha256}" for s in receiver.spans))
            _until(lambda: any(s.name == "merge" for s in receiver.spans))
            page_of_box = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60, trust_env=False).text
        finally:
            box.stop()
    asked = {name for name in asked_metrics() if name.startswith("curbwatch_edge_")}
    assert len(asked) > 10
    assert missing_metrics(asked, page_of_box) == set(), (
        "named in a dashboard or a rule, not on the box's page"
    )
    spans = receiver.spans
    assert len({s.trace for s in spans}) == 1, "one alert, one trace"
    by_name: dict[str, Span] = {s.name: s for s in reversed(spans)}
    assert {
        "alert", "frame", "detect", "judge", "evidence", "upload alert", "POST /alerts", "store", "merge",
        "upload picture", "PUT /evidence/{sha256}", "evidence.receive",
    } <= set(by_name)  # fmt: skip
    ids = {s.id: s for s in spans}
    assert [s.name for s in spans if s.parent not in ids] == ["alert"], (
        "one root, and every other span hangs on it"
    )
    for name, parent in (("detect", "alert"), ("POST /alerts", "upload alert"), ("store", "POST /alerts"), ("merge", "store")):  # fmt: skip
        assert ids[by_name[name].parent].name == parent
    root = by_name["alert"]
    assert root.trace == trace_id(str(root.told["alert.id"]))
    assert (root.told["device.id"], root.told["camera.id"], root.told["model.name"]) == (
        "box-1",
        "gate",
        "colour",
    )
    assert by_name["frame"].told["frame.seq"] > 0
    order = [
        by_name[n].start for n in ("frame", "detect", "judge", "evidence", "upload alert", "POST /alerts")
    ]
    assert order == sorted(order)
    assert {s.service for s in spans} == {"curbwatch-edge", "curbwatch-api"}
    assert "s3cr3t" not in repr(spans)
    with centre(tmp_path / "centre", trace_page=page) as house:
        (case,) = house.person().get("/cases").json()["items"]
        assert by_name["store"].told["case.id"] == case["id"]
        (told,) = house.person().get(f"/cases/{case['id']}/trace").json()
    assert told["page"] == f"http://traces.example/{root.trace}"
    assert (told["device_id"], told["camera_id"], told["model"], told["model_sha256"]) == (
        "box-1",
        "gate",
        "colour",
        "0" * 64,
    )
    assert told["frame_at"][:23] == str(root.told["frame.captured_at"])[:23]


def test_logs_hold_the_trace_and_errors_mark_it(
    tmp_path: Path, receiver: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    with centre(tmp_path / "data", otlp_endpoint=receiver.url) as house:
        box, message = house.box(), event(house.clock())
        parent = parent_of(message["data"]["id"])
        assert box.post("/alerts", json=message, headers={HEADER: parent}).status_code == 201
        assert (
            box.post(
                "/alerts", json=event(house.clock(), device_id="x"), headers={HEADER: parent}
            ).status_code
            == 403
        )
        for odd in ("", "00-0-0-01", parent.replace("-01", "-00"), "00-" + "0" * 32 + "-" + "1" * 16 + "-01"):
            assert box.post("/alerts", json=message, headers={HEADER: odd}).status_code == 200
        house.app.state.tracing.close()
    trace = trace_id(message["data"]["id"])
    assert trace in capsys.readouterr().out
    servers = [s for s in receiver.spans if s.name == "POST /alerts"]
    assert [s.told["http.response.status_code"] for s in servers] == [201, 403], (
        "no parent, or none sampled: no span"
    )


def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path) -> None:
    with centre(tmp_path / "data", otlp_endpoint="http://127.0.0.1:9") as house:
        message = event(house.clock())
        sent = house.box().post("/alerts", json=message, headers={HEADER: parent_of(message["data"]["id"])})
        assert sent.status_code == 201


def test_the_trace_outlives_the_box(tmp_path: Path) -> None:
    """A file that is sent after a restart is still in its alert's trace, and so is the message itself."""
    data = jpegs("t", 1)[0]
    outbox = Outbox(tmp_path / "outbox")
    outbox.put_file(data, Priority.PICTURE, "image/jpeg", 1.0)
    made = alert(items=(picture_item(data, "context"),))
    outbox.put_alert(made)
    outbox.close()
    again = Outbox(tmp_path / "outbox")
    (file,) = again.next_files()
    (message,) = again.next_alerts()
    again.ack_file(file.sha256)
    again.close()
    assert file.alert_id == made.data.id == message.alert_id
    assert json.loads(message.body)["traceparent"] == parent_of(made.data.id)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", ("a" * 32, "b" * 16, True)),
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-02", ("a" * 32, "b" * 16, False)),
        ("00-" + "0" * 32 + "-" + "b" * 16 + "-01", None),
        ("00-" + "a" * 32 + "-" + "0" * 16 + "-01", None),
        ("01-" + "a" * 32 + "-" + "b" * 16 + "-01", None),
        ("00-" + "A" * 32 + "-" + "b" * 16 + "-01", None),
        ("", None),
        (None, None),
    ],
)
def test_parents_are_read_strictly(text: str | None, found: tuple[str, str, bool] | None) -> None:
    assert read_parent(text) == found


def test_a_message_with_another_alerts_trace_is_refused() -> None:
    made = alert()
    body = made.wire()
    assert body["traceparent"].split("-")[2] == root_span(made.data.id)
    AlertEvent.model_validate({k: v for k, v in body.items() if k != "traceparent"})
    with pytest.raises(ValidationError, match="traceparent"):
        AlertEvent.model_validate(body | {"traceparent": parent_of(new_id())})
