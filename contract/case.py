"""The case: what the centre makes of one or more alerts of one place."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from contract.alert import Alert
from contract.base import Identifier, Message, UtcTime
from contract.geo import GeoPoint
from contract.taxonomy import IssueClass, StreetClass
from contract.verdict import Verdict


class CaseState(StrEnum):
    """States of a case, in the order of its life."""

    IN_REVIEW = "in_review"
    REJECTED = "rejected"
    SECOND_REVIEW = "second_review"
    CONFIRMED = "confirmed"
    FILED = "filed"
    ACCEPTED = "accepted"
    DISPATCHED = "dispatched"
    HANDLING = "handling"
    EXTENDED = "extended"
    SUSPENDED = "suspended"
    RECHECK = "recheck"
    REWORK = "rework"
    CLOSED = "closed"
    MERGED = "merged"
    VOID = "void"
    SELF_RESOLVED = "self_resolved"


class CaseSource(StrEnum):
    """The channel that reported the case."""

    CAMERA_AI = "camera_ai"
    HOTLINE = "hotline"
    COLLECTOR = "collector"
    CITIZEN = "citizen"


class Case(Message):
    """A case as the API returns it."""

    id: Identifier
    number: Annotated[str, Field(description="Short number for people, such as 2026-000042.")]
    state: CaseState
    source: CaseSource = CaseSource.CAMERA_AI
    issue: IssueClass
    street_class: StreetClass
    camera_id: str
    camera_name: str = ""
    place: GeoPoint
    opened_at: UtcTime
    updated_at: UtcTime
    deadline_at: UtcTime | None = None
    dwell_s: Annotated[float, Field(ge=0)]
    alerts: Annotated[
        tuple[Alert, ...], Field(description="Latest revision of each alert, oldest first.")
    ] = ()
    verdicts: tuple[Verdict, ...] = ()
    version: Annotated[
        int, Field(ge=1, description="Counts up with each change; send it back as If-Match.")
    ] = 1
