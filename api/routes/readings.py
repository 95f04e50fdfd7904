"""Quality of the decisions: blind readings, gold items, agreement and precision per reviewer."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from statistics import median
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import delete, func, select

from api.access import Principal, needs
from api.agreement import Pair, cohen_kappa, upheld
from api.audit import record_case
from api.casebook import views
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.reading import answer, find_reading, take_back
from api.review import VerdictIn, find
from api.tables import CaseRow, VerdictRow
from api.tables_console import GoldItem, Reading
from contract import IssueClass, RejectReason
from contract.base import Identifier

router = APIRouter(tags=["quality"])
Reviewer = Annotated[Principal, needs("case.review")]
Supervisor = Annotated[Principal, needs("case.supervise")]
MAX_ROWS = 50_000


class Read(BaseModel):
    """A reading was answered. Whether it agreed is not said to the reader."""

    id: Identifier
    answered_at: datetime


class GoldIn(BaseModel):
    """The known answer."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["confirm", "reject"]
    reason: RejectReason | None = None
    issue: IssueClass | None = None

    @model_validator(mode="after")
    def _reasoned(self) -> GoldIn:
        if (self.kind == "reject") != (self.reason is not None):
            raise ValueError("reason: a rejection needs a reason from 1 to 9, and nothing else may have one")
        return self


class ReviewerQuality(BaseModel):
    """One person's decisions over the span. Shares are null where there is nothing to divide by."""

    reviewer: str
    decisions: int
    confirmed: int
    rejected: int
    unsure: int
    median_s: float | None
    read_again: Annotated[int, Field(description="Of these, read again by somebody else.")]
    precision: Annotated[
        float | None, Field(description="Share of the confirmed that the second reader confirmed too.")
    ]
    kappa: Annotated[
        float | None, Field(description="Cohen's kappa with all second readers, confirm or reject.")
    ]
    gold: int
    gold_right: int


class PairQuality(BaseModel):
    """Two people's agreement."""

    first: str
    second: str
    cases: int
    agreed: int
    kappa: float | None


class Quality(BaseModel):
    """Agreement over a span."""

    since: datetime
    second_share: float
    kappa: float | None
    readings: int
    waiting: int
    reviewers: list[ReviewerQuality]
    pairs: list[PairQuality]


class Disagreement(BaseModel):
    """A case on which two people differ."""

    case_id: Identifier
    number: str
    kind: str
    first_reviewer: str
    first: dict[str, Any]
    reader: str
    answer: dict[str, Any]
    answered_at: datetime


@router.post("/readings/{reading_id}", responses=refusals(401, 403, 404, 409, 413, 422))
def answer_reading(reading_id: Identifier, told: VerdictIn, who: Reviewer, core: CoreDep) -> Read:
    """Answer a blind reading. The case stays as it is; a supervisor sees where two people differ."""
    now = core.now()
    with core.db.write() as session:
        reading = find_reading(session, reading_id, who)
        answer(reading, told, now)
        case = session.get_one(CaseRow, reading.case_id)
        record_case(
            session, case, now, f"user:{who.name}", f"reading.{reading.kind}", {"reading": reading.id}
        )
    return Read(id=reading_id, answered_at=now)


@router.delete("/readings/{reading_id}", status_code=204, responses=refusals(401, 403, 404, 409, 422))
def undo_reading(reading_id: Identifier, who: Reviewer, core: CoreDep) -> None:
    """Take an answer back within the time of a verdict's undo."""
    with core.db.write() as session:
        take_back(find_reading(session, reading_id, who), core.now(), core.settings.undo_s)


@router.put("/cases/{case_id}/gold", status_code=204, responses=refusals(401, 403, 404, 409, 413, 422))
def set_gold(case_id: Identifier, told: GoldIn, who: Supervisor, core: CoreDep) -> None:
    """Make a case a gold item: each reviewer meets it once, blind, and is compared with this answer."""
    now = core.now()
    with core.db.write() as session:
        case = find(session, case_id, who, update=True)
        seen = views(session, [case])[0]["alerts"]
        if not seen:
            raise ApiError(409, f"case {case.number} has no alert of its own to show", [])
        expected = {
            "kind": told.kind, "reason": told.reason, "shown": seen[0]["issue"],
            "issue": told.issue.value if told.issue else seen[0]["issue"],
        }  # fmt: skip
        session.execute(delete(GoldItem).where(GoldItem.case_id == case.id))
        session.add(
            GoldItem(case_id=case.id, tenant=case.tenant, expected=expected, set_by=who.name, set_at=now)
        )
        record_case(session, case, now, f"user:{who.name}", "gold.set", expected)


@router.delete("/cases/{case_id}/gold", status_code=204, responses=refusals(401, 403, 404, 422))
def drop_gold(case_id: Identifier, who: Supervisor, core: CoreDep) -> None:
    """Stop showing a gold item; the answers so far stay."""
    with core.db.write() as session:
        case = find(session, case_id, who)
        session.execute(delete(GoldItem).where(GoldItem.case_id == case.id))
        record_case(session, case, core.now(), f"user:{who.name}", "gold.dropped")


Days = Annotated[int, Query(ge=1, le=366)]


@router.get("/quality", responses=refusals(401, 403, 422))
def quality(who: Annotated[Principal, needs("stats.read")], core: CoreDep, days: Days = 30) -> Quality:
    """Return agreement, precision and load per reviewer."""
    since = core.now() - timedelta(days=days)
    with core.db.read() as session:
        verdicts = session.execute(
            select(VerdictRow.reviewer, VerdictRow.kind, VerdictRow.seconds)
            .join(CaseRow, CaseRow.id == VerdictRow.case_id)
            .where(who.sees(CaseRow.tenant), VerdictRow.at >= since, VerdictRow.undone_at.is_(None))
            .limit(MAX_ROWS)
        ).all()
        readings = session.scalars(
            select(Reading)
            .where(who.sees(Reading.tenant), Reading.answered_at >= since, Reading.agrees.is_not(None))
            .limit(MAX_ROWS)
        ).all()
        waiting = session.scalar(
            select(func.count()).select_from(Reading).where(
                who.sees(Reading.tenant), Reading.kind == "second", Reading.answered_at.is_(None)
            )
        )  # fmt: skip
    second = [r for r in readings if r.kind == "second"]
    return Quality(
        since=since, second_share=core.settings.second_share, kappa=_kappa(second), readings=len(second),
        waiting=waiting or 0, reviewers=_people([tuple(v) for v in verdicts], list(readings)), pairs=_pairs(second),
    )  # fmt: skip


def _answers(readings: list[Reading]) -> list[Pair]:
    return [(r.asked["kind"], (r.answer or {})["kind"]) for r in readings]


def _kappa(readings: list[Reading]) -> float | None:
    found = cohen_kappa(_answers(readings))
    return None if found is None else round(found, 4)


def _people(verdicts: list[tuple[Any, ...]], readings: list[Reading]) -> list[ReviewerQuality]:
    told: dict[str, list[tuple[str, float | None]]] = defaultdict(list)
    for name, kind, seconds in verdicts:
        told[name].append((kind, seconds))
    found = []
    for name in sorted(set(told) | {r.reader for r in readings if r.reader}):
        kinds = [k for k, _ in told[name]]
        seconds = [s for _, s in told[name] if s is not None]
        mine = [r for r in readings if r.kind == "second" and r.first_reviewer == name]
        gold = [r for r in readings if r.kind == "gold" and r.reader == name]
        share = upheld(_answers(mine), "confirm")
        found.append(
            ReviewerQuality(
                reviewer=name, decisions=len(kinds), confirmed=kinds.count("confirm"), rejected=kinds.count("reject"),
                unsure=kinds.count("unsure"), median_s=median(seconds) if seconds else None, read_again=len(mine),
                precision=None if share is None else round(share, 4), kappa=_kappa(mine), gold=len(gold),
                gold_right=sum(bool(r.agrees) for r in gold),
            )
        )  # fmt: skip
    return found


def _pairs(readings: list[Reading]) -> list[PairQuality]:
    by_pair: dict[tuple[str, str], list[Reading]] = defaultdict(list)
    for reading in readings:
        by_pair[(reading.first_reviewer, str(reading.reader))].append(reading)
    return [
        PairQuality(
            first=a, second=b, cases=len(rows), agreed=sum(bool(r.agrees) for r in rows), kappa=_kappa(rows)
        )
        for (a, b), rows in sorted(by_pair.items())
    ]


@router.get("/quality/disagreements", responses=refusals(401, 403, 422))
def disagreements(who: Supervisor, core: CoreDep, days: Days = 30) -> list[Disagreement]:
    """List what two people, or a person and the known answer, saw differently; the newest first."""
    since = core.now() - timedelta(days=days)
    with core.db.read() as session:
        rows = session.execute(
            select(Reading, CaseRow.number)
            .join(CaseRow, CaseRow.id == Reading.case_id)
            .where(who.sees(Reading.tenant), Reading.agrees.is_(False), Reading.answered_at >= since)
            .order_by(Reading.answered_at.desc())
            .limit(200)
        ).all()
    return [
        Disagreement.model_validate(
            {
                "case_id": r.case_id, "number": number, "kind": r.kind, "first_reviewer": r.first_reviewer, "first": r.asked,
                "reader": r.reader, "answer": r.answer, "answered_at": r.answered_at,
            }
        )
        for r, number in rows
    ]  # fmt: skip
