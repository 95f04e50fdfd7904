"""A reviewer's verdict. Its reject reason becomes a label."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from contract.base import Box, Identifier, Message, UtcTime
from contract.taxonomy import IssueClass


class VerdictKind(StrEnum):
    """What a reviewer decided."""

    CONFIRM = "confirm"
    REJECT = "reject"
    UNSURE = "unsure"
    MERGE = "merge"


class RejectReason(IntEnum):
    """Why a case is none. The number is the reviewer's key."""

    NOT_THIS_CLASS = 1
    PERMITTED = 2
    MOVING_OR_TEMPORARY = 3
    INSIDE_SHOP = 4
    AUTHORISED_OR_WORKS = 5
    DUPLICATE = 6
    UNUSABLE_PICTURE = 7
    CAMERA_MOVED = 8
    OTHER = 9

    @property
    def goes_to(self) -> str:
        """Who learns from it: model, rules, dedupe, camera_health or people."""
        return {
            1: "model",
            2: "rules",
            3: "rules",
            4: "model",
            5: "rules",
            6: "dedupe",
            7: "camera_health",
            8: "camera_health",
        }.get(int(self), "people")


class Verdict(Message):
    """One decision by one person on one case."""

    id: Identifier
    case_id: Identifier
    kind: VerdictKind
    reason: RejectReason | None = None
    issue: Annotated[
        IssueClass | None, Field(description="The right class, when the box named a wrong one.")
    ] = None
    text: Annotated[str, Field(max_length=1000)] = ""
    box: Annotated[
        Box | None, Field(description="The box of the alert `box_of` as the reviewer drew it anew.")
    ] = None
    box_of: Annotated[
        Identifier | None, Field(description="The alert whose box was drawn anew: the latest at that time.")
    ] = None
    reviewer: Annotated[str, Field(max_length=120)]
    at: UtcTime
    seconds: Annotated[
        float | None, Field(ge=0, le=86400, description="From picture shown to key pressed.")
    ] = None

    on_appeal: Annotated[
        bool, Field(description="It decides an appeal, and so outweighs the verdicts before it.")
    ] = False

    @model_validator(mode="after")
    def _reasoned(self) -> Self:
        if (self.kind is VerdictKind.REJECT) != (self.reason is not None):
            raise ValueError("reason: a rejection needs a reason from 1 to 9, and nothing else may have one")
        if self.reason is RejectReason.OTHER and not self.text.strip():
            raise ValueError("text: reason 9 (other) needs a few words")
        return self
