"""Rollouts in the database: begun, looked at by a job and by a box in trouble, moved, and written to the boxes' wishes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import null, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.audit import record
from api.core import Core
from api.db import lock, plain
from api.errors import ApiError
from api.fleet import ROLLOUTS, releases_of
from api.log import going_on
from api.machine import IllegalStepError
from api.rollout import LIVE, Act, Move, State, act, begin, shadowed, step, wished
from api.rollout_evidence import gather
from api.rollout_gates import judge
from api.rollout_plan import Plan, fits
from api.settings import Settings
from api.tables import Device
from api.tables_fleet import FleetBox, Rollout, RolloutBox
from contract import new_id
from contract.fleet import OWN

JOB = "job:rollouts"


def plan_of(rollout: Rollout) -> Plan:
    """Return the plan as it was written when the rollout began."""
    return Plan.model_validate(rollout.plan)


def state_of(rollout: Rollout) -> State:
    """Return the state; what `phase` says counts."""
    told = dict(rollout.state)
    return State(**told | {"status": rollout.phase, "entered_at": datetime.fromisoformat(told["entered_at"])})


def create(session: Session, candidate: str, plan: Plan, tenant: str, by: str, core: Core) -> Rollout:
    """Begin a rollout over the enrolled boxes under `tenant`; a box that has the candidate already is left out.

    Raises:
        ApiError: 409 a box is in another rollout, 422 a ring has no box or the candidate is not released here.
    """
    _check_released(core.settings, candidate)
    lock(session, [ROLLOUTS])  # two rollouts begun at once must not both take a box
    now, rollout_id = core.now(), new_id()
    members = _members(session, rollout_id, candidate, plan, tenant, now)
    for i, ring in enumerate(plan.rings):
        if not any(m.ring == i for m in members):
            asked = ", ".join(f"{k}={v}" for k, v in ring.labels.items()) or "none of a ring before"
            raise ApiError(422, f"plan.rings[{i}].labels: no enrolled box under {tenant} has {asked}")
    state = begin(plan, now)
    champion = Counter(m.before_model for m in members).most_common(1)[0][0]
    rollout = Rollout(
        id=rollout_id, tenant=tenant, candidate=candidate, champion=champion, phase=state.status,
        plan=plan.model_dump(mode="json"), state=plain(asdict(state)), evidence=None, made_by=by, made_at=now,
        changed_at=now,
    )  # fmt: skip
    session.add(rollout)
    session.flush()
    session.add_all(members)
    session.flush()
    mine = [m.device_id for m in members]
    for some in (mine[i : i + 500] for i in range(0, len(mine), 500)):
        session.execute(update(FleetBox).where(FleetBox.device_id.in_(some)).values(rollout_id=rollout_id))
    _write_wishes(session, rollout, plan, state, now)
    sizes = {ring.name: sum(m.ring == i for m in members) for i, ring in enumerate(plan.rings)}
    told = {"candidate": candidate, "champion": champion, "boxes": sizes, "plan": rollout.plan}
    record(session, f"rollout:{rollout_id}", now, by, "rollout.began", told)
    return rollout


def _check_released(settings: Settings, candidate: str) -> None:
    city, _, rest = candidate.partition("/")
    folder = releases_of(settings) / "metadata"
    if not folder.is_dir():
        return  # another server gives the releases out
    path = f"{city}/{rest.replace('@', '/')}/manifest.json"
    newest = max(folder.glob(f"*.{city}.json"), key=lambda p: int(p.name.partition(".")[0]), default=None)
    try:
        targets = json.loads(newest.read_bytes())["signed"]["targets"] if newest else {}
    except (OSError, ValueError, KeyError, TypeError):
        targets = {}
    if path not in targets:
        raise ApiError(
            422,
            f"candidate: {candidate} is not released here; `curbwatch fleet release publish {city} BUNDLE` first",
        )


def _members(
    session: Session, rollout_id: str, candidate: str, plan: Plan, tenant: str, now: datetime
) -> list[RolloutBox]:
    query = (
        select(FleetBox, Device.health)
        .join(Device, Device.id == FleetBox.device_id)
        .where(Device.revoked_at.is_(None), Device.tenant.startswith(tenant, autoescape=True))
        .order_by(FleetBox.device_id)
    )
    found = []
    for box, health in session.execute(query):
        ring = plan.ring_for(box.labels)
        before = box.model or ((health or {}).get("fleet") or {}).get("model") or OWN
        if ring is None or before == candidate:
            continue
        if box.rollout_id is not None:
            raise ApiError(409, f"{box.device_id} is in rollout {box.rollout_id}; abort that one first")
        found.append(
            RolloutBox(
                rollout_id=rollout_id, device_id=box.device_id, ring=ring, before_model=before,
                shadows=plan.shadow is not None and fits(plan.shadow.labels, box.labels),
                before_shadow=box.shadow or None, runs="champion", seen_at=now,
            )
        )  # fmt: skip
    return found


def tick(core: Core) -> int:
    """Look at every live rollout, each in a transaction of its own, and return how many moved.

    What goes wrong with one is logged and stops no other.
    """
    with core.db.read() as session:
        live = list(session.scalars(select(Rollout.id).where(Rollout.phase.in_(LIVE)).order_by(Rollout.id)))
    moved = 0
    for rollout_id in live:
        with going_on("rollout.failed", SQLAlchemyError, rollout=rollout_id), core.db.write() as session:
            moved += look(session, rollout_id, core)
    return moved


def look(session: Session, rollout_id: str, core: Core) -> bool:
    """Judge one rollout by the evidence of now and move it; True when it moved."""
    lock(session, [f"rollout:{rollout_id}"])
    rollout = session.get_one(Rollout, rollout_id, populate_existing=True)
    if rollout.phase not in LIVE:
        return False
    now, plan, state = core.now(), plan_of(rollout), state_of(rollout)
    seen = gather(session, rollout, plan, state, now, core.settings.offline_s)
    gates = judge(plan, state, seen, now)
    rollout.evidence = plain({"at": now, "stage": state.stage, "gates": [asdict(gate) for gate in gates]})
    move = step(plan, state, gates, now)
    if move is not None:
        _take(session, rollout, plan, move, JOB, now)
    return move is not None


def command(session: Session, rollout: Rollout, what: Act, reason: str, by: str, core: Core) -> None:
    """Take a person's word about a rollout.

    Raises:
        ApiError: 409, it does not fit the state.
    """
    lock(session, [f"rollout:{rollout.id}"])
    session.refresh(rollout)
    now, plan = core.now(), plan_of(rollout)
    try:
        move = act(plan, state_of(rollout), what, reason, now)
    except IllegalStepError as exc:
        raise ApiError(409, str(exc), allowed=exc.allowed) from None
    _take(session, rollout, plan, move, by, now)


def _take(session: Session, rollout: Rollout, plan: Plan, move: Move, by: str, now: datetime) -> None:
    rollout.phase, rollout.state, rollout.changed_at = move.state.status, plain(asdict(move.state)), now
    record(session, f"rollout:{rollout.id}", now, by, move.action, move.body)
    _write_wishes(session, rollout, plan, move.state, now)


def _write_wishes(session: Session, rollout: Rollout, plan: Plan, state: State, now: datetime) -> None:
    """Write into the boxes' desired states what `wished` and `shadowed` say, and let the boxes go when it is over."""
    session.flush()
    mine = FleetBox.rollout_id == rollout.id
    before = select(RolloutBox.before_model).where(
        RolloutBox.rollout_id == rollout.id, RolloutBox.device_id == FleetBox.device_id
    )
    for ring in range(len(plan.rings)):
        told: Any = wished(plan, state, ring, rollout.candidate, OWN)
        wish = told if told == rollout.candidate else before.scalar_subquery()
        other = FleetBox.model.is_distinct_from(wish)
        _update(session, _where(rollout, ring), mine & other, {"model": wish, "since": now})
    order: Any = null()
    if shadowed(plan, state) and plan.shadow is not None:
        order = {"model": rollout.candidate, "share": plan.shadow.share}
    shadows = select(RolloutBox.device_id).where(RolloutBox.rollout_id == rollout.id, RolloutBox.shadows)
    _update(session, shadows, mine, {"shadow": order})
    if state.status not in LIVE:
        _give_back_shadows(session, rollout)
        session.execute(update(FleetBox).where(mine).values(rollout_id=None))
    session.expire_all()


def _where(rollout: Rollout, ring: int) -> Any:
    return select(RolloutBox.device_id).where(RolloutBox.rollout_id == rollout.id, RolloutBox.ring == ring)


def _update(session: Session, boxes: Any, condition: Any, values: dict[str, Any]) -> None:
    session.execute(
        update(FleetBox)
        .where(condition, FleetBox.device_id.in_(boxes))
        .values(values)
        .execution_options(synchronize_session=False)
    )


def _give_back_shadows(session: Session, rollout: Rollout) -> None:
    rows: Sequence[Any] = session.execute(
        select(RolloutBox.device_id, RolloutBox.before_shadow).where(RolloutBox.rollout_id == rollout.id)
    ).all()
    for device_id, order in rows:
        if order:
            session.execute(update(FleetBox).where(FleetBox.device_id == device_id).values(shadow=order))
