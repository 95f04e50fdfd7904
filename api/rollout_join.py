"""A box that enrols: which model the rollouts give it, and its place in the one that is under way."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from api.audit import record
from api.db import lock
from api.rollout import LIVE, shadowed, wished
from api.rollout_plan import fits
from api.rollouts import plan_of, state_of
from api.tables import Device
from api.tables_fleet import FleetBox, Rollout, RolloutBox
from contract.fleet import OWN

LOOKED_AT = 50


def join(session: Session, device_id: str, now: datetime) -> None:
    """Give a new box the model that its ring has: the candidate where the ring has it, the good model before it otherwise.

    A rollout under way takes the box in, so that what becomes of the rollout becomes of the box. Otherwise the last
    one says what the model is. A box with a wish of its own, such as one that enrols again, keeps it. The caller holds `ROLLOUTS`.
    """
    box, device = session.get_one(FleetBox, device_id), session.get_one(Device, device_id)
    if box.rollout_id is not None or box.model is not None:
        return
    found = _rollout_for(session, box, device.tenant)
    if found is None:
        return
    # The job moves a rollout under this lock; the box must not be given the model of the stage before.
    lock(session, [f"rollout:{found.id}"])
    session.refresh(found)
    plan, state = plan_of(found), state_of(found)
    ring, good = plan.ring_for(box.labels), found.champion or OWN
    if ring is None:
        return
    model = wished(plan, state, ring, found.candidate, good)
    if state.status in LIVE:
        shadows = plan.shadow is not None and fits(plan.shadow.labels, box.labels)
        member = RolloutBox(
            rollout_id=found.id, device_id=device_id, ring=ring, before_model=good, shadows=shadows,
            before_shadow=None, runs="champion", seen_at=None,
        )  # fmt: skip
        session.merge(member)
        box.rollout_id = found.id
        if plan.shadow is not None and shadows and shadowed(plan, state):
            box.shadow = {"model": found.candidate, "share": plan.shadow.share}
    if model != OWN or state.status in LIVE:
        box.model, box.since = model, now
    told = {"model": model, "rollout": found.id, "ring": plan.rings[ring].name}
    record(session, f"box:{device_id}", now, "job:rollouts", "box.wish", told)


def _rollout_for(session: Session, box: FleetBox, tenant: str) -> Rollout | None:
    """Return the rollout that decides over a box: one under way before those that are over, then the newest."""
    parts = tenant.strip("/").split("/")
    above = ["/", *("/" + "/".join(parts[: i + 1]) + "/" for i in range(len(parts)))]
    query = (
        select(Rollout)
        .where(Rollout.tenant.in_(above))
        .order_by(case((Rollout.phase.in_(LIVE), 0), else_=1), Rollout.made_at.desc(), Rollout.id)
        .limit(LOOKED_AT)
    )
    return next((r for r in session.scalars(query) if plan_of(r).ring_for(box.labels) is not None), None)
