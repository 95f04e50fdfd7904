"""The wire messages: what fits goes through unchanged, what does not is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from contract import Alert, AlertEvent, IssueClass, RejectReason, Verdict, VerdictKind, new_id
from contract.schema import json_schemas, write_schemas

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def alert_fields(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": new_id(),
        "stage": "opened",
        "issue": "parking.motor",
        "camera_id": "gate",
        "device_id": "box-1",
        "occurred_at": NOW,
        "place": {
            "lon": 116.39,
            "lat": 39.9,
            "error": {"semi_major_m": 12.0, "semi_minor_m": 5.0, "bearing_deg": 30.0},
            "source": "homography",
        },
        "key": {"site_id": new_id(), "ground_cell": "cell-1"},
        "box": [0.1, 0.2, 0.3, 0.4],
        "zone": {
            "id": "kerb",
            "kind": "no_parking",
            "street_class": "control",
            "polygon": [[0, 0], [1, 0], [1, 1]],
        },
        "rule": {"name": "parking.motor@v1", "candidate_s": 60, "confirm_s": 300},
        "model": {"name": "street", "version": "1", "sha256": "0" * 64},
        "dwell": {
            "first_seen_at": NOW - timedelta(seconds=300),
            "candidate_at": NOW - timedelta(seconds=240),
            "confirmed_at": NOW,
            "dwell_s": 300.0,
            "samples": 150,
            "clock_source": "rtcp_sender_report",
        },
        "frame_width": 1920,
        "frame_height": 1080,
        "software_version": "0.1.0",
    }
    return {**fields, **changes}


def test_alert_survives_the_wire() -> None:
    alert = Alert.model_validate(alert_fields())
    event = AlertEvent.of(alert, new_id(), NOW)
    again = AlertEvent.model_validate_json(event.model_dump_json())
    assert again == event
    jsonschema.validate(event.wire(), json_schemas()["AlertEvent"], format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"box": [0.3, 0.2, 0.1, 0.4]}, "box: x2 must exceed x1"),
        ({"box": [0.1, 0.2, 1.3, 0.4]}, "less than or equal to 1"),
        ({"box": [0.1, float("nan"), 0.3, 0.4]}, "box"),
        ({"issue": "0501"}, "issue"),
        ({"id": "42"}, "id"),
        ({"camera_id": "../etc"}, "camera_id"),
        ({"occurred_at": NOW.replace(tzinfo=None)}, "timezone"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Alert.model_validate(alert_fields(**changes))
    assert error in str(refused.value)


def test_dwell_times_stand_in_order() -> None:
    fields = alert_fields()
    fields["dwell"]["candidate_at"] = NOW + timedelta(seconds=1)
    with pytest.raises(ValidationError, match="in this order"):
        Alert.model_validate(fields)


def test_envelope_must_fit_its_alert() -> None:
    event = AlertEvent.of(Alert.model_validate(alert_fields()), new_id(), NOW).wire()
    with pytest.raises(ValidationError, match="does not fit the stage"):
        AlertEvent.model_validate({**event, "type": "city.curbwatch.alert.cleared.v1"})
    with pytest.raises(ValidationError, match="subject"):
        AlertEvent.model_validate({**event, "subject": new_id()})


def test_times_become_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=8)))
    assert (
        Alert.model_validate(alert_fields(occurred_at=local)).wire()["occurred_at"] == "2026-03-29T01:30:00Z"
    )


def test_ids_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000


@pytest.mark.parametrize(
    ("kind", "reason", "text", "error"),
    [
        ("confirm", None, "", None),
        ("reject", 1, "", None),
        ("reject", None, "", "needs a reason"),
        ("confirm", 2, "", "needs a reason"),
        ("reject", 9, " ", "needs a few words"),
        ("reject", 9, "a film set", None),
    ],
)
def test_a_rejection_has_a_reason(kind: str, reason: int | None, text: str, error: str | None) -> None:
    fields = {
        "id": new_id(),
        "case_id": new_id(),
        "kind": kind,
        "reason": reason,
        "text": text,
        "reviewer": "a",
        "at": NOW,
    }
    if error is None:
        assert Verdict.model_validate(fields).kind is VerdictKind(kind)
    else:
        with pytest.raises(ValidationError, match=error):
            Verdict.model_validate(fields)


def test_every_class_and_reason_is_named() -> None:
    assert all(c.zh and c.en for c in IssueClass)
    assert {r.goes_to for r in RejectReason} == {"model", "rules", "dedupe", "camera_health", "people"}


def test_the_published_schemas_are_the_code(tmp_path: Path) -> None:
    published = Path(__file__).parents[2] / "docs" / "schema"
    for path in write_schemas(tmp_path):
        assert (published / path.name).read_text() == path.read_text(), (
            f"run `make schema`: {path.name} is stale"
        )
