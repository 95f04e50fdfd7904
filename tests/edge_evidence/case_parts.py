"""Alerts and cases for the tests of this folder."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contract import Alert, AlertEvent, EvidenceItem, new_id

START = datetime(2026, 5, 1, 8, tzinfo=UTC)
KINDS = ("context", "first", "middle", "confirm", "crop")


def picture_item(data: bytes, kind: str) -> EvidenceItem:
    return EvidenceItem.model_validate(
        {
            "kind": kind,
            "sha256": hashlib.sha256(data).hexdigest(),
            "media_type": "image/jpeg",
            "size": len(data),
            "captured_at": START,
        }
    )


def alert(
    alert_id: str | None = None,
    revision: int = 0,
    stage: str = "opened",
    items: tuple[EvidenceItem, ...] = (),
    device: str = "box-1",
) -> AlertEvent:
    alert_id = alert_id or new_id()
    data = Alert.model_validate(
        {
            "id": alert_id,
            "stage": stage,
            "revision": revision,
            "issue": "parking.motor",
            "camera_id": "cam-1",
            "device_id": device,
            "occurred_at": START + timedelta(seconds=300),
            "place": {
                "lon": 114.0 + (int(alert_id[-4:], 16) / 65536),
                "lat": 30.0,
                "error": {"semi_major_m": 5, "semi_minor_m": 5},
                "source": "camera_point",
            },
            "key": {"site_id": alert_id, "ground_cell": f"cell-{alert_id}"},
            "box": (0.1, 0.1, 0.4, 0.4),
            "zone": {
                "id": "z",
                "kind": "no_parking",
                "street_class": "control",
                "polygon": ((0, 0), (1, 0), (1, 1)),
            },
            "rule": {"name": "parking.motor@v1", "candidate_s": 60, "confirm_s": 300},
            "model": {"name": "m", "version": "1", "sha256": "a" * 64},
            "dwell": {
                "first_seen_at": START,
                "candidate_at": START + timedelta(seconds=60),
                "confirmed_at": START + timedelta(seconds=300),
                "dwell_s": 300.0,
                "samples": 30,
                "clock_source": "arrival",
            },
            "frame_width": 1920,
            "frame_height": 1080,
            "evidence": items,
            "software_version": "0.1.0",
        }
    )
    return AlertEvent.of(data, new_id(), data.occurred_at)


def jpegs(seed: str, count: int = 5) -> list[bytes]:
    return [b"\xff\xd8\xff\xe0" + f"{seed}-{i}".encode() * 40 for i in range(count)]


def spool_file(folder: Path, sha256: str) -> Path:
    return folder / "outbox" / "spool" / sha256[:2] / sha256
