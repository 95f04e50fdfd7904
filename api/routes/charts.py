"""What the statistics pages draw: heat by hour and place, model versions, reviewers' load. Hours are the city's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from statistics import median
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import select

from api.access import Principal, needs
from api.core import Core, CoreDep
from api.errors import refusals
from api.indicators import CONFIRMED
from api.tables import AlertRow, CaseRow, VerdictRow
from contract import CaseState

router = APIRouter(tags=["statistics"])
MAX_ROWS = 100_000
Reader = Annotated[Principal, needs("stats.read")]
Days = Annotated[int, Query(ge=1, le=366)]


class HeatRow(BaseModel):
    """Cases of one place by hour of the day."""

    place: str
    name: str
    hours: Annotated[list[int], Field(min_length=24, max_length=24, description="Hour 0 to 23, local time.")]


class Heat(BaseModel):
    """Hour × place."""

    timezone: str
    days: int
    rows: list[HeatRow]


class ModelUse(BaseModel):
    """What one model version raised."""

    name: str
    version: str
    alerts: int
    confirmed: int
    rejected: int
    first_at: datetime
    last_at: datetime


class Load(BaseModel):
    """One reviewer's work on one day."""

    reviewer: str
    day: str
    decisions: int
    median_s: float | None


def zone_of(core: Core) -> ZoneInfo:
    """Return the zone in which the city's hours are counted."""
    return ZoneInfo(core.pack.timezone)


@router.get("/charts/heat", responses=refusals(401, 403, 422))
def heat(
    who: Reader, core: CoreDep, days: Days = 30,
    by: Annotated[Literal["camera_id", "district", "grid", "issue"], Query(description="What a row is.")] = "camera_id",
) -> Heat:  # fmt: skip
    """Count cases by hour of the day and place, the busiest place first; forty places at most."""
    zone = zone_of(core)
    with core.db.read() as session:
        rows = session.execute(
            select(getattr(CaseRow, by), CaseRow.camera_name, CaseRow.seen_at)
            .where(who.sees(CaseRow.tenant), CaseRow.opened_at >= core.now() - timedelta(days=days))
            .order_by(CaseRow.opened_at.desc())
            .limit(MAX_ROWS)
        ).all()
    hours: dict[str, list[int]] = defaultdict(lambda: [0] * 24)
    names: dict[str, str] = {}
    for key, name, at in rows:
        hours[str(key or "")][at.astimezone(zone).hour] += 1
        names.setdefault(str(key or ""), name if by == "camera_id" else "")
    busiest = sorted(hours, key=lambda k: -sum(hours[k]))[:40]
    found = [HeatRow(place=k, name=names[k], hours=hours[k]) for k in busiest]
    return Heat(timezone=zone.key, days=days, rows=found)


@router.get("/charts/models", responses=refusals(401, 403, 422))
def models(who: Reader, core: CoreDep, days: Days = 30) -> list[ModelUse]:
    """Say what each model version raised and how people judged it, the newest version first."""
    with core.db.read() as session:
        rows = session.execute(
            select(AlertRow.body["model"], CaseRow.state, AlertRow.received_at)
            .join(CaseRow, CaseRow.id == AlertRow.case_id)
            .where(who.sees(CaseRow.tenant), AlertRow.received_at >= core.now() - timedelta(days=days))
            .order_by(AlertRow.received_at.desc())
            .limit(MAX_ROWS)
        ).all()
    found: dict[tuple[str, str], list[tuple[str, datetime]]] = defaultdict(list)
    for model, state, at in rows:
        found[(model["name"], model["version"])].append((state, at))
    return [_model(name, version, seen) for (name, version), seen in found.items()]


def _model(name: str, version: str, seen: Iterable[tuple[str, datetime]]) -> ModelUse:
    states, times = zip(*seen, strict=True)
    return ModelUse(
        name=name, version=version, alerts=len(states), confirmed=sum(s in CONFIRMED for s in states),
        rejected=states.count(CaseState.REJECTED.value), first_at=min(times), last_at=max(times),
    )  # fmt: skip


@router.get("/charts/load", responses=refusals(401, 403, 422))
def load(who: Reader, core: CoreDep, days: Days = 30) -> list[Load]:
    """Count decisions by reviewer and local day."""
    zone = zone_of(core)
    with core.db.read() as session:
        rows: Any = session.execute(
            select(VerdictRow.reviewer, VerdictRow.at, VerdictRow.seconds)
            .join(CaseRow, CaseRow.id == VerdictRow.case_id)
            .where(
                who.sees(CaseRow.tenant), VerdictRow.at >= core.now() - timedelta(days=days), VerdictRow.undone_at.is_(None)
            )
            .limit(MAX_ROWS)
        ).all()  # fmt: skip
    told: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for name, at, seconds in rows:
        told[(name, at.astimezone(zone).date().isoformat())].append(seconds)
    return [
        Load(
            reviewer=name, day=day, decisions=len(took),
            median_s=median([s for s in took if s is not None]) if any(s is not None for s in took) else None,
        )
        for (name, day), took in sorted(told.items())
    ]  # fmt: skip
