"""Threshold proposals: where people reject much of what a camera reports, the least score that would have spared them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.figures import LEAST, TARGET, Proposal, propose
from api.indicators import CONFIRMED, MACHINE, Scope, count_if
from api.tables import AlertRow, Camera, CaseRow, Threshold
from contract import ScoreThreshold

MAX_PAIRS, MAX_CASES = 200, 4000
# Quarters of the day: night lamps, morning, afternoon, evening err in different ways, and an hour alone has too few cases.
BANDS = ((0, 6), (6, 12), (12, 18), (18, 24))
WHOLE = (0, 24)


def proposals(session: Session, scope: Scope) -> list[dict[str, Any]]:
    """Return the proposals for cameras and classes with a poor precision, the most false alerts first."""
    yes, no = count_if(CaseRow.state.in_(CONFIRMED)), count_if(CaseRow.state == "rejected")
    pairs = session.execute(
        select(CaseRow.camera_id, CaseRow.issue)
        .where(*scope.cases(), CaseRow.source == MACHINE)
        .group_by(CaseRow.camera_id, CaseRow.issue)
        .having(yes + no >= LEAST, yes < TARGET * (yes + no))
        .order_by(no.desc(), CaseRow.camera_id)
        .limit(MAX_PAIRS)
    ).all()
    out = []
    for camera, issue in pairs:
        for (begin, end), found in of_bands(_scored(session, scope, camera, issue)):
            told = asdict(found) | {"from_hour": begin, "to_hour": end}
            out.append({"camera_id": camera, "issue": issue} | told)
    return sorted(out, key=lambda p: -p["false_dropped"])


def of_bands(scored: list[tuple[int, float, bool]]) -> list[tuple[tuple[int, int], Proposal]]:
    """Return proposals for the quarters of the day, or for the whole day where no quarter has enough.

    `scored` holds (hour, score, was true).
    """
    found = []
    for begin, end in BANDS:
        made = propose([(s, ok) for hour, s, ok in scored if begin <= hour < end])
        if made is not None:
            found.append(((begin, end), made))
    if found:
        return found
    made = propose([(s, ok) for _, s, ok in scored])
    return [(WHOLE, made)] if made else []


def _scored(session: Session, scope: Scope, camera: str, issue: str) -> list[tuple[int, float, bool]]:
    score = func.max(AlertRow.body["model"]["score"].as_float())
    rows = session.execute(
        select(CaseRow.seen_at, CaseRow.state, score)
        .join(AlertRow, AlertRow.case_id == CaseRow.id)
        .where(
            *scope.cases(), CaseRow.source == MACHINE, CaseRow.camera_id == camera, CaseRow.issue == issue,
            CaseRow.state.in_(("rejected", *CONFIRMED)),
        )
        .group_by(CaseRow.id, CaseRow.seen_at, CaseRow.state)
        .order_by(CaseRow.seen_at.desc())
        .limit(MAX_CASES)
    )  # fmt: skip
    return [
        (at.astimezone(scope.zone).hour, float(s), state != "rejected")
        for at, state, s in rows
        if s is not None
    ]


def of_box(session: Session, tenant: str, device_id: str) -> list[ScoreThreshold]:
    """Return the thresholds a box must keep for its cameras: those that it last spoke for."""
    cameras = select(Camera.id).where(Camera.device_id == device_id)
    rows = session.scalars(
        select(Threshold)
        .where(Threshold.camera_id.in_(cameras), Threshold.tenant == tenant)
        .order_by(Threshold.camera_id, Threshold.issue, Threshold.from_hour)
        .limit(512)
    )
    return [
        ScoreThreshold.model_validate(
            {
                "camera_id": t.camera_id, "issue": t.issue, "from_hour": t.from_hour, "to_hour": t.to_hour,
                "min_score": t.min_score,
            }
        )
        for t in rows
    ]  # fmt: skip
