"""Orders of the centre to a box, and what the box reports back: re-inspections and call-outs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.base import Box, Identifier, Message, Slug, UtcTime
from contract.evidence import EvidenceItem
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
