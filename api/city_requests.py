"""Our filed cases at a city's Open311 endpoint, their state back here, and the city's own requests as reports.

One round posts what is due, mirrors what was posted and pulls what others reported. Replicas share the work row by row.
GeoReport knows no idempotency: a case's number stands in the description, and a post whose answer was lost is looked for
there before it is sent again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from api.access import KEYS, Principal
from api.audit import record_case
from api.core import Core
from api.errors import ApiError
from api.georeport import MAX_IDS, GeoReport, GeoReportError
from api.georeport import CityRequest as Told
from api.handling import StepIn, walk
from api.outbox import wait_s
from api.pack import CityService
from api.reports import ReportIn, take_report
from api.tables import CaseRow
from api.tables_city import CityRequest
from contract import CaseSource, CaseState, IssueClass

LOG = structlog.get_logger("api")
AT_ONCE = 50
# Longer than a case's two questions take, each of 20 s for every one of its steps.
CLAIM = timedelta(minutes=5)
TRIES = 12
# Servers list what was requested since a moment, so each round looks this far back; a report is filed once all the same.
LOOK_BACK = timedelta(days=2)
CITY = Principal("city", "open311", "open311", "city", "/", KEYS["city"])
_NUMBER = re.compile(r"\[(\d{4}-\d{6,14})\]")
_S = CaseState
# The steps that lead from where our case is to "the unit says done".
_ON = {
    _S.FILED: "accept", _S.ACCEPTED: "dispatch", _S.DISPATCHED: "start", _S.REWORK: "start", _S.SUSPENDED: "resume",
    _S.HANDLING: "done", _S.EXTENDED: "done",
}  # fmt: skip


@dataclass(frozen=True)
class Round:
    """What one round did."""

    posted: int
    changed: int
    pulled: int


def exchange(core: Core, city: GeoReport) -> Round:
    """Do one round. Raises `GeoReportError` when the endpoint cannot be asked for lists; what else can be done is done."""
    posted, changed, fault = _post_due(core, city), 0, None
    try:
        changed = _mirror(core, city)
    except GeoReportError as exc:
        # Said now: when the pull fails too, the pull's fault is the one that is raised.
        LOG.warning("open311.mirror_failed", error=str(exc))
        fault = exc
    pulled = _pull(core, city) if core.settings.open311_pull else 0
    if fault is not None:
        raise fault
    return Round(posted, changed, pulled)


@dataclass(frozen=True)
class _Due:
    case_id: str
    tries: int
    number: str
    issue: str
    lon: float
    lat: float
    opened: datetime


def _post_due(core: Core, city: GeoReport) -> int:
    began, posted = core.now(), 0
    with core.db.write() as session:
        _note_filed(session, core, began)
    while posted < AT_ONCE and (due := _claim(core, began)) is not None:
        try:
            _post(core, city, due)
        except GeoReportError as exc:
            _note_fault(core, due.case_id, exc)
        posted += 1
    return posted


def _claim(core: Core, began: datetime) -> _Due | None:
    """Take the case that has been due for longest, just before it is posted: a claim must outlast the posting."""
    with core.db.write() as session:
        found = session.execute(
            select(CityRequest, CaseRow)
            .join(CaseRow, CaseRow.id == CityRequest.case_id)
            .where(CityRequest.state == "due", CityRequest.next_at <= began)
            .order_by(CityRequest.next_at)
            .limit(1)
            .with_for_update(skip_locked=True, of=CityRequest)
        ).first()
        if found is None:
            return None
        row, case = found
        due = _Due(row.case_id, row.tries, case.number, case.issue, case.lon, case.lat, case.opened_at)
        # A replica that dies while posting leaves the case to another.
        # The try counts before it is made: after a crash the city is asked first.
        row.next_at, row.tries = core.now() + CLAIM, row.tries + 1
        return due


def _post(core: Core, city: GeoReport, due: _Due) -> None:
    service = _service(core, due.issue)
    known = _find(city, due.number, service.code, due.opened) if due.tries else None
    if known is not None:
        _note_post(core, due.case_id, known.id, "")
        return
    words = f"{core.pack.open311_words} [{due.number}]".strip()
    made = city.post(service.code, due.lon, due.lat, words, service.attributes)
    _note_post(core, due.case_id, made.id, made.token)


def _service(core: Core, issue: str) -> CityService:
    service = core.pack.open311.get(IssueClass(issue))
    if service is None:
        raise GeoReportError(f"open311: the city pack names no service for {issue}", final=True)
    return service


def _note_filed(session: Session, core: Core, now: datetime) -> None:
    """Write a row for filed cases that have none: the case's own state is the outbox."""
    wanted = [issue.value for issue in core.pack.open311]
    fresh = session.execute(
        select(CaseRow.id, CaseRow.tenant)
        .where(
            CaseRow.state == CaseState.FILED.value, CaseRow.issue.in_(wanted),
            CaseRow.tenant.startswith(core.settings.open311_tenant, autoescape=True),
            ~select(CityRequest.case_id).where(CityRequest.case_id == CaseRow.id).exists(),
        )
        .order_by(CaseRow.filed_at)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True, of=CaseRow)
    )  # fmt: skip
    for case_id, tenant in fresh.all():
        session.add(CityRequest(case_id=case_id, tenant=tenant, state="due", next_at=now))
    session.flush()


def _find(city: GeoReport, number: str, code: str, opened: datetime) -> Told | None:
    found = city.requests(since=opened - timedelta(hours=1), codes=[code])
    return next((r for r in found if f"[{number}]" in r.description), None)


def _note_post(core: Core, case_id: str, remote_id: str, token: str) -> None:
    now = core.now()
    with core.db.write() as session:
        row = session.get_one(CityRequest, case_id)
        row.remote_id, row.token, row.error, row.posted_at = remote_id[:200], token[:200], "", now
        row.state = "open" if remote_id else "token" if token else "silent"
        row.tries, row.next_at = 0, now
        case = session.get_one(CaseRow, case_id, with_for_update=True)
        told = {"service_request_id": remote_id, "token": token}
        record_case(session, case, now, "city:open311", "city.posted", told)
        if case.state == CaseState.FILED.value:
            walk(session, case, StepIn(step="accept"), CITY, now, core.pack)


def _note_fault(core: Core, case_id: str, exc: GeoReportError) -> None:
    now = core.now()
    with core.db.write() as session:
        row = session.get_one(CityRequest, case_id)
        row.error, row.next_at = str(exc)[:500], now + timedelta(seconds=wait_s(row.tries))
        if exc.final or row.tries >= TRIES:
            row.state = "dead"


def _note_lost(core: Core, case_id: str, exc: GeoReportError, tries: int = 1) -> None:
    """Note why a request that the city took cannot be asked for; a key that is refused or a city that is away ends none.

    A no that is final ends it after so many `tries`.
    """
    with core.db.write() as session:
        row = session.get_one(CityRequest, case_id)
        row.error, row.tries = str(exc)[:500], row.tries + 1
        row.next_at = max(row.next_at, core.now() + timedelta(seconds=wait_s(row.tries)))
        if exc.final and not exc.ours and row.tries >= tries:
            row.state = "dead"


def _mirror(core: Core, city: GeoReport) -> int:
    """Ask for the state of what was posted; return how many changed."""
    now = core.now()
    every = timedelta(seconds=core.settings.open311_every_s)
    with core.db.write() as session:
        rows = list(
            session.scalars(
                select(CityRequest)
                .where(CityRequest.state.in_(("open", "token")), CityRequest.next_at <= now)
                .order_by(CityRequest.next_at)
                .limit(MAX_IDS)
                .with_for_update(skip_locked=True)
            )
        )
        for row in rows:
            row.next_at = now + every
    for row in [r for r in rows if r.state == "token"]:
        try:
            found = city.id_of(row.token)
        except GeoReportError as exc:
            _note_lost(core, row.case_id, exc)
            continue
        if found:
            with core.db.write() as session:
                kept = session.get_one(CityRequest, row.case_id)
                kept.remote_id, kept.state, kept.error, kept.tries = found[:200], "open", "", 0
    asked = {r.remote_id: r.case_id for r in rows if r.state == "open"}
    told = _ask(core, city, asked) if asked else []
    return sum(_note_state(core, asked[t.id], t) for t in told if t.id in asked)


def _ask(core: Core, city: GeoReport, asked: dict[str, str]) -> list[Told]:
    """Ask for requests by their ids. Where a list gets a no, each is asked for alone: one may be what the city has lost.

    Raises `GeoReportError` when it says no to all of them: then it is the endpoint, or the only one that is left is lost,
    which time tells.
    """
    try:
        return city.requests(ids=list(asked))
    except GeoReportError as exc:
        if exc.ours or not exc.final:
            raise
        whole = exc
    told: list[Told] = []
    lost: list[tuple[str, GeoReportError]] = []
    for remote_id, case_id in asked.items():
        try:
            told += city.requests(ids=[remote_id])
        except GeoReportError as exc:
            lost.append((case_id, exc))
    whole_fault = len(lost) == len(asked)
    for case_id, fault in lost:
        _note_lost(core, case_id, fault, TRIES if whole_fault else 1)
    if whole_fault:
        raise whole
    return told


def _note_state(core: Core, case_id: str, told: Told) -> bool:
    now = core.now()
    with core.db.write() as session:
        row = session.get_one(CityRequest, case_id, with_for_update=True)
        notes, row.error, row.tries = told.notes[:1000], "", 0
        if told.open and notes == row.notes:
            return False
        row.notes, row.state = notes, "open" if told.open else "closed"
        case = session.get_one(CaseRow, case_id, with_for_update=True)
        record_case(session, case, now, "city:open311", "city.status", {"open": told.open, "notes": notes})
        if not told.open:
            _advance(session, case, core, now)
    return True


def _advance(session: Session, case: CaseRow, core: Core, now: datetime) -> None:
    """Take the steps up to "done": the city's word is the unit's word; whether the place is clear is looked at here."""
    while (name := _ON.get(CaseState(case.state))) is not None:
        walk(session, case, StepIn.model_validate({"step": name}), CITY, now, core.pack)


def _pull(core: Core, city: GeoReport) -> int:
    """File what citizens reported to the city as reports here; return how many are new."""
    now = core.now()
    issues = {service.code: issue for issue, service in reversed(core.pack.open311.items())}
    if not issues:
        return 0
    told = city.requests(since=now - LOOK_BACK, codes=sorted(issues), status="open")
    new = 0
    for request in told[:1000]:
        if request.id and request.code in issues:
            new += _file(core, request, issues[request.code], now)
    return new


def _file(core: Core, told: Told, issue: IssueClass, now: datetime) -> bool:
    with core.db.write() as session:
        # Our own, by the id, or by the case's number where the city still owes the id or its answer was lost. Once the id
        # is known, another request with the number is a citizen's, who quotes it.
        numbers = _NUMBER.findall(told.description)[:20]
        owed = and_(CityRequest.remote_id == "", CaseRow.number.in_(numbers))
        ours = or_(CityRequest.remote_id == told.id, owed)
        query = select(CityRequest.case_id).join(CaseRow, CaseRow.id == CityRequest.case_id)
        if session.scalar(query.where(ours).limit(1)) is not None:
            return False
        if told.lon is None or told.lat is None:
            return False  # an address alone cannot be placed here
        try:
            report = ReportIn(
                channel=CaseSource.CITIZEN, external_id=f"open311:{told.id}"[:120], issue=issue,
                lon=told.lon, lat=told.lat, text=told.description[:2000], reported_at=min(told.requested_at or now, now),
            )  # fmt: skip
            tenant = core.settings.open311_tenant
            _, _, new = take_report(session, report, tenant, "city:open311", now, core.areas, core.pack)
        except (ValidationError, ApiError):
            return False
    return new


def check(core: Core, city: GeoReport) -> list[str]:
    """Return what would keep cases from being posted, one line each; empty when all is well."""
    there = {s.code: s for s in city.services()}
    lines = (
        [] if core.pack.open311 else ["open311: the city pack names no services; nothing would be exchanged"]
    )
    for issue, mine in core.pack.open311.items():
        field = f"open311.{issue.value}"
        found = there.get(mine.code)
        if found is None:
            lines.append(
                f"{field}.code: the city has no service {mine.code}; it has {', '.join(sorted(there))[:300]}"
            )
        elif found.metadata:
            lacking = [
                a.code for a in city.definition(mine.code) if a.required and a.code not in mine.attributes
            ]
            lines += [f"{field}.attributes: add {code}, which the city demands" for code in lacking]
    return lines
