"""Filing of alerts: a message finds its case, opens one, or brings a known alert up to date.

A new case is the busiest path of the centre. It asks first and writes last: everything is known before the case takes
its number, for which all other new cases wait, and each row is written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, literal, select
from sqlalchemy.orm import Session

from api.audit import opening, record_case
from api.casebook import count_reopening, feed_line, publish, touch
from api.core import Core
from api.custody import judged_link, note_fault
from api.db import Rows, add_rows, case_number, columns_of, lock
from api.locating import locate
from api.machine import take
from api.merge import Match, find_case, follow, lock_names
from api.outbox import deliveries, hooks_above
from api.priority import look_by, rank
from api.tables import (
    AlertEvidence,
    AlertMessage,
    AlertRow,
    Audit,
    Camera,
    CaseRow,
    Delivery,
    Event,
    Evidence,
    Report,
)
from api.tables_custody import ChainLink
from api.tracing import span
from contract import Alert, AlertEvent, AlertStage, CaseSource, CaseState, new_id

MAX_EVIDENCE = 32
# A case that a permit of the pack covers is shown all the same, after the others of its day.
PERMITTED_WAITS = timedelta(hours=24)


@dataclass(frozen=True)
class Filed:
    """What became of an alert message; `fault` is what was wrong with its signed link."""

    alert_id: str
    case_id: str
    new: bool
    outcome: str
    missing: list[str]
    fault: str | None


@dataclass(frozen=True)
class _Known:
    alert: AlertRow | None
    seen: bool
    camera: Camera | None
    linked: bool


_ONE = select(literal(1).label("one")).subquery()
_KNOWN = (
    select(AlertRow, AlertMessage.id, Camera, ChainLink.event_id)
    .select_from(_ONE)
    .outerjoin(AlertRow, AlertRow.id == bindparam("alert"))
    .outerjoin(AlertMessage, AlertMessage.id == bindparam("message"))
    .outerjoin(Camera, Camera.id == bindparam("camera"))
    .outerjoin(ChainLink, ChainLink.event_id == bindparam("message"))
)
_HERE = select(Evidence.sha256).where(Evidence.sha256.in_(bindparam("hashes", expanding=True)))
_NAMED = select(AlertEvidence.sha256).where(AlertEvidence.alert_id == bindparam("alert"))


def file_alert(session: Session, message: AlertEvent, link: str | None, tenant: str, core: Core) -> Filed:
    """File one message with its signed link, within the transaction."""
    alert, now = message.data, core.now()
    lock(session, [*lock_names(alert), f"chain:{alert.device_id}"])
    values = {"alert": alert.id, "message": message.id, "camera": alert.camera_id}
    row, seen, camera, linked = session.execute(_KNOWN, values).one()
    known = _Known(row, seen is not None, camera, linked is not None)
    judged = None if known.linked else judged_link(session, message, link, now)
    fault = judged.fault if judged else None
    if row is None:
        case_id, outcome, missing = _file_new(session, message, known, judged, tenant, core)
        return Filed(alert.id, case_id, True, outcome, missing, fault)
    outcome = "again"
    if not known.seen:
        _update_alert(session, row, alert, now)
        session.add(AlertMessage(id=message.id, alert_id=alert.id, received_at=now))
        outcome = alert.stage.value
    if judged is not None:
        note_fault(session, judged, row.case_id, now)
    session.flush()
    named = list(session.scalars(_NAMED, {"alert": row.id}))
    return Filed(row.id, row.case_id, False, outcome, _missing(session, named), fault)


def _missing(session: Session, hashes: list[str]) -> list[str]:
    """Return which of the files are not in the store."""
    if not hashes:
        return []
    here = set(session.scalars(_HERE, {"hashes": hashes}))
    return sorted(set(hashes) - here)


def _file_new(
    session: Session, message: AlertEvent, known: _Known, link: ChainLink | None, tenant: str, core: Core
) -> tuple[str, str, list[str]]:
    """File an alert that is new here; return its case, what became of it, and the files that are missing."""
    alert, now = message.data, core.now()
    with span("merge") as told:
        match = find_case(session, alert, tenant, now, core.settings)
        if told is not None:
            told.set("merge.why", match.why if match else "new")
    missing = _missing(session, [e.sha256 for e in alert.evidence])
    rows: Rows = [(AlertRow, columns_of(_alert_row(alert, now)))]
    rows += [(AlertEvidence, row) for row in _evidence_rows(alert)]
    if not known.seen:
        rows.append((AlertMessage, {"id": message.id, "alert_id": alert.id, "received_at": now}))
    _see_camera(known.camera, alert, tenant, rows)
    if match is None:
        case = _open_case(session, alert, tenant, core, rows)
    else:
        case = match.case
        rows[0][1]["case_id"] = case.id
        add_rows(session, rows)
        _join(session, match, alert, now)
    if link is not None:
        note_fault(session, link, case.id, now)
    outcome = "case" if match is None else "reopened" if match.reopens else "joined"
    return case.id, outcome, missing


def _alert_row(alert: Alert, now: datetime) -> AlertRow:
    return AlertRow(
        id=alert.id, case_id="", device_id=alert.device_id, camera_id=alert.camera_id,
        issue=alert.issue.value, stage=alert.stage.value, revision=alert.revision, site_id=alert.key.site_id,
        ground_cell=alert.key.ground_cell, lon=alert.place.lon, lat=alert.place.lat,
        starts_at=alert.dwell.first_seen_at, ends_at=_end(alert), received_at=now, body=alert.wire(),
    )  # fmt: skip


def _evidence_rows(alert: Alert) -> list[dict[str, Any]]:
    files = {e.sha256: e.kind.value for e in reversed(alert.evidence)}
    return [{"alert_id": alert.id, "sha256": sha, "kind": kind} for sha, kind in files.items()]


def _see_camera(camera: Camera | None, alert: Alert, tenant: str, rows: Rows) -> None:
    if camera is None:
        told = {
            "id": alert.camera_id, "device_id": alert.device_id, "tenant": tenant, "name": alert.camera_name,
            "lon": alert.place.lon, "lat": alert.place.lat,
        }  # fmt: skip
        rows.append((Camera, told))
    elif camera.tenant == tenant and (camera.lon is None or camera.name != alert.camera_name):
        camera.name, camera.lon, camera.lat = alert.camera_name, alert.place.lon, alert.place.lat


def _open_case(session: Session, alert: Alert, tenant: str, core: Core, rows: Rows) -> CaseRow:
    """Make a case of the alert and write it with `rows`."""
    now = core.now()
    case = CaseRow(
        id=new_id(), number="", tenant=tenant, state=CaseState.IN_REVIEW.value,
        source=CaseSource.CAMERA_AI.value, issue=alert.issue.value, street_class=alert.zone.street_class.value,
        camera_id=alert.camera_id, camera_name=alert.camera_name, lon=alert.place.lon, lat=alert.place.lat,
        place=alert.place.model_dump(mode="json"), opened_at=now, updated_at=now, dwell_s=alert.dwell.dwell_s,
        priority=0, version=1, held={}, reworks=0, reopens=0,
    )  # fmt: skip
    locate(session, case, core.areas, core.pack, alert.key.ground_cell)
    case.priority = _priority(case, alert, core)
    rows[0][1]["case_id"] = case.id
    told = {"alert": alert.id, "camera": alert.camera_id, "issue": alert.issue.value}
    entry = opening(f"case:{case.id}", now, f"device:{alert.device_id}", "case.opened", told)
    case.audit_head = entry["hash"]
    hooks = hooks_above(session, tenant)
    case.number = case_number(session, now)
    line = feed_line(case)
    rows[:0] = [(CaseRow, columns_of(case))]
    rows += [
        (Audit, entry),
        (Event, {"at": now, "tenant": tenant, "kind": "case.opened", "body": line}),
        *((Delivery, columns_of(row)) for row in deliveries(hooks, "case.opened", line, now)),
    ]
    add_rows(session, rows)
    return case


def _priority(case: CaseRow, alert: Alert, core: Core) -> int:
    street = alert.zone.street_class
    limit, weight = core.pack.limit(alert.issue, street), core.pack.street_classes[street].weight
    due = look_by(alert.issue, street, case.opened_at, limit, alert.model.score, weight)
    return rank(due + PERMITTED_WAITS if (case.held or {}).get("permit") else due)


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


def _update_alert(session: Session, row: AlertRow, alert: Alert, now: datetime) -> None:
    add_rows(session, [(AlertEvidence, told) for told in _evidence_rows(alert)])
    if alert.revision < row.revision:
        return  # an older message that came late: its evidence counts, its state does not
    body = alert.wire()
    have = {e["sha256"] for e in body.get("evidence", ())}
    older = [e for e in row.body.get("evidence", ()) if e["sha256"] not in have]
    body["evidence"] = [*older, *body.get("evidence", ())][-MAX_EVIDENCE:]
    row.revision, row.stage, row.body, row.ends_at = alert.revision, alert.stage.value, body, _end(alert)
    case = follow(session, session.get_one(CaseRow, row.case_id))
    case.dwell_s = max(case.dwell_s, alert.dwell.dwell_s)
    touch(case, now)
    if alert.stage is AlertStage.CLEARED:
        record_case(session, case, now, f"device:{alert.device_id}", "alert.cleared", {"alert": alert.id})
    publish(session, case, f"alert.{alert.stage}", now)


def _end(alert: Alert) -> datetime | None:
    return alert.occurred_at if alert.stage is AlertStage.CLEARED else None
