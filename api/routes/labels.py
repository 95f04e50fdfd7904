"""What to label next, for the console: the queue of `curbwatch train queue`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.access import Principal, needs
from api.audit import record, record_case
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.labelling import LabelQueueIn, LabelsTaken, count_open, next_items, replace_queue
from api.review import find
from api.tables_console import LabelItem
from contract import CaseState, IssueClass
from contract.base import Identifier

router = APIRouter(tags=["labels"])
Reviewer = Annotated[Principal, needs("case.review")]
Supervisor = Annotated[Principal, needs("case.supervise")]


class LabelLine(BaseModel):
    """A case worth a label. `signals` are 0-1; `why` says the strong ones in words."""

    case_id: Identifier
    number: str
    issue: IssueClass
    state: CaseState
    camera_id: str
    camera_name: str
    opened_at: datetime
    score: float
    signals: dict[str, float]
    why: str
    hour: Annotated[int, Field(description="Hour of the picture, UTC.")]
    sha256: Annotated[
        str | None, Field(description="The picture that the model looked at: GET /evidence/{sha256}.")
    ]
    model: str


class LabelQueue(BaseModel):
    """Best first. `waiting` counts all that are open, `items` holds the first of them."""

    made_at: datetime | None
    waiting: int
    items: list[LabelLine]


@router.get("/labels", responses=refusals(401, 403, 422))
def label_queue(who: Reviewer, core: CoreDep, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> LabelQueue:
    """Say what to label next. A case leaves the queue with its next verdict, or when somebody passes it over."""
    with core.db.read() as session:
        pairs = next_items(session, who, limit)
        waiting = count_open(session, who)
        lines = [
            LabelLine(
                case_id=case.id, number=case.number, issue=IssueClass(case.issue), state=CaseState(case.state),
                camera_id=case.camera_id, camera_name=case.camera_name, opened_at=case.opened_at, score=item.score,
                signals=item.body["signals"], why=item.body["why"], hour=item.body["hour"],
                sha256=item.body["sha256"], model=item.body["model"],
            )
            for item, case in pairs
        ]  # fmt: skip
    return LabelQueue(made_at=pairs[0][0].made_at if pairs else None, waiting=waiting, items=lines)


@router.put("/labels", responses=refusals(401, 403, 413, 422))
def send_label_queue(told: LabelQueueIn, who: Supervisor, core: CoreDep) -> LabelsTaken:
    """Replace the queue by the file that `curbwatch train queue` wrote."""
    now = core.now()
    with core.db.write() as session:
        taken = replace_queue(session, told, who, now)
        body = {"taken": taken.taken, "unknown": len(taken.unknown), "model": told.model}
        record(session, "labels", now, f"user:{who.name}", "labels.queued", body)
    return taken


@router.delete("/labels/{case_id}", status_code=204, responses=refusals(401, 403, 404, 422))
def pass_over(case_id: Identifier, who: Reviewer, core: CoreDep) -> None:
    """Pass a line over: the picture teaches nothing, say."""
    with core.db.write() as session:
        case = find(session, case_id, who)
        item = session.get(LabelItem, case.id)
        if item is None:
            raise ApiError(404, f"case {case.number} is not in the labelling queue")
        item.passed_by = who.name
        record_case(session, case, core.now(), f"user:{who.name}", "label.passed")
