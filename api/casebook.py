"""Cases in the database: filing of alerts, views, and steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from api.audit import record_case
from api.db import lock, next_number, plain
from api.machine import take
from api.merge import Match, find_case, follow, lock_names
from api.outbox import enqueue
from api.settings import Settings
from api.tables import (
    AlertEvidence,
    AlertMessage,
    AlertRow,
    Camera,
    CaseRow,
    Event,
    Evidence,
    Report,
    VerdictRow,
)
from contract import Alert, AlertEvent, AlertStage, CaseSource, CaseState, StreetClass, new_id

PRIORITY = {StreetClass.PROHIBIT: 0, StreetClass.CONTROL: 1, StreetClass.REGULATE: 2}
MAX_EVIDENCE = 32


@dataclass(frozen=True)
class Filed:
    """What became of an alert message."""

    alert_id: str
    case_id: str
    new: bool
    outcome: str
    missing: list[str]


def file_alert(
    session: Session, message: AlertEvent, tenant: str, now: datetime, settings: Settings
) -> Filed:
    """File one message: a new alert finds or makes its case; a known one is brought up to date."""
    alert = message.data
    lock(session, lock_names(alert))
    row = session.get(AlertRow, alert.id)
    seen = session.get(AlertMessage, message.id)
    if seen is not None and row is not None:
        return Filed(row.id, row.case_id, False, "again", missing_evidence(session, row.id))
    if row is not None:
        _update_alert(session, row, alert, now)
        outcome, new = alert.stage.value, False
    else:
        row, outcome = _new_alert(session, alert, tenant, now, settings)
        new = True
    if seen is None:
        session.add(AlertMessage(id=message.id, alert_id=alert.id, received_at=now))
    session.flush()
    return Filed(row.id, row.case_id, new, outcome, missing_evidence(session, row.id))


def _new_alert(
    session: Session, alert: Alert, tenant: str, now: datetime, settings: Settings
) -> tuple[AlertRow, str]:
    match = find_case(session, alert, tenant, now, settings)
    case = match.case if match else _new_case(session, alert, tenant, now)
    row = AlertRow(
        id=alert.id, case_id=case.id, device_id=alert.device_id, camera_id=alert.camera_id,
        issue=alert.issue.value, stage=alert.stage.value, revision=alert.revision, site_id=alert.key.site_id,
        ground_cell=alert.key.ground_cell, lon=alert.place.lon, lat=alert.place.lat,
        starts_at=alert.dwell.first_seen_at, ends_at=_end(alert), received_at=now, body=alert.wire(),
    )  # fmt: skip
    session.add(row)
    session.flush()
    _link_evidence(session, alert)
    _see_camera(session, alert, tenant)
    if match is None:
        told = {"alert": alert.id, "camera": alert.camera_id, "issue": alert.issue.value}
        record_case(session, case, now, f"device:{alert.device_id}", "case.opened", told)
        publish(session, case, "case.opened", now)
        return row, "case"
    _join(session, match, alert, now)
    return row, "reopened" if match.reopens else "joined"


def _join(session: Session, match: Match, alert: Alert, now: datetime) -> None:
    case = match.case
    if not case.camera_id:
        case.camera_id, case.camera_name = alert.camera_id, alert.camera_name
        for report in session.scalars(select(Report).where(Report.case_id == case.id)):
            report.ahead_s = (report.reported_at - now).total_seconds()
    case.dwell_s = max(case.dwell_s, alert.dwell.dwell_s)
    action = "case.joined"
    if match.reopens:
        action = "case.reopened"
        taken = take(CaseState(case.state), "reopen", f"device:{alert.device_id}", match.why, case.held or {})
        case.state, case.held = taken.state.value, dict(taken.notes)
        case.ended_at = case.deadline_at = None
        count_reopening(case)
    touch(case, now)
    record_case(
        session, case, now, f"device:{alert.device_id}", action, {"alert": alert.id, "why": match.why}
    )
    publish(session, case, action, now)


def _new_case(session: Session, alert: Alert, tenant: str, now: datetime) -> CaseRow:
    case = CaseRow(
        id=new_id(), number=f"{now.year}-{next_number(session, f'case:{now.year}'):06d}", tenant=tenant,
        state=CaseState.IN_REVIEW.value, source=CaseSource.CAMERA_AI.value, issue=alert.issue.value,
        street_class=alert.zone.street_class.value, camera_id=alert.camera_id,
        camera_name=alert.camera_name, lon=alert.place.lon, lat=alert.place.lat,
        place=alert.place.model_dump(mode="json"), opened_at=now, updated_at=now,
        dwell_s=alert.dwell.dwell_s, priority=PRIORITY[alert.zone.street_class], version=1, held={},
    )  # fmt: skip
    session.add(case)
    session.flush()
    return case


def _update_alert(session: Session, row: AlertRow, alert: Alert, now: datetime) -> None:
    _link_evidence(session, alert)
    if alert.revision < row.revision:
        return  # an older message that came late: its evidence counts, its state does not
    body = alert.wire()
    have = {e["sha256"] for e in body.get("evidence", ())}
    older = [e for e in row.body.get("evidence", ()) if e["sha256"] not in have]
    body["evidence"] = [*older, *body.get("evidence", ())][-MAX_EVIDENCE:]
    row.revision, row.stage, row.body, row.ends_at = alert.revision, alert.stage.value, body, _end(alert)
    case = session.get_one(CaseRow, row.case_id)
    case = follow(session, case)
    case.dwell_s = max(case.dwell_s, alert.dwell.dwell_s)
    touch(case, now)
    if alert.stage is AlertStage.CLEARED:
        record_case(session, case, now, f"device:{alert.device_id}", "alert.cleared", {"alert": alert.id})
    publish(session, case, f"alert.{alert.stage}", now)


def _end(alert: Alert) -> datetime | None:
    return alert.occurred_at if alert.stage is AlertStage.CLEARED else None


def _link_evidence(session: Session, alert: Alert) -> None:
    values = [{"alert_id": alert.id, "sha256": e.sha256, "kind": e.kind.value} for e in alert.evidence]
    if values:
        insert = pg_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
        session.execute(insert(AlertEvidence).values(values).on_conflict_do_nothing())


def _see_camera(session: Session, alert: Alert, tenant: str) -> None:
    camera = session.get(Camera, alert.camera_id)
    if camera is None:
        insert = pg_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
        session.execute(
            insert(Camera)
            .values(
                id=alert.camera_id, device_id=alert.device_id, tenant=tenant, name=alert.camera_name,
                lon=alert.place.lon, lat=alert.place.lat,
            )
            .on_conflict_do_nothing()
        )  # fmt: skip
    elif camera.tenant == tenant and (camera.lon is None or camera.name != alert.camera_name):
        camera.name, camera.lon, camera.lat = alert.camera_name, alert.place.lon, alert.place.lat


def missing_evidence(session: Session, alert_id: str) -> list[str]:
    """Return the hashes that the alert names and the store lacks."""
    return list(
        session.scalars(
            select(AlertEvidence.sha256)
            .outerjoin(Evidence, Evidence.sha256 == AlertEvidence.sha256)
            .where(AlertEvidence.alert_id == alert_id, Evidence.sha256.is_(None))
            .order_by(AlertEvidence.sha256)
        )
    )


def count_reopening(case: CaseRow) -> None:
    """Count the case as reopened; it is filed and handled anew."""
    case.reopens += 1
    case.filed_at = case.done_at = case.handling_s = None


def touch(case: CaseRow, now: datetime) -> None:
    """Count the version up and free the lease's holder from a stale page."""
    case.version += 1
    case.updated_at = now


def publish(session: Session, case: CaseRow, kind: str, now: datetime) -> None:
    """Put a line on the live feed within the transaction."""
    body = {
        "case_id": case.id, "number": case.number, "state": case.state, "issue": case.issue,
        "camera_id": case.camera_id, "version": case.version, "street_class": case.street_class,
        "lon": case.lon, "lat": case.lat,
    }  # fmt: skip
    session.add(Event(at=now, tenant=case.tenant, kind=kind, body=plain(body)))
    enqueue(session, case.tenant, kind, plain(body), now)


def verdict_view(row: VerdictRow) -> dict[str, Any]:
    """Return a verdict as `contract.Verdict` has it."""
    body = {
        "id": row.id, "case_id": row.case_id, "kind": row.kind, "reason": row.reason, "issue": row.issue,
        "text": row.text, "reviewer": row.reviewer, "at": plain(row.at), "seconds": row.seconds, "box": row.box,
    }  # fmt: skip
    return {k: v for k, v in body.items() if v is not None}


def views(session: Session, cases: list[CaseRow]) -> list[dict[str, Any]]:
    """Return cases as `contract.Case` has them, in two queries for all."""
    ids = [c.id for c in cases]
    alerts: dict[str, list[dict[str, Any]]] = {i: [] for i in ids}
    verdicts: dict[str, list[dict[str, Any]]] = {i: [] for i in ids}
    if ids:
        for row in session.scalars(
            select(AlertRow).where(AlertRow.case_id.in_(ids)).order_by(AlertRow.received_at, AlertRow.id)
        ):
            alerts[row.case_id].append(row.body)
        for told in session.scalars(
            select(VerdictRow)
            .where(VerdictRow.case_id.in_(ids), VerdictRow.undone_at.is_(None))
            .order_by(VerdictRow.at, VerdictRow.id)
        ):
            verdicts[told.case_id].append(verdict_view(told))
    return [_view(c, alerts[c.id], verdicts[c.id]) for c in cases]


def _view(case: CaseRow, alerts: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> dict[str, Any]:
    body = {
        "id": case.id, "number": case.number, "state": case.state, "source": case.source, "issue": case.issue,
        "street_class": case.street_class, "camera_id": case.camera_id, "camera_name": case.camera_name,
        "place": case.place, "opened_at": plain(case.opened_at), "updated_at": plain(case.updated_at),
        "dwell_s": case.dwell_s, "alerts": alerts, "verdicts": verdicts, "version": case.version,
    }  # fmt: skip
    if case.deadline_at is not None:
        body["deadline_at"] = plain(case.deadline_at)
    return body
