"""What a re-inspection means for its case: advice; and a closing by itself only where the city has asked for it."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from api.audit import record_case
from api.casebook import publish, touch
from api.errors import ApiError
from api.inspections import DONE
from api.machine import REVIEW_STATES
from api.pack import CityPack
from api.review import finish, step
from api.tables import AlertEvidence, CaseRow, Inspection
from contract import CaseState, InspectionReport, InspectionResult, IssueClass

MACHINE = "machine:inspection"


def advice(state: CaseState, result: InspectionResult) -> str:
    """Return what the machine advises: close, rework, remind, self_resolve, look, or none."""
    if result is InspectionResult.INCONCLUSIVE:
        return "look"
    cleared = result is InspectionResult.CLEARED
    if state is CaseState.RECHECK:
        return "close" if cleared else "rework"
    if state in REVIEW_STATES | {CaseState.CONFIRMED}:
        return "self_resolve" if cleared else "none"
    return "look" if cleared else "remind"


def for_people(inspection_id: str, share: float) -> bool:
    """True for the share of inspections that people check; by a hash of the id, so nobody can choose which."""
    drawn = int.from_bytes(hashlib.sha256(inspection_id.encode()).digest()[:4], "big") / 2**32
    return drawn < share


def take(
    session: Session, row: Inspection, case: CaseRow, told: InspectionReport, now: datetime, pack: CityPack
) -> None:
    """Take a box's report; a second one changes nothing."""
    if told.alert_id != row.alert_id or told.camera_id != row.camera_id:
        raise ApiError(422, "alert_id, camera_id: must be those of the order")
    if row.state == DONE:
        return
    _link(session, told)
    row.state, row.result, row.report, row.done_at = DONE, told.result.value, told.wire(), now
    row.advice = advice(CaseState(case.state), told.result)
    detail = {"inspection": row.id, "result": row.result, "reason": told.reason, "advice": row.advice}
    touch(case, now)
    record_case(session, case, now, f"device:{told.device_id}", f"inspection.{row.result}", detail)
    publish(session, case, f"inspection.{row.result}", now)
    if row.advice == "close" and pack.issues[IssueClass(case.issue)].auto_close:
        row.sampled = for_people(row.id, pack.inspection.human_share)
        if not row.sampled:
            _close(session, case, row, now)


def _close(session: Session, case: CaseRow, row: Inspection, now: datetime) -> None:
    before = case.state
    step(case, "close", MACHINE)
    finish(case, now)
    touch(case, now)
    detail = {"from": before, "to": case.state, "inspection": row.id}
    record_case(session, case, now, MACHINE, "step.close", detail)
    publish(session, case, "case.moved", now)
    row.advice = "closed"


def _link(session: Session, told: InspectionReport) -> None:
    """Hang the pictures on the alert, so that they are found, guarded and kept like its other evidence."""
    kinds = (("after", told.after), ("context", told.context))
    values = [{"alert_id": told.alert_id, "sha256": e.sha256, "kind": kind} for kind, e in kinds if e]
    if values:
        insert = pg_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
        session.execute(insert(AlertEvidence).values(values).on_conflict_do_nothing())
