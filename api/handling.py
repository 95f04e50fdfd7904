"""Steps after review: filing with its deadline, dispatch, handling, closing; splits by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import holds
from api.access import Principal
from api.audit import record_case
from api.calendar import LimitUnit, deadline, remaining, resume
from api.casebook import count_reopening, publish, touch
from api.core import Core
from api.db import case_number
from api.errors import ApiError
from api.inspections import order
from api.locating import locate
from api.machine import STEPS, allowed
from api.pack import CityPack
from api.review import finish, step
from api.tables import AlertRow, CaseRow
from contract import CaseState, IssueClass, StreetClass, new_id

StepName = Literal[
    "self_resolve", "file", "accept", "return", "dispatch", "start", "extend", "suspend", "resume",
    "done", "rework", "close", "void", "appeal", "reopen",
]  # fmt: skip


class StepIn(BaseModel):
    """A step of the case's life."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"step": "file"}]})
    step: StepName
    reason: Annotated[str, Field(max_length=1000)] = ""
    unit: Annotated[
        str | None, Field(max_length=80, description="With `dispatch`: the responsible unit.")
    ] = None
    hours: Annotated[
        float | None, Field(gt=0, le=720, description="With `extend`: by how many hours of its limit.")
    ] = None


def walk(
    session: Session, case: CaseRow, told: StepIn, who: Principal, now: datetime, pack: CityPack
) -> None:
    """Take a step, with its effect on deadline and unit."""
    found = STEPS.get((CaseState(case.state), told.step))
    if found and found.permission not in who.permissions:
        raise ApiError(403, f"{who.role} may not {told.step} a case; it needs {found.permission}")
    if told.step == "extend" and told.hours is None:
        raise ApiError(422, "hours: say by how many hours the limit is extended")
    if found and told.step == "extend" and case.deadline_at is not None and case.deadline_at <= now:
        can = [n for n in allowed(CaseState(case.state)) if n != "extend"]
        raise ApiError(409, f"case {case.number}: its limit is over; one is extended before that", can)
    before = case.state
    taken = step(case, told.step, who.name, told.reason)
    if not taken.waits:
        _clock(case, told, now, pack)
        _note(case, told.step, now)
        finish(case, now)
    touch(case, now)
    detail = {
        "from": before,
        "to": case.state,
        "reason": told.reason,
        "waits": taken.waits,
        "unit": case.unit,
    }
    record_case(session, case, now, f"{who.kind}:{who.name}", f"step.{told.step}", detail)
    publish(session, case, "case.waits" if taken.waits else "case.moved", now)
    if told.step == "done":
        order(session, case, "done", f"{who.kind}:{who.name}", now, pack)


def _note(case: CaseRow, step_name: str, now: datetime) -> None:
    """Keep what the indicators count."""
    if step_name == "file":
        case.filed_at = now
    elif step_name == "done" and case.filed_at is not None:
        case.done_at, case.handling_s = now, (now - case.filed_at).total_seconds()
    elif step_name == "rework":
        case.reworks += 1
    elif step_name == "return" and case.state == CaseState.CONFIRMED:
        case.deadline_at = case.filed_at = case.done_at = case.handling_s = None
    elif step_name == "reopen" or (step_name == "appeal" and case.filed_at is not None):
        count_reopening(case)


def _clock(case: CaseRow, told: StepIn, now: datetime, pack: CityPack) -> None:
    issue = pack.issues[IssueClass(case.issue)]
    limit = pack.limit(IssueClass(case.issue), StreetClass(case.street_class))
    calendar, unit = pack.work_calendar(), limit.unit
    notes = dict(case.held or {})
    if told.step == "file":
        case.deadline_at = deadline(now, limit.amount, unit, calendar)
        notes |= {"pack": f"{pack.name}@{pack.version}", "limit_unit": unit.value}
        case.unit = case.unit or issue.unit
    elif told.step == "dispatch":
        case.unit = told.unit or case.unit or issue.unit
    elif told.step == "extend" and case.deadline_at is not None:
        left = remaining(now, case.deadline_at, unit, calendar) + timedelta(hours=told.hours or 0)
        case.deadline_at = resume(now, left, unit, calendar)
    elif told.step == "suspend" and case.deadline_at is not None:
        notes["left_s"] = str(remaining(now, case.deadline_at, unit, calendar).total_seconds())
        notes["suspended_at"] = now.isoformat()
    elif told.step == "resume" and "left_s" in notes:
        left = timedelta(seconds=float(notes.pop("left_s")))
        notes.pop("suspended_at", None)
        # A limit that was over before the suspension stays over.
        case.deadline_at = (
            resume(now, left, LimitUnit(notes["limit_unit"]), calendar) if left else case.deadline_at
        )
    elif told.step in {"reopen", "appeal"}:
        case.deadline_at = None
    case.held = notes


def _confirmed_at(alert: AlertRow) -> datetime:
    return datetime.fromisoformat(alert.body["dwell"]["confirmed_at"])


def split(session: Session, case: CaseRow, alert_ids: list[str], who: Principal, core: Core) -> CaseRow:
    """Move alerts out of a case into a new one in review; both remember it."""
    now = core.now()
    alerts = list(session.scalars(select(AlertRow).where(AlertRow.case_id == case.id)))
    moved = [a for a in alerts if a.id in set(alert_ids)]
    if len(moved) != len(set(alert_ids)):
        raise ApiError(422, "alerts: name alerts of this case")
    if len(moved) == len(alerts):
        raise ApiError(422, "alerts: at least one must stay")
    first = moved[0]
    number = case_number(session, now)
    new = CaseRow(
        id=new_id(), number=number, tenant=case.tenant, state=CaseState.IN_REVIEW.value, source=case.source,
        issue=first.issue, street_class=first.body["zone"]["street_class"], camera_id=first.camera_id,
        camera_name=first.body.get("camera_name", ""), lon=first.lon, lat=first.lat, place=first.body["place"],
        opened_at=now, updated_at=now, dwell_s=max(a.body["dwell"]["dwell_s"] for a in moved),
        priority=case.priority, version=1, held={}, seen_at=min(now, *map(_confirmed_at, moved)),
    )  # fmt: skip
    locate(session, new, core.areas, core.pack, first.ground_cell)
    session.add(new)
    session.flush()
    for alert in moved:
        alert.case_id = new.id
    touch(case, now)
    told = {"alerts": sorted(alert_ids)}
    record_case(session, case, now, f"user:{who.name}", "case.split", told | {"into": new.id})
    record_case(session, new, now, f"user:{who.name}", "case.split_from", told | {"from": case.id})
    holds.pass_on(session, case, new, f"user:{who.name}", now)
    publish(session, case, "case.split", now)
    publish(session, new, "case.opened", now)
    session.flush()
    return new
