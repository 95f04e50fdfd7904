"""Examples for the OpenAPI document; a test sends each of them."""

from __future__ import annotations

from typing import Any

_SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ALERT: dict[str, Any] = {
    "id": "0192f0c1-2345-7abc-8def-0123456789ab",
    "stage": "opened",
    "issue": "parking.motor",
    "camera_id": "gate",
    "camera_name": "East gate",
    "device_id": "box-1",
    "occurred_at": "2026-03-04T08:05:20Z",
    "place": {
        "lon": 112.5489,
        "lat": 37.8706,
        "error": {"semi_major_m": 1.8, "semi_minor_m": 0.9, "bearing_deg": 35.0},
        "source": "homography",
    },
    "key": {"site_id": "0192f0c1-0000-7abc-8def-0123456789ab", "ground_cell": "8c2a1072b59adff"},
    "box": [0.61, 0.22, 0.83, 0.47],
    "zone": {
        "id": "kerb-north",
        "kind": "no_parking",
        "street_class": "prohibit",
        "polygon": [[0.5, 0.2], [0.9, 0.2], [0.9, 0.5], [0.5, 0.5]],
    },
    "rule": {"name": "parking.motor@v1", "candidate_s": 60, "confirm_s": 180},
    "model": {"name": "default", "version": "1.0.0", "sha256": _SHA, "class_name": "car", "score": 0.81},
    "dwell": {
        "first_seen_at": "2026-03-04T08:02:15Z",
        "candidate_at": "2026-03-04T08:03:15Z",
        "confirmed_at": "2026-03-04T08:05:20Z",
        "dwell_s": 185.0,
        "samples": 172,
        "clock_source": "rtcp_sender_report",
        "clock_offset_s": 0.04,
    },
    "frame_width": 1920,
    "frame_height": 1080,
    "evidence": [
        {
            "kind": "context",
            "sha256": _SHA,
            "media_type": "image/jpeg",
            "size": 182044,
            "captured_at": "2026-03-04T08:05:20Z",
            "width": 1920,
            "height": 1080,
            "blurred": True,
        }
    ],
    "software_version": "0.1.0",
    "note": "A car stood in the no-parking zone for 185 s.",
}
ALERT_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "0192f0c1-9999-7abc-8def-0123456789ab",
    "source": "/device/box-1/camera/gate",
    "type": "city.curbwatch.alert.opened.v1",
    "time": "2026-03-04T08:05:21Z",
    "subject": ALERT["id"],
    "datacontenttype": "application/json",
    "data": ALERT,
}
HEARTBEAT: dict[str, Any] = {
    "id": "0192f0c2-0000-7abc-8def-0123456789ab",
    "device_id": "box-1",
    "at": "2026-03-04T08:05:30Z",
    "uptime_s": 86400.0,
    "software_version": "0.1.0",
    "model_name": "default",
    "model_version": "1.0.0",
    "model_sha256": _SHA,
    "config_sha256": _SHA,
    "cameras": [{"camera_id": "gate", "state": "live", "frames_decoded": 4210, "view": "good"}],
    "outbox_items": 0,
    "outbox_bytes": 0,
    "rss_bytes": 412000000,
    "cpu_share": 0.7,
    "disk_free_bytes": 21000000000,
}
CASE: dict[str, Any] = {
    "id": "0192f0c1-aaaa-7abc-8def-0123456789ab",
    "number": "2026-000042",
    "state": "in_review",
    "source": "camera_ai",
    "issue": "parking.motor",
    "street_class": "prohibit",
    "camera_id": "gate",
    "camera_name": "East gate",
    "place": ALERT["place"],
    "opened_at": "2026-03-04T08:05:21Z",
    "updated_at": "2026-03-04T08:05:21Z",
    "dwell_s": 185.0,
    "alerts": [ALERT],
    "verdicts": [],
    "version": 1,
}
