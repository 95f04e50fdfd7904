"""What the rooms say to each other.

Pydantic v2 models, versioned, without input or output. Nothing here imports another room.
`contract.schema.json_schemas()` returns the published JSON Schema of every message.
"""

from contract.alert import (
    Alert,
    AlertEvent,
    AlertStage,
    DwellFacts,
    ModelRef,
    PlaceKey,
    RuleRef,
    TimelineStep,
    ZoneRef,
)
from contract.base import Message, UtcTime, utc_now
from contract.case import Case, CaseSource, CaseState
from contract.evidence import EvidenceItem, EvidenceKind
from contract.geo import ErrorEllipse, GeoPoint
from contract.heartbeat import CameraEvent, CameraHealth, DesiredState, Heartbeat, ScoreThreshold, View
from contract.ids import new_id
from contract.orders import (
    CalloutOrder,
    CalloutReport,
    CheckOrder,
    CheckReport,
    InspectionLook,
    InspectionOrder,
    InspectionReport,
    InspectionResult,
    TrialCase,
)
from contract.taxonomy import IssueClass, StreetClass, ZoneKind
from contract.verdict import RejectReason, Verdict, VerdictKind

__all__ = [
    "Alert",
    "AlertEvent",
    "AlertStage",
    "CalloutOrder",
    "CalloutReport",
    "CameraEvent",
    "CameraHealth",
    "Case",
    "CaseSource",
    "CaseState",
    "CheckOrder",
    "CheckReport",
    "DesiredState",
    "DwellFacts",
    "ErrorEllipse",
    "EvidenceItem",
    "EvidenceKind",
    "GeoPoint",
    "Heartbeat",
    "InspectionLook",
    "InspectionOrder",
    "InspectionReport",
    "InspectionResult",
    "IssueClass",
    "Message",
    "ModelRef",
    "PlaceKey",
    "RejectReason",
    "RuleRef",
    "ScoreThreshold",
    "StreetClass",
    "TimelineStep",
    "TrialCase",
    "UtcTime",
    "Verdict",
    "VerdictKind",
    "View",
    "ZoneKind",
    "ZoneRef",
    "new_id",
    "utc_now",
]
