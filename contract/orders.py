"""Orders of the centre to a box, and what the box reports back: re-inspections and call-outs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.base import Box, Count, Identifier, Message, Slug, UtcTime
from contract.evidence import EvidenceItem
from contract.setup import CameraSetup
from contract.taxonomy import IssueClass


class InspectionOrder(Message):
    """Look again at an alert's place. Sending it twice changes nothing."""

    id: Identifier
    alert_id: Identifier
    camera_id: Slug
    issue: IssueClass
    box: Box
    samples: Annotated[int, Field(ge=3, le=20, description="Usable looks that a judgement needs.")] = 4
    span_s: Annotated[float, Field(gt=0, le=3600, description="Seconds from the first look to the last.")] = (
        300.0
    )
    not_before: UtcTime
    expires_at: UtcTime


class InspectionResult(StrEnum):
    """What the looks say together. The machine advises, people decide."""

    CLEARED = "cleared"
    PERSISTS = "persists"
    INCONCLUSIVE = "inconclusive"


Found = Literal["clear", "persists", "other", "hidden", "unsure", "bad_view"]


class InspectionLook(Message):
    """One look: `other` means that another object of the kind stands there, `hidden` that something is in front."""

    at: UtcTime
    found: Found
    view: Annotated[str, Field(max_length=20)] = "good"
    likeness: Annotated[
        float | None,
        Field(ge=-1.01, le=1.01, description="Correlation of the place with its look at the alert."),
    ] = None
    score: Annotated[float | None, Field(ge=0, le=1, description="Of the object found there.")] = None


class InspectionReport(Message):
    """The answer to an order. `after` is the crop of the alert's box, the same as the alert's own crop."""

    order_id: Identifier
    alert_id: Identifier
    camera_id: Slug
    device_id: Slug
    result: InspectionResult
    reason: Annotated[str, Field(max_length=300)]
    finished_at: UtcTime
    looks: Annotated[tuple[InspectionLook, ...], Field(max_length=40)] = ()
    after: EvidenceItem | None = None
    context: EvidenceItem | None = None

    @model_validator(mode="after")
    def _founded(self) -> Self:
        said = [look.found for look in self.looks]
        if self.result is InspectionResult.CLEARED and said.count("clear") < 3:
            raise ValueError("result: cleared needs three clear looks")
        if self.result is InspectionResult.PERSISTS and said.count("persists") < 3:
            raise ValueError("result: persists needs three looks that say so")
        return self


class CalloutOrder(Message):
    """Play a message of the box's own list through the camera's loudspeaker. It names no person and no plate."""

    id: Identifier
    camera_id: Slug
    message: Slug
    expires_at: UtcTime


class CalloutReport(Message):
    """Whether the loudspeaker took it."""

    order_id: Identifier
    camera_id: Slug
    device_id: Slug
    played: bool
    reason: Annotated[str, Field(max_length=300, description="Why not; never holds a password.")] = ""
    at: UtcTime


class CheckQuestion(Message):
    """An engineer's question about a camera.

    `probe`: what the stream is and what is wrong with it. `snapshot`: a picture of now. `trial`: which cases the rules
    would have made of what the box has seen in the last hours, with the zones and the ground plane of `setup`.
    """

    kind: Literal["probe", "snapshot", "trial"]
    setup: Annotated[CameraSetup | None, Field(description="The draft of a trial.")] = None
    hours: Annotated[float, Field(gt=0, le=24)] = 1.0

    @model_validator(mode="after")
    def _asked(self) -> Self:
        if (self.kind == "trial") != (self.setup is not None):
            raise ValueError("setup: a trial needs one, and nothing else may have one")
        return self


class CheckOrder(CheckQuestion):
    """The question on its way. Only the camera's box can answer: the centre has no way into the camera's network."""

    id: Identifier
    camera_id: Slug
    expires_at: UtcTime


class TrialCase(Message):
    """A case that a draft would have raised."""

    issue: IssueClass
    zone_id: Slug
    confirmed_at: UtcTime
    dwell_s: Annotated[float, Field(ge=0)]
    box: Box
    class_name: Annotated[str, Field(max_length=60)] = ""


class CheckReport(Message):
    """What the box found. Addresses in it never hold a password."""

    order_id: Identifier
    camera_id: Slug
    device_id: Slug
    ok: bool
    reason: Annotated[str, Field(max_length=300, description="Why not, with the mend.")] = ""
    at: UtcTime
    facts: Annotated[
        tuple[tuple[Annotated[str, Field(max_length=40)], Annotated[str, Field(max_length=300)]], ...],
        Field(max_length=40, description="Of a probe: name and value."),
    ] = ()
    picture: Annotated[
        str, Field(max_length=600_000, description="Of a snapshot: JPEG in base64, blurred as the box blurs.")
    ] = ""
    seen_from: Annotated[UtcTime | None, Field(description="Of a trial: begin of the box's record.")] = None
    looks: Annotated[Count, Field(description="Of a trial: judged pictures in the record.")] = 0
    raised: Annotated[Count, Field(description="Of a trial: cases, those not listed included.")] = 0
    cases: Annotated[tuple[TrialCase, ...], Field(max_length=100)] = ()
