"""What an engineer saves on the camera page, in the configuration of a box that the centre configures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fleet_parts import City
from test_apply import camera, config_of

from api.fleet_setup import with_setup
from contract import new_id, utc_now
from contract.setup import CameraSetup
from edge.changes import Changes
from edge.config import BoxConfig
from edge.fleet.central_config import CentralConfig, ConfigFromCentre
from edge.fleet.health_window import Look
from edge.log import get_logger
from edge.yaml_source import load_yaml

BODY = """
# the north street
cameras:
- id: gate
  url: rtsp://${USER}:${WORD}@10.0.0.1/1
  place: {lon: 116.39, lat: 39.9}
  zones: [{id: old, kind: no_parking, polygon: [[0, 0], [1, 0], [1, 1]]}]
  ground: &plane
    pixel_error: 0.01
    datum: gcj02
    pairs:
    - {picture: [0.1, 0.5], lon: 116.39, lat: 39.9}
    - {picture: [0.9, 0.5], lon: 116.391, lat: 39.9}
    - {picture: [0.9, 0.9], lon: 116.391, lat: 39.901}
    - {picture: [0.1, 0.9], lon: 116.39, lat: 39.901}
- id: yard
  url: rtsp://10.0.0.2/1
  place: {lon: 116.39, lat: 39.9}
  ground: *plane
  zones:
  - id: bay
    kind: parking_bay
    polygon: [[0, 0], [1, 0], [1, 1]]
    schedule: [{begin: 18:00, end: 23:30}]
"""
ZONE = {
    "id": "kerb", "kind": "no_parking", "polygon": [[0.2, 0.4], [0.8, 0.4], [0.8, 0.8]],
    "schedule": [{"days": ["workday"], "begin": "18:30", "end": "07:00", "valid_from": "2026-11-01"}],
}  # fmt: skip
PAIRS = [
    {"picture": [x, y], "lon": 100 + x / 100, "lat": 30 + y / 100} for x in (0.1, 0.9) for y in (0.5, 0.9)
]


def read(tmp_path: Path, body: str) -> CentralConfig:
    path = tmp_path / "config.yaml"
    path.write_text(body, encoding="utf-8")
    return load_yaml(path, CentralConfig, {"USER": "u", "WORD": "secret"})


def test_zones_and_plane_are_replaced_and_all_else_stays(tmp_path: Path) -> None:
    setup = CameraSetup.model_validate({"zones": [ZONE], "ground": {"pairs": PAIRS}})
    body = with_setup(BODY, "gate", setup)
    assert body is not None
    assert "${USER}:${WORD}" in body
    before, after = read(tmp_path, BODY), read(tmp_path, body)
    gate, yard = after.cameras
    assert yard == before.cameras[1], (
        "another camera, with its plain times and its shared plane, is as it was"
    )
    assert gate.url == before.cameras[0].url
    assert [z.model_dump(mode="json") for z in gate.zones] == [z.model_dump(mode="json") for z in setup.zones]
    assert gate.ground is not None
    assert gate.ground.pairs[0].lon == PAIRS[0]["lon"]
    assert (gate.ground.datum, gate.ground.pixel_error) == ("wgs84", 0.01)
    assert with_setup(body, "gate", setup) is None, "nothing changes the second time"


@pytest.mark.parametrize(
    ("camera_id", "setup"), [("other", {"zones": [ZONE]}), ("gate", {}), ("gate", {"zones": []})]
)
def test_what_was_not_drawn_takes_nothing_away(camera_id: str, setup: dict[str, Any]) -> None:
    assert with_setup(BODY, camera_id, CameraSetup.model_validate(setup)) is None


def test_a_box_applies_what_was_saved_on_the_page(town: City, tmp_path: Path) -> None:
    with town.enrolled(tmp_path / "box") as box:
        now = utc_now().isoformat()
        beat = {
            "id": new_id(), "device_id": "box-1", "at": now, "uptime_s": 5, "software_version": "0.1.0",
            "model_name": "street", "model_version": "1", "model_sha256": "0" * 64, "config_sha256": "0" * 64,
            "cameras": [{"camera_id": "gate", "state": "live", "view": "good"}],
        }  # fmt: skip
        box.post("/heartbeats", json=beat).raise_for_status()
        page, told = "/cameras/gate/setup", {"setup": {"zones": [ZONE]}}
        saved = town.admin.put(page, json=told).raise_for_status().json()
        assert saved["box"]["state"] == "own_file"
        state = town.admin.get("/fleet/boxes/box-1").json()
        assert state["desired"].get("config_version", 0) == 0, "a box with its own file alone is left alone"
        town.admin.put("/fleet/boxes/box-1/config", json={"body": BODY}).raise_for_status()
        saved = town.admin.put(page, json=told).raise_for_status().json()
        assert saved["box"] == {"state": "waiting", "version": 2, "reason": ""}
        listed = town.admin.get("/fleet/boxes/box-1/configs").json()
        assert [c["version"] for c in listed] == [2, 1]
        assert listed[0]["note"] == "setup of gate, version 2"
        env = tmp_path / "box" / ".env"
        env.write_text("USER=u\nWORD=secret\n", encoding="utf-8")
        env.chmod(0o600)
        given = ConfigFromCentre(tmp_path / "box", env, "box-1", get_logger())
        applied: list[BoxConfig] = []

        def apply(config: BoxConfig) -> Changes:
            applied.append(config)
            return Changes()

        given.base = config_of(tmp_path, camera("gate", "rtsp://127.0.0.1:1/x"))
        given.take(2, box, apply, lambda: Look(0.0, frozenset(), frozenset()), 60)
        assert given.refused == (0, "")
        assert [z.id for z in applied[0].cameras[0].zones] == ["kerb"]
