"""What the gates look at, gathered: heartbeats by way of the rollout's boxes, alerts by model, people's decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import and_, distinct, exists, func, or_, select
from sqlalchemy import case as sql_case
from sqlalchemy.orm import Session

from api.indicators import CONFIRMED, count_if
from api.rollout import LIVE, State
from api.rollout_gates import BoxSum, Evidence, Sample, ShadowSum
from api.rollout_plan import Plan
from api.tables import AlertRow, CaseRow, Device, VerdictRow
from api.tables_fleet import Rollout, RolloutBox
from contract.fleet import ShadowReport

# The champion's precision is known from before; its alerts are counted over the rollout's own days.
BASELINE = timedelta(days=14)
DAY_S = 86400.0
# The centre is not told how often a box beats; ten minutes is the longest, and one beat may be lost.
SILENT_S = 1500.0


def gather(
    session: Session, rollout: Rollout, plan: Plan, state: State, now: datetime, offline_s: float
) -> Evidence:
    """Return the evidence for the present stage. A few queries, whose rows are the rollout's boxes and rings."""
    boxes = boxes_of(session, rollout.id)
    ring = plan.ring_of(state.stage)
    if ring < 0:
        return Evidence(shadow=_shadow([b for b in boxes if b.shadows]))
    here = [b for b in boxes if b.ring <= ring]
    silent = now - timedelta(seconds=max(offline_s, SILENT_S))
    # A box that was dead before the rollout says nothing of the time since.
    later = [b for b in boxes if b.ring > ring and b.seen_at is not None and b.seen_at > rollout.made_at]
    counted = _alerts(session, rollout)
    return Evidence(
        boxes=_boxes(here, later, silent),
        ring=_sample(counted, (ring,), True, [b for b in here if b.ring == ring]),
        candidate=_sample(counted, range(ring + 1), True, here),
        champion=_sample(counted, range(len(plan.rings)), False, boxes),
    )


def boxes_of(session: Session, rollout_id: str) -> Sequence[RolloutBox]:
    """Return the boxes of a rollout without those whose token was revoked since."""
    query = select(RolloutBox).join(Device, Device.id == RolloutBox.device_id)
    return session.scalars(
        query.where(RolloutBox.rollout_id == rollout_id, Device.revoked_at.is_(None))
    ).all()


Counts = dict[tuple[int, bool], tuple[int, int, int]]


def _alerts(session: Session, rollout: Rollout) -> Counts:
    """Return by (ring, is the candidate's): alerts of the rollout's time, confirmed cases, rejected cases.

    A case that was decided before the candidate's alert joined it says nothing of the candidate.
    """
    name, _, version = rollout.candidate.partition("/")[2].partition("@")
    model = AlertRow.body["model"]
    ours = and_(model["name"].as_string() == name, model["version"].as_string() == version)
    since = AlertRow.received_at >= rollout.made_at
    new = sql_case((ours, 1), else_=0)
    decided = exists().where(
        VerdictRow.case_id == CaseRow.id,
        VerdictRow.undone_at.is_(None),
        VerdictRow.at >= AlertRow.received_at,
    )

    def cases(condition: Any) -> Any:
        return func.count(distinct(sql_case((and_(condition, or_(new == 0, decided)), CaseRow.id))))

    query = (
        select(
            RolloutBox.ring, new, count_if(since), cases(CaseRow.state.in_(CONFIRMED)),
            cases(CaseRow.state == "rejected"),
        )
        .join(AlertRow, AlertRow.device_id == RolloutBox.device_id)
        .join(CaseRow, CaseRow.id == AlertRow.case_id)
        .where(
            RolloutBox.rollout_id == rollout.id,
            AlertRow.received_at >= sql_case((ours, rollout.made_at), else_=rollout.made_at - BASELINE),
            AlertRow.received_at >= rollout.made_at - BASELINE,
        )
        .group_by(RolloutBox.ring, new)
    )  # fmt: skip
    return {(ring, bool(ours)): (n, yes, no) for ring, ours, n, yes, no in session.execute(query)}


def _sample(counted: Counts, rings: Iterable[int], new: bool, boxes: Sequence[RolloutBox]) -> Sample:
    found = [counted.get((ring, new), (0, 0, 0)) for ring in rings]
    alerts, confirmed, rejected = (sum(c[i] for c in found) for i in range(3))
    seconds = sum(b.candidate_camera_s if new else b.champion_camera_s for b in boxes)
    return Sample(alerts, seconds / DAY_S, confirmed, rejected)


def _named(boxes: Sequence[RolloutBox], field: str) -> tuple[str, ...]:
    return tuple(f"{b.device_id}: {getattr(b, field)}" for b in boxes if getattr(b, field))


def _boxes(boxes: Sequence[RolloutBox], later: Sequence[RolloutBox], silent: datetime) -> BoxSum:
    run = [b for b in boxes if b.runs == "candidate"]
    both = [
        (b.champion_age_s, b.candidate_age_s)
        for b in boxes
        if b.champion_age_s is not None and b.candidate_age_s is not None
    ]
    return BoxSum(
        wished=len(boxes),
        holding=sum(b.holds for b in boxes),
        taken_back=_named(boxes, "took_back"),
        refused=_named(boxes, "refused"),
        safe=tuple(f"{b.device_id}: safe mode" for b in boxes if b.safe),
        restarts=sum(b.restarts for b in boxes),
        running=len(run),
        silent=sum(b.seen_at is None or b.seen_at < silent for b in run),
        later=len(later),
        later_silent=sum(b.seen_at is None or b.seen_at < silent for b in later),
        champion_age_s=median(a for a, _ in both) if both else None,
        candidate_age_s=median(b for _, b in both) if both else None,
    )


def _shadow(boxes: Sequence[RolloutBox]) -> ShadowSum:
    told = [(b.device_id, ShadowReport.model_validate(b.report)) for b in boxes if b.report]
    reports = [report for _, report in told]
    timed = [r for r in reports if r.champion_ms > 0 and r.frames > 0]
    frames = sum(r.frames for r in timed)
    return ShadowSum(
        boxes=sum(r.frames > 0 for r in reports),
        asked=len(boxes),
        frames=sum(r.frames for r in reports),
        failures=sum(r.failures for r in reports),
        both=sum(r.both for r in reports),
        champion_only=sum(r.champion_only for r in reports),
        candidate_only=sum(r.candidate_only for r in reports),
        champion_ms=sum(r.champion_ms * r.frames for r in timed) / frames if frames else 0.0,
        candidate_ms=sum(r.candidate_ms * r.frames for r in timed) / frames if frames else 0.0,
        trouble=tuple(f"{name}: {r.problem}" for name, r in told if r.problem),
    )


def of_rings(boxes: Sequence[RolloutBox], plan: Plan, state: State) -> list[dict[str, Any]]:
    """Return for each ring: its boxes, how many shall have the candidate, run it, hold it, took it back."""
    found = []
    for i, ring in enumerate(plan.rings):
        mine = [b for b in boxes if b.ring == i]
        asked = state.status in (*LIVE, "done") and i <= plan.ring_of(state.stage)
        found.append(
            {
                "name": ring.name, "boxes": len(mine), "wished": len(mine) if asked else 0,
                "running": sum(b.runs == "candidate" for b in mine), "holding": sum(b.holds for b in mine),
                "took_back": sum(bool(b.took_back) for b in mine),
            }
        )  # fmt: skip
    return found
