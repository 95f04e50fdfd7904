"""Filing of alerts: a message finds its case, opens one, or brings a known alert up to date.

A new case is the busiest path of the centre: one statement holds its place, one asks, and one writes; everything is
known before the case takes its number, for which all other new cases wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from api.audit import opening, record_case
from api.bulk import Rows, add_numbered, add_rows
from api.casebook import count_reopening, feed_line, publish, touch
from api.clues import Known, ask, missing_of
from api.core import Core
from api.custody import claim_of, envelope_of, judged_link, note_fault
from api.db import columns_of, lock
from api.errors import ApiError
from api.locating import locate
from api.machine import take
from api.merge import Clues, Match, find_case, follow, lock_names
from api.outbox import deliveries, hooks_above
from api.priority import look_by, rank
from api.recurrence import seen_at
from api.tables import (
    AlertEvidence,
    AlertMessage,
    AlertRow,
    Audit,
    Camera,
    CaseRow,
    Delivery,
    Event,
    Report,
)
from api.tables_custody import ChainLink
from api.tracing import span
from contract import Alert, AlertEvent, AlertStage, CaseSource, CaseState, new_id

MAX_EVIDENCE = 32
MAX_LOOKS = 4
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


_NAMED = select(AlertEvidence.sha256).where(AlertEvidence.alert_id == bindparam("alert"))


def file_alert(session: Session, message: AlertEvent, link: str | None, tenant: str, core: Core) -> Filed:
    """File one message with its signed link, within the transaction."""
    alert, now, case_id = message.data, core.now(), new_id()
    envelope = envelope_of(link)
    # A sweep that deletes a file of the alert's comes before, and it is missing, or after, and the file is named.
    files = {f"stored:{e.sha256}" for e in alert.evidence}
    lock(session, [*lock_names(alert), f"chain:{alert.device_id}", *files])
    known = ask(session, message, claim_of(envelope or ""), case_id, tenant, core)
    judged = None if known.linked else judged_link(message, envelope, session, known.link, core.keys, now)
    fault = judged.fault if judged else None
    if not known.alert:
        case_id, outcome = _file_new(session, message, known, judged, case_id, tenant, core)
        return Filed(alert.id, case_id, True, outcome, known.missing, fault)
    row = session.get_one(AlertRow, alert.id)
    _check_owner(session, row, alert, tenant)
    outcome = "again"
    if not known.seen:
        _update_alert(session, row, alert, now)
        session.add(AlertMessage(id=message.id, alert_id=alert.id, received_at=now))
        outcome = alert.stage.value
    if judged is not None:
        session.flush()
        add_rows(session, [(ChainLink, columns_of(judged))])
        note_fault(session, judged, row.case_id, now)
    session.flush()
    named = list(session.scalars(_NAMED, {"alert": row.id}))
    return Filed(row.id, row.case_id, False, outcome, missing_of(session, named), fault)


def _file_new(
    session: Session, message: AlertEvent, known: Known, link: ChainLink | None, case_id: str, tenant: str,
    core: Core,
) -> tuple[str, str]:  # fmt: skip
    """File an alert that is new here; return its case, `case_id` if it opens one, and what became of it."""
    alert, now = message.data, core.now()
    with span("merge") as told:
        match = _settled(session, alert, tenant, core, known)
        if told is not None:
            told.set("merge.why", match.why if match else "new")
    rows: Rows = [(AlertRow, _alert_row(alert, match.case.id if match else case_id, now))]
    rows += [(AlertEvidence, row) for row in _evidence_rows(alert)]
    if not known.seen:
        rows.append((AlertMessage, {"id": message.id, "alert_id": alert.id, "received_at": now}))
    if link is not None:
        rows.append((ChainLink, columns_of(link)))
    _see_camera(session, known.camera, alert, tenant, rows, now)
    if match is None:
        _open_case(session, alert, known, case_id, tenant, core, rows)
    else:
        case_id = match.case.id
        add_rows(session, rows)
        _join(session, match, alert, now)
    if link is not None:
        note_fault(session, link, case_id, now)
    outcome = "case" if match is None else "reopened" if match.reopens else "joined"
    return case_id, outcome


def _settled(session: Session, alert: Alert, tenant: str, core: Core, known: Known) -> Match | None:
    """Find the alert's case and hold it; one that somebody changed between the two is looked at anew."""
    match = find_case(session, alert, tenant, core.now(), core.settings, known.place)
    for _ in range(MAX_LOOKS):
        if match is None:
            break
        seen = match.case.version
        session.refresh(match.case, with_for_update=True)
        if match.case.version == seen:
            break
        match = find_case(session, alert, tenant, core.now(), core.settings, Clues())
    return match


def _alert_row(alert: Alert, case_id: str, now: datetime) -> dict[str, Any]:
    return {
        "id": alert.id, "case_id": case_id, "device_id": alert.device_id, "camera_id": alert.camera_id,
        "issue": alert.issue.value, "stage": alert.stage.value, "revision": alert.revision,
        "site_id": alert.key.site_id, "ground_cell": alert.key.ground_cell, "lon": alert.place.lon,
        "lat": alert.place.lat, "starts_at": alert.dwell.first_seen_at, "ends_at": _end(alert), "received_at": now,
        "body": alert.wire(),
    }  # fmt: skip


def _evidence_rows(alert: Alert) -> list[dict[str, Any]]:
    files = {e.sha256: e.kind.value for e in reversed(alert.evidence)}
    return [{"alert_id": alert.id, "sha256": sha, "kind": kind} for sha, kind in files.items()]


def _see_camera(
    session: Session, as_told: bool | None, alert: Alert, tenant: str, rows: Rows, now: datetime
) -> None:
    told = {"name": alert.camera_name, "lon": alert.place.lon, "lat": alert.place.lat}
    if as_told is None:
        rows.append(
            (
                Camera,
                told | {"id": alert.camera_id, "device_id": alert.device_id, "tenant": tenant, "since": now},
            )
        )
    elif not as_told:
        session.execute(update(Camera).where(Camera.id == alert.camera_id).values(told))


def _open_case(
    session: Session, alert: Alert, known: Known, case_id: str, tenant: str, core: Core, rows: Rows
) -> None:
    """Make a case of the alert and write it with `rows`."""
    now = core.now()
    case = CaseRow(
        id=case_id, number="", tenant=tenant, state=CaseState.IN_REVIEW.value,
        source=CaseSource.CAMERA_AI.value, issue=alert.issue.value, street_class=alert.zone.street_class.value,
        camera_id=alert.camera_id, camera_name=alert.camera_name, lon=alert.place.lon, lat=alert.place.lat,
        place=alert.place.model_dump(mode="json"), opened_at=now, updated_at=now, dwell_s=alert.dwell.dwell_s,
        seen_at=seen_at(alert, now), priority=0, version=1, held={}, reworks=0, reopens=0,
    )  # fmt: skip
    locate(session, case, core.areas, core.pack, alert.key.ground_cell, known.areas, known.recurs)
    case.priority = _priority(case, alert, core)
    told = {"alert": alert.id, "camera": alert.camera_id, "issue": alert.issue.value}
    entry = opening(f"case:{case.id}", now, f"device:{alert.device_id}", "case.opened", told)
    case.audit_head = entry["hash"]
    hooks = hooks_above(session, tenant) if known.hooks else []

    def numbered(number: str) -> Rows:
        case.number = number
        line = feed_line(case)
        return [
            (CaseRow, columns_of(case)),
            *rows,
            (Audit, entry),
            (Event, {"at": now, "tenant": tenant, "kind": "case.opened", "body": line}),
            *((Delivery, columns_of(row)) for row in deliveries(hooks, "case.opened", line, now)),
        ]

    add_numbered(session, numbered, now, apart=bool(hooks))


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


def _check_owner(session: Session, row: AlertRow, alert: Alert, tenant: str) -> None:
    """Refuse a message about another box's alert, unless the camera has moved to this box within the tenant.

    422, since boxes take that for final: a 403 or 409 they would send again for ever, before all that waits behind it.
    """
    if row.device_id == alert.device_id:
        return
    owner = session.scalar(select(CaseRow.tenant).where(CaseRow.id == row.case_id))
    if owner != tenant or row.camera_id != alert.camera_id:
        raise ApiError(422, f"data.id: the alert {alert.id} is of another box")


def _update_alert(session: Session, row: AlertRow, alert: Alert, now: datetime) -> None:
    # What the alert named before was named once; retention may have taken it since.
    known = {e["sha256"] for e in row.body.get("evidence", ())}
    fresh = [told for told in _evidence_rows(alert) if told["sha256"] not in known]
    add_rows(session, [(AlertEvidence, told) for told in fresh])
    if alert.revision < row.revision:
        return  # an older message that came late: its evidence counts, its state does not
    body = alert.wire()
    said = (row.revision, row.stage, row.body["occurred_at"])
    if not fresh and (alert.revision, alert.stage.value, body["occurred_at"]) == said:
        return  # this message again, after its id has been swept
    have = {e["sha256"] for e in body.get("evidence", ())}
    older = [e for e in row.body.get("evidence", ()) if e["sha256"] not in have]
    body["evidence"] = [*older, *body.get("evidence", ())][-MAX_EVIDENCE:]
    row.revision, row.stage, row.body, row.ends_at = alert.revision, alert.stage.value, body, _end(alert)
    case = follow(session, session.get_one(CaseRow, row.case_id))
    session.refresh(case, with_for_update=True)
    case.dwell_s = max(case.dwell_s, alert.dwell.dwell_s)
    touch(case, now)
    if alert.stage is AlertStage.CLEARED:
        record_case(session, case, now, f"device:{alert.device_id}", "alert.cleared", {"alert": alert.id})
    publish(session, case, f"alert.{alert.stage}", now)


def _end(alert: Alert) -> datetime | None:
    return alert.occurred_at if alert.stage is AlertStage.CLEARED else None
