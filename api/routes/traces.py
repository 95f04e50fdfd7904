"""From a case back to the box, the frame and the model that saw it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select

from api.access import Principal, needs
from api.core import CoreDep
from api.errors import refusals
from api.review import find
from api.tables import AlertRow
from contract.base import Identifier, Sha256
from contract.trace import trace_id

router = APIRouter(tags=["cases"])


class TraceView(BaseModel):
    """An alert's way, and where its spans are."""

    alert_id: Identifier
    trace_id: Annotated[str, Field(description="W3C trace id, in the logs of box and centre too.")]
    page: Annotated[str | None, Field(description="Where to read the spans, if the settings say so.")]
    device_id: str
    software_version: str
    camera_id: str
    frame_at: Annotated[datetime | None, Field(description="When the confirming frame was taken.")]
    model: str
    model_version: str
    model_sha256: Sha256
    rule: str
    received_at: datetime


@router.get("/cases/{case_id}/trace", responses=refusals(401, 403, 404, 422))
def case_trace(
    case_id: Identifier, who: Annotated[Principal, needs("case.read")], core: CoreDep
) -> list[TraceView]:
    """Return the traces of a case's alerts, the oldest first."""
    with core.db.read() as session:
        find(session, case_id, who)
        rows = session.scalars(
            select(AlertRow).where(AlertRow.case_id == case_id).order_by(AlertRow.received_at).limit(200)
        ).all()
    page = core.settings.trace_page
    out = []
    for row in rows:
        body, trace = row.body, trace_id(row.id)
        frames = [e["captured_at"] for e in body.get("evidence", ()) if e["kind"] == "confirm"]
        model = body["model"]
        out.append(
            TraceView(
                alert_id=row.id, trace_id=trace, page=page.replace("{trace_id}", trace) if page else None,
                device_id=row.device_id, software_version=body["software_version"], camera_id=row.camera_id,
                frame_at=frames[0] if frames else body["dwell"]["confirmed_at"], model=model["name"],
                model_version=model["version"], model_sha256=model["sha256"], rule=body["rule"]["name"],
                received_at=row.received_at,
            )
        )  # fmt: skip
    return out
