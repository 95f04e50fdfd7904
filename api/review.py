"""Review: verdicts and their undo."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import holds
from api.access import Principal
from api.audit import record_case
from api.casebook import publish, touch
from api.core import Core
from api.errors import ApiError
from api.locating import locate
from api.machine import OPEN_STATES, IllegalStepError, Taken, take
from api.outbox import recall
from api.pack import CityPack
from api.tables import AlertRow, CaseRow, Report, VerdictRow
from contract import CaseState, IssueClass, RejectReason, VerdictKind, new_id
from contract.base import Box, Identifier


class VerdictIn(BaseModel):
    """A reviewer's decision as the console sends it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"kind": "confirm", "seconds": 3.2}, {"kind": "reject", "reason": 2}]
        },
    )
    kind: VerdictKind
    reason: RejectReason | None = None
    issue: Annotated[
        IssueClass | None, Field(description="The right class, when the box named a wrong one.")
    ] = None
    text: Annotated[str, Field(max_length=1000)] = ""
    seconds: Annotated[float | None, Field(ge=0, le=86400)] = None
    into: Annotated[
        Identifier | None, Field(description="With `merge`: the case that takes this one in.")
    ] = None
    box: Annotated[Box | None, Field(description="With `confirm`: the latest alert's box, drawn anew.")] = (
        None
    )

    @model_validator(mode="after")
    def _reasoned(self) -> Self:
        if (self.kind is VerdictKind.REJECT) != (self.reason is not None):
            raise ValueError("reason: a rejection needs a reason from 1 to 9, and nothing else may have one")
        if self.reason is RejectReason.OTHER and not self.text.strip():
            raise ValueError("text: reason 9 (other) needs a few words")
        if (self.kind is VerdictKind.MERGE) != (self.into is not None):
            raise ValueError(
                "into: a merge names the case that takes this one in, and nothing else may have it"
            )
        if self.box is not None:
            if self.kind is not VerdictKind.CONFIRM:
                raise ValueError("box: only a confirmed case can have its box drawn anew")
            if self.box[2] <= self.box[0] or self.box[3] <= self.box[1]:
                raise ValueError("box: x2 must exceed x1 and y2 must exceed y1")
        return self


def find(session: Session, case_id: str, who: Principal, *, update: bool = False) -> CaseRow:
    """Return a case of the asker's tenant; 404 otherwise. With `update` it is held, and as it is once it is held."""
    query = select(CaseRow).where(CaseRow.id == case_id, who.sees(CaseRow.tenant))
    if update:
        # A row that the session read before it was held would else stay as it was then.
        query = query.with_for_update().execution_options(populate_existing=True)
    case = session.scalar(query)
    if case is None:
        raise ApiError(404, f"no case {case_id} here")
    return case


def check_version(case: CaseRow, if_match: str | None) -> None:
    """Refuse with 412 when the caller saw an older version."""
    if if_match not in {None, "*"} and str(if_match).strip('W/"') != str(case.version):
        raise ApiError(412, f"case {case.number} has changed: it is at version {case.version} now")


def step(case: CaseRow, name: str, who: str, reason: str = "") -> Taken:
    """Take a step in the machine; 409 with the allowed steps when it is illegal."""
    try:
        notes: Mapping[str, str] = case.held or {}
        taken = take(CaseState(case.state), name, who, reason, notes)
    except IllegalStepError as exc:
        raise ApiError(409, f"case {case.number}: {exc}", exc.allowed) from exc
    case.state, case.held = taken.state.value, dict(taken.notes)
    return taken


def finish(case: CaseRow, now: datetime) -> None:
    """Set or clear the moment of the end by the state."""
    case.ended_at = None if CaseState(case.state) in OPEN_STATES else now


def give_verdict(
    session: Session, case: CaseRow, told: VerdictIn, who: Principal, now: datetime, core: Core
) -> VerdictRow:
    """Judge a case and return the verdict's row. A class that wants two persons goes to the second one first."""
    before: dict[str, Any] = {
        "state": case.state, "issue": case.issue, "held": dict(case.held or {}), "merged_into": case.merged_into,
        "ended_at": case.ended_at.isoformat() if case.ended_at else None, "unit": case.unit,
    }  # fmt: skip
    if case.lease_by not in {None, who.name} and case.lease_until and case.lease_until > now:
        raise ApiError(409, f"case {case.number} is being reviewed by {case.lease_by}", [])
    target = _merge_target(session, case, told, who) if told.into else None
    step(case, _step_of(case, told, core.pack), who.name)
    if target is not None:
        moved = list(session.scalars(select(AlertRow).where(AlertRow.case_id == case.id)))
        before["moved"] = [a.id for a in moved]
        for alert in moved:
            alert.case_id = target.id
        reports = list(session.scalars(select(Report).where(Report.case_id == case.id)))
        before["reports"] = [r.id for r in reports]
        for report in reports:
            report.case_id = target.id
        case.merged_into = target.id
        touch(target, now)
        record_case(session, target, now, f"user:{who.name}", "case.took_in", {
            "case": case.id, "alerts": before["moved"], "reports": before["reports"],
        })  # fmt: skip
        before["hold"] = holds.pass_on(session, case, target, f"user:{who.name}", now)
        before["held_at"] = holds.held_at(session, target)
    if told.box:
        before["box_of"] = session.scalar(
            select(AlertRow.id)
            .where(AlertRow.case_id == case.id)
            .order_by(AlertRow.received_at.desc(), AlertRow.id.desc())
            .limit(1)
        )
    if told.issue and told.kind is VerdictKind.CONFIRM:
        case.issue = told.issue.value
        locate(session, case, core.areas, core.pack)
    finish(case, now)
    touch(case, now)
    case.lease_by = case.lease_until = None
    before["version"] = case.version
    row = VerdictRow(
        id=new_id(), case_id=case.id, kind=told.kind.value, reason=told.reason, text=told.text,
        issue=told.issue.value if told.issue else None, reviewer=who.name, at=now, seconds=told.seconds, before=before,
        box=list(told.box) if told.box else None,
    )  # fmt: skip
    session.add(row)
    session.flush()
    detail = told.model_dump(mode="json", exclude_none=True) | {"verdict": row.id}
    record_case(session, case, now, f"user:{who.name}", f"verdict.{told.kind}", detail)
    publish(session, case, "case.judged", now, hold_s=core.settings.undo_s)
    return row


def _step_of(case: CaseRow, told: VerdictIn, pack: CityPack) -> str:
    first = told.kind is VerdictKind.CONFIRM and case.state == CaseState.IN_REVIEW.value
    if first and pack.issues[told.issue or IssueClass(case.issue)].two_persons:
        return "confirm_first"
    return told.kind.value


def _merge_target(session: Session, case: CaseRow, told: VerdictIn, who: Principal) -> CaseRow:
    target = find(session, str(told.into), who, update=True)
    if target.id == case.id:
        raise ApiError(422, "into: a case cannot be merged with itself")
    if target.tenant != case.tenant or CaseState(target.state) not in OPEN_STATES:
        raise ApiError(409, f"case {target.number} is {target.state}; only an open case takes another in", [])
    return target


def undo_verdict(
    session: Session, case: CaseRow, verdict_id: str, who: Principal, now: datetime, within_s: float
) -> None:
    """Take the asker's last verdict back, within `within_s` seconds and while nothing else has happened."""
    row = session.get(VerdictRow, verdict_id)
    if row is None or row.case_id != case.id or row.undone_at is not None:
        raise ApiError(404, f"case {case.number} has no verdict {verdict_id}")
    if row.reviewer != who.name:
        raise ApiError(403, "only the reviewer can take a verdict back")
    if now - row.at > timedelta(seconds=within_s):
        raise ApiError(409, f"a verdict can be taken back for {within_s:g} s; ask a supervisor to reopen", [])
    before: dict[str, Any] = row.before
    if before["version"] != case.version:
        raise ApiError(409, f"case {case.number} has changed since the verdict", [])
    target = session.get(CaseRow, case.merged_into) if case.merged_into != before["merged_into"] else None
    if target is not None:
        touch(target, now)
        record_case(session, target, now, f"user:{who.name}", "case.gave_back", {"case": case.id})
        if before.get("hold"):
            holds.take_back(session, case, target, before["hold"], f"user:{who.name}", now)
        if holds.held_since(session, target, row.at, before.get("held_at")):
            holds.pass_on(session, target, case, f"user:{who.name}", now)
    for alert in session.scalars(select(AlertRow).where(AlertRow.id.in_(before.get("moved", [])))):
        alert.case_id = case.id
    for report in session.scalars(select(Report).where(Report.id.in_(before.get("reports", [])))):
        report.case_id = case.id
    case.state, case.issue, case.held = before["state"], before["issue"], before["held"]
    case.merged_into = before["merged_into"]
    case.unit = before.get("unit", case.unit)
    case.ended_at = datetime.fromisoformat(before["ended_at"]) if before["ended_at"] else None
    row.undone_at = now
    touch(case, now)
    record_case(session, case, now, f"user:{who.name}", "verdict.undone", {"verdict": row.id})
    # Nothing has left while the verdict could be taken back, so that nothing need follow it.
    publish(
        session, case, "verdict.undone", now, leaves=not recall(session, case.id, "case.judged", row.at, now)
    )
