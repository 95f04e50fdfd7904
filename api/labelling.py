"""What to label next: the queue that `curbwatch train queue` made, kept for the console until a person has judged it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Select, delete, exists, func, select
from sqlalchemy.orm import Session

from api.access import Principal
from api.tables import CaseRow, VerdictRow
from api.tables_console import LabelItem
from contract.base import Identifier, Sha256

MAX_ITEMS = 1000
Signal = Annotated[float, Field(ge=0, le=1)]


class LabelItemIn(BaseModel):
    """One line of the trainer's file. Lines about loose pictures have no `case_id`; the console can't show those."""

    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(max_length=1000)] = ""
    case_id: Identifier | None = None
    sha256: Annotated[Sha256 | None, Field(description="The picture that was looked at.")] = None
    camera_id: Annotated[str, Field(max_length=64)] = ""
    hour: Annotated[int, Field(ge=0, le=23)] = 12
    score: Annotated[float, Field(ge=0, le=1)]
    signals: Annotated[dict[str, Signal], Field(max_length=10)] = {}
    why: Annotated[str, Field(max_length=300)] = ""


class LabelQueueIn(BaseModel):
    """The file that `curbwatch train queue` writes."""

    model_config = ConfigDict(extra="forbid")
    version: Literal[1] = 1
    model: Annotated[str, Field(max_length=120, description="Name and version of the model that looked.")] = (
        ""
    )
    items: Annotated[list[LabelItemIn], Field(max_length=MAX_ITEMS)]


class LabelsTaken(BaseModel):
    """What came of a queue that was sent."""

    taken: int
    unknown: Annotated[list[str], Field(description="Cases that are not here, or not for this tenant.")]
    without_case: int


def read_queue(path: Path) -> LabelQueueIn:
    """Read the trainer's file. Raises ValueError naming field and mend."""
    try:
        return LabelQueueIn.model_validate(json.loads(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ValueError(f"{path}: {where}: {first['msg']}") from None
    except ValueError as error:
        raise ValueError(f"{path}: no JSON of `curbwatch train queue`: {error}") from None


def replace_queue(session: Session, told: LabelQueueIn, who: Principal, now: datetime) -> LabelsTaken:
    """Put `told` in the place of the tenant's queue, in its order; a case counts once, at its best line."""
    session.execute(delete(LabelItem).where(who.sees(LabelItem.tenant)))
    lines = {i.case_id: i for i in reversed(told.items) if i.case_id is not None}
    query = select(CaseRow.id, CaseRow.tenant).where(CaseRow.id.in_(lines), who.sees(CaseRow.tenant))
    found = {row[0]: row[1] for row in session.execute(query)}
    wanted = [c for c in dict.fromkeys(i.case_id for i in told.items) if c is not None]
    rank = 0
    for case_id in wanted:
        if case_id not in found:
            continue
        line = lines[case_id]
        body = {
            "sha256": line.sha256,
            "signals": line.signals,
            "why": line.why,
            "hour": line.hour,
            "model": told.model,
        }
        session.add(
            LabelItem(
                case_id=case_id, tenant=found[case_id], rank=rank, score=line.score, body=body, made_at=now
            )
        )
        rank += 1
    return LabelsTaken(
        taken=rank,
        unknown=[c for c in wanted if c not in found],
        without_case=sum(i.case_id is None for i in told.items),
    )


def _open_items(who: Principal) -> Select[LabelItem, CaseRow]:
    """Lines that nobody passed over and whose case has no verdict since the queue was made."""
    judged = exists().where(
        VerdictRow.case_id == LabelItem.case_id,
        VerdictRow.at >= LabelItem.made_at,
        VerdictRow.undone_at.is_(None),
    )
    return (
        select(LabelItem, CaseRow)
        .join(CaseRow, CaseRow.id == LabelItem.case_id)
        .where(who.sees(LabelItem.tenant), LabelItem.passed_by.is_(None), ~judged)
    )


def next_items(session: Session, who: Principal, limit: int) -> list[tuple[LabelItem, CaseRow]]:
    """The best lines that are still open."""
    query = _open_items(who).order_by(LabelItem.rank, LabelItem.case_id).limit(limit)
    return [(row[0], row[1]) for row in session.execute(query)]


def count_open(session: Session, who: Principal) -> int:
    """How many lines are still open."""
    return session.scalar(select(func.count()).select_from(_open_items(who).subquery())) or 0
