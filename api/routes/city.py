"""What became of cases at the city's own Open311 endpoint."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import select

from api.access import Principal, needs
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.tables_city import CityRequest
from contract.base import Identifier

router = APIRouter(tags=["city"])
State = Literal["due", "token", "open", "closed", "silent", "dead"]


class CityRequestView(BaseModel):
    """A case at the city's endpoint."""

    case_id: Identifier
    state: Annotated[State, Field(description="`dead`: given up, `error` says why.")]
    service_request_id: str
    notes: Annotated[str, Field(description="The city's `status_notes`.")]
    tries: int
    next_at: datetime
    posted_at: datetime | None
    error: str


@router.get("/city/requests", responses=refusals(401, 403, 422))
def city_requests(
    who: Annotated[Principal, needs("case.dispatch", "hook.manage")], core: CoreDep,
    state: State | None = None, case_id: Annotated[Identifier | None, Query()] = None,
) -> list[CityRequestView]:  # fmt: skip
    """List cases at the city's endpoint, the newest first, 200 at most; `state=dead` shows those given up."""
    query = select(CityRequest).where(who.sees(CityRequest.tenant))
    if state:
        query = query.where(CityRequest.state == state)
    if case_id:
        query = query.where(CityRequest.case_id == case_id)
    with core.db.read() as session:
        rows = session.scalars(query.order_by(CityRequest.case_id.desc()).limit(200)).all()
    return [
        CityRequestView.model_validate(
            {
                "case_id": r.case_id, "state": r.state, "service_request_id": r.remote_id, "notes": r.notes,
                "tries": r.tries, "next_at": r.next_at, "posted_at": r.posted_at, "error": r.error,
            }
        )
        for r in rows
    ]  # fmt: skip


@router.post("/city/requests/{case_id}", status_code=204, responses=refusals(401, 403, 404, 409, 413, 422))
def post_again(
    case_id: Identifier, who: Annotated[Principal, needs("case.dispatch", "hook.manage")], core: CoreDep
) -> None:
    """Post a case again that was given up."""
    with core.db.write() as session:
        row = session.scalar(
            select(CityRequest).where(CityRequest.case_id == case_id, who.sees(CityRequest.tenant))
        )
        if row is None:
            raise ApiError(404, f"case {case_id} is not at the city's endpoint")
        if row.state != "dead":
            raise ApiError(409, f"the request is {row.state}; only a dead one is posted again", [])
        # One try is kept, so that the city is asked first whether it has the case already.
        row.state, row.tries, row.next_at = "due", 1, core.now()
