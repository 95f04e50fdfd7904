"""The queue as a page sees it: what waits, leases taken and given back, deferral, batch verdicts, preferences."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.access import Principal, needs
from api.audit import record
from api.core import CoreDep
from api.db import lock
from api.errors import ApiError, refusals
from api.leases import MAX_HELD, WAITING, defer, release, take, wanted
from api.machine import REVIEW_STATES
from api.reading import extend, let_go, offer
from api.review import VerdictIn, find, give_verdict
from api.tables import AlertRow, CaseRow
from api.tables_console import Preference, Reading
from contract import CaseState, IssueClass, StreetClass, VerdictKind
from contract.base import Box, Identifier, Sha256

router = APIRouter(tags=["queue"])
Reviewer = Annotated[Principal, needs("case.review")]
Person = Annotated[Principal, needs("case.read", person=True)]
CLUSTER_H = 24.0


class Waiting(BaseModel):
    """A case of the queue, without its pictures."""

    id: Identifier
    number: str
    issue: IssueClass
    street_class: StreetClass
    camera_id: str
    camera_name: str
    state: CaseState
    opened_at: datetime
    dwell_s: float
    version: int
    lon: float
    lat: float
    held_by: Annotated[str | None, Field(description="Who else holds it now.")]


class LeasesIn(BaseModel):
    """Cases to hold, or to hold on to."""

    model_config = ConfigDict(extra="forbid")
    cases: Annotated[
        list[Identifier],
        Field(max_length=MAX_HELD, description="One's own readings (`Reading-Id`), too, to hold on to."),
    ]


class Leases(BaseModel):
    """What came of it."""

    until: datetime
    refused: Annotated[
        dict[str, str], Field(description="Case -> who holds it; '' when it has left the queue.")
    ]


class DeferIn(BaseModel):
    """How long a case is put back."""

    model_config = ConfigDict(extra="forbid")
    minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 30.0


class ClusterItem(BaseModel):
    """A case that looks like the one asked about."""

    id: Identifier
    number: str
    version: int
    opened_at: datetime
    dwell_s: float
    score: float | None
    box: Box
    picture: Annotated[Sha256 | None, Field(description="Its crop, or the picture of its confirmation.")]


class BatchItem(BaseModel):
    """A case and the version that was seen."""

    model_config = ConfigDict(extra="forbid")
    id: Identifier
    version: Annotated[int, Field(ge=1)]


class BatchIn(BaseModel):
    """One verdict for several cases of one cluster."""

    model_config = ConfigDict(extra="forbid")
    cases: Annotated[list[BatchItem], Field(min_length=1, max_length=50)]
    verdict: VerdictIn
    of: Annotated[
        Identifier | None,
        Field(description="The case whose cluster it is, where it is not the list's first."),
    ] = None


class BatchDone(BaseModel):
    """What became of each case."""

    judged: list[Identifier]
    verdicts: Annotated[dict[str, Identifier], Field(description="Case -> its verdict, to take it back.")]
    refused: Annotated[dict[str, str], Field(description="Case -> why it was left as it is.")]


class PreferencesView(BaseModel):
    """What a person set on the page."""

    model_config = ConfigDict(extra="forbid")
    keys: Annotated[
        dict[Annotated[str, Field(max_length=30)], Annotated[str, Field(min_length=1, max_length=20)]],
        Field(max_length=60, description="Action -> key, where it differs from the default."),
    ] = {}
    hidden: Annotated[
        list[Annotated[str, Field(max_length=20)]], Field(max_length=10, description="Overlays off.")
    ] = []


@router.get("/queue/waiting", responses=refusals(401, 403, 422))
def waiting(
    who: Reviewer, core: CoreDep, issue: IssueClass | None = None,
    camera: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[Waiting]:  # fmt: skip
    """List the head of the queue with who holds what; light, since it is read again and again."""
    now = core.now()
    with core.db.read() as session:
        rows = session.scalars(
            select(CaseRow)
            .where(
                WAITING, who.sees(CaseRow.tenant),
                *wanted(issue.value if issue else None, camera),
            )
            .order_by(CaseRow.priority, CaseRow.opened_at, CaseRow.id)
            .limit(limit)
        ).all()  # fmt: skip
    return [Waiting.model_validate(_waiting(c, who, now)) for c in rows]


def _waiting(case: CaseRow, who: Principal, now: datetime) -> dict[str, Any]:
    other = (
        case.lease_by if case.lease_by != who.name and case.lease_until and case.lease_until > now else None
    )
    fields = {name: getattr(case, name) for name in Waiting.model_fields if name != "held_by"}
    return fields | {"held_by": other}


@router.post("/queue/leases", responses=refusals(401, 403, 413, 422))
def hold(told: LeasesIn, who: Reviewer, core: CoreDep) -> Leases:
    """Take cases, or extend one's leases on them and on readings."""
    now, lease_s = core.now(), core.settings.lease_s
    with core.db.write() as session:
        # Readings first, as where they are answered.
        readings = extend(session, who, now, lease_s, told.cases)
        refused = {name: by for name, by in readings.items() if by is not None}
        refused |= take(session, who, now, lease_s, [i for i in told.cases if i not in readings])
    return Leases(until=now + timedelta(seconds=lease_s), refused=refused)


@router.delete("/queue/leases", status_code=204, responses=refusals(401, 403, 422))
def give_back(
    who: Reviewer, core: CoreDep,
    case: Annotated[list[Identifier] | None, Query(description="All of mine without.", max_length=MAX_HELD)] = None,
) -> None:  # fmt: skip
    """Give leases back, of cases and of readings, so that nobody waits for their end."""
    with core.db.write() as session:
        let_go(session, who, *([] if case is None else [Reading.id.in_(case)]))
        release(session, who, case)


@router.post("/cases/{case_id}/defer", responses=refusals(401, 403, 404, 409, 413, 422))
def put_back(case_id: Identifier, told: DeferIn, who: Reviewer, core: CoreDep) -> dict[str, datetime]:
    """Put a case, or one's reading of it, back: the queue offers it to others now, and to me when the time is over."""
    now = core.now()
    with core.db.write() as session:
        reads = let_go(session, who, Reading.case_id == case_id)
        case = find(session, case_id, who, update=True)
        if CaseState(case.state) not in REVIEW_STATES and not reads:
            raise ApiError(
                409, f"case {case.number} is {case.state}; only a waiting case can be put back", []
            )
        return {"until": defer(session, case, who, now, told.minutes)}


@router.post("/cases/{case_id}/views", status_code=204, responses=refusals(401, 403, 404, 422))
def viewed(case_id: Identifier, who: Annotated[Principal, needs("case.read")], core: CoreDep) -> None:
    """Record that a case was put before a person's eyes; the console says so each time it shows one."""
    with core.db.write() as session:
        case = find(session, case_id, who)
        record(
            session,
            f"views:{who.name}"[:80],
            core.now(),
            f"{who.kind}:{who.name}",
            "case.viewed",
            {"case": case.id},
        )


def _like(session: Session, case: CaseRow, who: Principal, now: datetime) -> list[CaseRow]:
    """Return waiting cases of the same class and camera within a day, that nobody else holds; `case` first."""
    span = timedelta(hours=CLUSTER_H)
    rows = session.scalars(
        select(CaseRow)
        .where(
            CaseRow.state == CaseState.IN_REVIEW.value, CaseRow.camera_id == case.camera_id,
            CaseRow.issue == case.issue, CaseRow.tenant == case.tenant, CaseRow.id != case.id,
            CaseRow.seen_at.between(case.seen_at - span, case.seen_at + span),
        )
        .order_by(CaseRow.seen_at, CaseRow.id)
        .limit(49)
    )  # fmt: skip
    free = [
        c for c in rows if c.lease_by in {None, who.name} or c.lease_until is None or c.lease_until <= now
    ]
    return [case, *free]


@router.get("/cases/{case_id}/cluster", responses=refusals(401, 403, 404, 422))
def cluster(case_id: Identifier, who: Reviewer, core: CoreDep) -> list[ClusterItem]:
    """List the waiting cases of the same class, camera and day, the one asked about first: one look may judge all."""
    with core.db.read() as session:
        cases = _like(session, find(session, case_id, who), who, core.now())
        query = select(AlertRow.case_id, AlertRow.body).where(AlertRow.case_id.in_([c.id for c in cases]))
        rows = session.execute(query.order_by(AlertRow.received_at, AlertRow.id))
        latest: dict[str, dict[str, Any]] = {r.case_id: r.body for r in rows}
    return [_item(c, latest[c.id]) for c in cases if c.id in latest]


def _item(case: CaseRow, alert: dict[str, Any]) -> ClusterItem:
    pictures = {
        e["kind"]: e["sha256"] for e in alert.get("evidence", ()) if e["media_type"].startswith("image/")
    }
    return ClusterItem(
        id=case.id, number=case.number, version=case.version, opened_at=case.opened_at, dwell_s=case.dwell_s,
        score=alert["model"].get("score"), box=alert["box"], picture=pictures.get("crop") or pictures.get("confirm"),
    )  # fmt: skip


@router.post("/queue/batch", responses=refusals(401, 403, 404, 409, 413, 422))
def batch(told: BatchIn, who: Reviewer, core: CoreDep) -> BatchDone:
    """Judge several cases of one cluster at once. Each keeps its own verdict, and each can be taken back."""
    if (
        told.verdict.kind not in {VerdictKind.CONFIRM, VerdictKind.REJECT}
        or told.verdict.box
        or told.verdict.issue
    ):
        raise ApiError(
            422, "verdict: a batch is confirmed or rejected as it is; open a case to say more of it"
        )
    now, refused = core.now(), {}
    done: dict[str, str] = {}
    with core.db.write() as session:
        lead = find(session, told.of or told.cases[0].id, who)
        inside = {c.id for c in _like(session, lead, who, now)}
        strange = [c.id for c in told.cases if c.id not in inside]
        if strange:
            raise ApiError(
                422, f"cases: {strange[0]} is not of the cluster of {lead.number}; judge it by itself"
            )
        for item in sorted(told.cases, key=lambda c: c.id):
            case = find(session, item.id, who, update=True)
            if case.version != item.version:
                refused[item.id] = f"case {case.number} has changed"
                continue
            was = case.state
            try:
                row = give_verdict(session, case, told.verdict, who, now, core)
            except ApiError as exc:
                refused[item.id] = exc.detail
                continue
            offer(session, case, row, was, core.settings.second_share)
            done[item.id] = row.id
    reason = str(int(told.verdict.reason)) if told.verdict.reason else ""
    core.metrics.verdicts.labels(told.verdict.kind.value, reason).inc(len(done))
    return BatchDone(judged=list(done), verdicts=done, refused=refused)


@router.get("/session/preferences", responses=refusals(401, 403))
def preferences(who: Person, core: CoreDep) -> PreferencesView:
    """Return what this person set."""
    with core.db.read() as session:
        row = session.get(Preference, who.name)
    return PreferencesView.model_validate(row.body if row else {})


@router.put("/session/preferences", responses=refusals(401, 403, 413, 422))
def set_preferences(told: PreferencesView, who: Person, core: CoreDep) -> PreferencesView:
    """Keep what this person set; it follows them to any machine."""
    taken = list(told.keys.values())
    twice = sorted({k for k in taken if taken.count(k) > 1})
    if twice:
        raise ApiError(422, f"keys: {twice[0]!r} stands for two actions; give each its own")
    with core.db.write() as session:
        lock(session, [f"preferences:{who.name}"])
        session.execute(delete(Preference).where(Preference.username == who.name))
        session.add(Preference(username=who.name, body=told.model_dump()))
    return told
