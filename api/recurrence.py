"""Recurrence at a place: which case came before, how often, and which step that suggests. People decide."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, bindparam, literal_column, select
from sqlalchemy.orm import Session

from api.geo import Spot, distance_m
from api.pack import CityPack, Rung
from api.tables import AlertRow, CaseRow
from api.tiles import around, is_there, within
from contract import Alert

SPANS = {"1h": timedelta(hours=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
MAX_EARLIER = 200
# What was no issue does not recur, and what was merged is counted as the case that took it in.
_NOT: list[ColumnElement[str]] = [literal_column(f"'{state}'") for state in ("rejected", "void", "merged")]


_EARLIER = (
    select(CaseRow)
    .where(
        CaseRow.tenant == bindparam("tenant"), CaseRow.issue == bindparam("issue"),
        CaseRow.id != bindparam("case"), CaseRow.seen_at < bindparam("before"),
        CaseRow.seen_at >= bindparam("since"), CaseRow.state.not_in(_NOT),
    )
    .order_by(CaseRow.seen_at.desc())
    .limit(MAX_EARLIER)
)  # fmt: skip
_ON_GROUND = _EARLIER.where(*within(CaseRow, "place"))
_IN_CELL = _EARLIER.where(
    CaseRow.id.in_(
        select(AlertRow.case_id).where(
            AlertRow.ground_cell.in_(bindparam("cells", expanding=True)),
            AlertRow.issue == bindparam("issue"),
            AlertRow.camera_id == bindparam("camera"),
        )
    )
)
# Whether a place that has a ground position may have an earlier case at all.
CLUE = is_there(_ON_GROUND)


def seen_at(alert: Alert, now: datetime) -> datetime:
    """Return when the thing was confirmed on the street: an alert may come hours later, but none comes from the future."""
    return min(alert.dwell.confirmed_at, now)


def clue_values(case_id: str, spot: Spot, radius_m: float, at: datetime) -> dict[str, object]:
    """Return what `CLUE` is asked with, beside `tenant` and `issue`."""
    return {"case": case_id, "before": at, "since": at - SPANS["30d"], **around("place", spot, radius_m)}


def earlier(session: Session, case: CaseRow, radius_m: float, cell: str | None = None) -> list[CaseRow]:
    """Return the cases of the same class at the place in the 30 days before `case`, the newest first.

    With a ground position "at the place" is within `radius_m`. Where only the camera's point is known it is the same
    cell of the same camera's picture; `cell` names it while the case has no alert yet.
    """
    values = {
        "tenant": case.tenant, "issue": case.issue, "case": case.id, "before": case.seen_at,
        "since": case.seen_at - SPANS["30d"],
    }  # fmt: skip
    if case.place["source"] == "camera_point":
        cells = [cell] if cell else list(
            session.scalars(select(AlertRow.ground_cell).where(AlertRow.case_id == case.id).distinct().limit(20))
        )  # fmt: skip
        return list(session.scalars(_IN_CELL, values | {"cells": cells, "camera": case.camera_id}))
    spot = Spot.of(case.place)
    return [
        r for r in session.scalars(_ON_GROUND, values | around("place", spot, radius_m))
        if r.place["source"] != "camera_point" and distance_m(spot, Spot.of(r.place)) <= radius_m
    ]  # fmt: skip


def counts(opened: list[datetime], at: datetime) -> dict[str, int]:
    """Count the moments within 1 h, 7 d and 30 d before `at`."""
    return {name: sum(at - span <= t < at for t in opened) for name, span in SPANS.items()}


def rung(found: dict[str, int], pack: CityPack) -> Rung:
    """Return the highest rung of the city's ladder that the counts reach; the first rung needs nothing."""
    reached = pack.recurrence.ladder[0]
    for step in pack.recurrence.ladder:
        limits = {"1h": step.in_1h, "7d": step.in_7d, "30d": step.in_30d}
        if any(limit is not None and found[name] >= limit for name, limit in limits.items()):
            reached = step
    return reached
