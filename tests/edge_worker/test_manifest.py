"""What an alert says of itself, field by field, as it lies in the outbox: made by the real pipeline, signed by the box."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from street_clip import HEIGHT, WIDTH, ColourDetector, draw

from camera_adapters.frame import Frame, FrameMeta
from contract.chain import open_link
from edge.config import CameraConfig
from edge.geometry import GroundPlane
from edge.identity import load_signer
from edge.judge import Judge
from edge.ledger import AlertLedger
from edge.log import get_logger
from edge.outbox import Outbox
from edge.pipeline import CameraPipeline
from edge.recorder import AlertRecorder, BoxFacts
from edge.stills import StillStore

# Wednesday, 10:00 in Shanghai; the bay holds in the evening.
START = datetime(2026, 5, 6, 2, 0, tzinfo=UTC)
CAMERA: dict[str, Any] = {
    "id": "cam",
    "name": "Market, east gate",
    "url": "x",
    "lens_preset": "wide",
    "place": {"lon": 116.391, "lat": 39.907},
    "ground": {
        "pairs": [
            {"picture": p, "lon": 116.391 + x * 1e-5, "lat": 39.907 + y * 1e-5}
            for p, x, y in (([0, 0.3], -10, 40), ([1, 0.3], 10, 40), ([0, 1], -5, 5), ([1, 1], 5, 5))
        ]
    },
    "zones": [
        {
            "id": "kerb",
            "kind": "no_parking",
            "street_class": "prohibit",
            "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]],
        },
        {
            "id": "bay-7",
            "kind": "parking_bay",
            "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]],
            "schedule": [{"begin": "18:00", "end": "23:00"}],
            "holder": "Market office",
        },
    ],
    "policy": {"parking.motor": {"candidate_s": 2, "confirm_s": 6}},
}


def run(folder: Path, **camera: Any) -> tuple[dict[str, Any], Outbox]:
    """Play 12 s with a car from 2 s on, half a second a picture; at 5 s the wall clock is set on by an hour."""
    config = CameraConfig.model_validate(CAMERA | camera)
    outbox = Outbox(folder / "outbox", signer=load_signer(folder / "identity.key"))
    facts = BoxFacts("box-17", ColourDetector.ref, "1.2.3", True)
    recorder = AlertRecorder(
        config, facts, lambda: None, StillStore(folder / "stills"), outbox, AlertLedger(folder / "alerts.db"),
        folder / "clips", get_logger(),
    )  # fmt: skip
    ground = GroundPlane.fit(config.ground) if config.ground else None
    judge = Judge("cam", config.zones, config.policy, config.place.point(), ground)
    pipeline, detector = CameraPipeline(config, judge, recorder), ColourDetector()
    for n in range(24):
        second = n / 2
        at = START + timedelta(seconds=second + (3600 if second >= 5 else 0))
        meta = FrameMeta(
            "cam", n, at, 1000 + second, "rtcp_sender_report", 0.25, True, False, 1, WIDTH, HEIGHT
        )
        picture = draw(second, 2.0, 1e9)
        frame = Frame.from_rgb(picture, meta)
        pipeline.offer(frame)
        pipeline.judge(frame, detector.detect([picture])[0], WIDTH, HEIGHT)
    (message,) = outbox.next_alerts(10)
    return json.loads(message.body)["data"], outbox


def at(data: Any, path: str) -> Any:
    for part in path.split("."):
        data = data[part]
    return data


FIELDS: dict[str, Any] = {
    "device_id": "box-17",
    "camera_id": "cam",
    "camera_name": "Market, east gate",
    "lens_preset": "wide",
    "place.source": "homography",
    "place.lon": lambda v: 116.3905 < v < 116.3915,
    "place.lat": lambda v: 39.9070 < v < 39.9076,
    "place.error.semi_major_m": lambda v: 0 < v < 20,
    "place.error.semi_minor_m": lambda v: 0 < v < 20,
    "zone.id": "kerb",
    "zone.kind": "no_parking",
    "zone.street_class": "prohibit",
    "zone.polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]],
    "zone.permit": "the permit of Market office (bay-7) does not hold at this moment",
    "rule.name": "parking.motor@v1",
    "rule.candidate_s": 2.0,
    "rule.confirm_s": 6.0,
    "rule.policy_version": lambda v: v.startswith("default-1+") and len(v) == 22,
    "model.name": "colour",
    "model.version": "1",
    "model.sha256": "0" * 64,
    "model.class_name": "car",
    "model.score": 0.9,
    "software_version": "1.2.3",
    "dwell.clock_source": "rtcp_sender_report",
    "dwell.clock_offset_s": 0.25,
    "dwell.dwell_s": lambda v: 6.0 <= v <= 7.0,
    "dwell.samples": lambda v: 10 <= v <= 15,
    "dwell.first_seen_at": "2026-05-06T02:00:02Z",
    "dwell.confirmed_at": "2026-05-06T03:00:08Z",
    "frame_width": WIDTH,
    "frame_height": HEIGHT,
    "box": lambda v: v == pytest.approx([120 / 320, 110 / 240, 190 / 320, 160 / 240], abs=0.02),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Outbox]:
    return run(tmp_path_factory.mktemp("box"))


@pytest.mark.parametrize("field", FIELDS)
def test_the_manifest_has_each_field(made: tuple[dict[str, Any], Outbox], field: str) -> None:
    value, wanted = at(made[0], field), FIELDS[field]
    assert wanted(value) if isinstance(wanted, Callable) else value == wanted, value  # type: ignore[arg-type]


def test_each_file_is_named_by_its_hash_and_described(made: tuple[dict[str, Any], Outbox]) -> None:
    data, outbox = made
    assert [e["kind"] for e in data["evidence"]] == ["context", "first", "middle", "confirm", "crop"]
    files = {f.sha256: f.path.read_bytes() for f in outbox.next_files(50)}
    times = [e["captured_at"] for e in data["evidence"]]
    assert (times[0], times[3], times[4]) == ("2026-05-06T03:00:08Z",) * 3
    assert times[1] < times[2] < times[3]
    for item in data["evidence"]:
        body = files[item["sha256"]]
        assert hashlib.sha256(body).hexdigest() == item["sha256"]
        assert (len(body), item["media_type"], item["blurred"]) == (item["size"], "image/jpeg", True)
        assert item["kind"] == "crop" or (item["width"], item["height"]) == (WIDTH, HEIGHT)


def test_the_box_has_signed_these_very_bytes(made: tuple[dict[str, Any], Outbox]) -> None:
    data, outbox = made
    (message,) = outbox.next_alerts(10)
    assert message.envelope is not None
    link = open_link(message.envelope, load_signer(outbox._spool.parent.parent / "identity.key").public_key)
    assert (link.seq, link.alert_id, link.device) == (1, data["id"], "box-17")
    assert link.event_sha256 == hashlib.sha256(message.body.encode()).hexdigest()


@pytest.mark.parametrize(
    ("change", "permit", "policy"),
    [
        ({"zones": CAMERA["zones"][:1]}, "no active permit covers the place at this moment", "default-1+"),
        (
            {
                "zones": [CAMERA["zones"][0] | {"kind": "fire_lane"}],
                "policy": {"parking.fire_lane": {"confirm_s": 6}},
            },
            "no permit can cover this issue",
            "default-1+",
        ),
    ],
    ids=["no permitted zone", "an issue without permits"],
)
def test_the_permit_at_that_moment(tmp_path: Path, change: dict[str, Any], permit: str, policy: str) -> None:
    data, _ = run(tmp_path, **change)
    assert data["zone"]["permit"] == permit
    assert data["rule"]["policy_version"].startswith(policy)


def test_other_numbers_are_another_policy() -> None:
    from edge.site_view import POLICY_VERSION, policy_version
    from edge.zones import PolicyConfig

    name = lambda **own: policy_version(PolicyConfig.model_validate(own))  # noqa: E731
    assert name() == POLICY_VERSION
    one, other = ({"parking.motor": {"confirm_s": s}} for s in (6, 7))
    assert len({name(), name(**one), name(**other)}) == 3
    assert name(**one) == name(**one)
