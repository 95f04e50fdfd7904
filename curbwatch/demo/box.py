"""The demo's box: a car park and a street, written as the YAML that a real box has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from curbwatch.demo.street import STREET_ISSUES, STREET_ZONES

# Where the clip was filmed: a campus car park in Reading, England. A camera point, since no map points are known.
DEMO_PLACE = {"lon": -0.9430, "lat": 51.4380, "view_radius_m": 60.0}
# The made street shows the same ground; a hundred metres further it is a place of its own on the map.
STREET_PLACE = {"lon": -0.9417, "lat": 51.4386, "view_radius_m": 40.0}
TIMEZONE = "Europe/London"
DEMO_ZONES: list[dict[str, Any]] = [
    {
        "id": "yard",
        "kind": "no_parking",
        "street_class": "control",
        "polygon": [[0.84, 0.09], [0.95, 0.09], [0.95, 0.185], [0.84, 0.185]],
    }
]
WHOLE_PICTURE = [[0.02, 0.02], [0.98, 0.02], [0.98, 0.98], [0.02, 0.98]]
OWN_ZONES: list[dict[str, Any]] = [
    {"id": "all-parking", "kind": "no_parking", "street_class": "control", "polygon": WHOLE_PICTURE},
    {"id": "all-dumping", "kind": "no_dumping", "street_class": "control", "polygon": WHOLE_PICTURE},
    {"id": "all-vending", "kind": "no_vending", "street_class": "control", "polygon": WHOLE_PICTURE},
]


@dataclass(frozen=True)
class DemoBox:
    """What the demo's box is told."""

    camera_url: str
    api_url: str
    token_file: Path
    data_dir: Path
    own_source: bool = False
    street_url: str | None = None
    # The clip is short, so the dwell is: RULES ask for 60 s and 5 min in service.
    candidate_s: float = 5.0
    confirm_s: float = 20.0

    def write(self, path: Path) -> Path:
        """Write the box's YAML and return its path."""
        policy = {"candidate_s": self.candidate_s, "confirm_s": self.confirm_s}
        camera: dict[str, Any] = {
            "id": "own-camera" if self.own_source else "yard-cam",
            "name": "Your camera" if self.own_source else "Car park, north side",
            "url": self.camera_url,
            "place": {"lon": 0.0, "lat": 0.0, "view_radius_m": 100.0} if self.own_source else DEMO_PLACE,
            # Half the usual clip: who tries the demo should not wait a minute for the last of its evidence.
            "clip": {"pre_s": 10, "post_s": 10},
            "zones": OWN_ZONES if self.own_source else DEMO_ZONES,
            "policy": {"parking.motor": policy},
            "detect_crops": not self.own_source,
            # The clip, or a file of one's own, plays again and again.
            "view_check": {"looped": False},
        }
        cameras = [camera, self._street(policy)] if self.street_url else [camera]
        box = {
            "device": "demo-box",
            "data_dir": str(self.data_dir),
            "api": {"url": self.api_url, "token_file": str(self.token_file), "heartbeat_s": 5},
            "city_timezone": TIMEZONE,
            "cameras": cameras,
        }
        path.write_text(yaml.safe_dump(box, sort_keys=False, allow_unicode=True), encoding="utf-8")
        path.chmod(0o600)
        return path

    def _street(self, policy: dict[str, float]) -> dict[str, Any]:
        act = {"settle_s": 10.0, "owner_gone_s": 10.0}
        # The bag on the lawn is an act before it is a heap.
        heap = {"candidate_s": 10.0, "confirm_s": 45.0}
        return {
            "id": "street-cam",
            "name": "Market street (made pictures)",
            "url": self.street_url,
            "place": STREET_PLACE,
            "clip": {"pre_s": 10, "post_s": 10},
            "zones": STREET_ZONES,
            "policy": dict.fromkeys(STREET_ISSUES, policy) | {"dumping.act": act, "dumping.exposed": heap},
            "detect_crops": True,
            # Six views a look: on a small machine the car park would have to wait for them.
            "sampling": {"dense_interval_s": 2.0},
            "view_check": {"looped": False},
        }
