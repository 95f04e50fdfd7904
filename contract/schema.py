"""The published JSON Schemas: draft 2020-12, one a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contract.alert import Alert, AlertEvent
from contract.base import Message
from contract.case import Case
from contract.evidence import EvidenceItem
from contract.fleet import ConfigEnvelope, ConfigOrder, Enrolled, Enrolment
from contract.heartbeat import DesiredState, Heartbeat
from contract.orders import (
    CalloutOrder,
    CalloutReport,
    CheckOrder,
    CheckReport,
    InspectionOrder,
    InspectionReport,
)
from contract.setup import CameraSetup
from contract.verdict import Verdict

MESSAGES: tuple[type[Message], ...] = (
    Alert,
    AlertEvent,
    EvidenceItem,
    Case,
    Verdict,
    Heartbeat,
    DesiredState,
    CameraSetup,
    Enrolment,
    Enrolled,
    ConfigOrder,
    ConfigEnvelope,
    InspectionOrder,
    InspectionReport,
    CalloutOrder,
    CalloutReport,
    CheckOrder,
    CheckReport,
)


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every message by its name."""
    return {
        m.__name__: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **m.model_json_schema(by_alias=True),
        }
        for m in MESSAGES
    }


def write_schemas(folder: Path) -> list[Path]:
    """Write one `<Message>.json` each into `folder` and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in json_schemas().items():
        path = folder / f"{name}.json"
        path.write_text(
            json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )
        written.append(path)
    return written
