"""The alert: what a box says of one site. CloudEvents 1.0 carries it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.base import Box, Identifier, Message, Revision, Sha256, Slug, Unit, UtcTime
from contract.evidence import EvidenceItem
from contract.geo import GeoPoint
from contract.taxonomy import IssueClass, StreetClass, ZoneKind
from contract.trace import PARENT, parent_of, read_parent, trace_id


class AlertStage(StrEnum):
    """Where the alert stands: confirmed and opened, changed, or over."""

    OPENED = "opened"
    UPDATED = "updated"
    CLEARED = "cleared"


class ZoneRef(Message):
    """The zone in which the issue was found."""

    id: Slug
    kind: ZoneKind
    street_class: StreetClass
    polygon: Annotated[
        tuple[tuple[Unit, Unit], ...],
        Field(min_length=3, max_length=256, description="Corners as shares of width and height."),
    ]
    permit: Annotated[
        str | None,
        Field(
            max_length=300,
            description="Why no permit covered the issue at that moment, or which one nearly did.",
        ),
    ] = None


class RuleRef(Message):
    """The rule and its numbers."""

    name: Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)+@v\d+$", examples=["parking.motor@v1"])]
    candidate_s: Annotated[float, Field(ge=0)]
    confirm_s: Annotated[float, Field(ge=0)]
    policy_version: Annotated[str, Field(max_length=80)] = "default"


class ModelRef(Message):
    """The model bundle that saw the subject."""

    name: Annotated[str, Field(max_length=120)]
    version: Annotated[str, Field(max_length=80)]
    sha256: Annotated[Sha256, Field(description="SHA-256 of the ONNX file.")]
    class_name: Annotated[str | None, Field(max_length=80)] = None
    score: Annotated[float | None, Field(ge=0, le=1, description="Median score over the dwell.")] = None


class DwellFacts(Message):
    """How long, by which clock. Durations come from the box's monotonic clock."""

    first_seen_at: UtcTime
    candidate_at: UtcTime
    confirmed_at: UtcTime
    dwell_s: Annotated[float, Field(ge=0, description="Seconds from first seen to now, monotonic clock.")]
    samples: Annotated[int, Field(ge=1, le=2**53, description="Frames in which the subject was seen.")]
    clock_source: Literal["rtcp_sender_report", "arrival", "file"]
    clock_offset_s: Annotated[
        float | None, Field(description="Camera clock minus box clock in seconds, where known.")
    ] = None


class TimelineStep(Message):
    """One step of the decision, in words."""

    at: UtcTime
    words: Annotated[str, Field(min_length=1, max_length=300)]


class PlaceKey(Message):
    """The identity of the place: two alerts with one key are one case."""

    site_id: Identifier
    ground_cell: Annotated[
        str, Field(max_length=64, description="Cell of the ground, or of the picture without a ground plane.")
    ]


class Alert(Message):
    """One issue at one place, seen by one camera. The id never changes from `opened` to `cleared`."""

    id: Identifier
    stage: AlertStage
    revision: Annotated[Revision, Field(description="Counts up with each message of one alert.")] = 0
    issue: IssueClass
    camera_id: Slug
    camera_name: Annotated[str, Field(max_length=120)] = ""
    lens_preset: Annotated[
        str | None,
        Field(max_length=80, description="Lens setting or PTZ preset that the zones were drawn for."),
    ] = None
    device_id: Slug
    occurred_at: UtcTime
    place: GeoPoint
    key: PlaceKey
    box: Box
    zone: ZoneRef
    rule: RuleRef
    model: ModelRef
    dwell: DwellFacts
    count: Annotated[
        int, Field(ge=1, le=1000, description="Objects in the issue, such as bicycles in a heap.")
    ] = 1
    frame_width: Annotated[int, Field(ge=1, le=16384)]
    frame_height: Annotated[int, Field(ge=1, le=16384)]
    evidence: Annotated[tuple[EvidenceItem, ...], Field(max_length=32)] = ()
    software_version: Annotated[str, Field(max_length=40)]
    note: Annotated[str, Field(max_length=1000, description="The decision in words.")] = ""
    timeline: Annotated[
        tuple[TimelineStep, ...],
        Field(
            max_length=40,
            description="The decision step by step: seen, at rest, candidate, held and why, confirmed, gone. The pictures `first`, `middle` and `confirm` of the evidence are its strip, each with its own time.",
        ),
    ] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        x1, y1, x2, y2 = self.box
        if x2 <= x1 or y2 <= y1:
            raise ValueError("box: x2 must exceed x1 and y2 must exceed y1")
        d = self.dwell
        if not d.first_seen_at <= d.candidate_at <= d.confirmed_at:
            raise ValueError("dwell: first_seen_at, candidate_at, confirmed_at must be in this order")
        return self


class AlertEvent(Message):
    """The CloudEvents 1.0 envelope of an alert (https://github.com/cloudevents/spec, structured mode)."""

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[Identifier, Field(description="Id of this message; sending it twice changes nothing.")]
    source: Annotated[str, Field(max_length=200, examples=["/device/box-1/camera/gate"])]
    type: Annotated[
        Literal[
            "city.curbwatch.alert.opened.v1",
            "city.curbwatch.alert.updated.v1",
            "city.curbwatch.alert.cleared.v1",
        ],
        Field(description="Kind and version of the message."),
    ]
    time: UtcTime
    subject: Annotated[Identifier, Field(description="Id of the alert.")]
    datacontenttype: Literal["application/json"] = "application/json"
    traceparent: Annotated[
        str | None,
        Field(
            pattern=f"^{PARENT.pattern}$",
            description="CloudEvents' extension for distributed tracing; the trace's id is the alert's, without dashes.",
        ),
    ] = None
    data: Alert

    @model_validator(mode="after")
    def _matches(self) -> Self:
        if self.type != f"city.curbwatch.alert.{self.data.stage}.v1":
            raise ValueError(f"type: {self.type} does not fit the stage {self.data.stage}")
        if self.subject != self.data.id:
            raise ValueError("subject: must be the id of the alert in data")
        told = read_parent(self.traceparent)
        if self.traceparent is not None and (told is None or told[0] != trace_id(self.data.id)):
            raise ValueError("traceparent: its trace must be the alert's id without dashes")
        return self

    @classmethod
    def of(cls, alert: Alert, event_id: str, at: UtcTime) -> AlertEvent:
        """Wrap an alert; `event_id` names this message, `at` is when it was made."""
        return cls.model_validate(
            {
                "id": event_id,
                "source": f"/device/{alert.device_id}/camera/{alert.camera_id}",
                "type": f"city.curbwatch.alert.{alert.stage}.v1",
                "time": at,
                "subject": alert.id,
                "traceparent": parent_of(alert.id),
                "data": alert,
            }
        )
