"""Least scores: proposed from verdicts, applied by a person, kept by the box."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import select

from api.access import Principal, needs
from api.audit import record
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.proposals import proposals
from api.routes.stats import scope_of
from api.tables import Camera, Threshold
from contract import IssueClass, new_id
from contract.base import Identifier, Slug

router = APIRouter(tags=["statistics"])
Writer = Annotated[Principal, needs("threshold.write")]
Hour = Annotated[int, Field(ge=0, le=24)]


class Proposed(BaseModel):
    """A least score, and what it would have done to the cases judged in the span."""

    camera_id: str
    issue: str
    from_hour: int
    to_hour: int
    min_score: float
    judged: int
    precision_before: float
    precision_after: float
    true_kept: Annotated[float, Field(description="Share of the confirmed cases that would still have come.")]
    false_dropped: Annotated[int, Field(description="Rejected cases that would not have come.")]


class ThresholdIn(BaseModel):
    """A least score for a camera's alerts of one class, in hours of the city's clock (to_hour excluded)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"camera_id": "gate", "issue": "parking.motor", "min_score": 0.55}]},
    )
    camera_id: Slug
    issue: IssueClass
    from_hour: Hour = 0
    to_hour: Hour = 24
    min_score: Annotated[float, Field(ge=0, le=1)]
    why: Annotated[str, Field(max_length=300)] = ""

    @model_validator(mode="after")
    def _span(self) -> Self:
        if self.from_hour >= self.to_hour:
            raise ValueError("to_hour: must be later than from_hour; split a night at midnight")
        return self


class ThresholdView(BaseModel):
    """A least score that holds."""

    id: Identifier
    camera_id: str
    issue: str
    from_hour: int
    to_hour: int
    min_score: float
    applied_by: str
    applied_at: datetime


@router.get("/stats/proposals", responses=refusals(401, 403, 422))
def list_proposals(
    who: Annotated[Principal, needs("stats.read")], core: CoreDep,
    days: Annotated[int, Query(ge=1, le=366)] = 30,
) -> list[Proposed]:  # fmt: skip
    """Propose least scores where the precision is below the aim. Nothing changes until a person applies one."""
    with core.db.read() as session:
        return [Proposed(**p) for p in proposals(session, scope_of(core, who, days))]


def _view(row: Threshold) -> ThresholdView:
    return ThresholdView.model_validate(row, from_attributes=True)


@router.get("/thresholds", responses=refusals(401, 403))
def list_thresholds(
    core: CoreDep, who: Annotated[Principal, needs("stats.read", "threshold.write")]
) -> list[ThresholdView]:
    """List the least scores that hold."""
    with core.db.read() as session:
        rows = session.scalars(
            select(Threshold).where(who.sees(Threshold.tenant)).order_by(Threshold.camera_id).limit(2000)
        )
        return [_view(r) for r in rows]


@router.post("/thresholds", status_code=201, responses=refusals(401, 403, 404, 413, 422))
def apply_threshold(told: ThresholdIn, core: CoreDep, who: Writer) -> ThresholdView:
    """Apply a least score; the camera's box gets it with its next heartbeat. The same hours again replace it."""
    now = core.now()
    with core.db.write() as session:
        camera = session.get(Camera, told.camera_id)
        if camera is None or not camera.tenant.startswith(who.tenant):
            raise ApiError(404, f"camera_id: no camera {told.camera_id} here")
        same = select(Threshold).where(
            Threshold.camera_id == told.camera_id,
            Threshold.issue == told.issue.value,
            Threshold.from_hour < told.to_hour,
            Threshold.to_hour > told.from_hour,
        )
        for old in session.scalars(same):
            session.delete(old)
        session.flush()
        row = Threshold(
            id=new_id(), tenant=camera.tenant, camera_id=told.camera_id, issue=told.issue.value,
            from_hour=told.from_hour, to_hour=told.to_hour, min_score=told.min_score, applied_by=who.name,
            applied_at=now, figures={"why": told.why},
        )  # fmt: skip
        session.add(row)
        detail: dict[str, Any] = told.model_dump(mode="json")
        record(session, "thresholds", now, f"user:{who.name}", "threshold.applied", detail)
        session.flush()
        return _view(row)


@router.delete("/thresholds/{threshold_id}", status_code=204, responses=refusals(401, 403, 404, 422))
def remove_threshold(threshold_id: Identifier, core: CoreDep, who: Writer) -> None:
    """Take a least score back."""
    with core.db.write() as session:
        row = session.scalar(
            select(Threshold).where(Threshold.id == threshold_id, who.sees(Threshold.tenant))
        )
        if row is None:
            raise ApiError(404, f"no threshold {threshold_id} here")
        detail = {"camera_id": row.camera_id, "issue": row.issue, "min_score": row.min_score}
        record(session, "thresholds", core.now(), f"user:{who.name}", "threshold.removed", detail)
        session.delete(row)
