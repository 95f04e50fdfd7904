"""What others report: the hotline, collectors, citizens. A report joins the machine's case of its place, or makes one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api import holds
from api.areas import Areas
from api.audit import record_case
from api.casebook import publish, touch
from api.db import case_number, lock
from api.errors import ApiError
from api.geo import Spot, box_around, distance_m
from api.indicators import MACHINE
from api.locating import locate
from api.machine import OPEN_STATES
from api.merge import REPORT_M, lock_place
from api.pack import CityPack
from api.review import step
from api.tables import AlertRow, Camera, CaseRow, Report
from api.tiles import inside
from api.xml_text import fits_xml
from contract import CaseSource, CaseState, IssueClass, StreetClass, new_id
from contract.base import UtcTime

# A camera farther away than this could not have seen the thing.
REACH_M = 60.0
MAX_EARLY = timedelta(minutes=5)


class ReportIn(BaseModel):
    """A report. The channel's own number makes sending twice harmless."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "channel": "hotline", "external_id": "12319-2026-0815", "issue": "dumping.exposed",
                    "lon": 112.5489, "lat": 37.8706, "text": "Bags beside the bus stop", "reported_at": "2026-03-04T07:40:00Z",
                }
            ]
        },
    )  # fmt: skip
    channel: CaseSource
    external_id: Annotated[str, Field(min_length=1, max_length=120), AfterValidator(fits_xml)]
    issue: IssueClass
    lon: Annotated[float, Field(ge=-180, le=180)]
    lat: Annotated[float, Field(ge=-90, le=90)]
    error_m: Annotated[float, Field(gt=0, le=500, description="How sure the place is, metres.")] = 30.0
    text: Annotated[str, Field(max_length=2000), AfterValidator(fits_xml)] = ""
    reported_at: UtcTime


def take_report(
    session: Session, told: ReportIn, tenant: str, by: str, now: datetime, areas: Areas, pack: CityPack
) -> tuple[Report, CaseRow, bool]:
    """File a report; return it, its case, and whether it is new. `by` is the actor of the audit.

    Raises `ApiError` 422 for the channel `camera_ai` and for a report from the future.
    """
    if told.channel is CaseSource.CAMERA_AI:
        raise ApiError(422, "channel: cameras send alerts; name hotline, collector or citizen")
    if told.reported_at > now + MAX_EARLY:
        raise ApiError(422, "reported_at: lies in the future")
    lock(
        session,
        [
            f"report:{tenant}:{told.channel}:{told.external_id}",
            lock_place(told.issue.value, told.lon, told.lat),
        ],
    )
    known = session.scalar(
        select(Report).where(
            Report.tenant == tenant,
            Report.channel == told.channel.value,
            Report.external_id == told.external_id,
        )
    )
    if known is not None:
        return known, session.get_one(CaseRow, known.case_id), False
    while (case := _machine_case(session, told, tenant)) is not None:
        session.refresh(case, with_for_update=True)
        if CaseState(case.state) in OPEN_STATES:
            break  # else somebody ended it while we waited for it
    machine = case is not None and case.source == MACHINE
    if case is None:
        case = _own_case(session, told, tenant, now)
        locate(session, case, areas, pack)
    row = Report(
        id=new_id(), tenant=tenant, channel=told.channel.value, external_id=told.external_id,
        issue=told.issue.value, lon=told.lon, lat=told.lat, error_m=told.error_m, text=told.text,
        reported_at=told.reported_at, received_at=now, case_id=case.id, in_reach=in_reach(session, tenant, told),
        ahead_s=(told.reported_at - case.opened_at).total_seconds() if machine else None,
    )  # fmt: skip
    session.add(row)
    session.flush()
    detail = {"report": row.id, "channel": row.channel, "number": row.external_id}
    opened = case.opened_at == now and not machine and case.version == 1
    touch(case, now) if not opened else None
    record_case(session, case, now, by, "case.opened" if opened else "report.linked", detail)
    publish(session, case, "case.opened" if opened else "report.linked", now)
    return row, case, True


def _spot(told: ReportIn) -> Spot:
    return Spot(told.lon, told.lat, told.error_m, told.error_m)


def _machine_case(session: Session, told: ReportIn, tenant: str) -> CaseRow | None:
    """The nearest open case of the class that both errors allow, 50 m at most; the newest of those at one point."""
    spot = _spot(told)
    rows = session.scalars(
        select(CaseRow)
        .where(
            CaseRow.tenant == tenant, CaseRow.issue == told.issue.value,
            *inside(CaseRow, box_around(spot, REPORT_M)),
            CaseRow.state.in_([s.value for s in OPEN_STATES]),
        )
        .order_by(CaseRow.opened_at.desc())
        .limit(200)
    )  # fmt: skip
    best: tuple[float, CaseRow] | None = None
    for case in rows:
        there = Spot.of(case.place)
        far = distance_m(spot, there)
        if far <= min(REPORT_M, spot.major_m + there.major_m) and (best is None or far < best[0]):
            best = (far, case)
    return best[1] if best else None


def _own_case(session: Session, told: ReportIn, tenant: str, now: datetime) -> CaseRow:
    """A case of a person's word: it has no picture to review, so it waits for the supervisor to file or void it."""
    error = {"semi_major_m": told.error_m, "semi_minor_m": told.error_m, "bearing_deg": 0.0}
    case = CaseRow(
        id=new_id(), number=case_number(session, now), tenant=tenant,
        state=CaseState.CONFIRMED.value, source=told.channel.value, issue=told.issue.value,
        street_class=StreetClass.CONTROL.value, camera_id="", camera_name="", lon=told.lon, lat=told.lat,
        place={"lon": told.lon, "lat": told.lat, "error": error, "source": "reported"}, opened_at=now,
        seen_at=min(told.reported_at, now), updated_at=now, dwell_s=0.0, priority=1, version=1, held={},
    )  # fmt: skip
    session.add(case)
    session.flush()
    return case


def in_reach(session: Session, tenant: str, told: ReportIn) -> bool:
    """True when a camera hangs near enough to have seen the reported thing."""
    west, south, east, north = box_around(_spot(told), REACH_M)
    found = select(func.count()).where(
        Camera.tenant.startswith(tenant, autoescape=True),
        Camera.lat.between(south, north),
        Camera.lon.between(west, east),
    )
    return bool(session.scalar(found))


def relink(session: Session, report: Report, target: CaseRow, by: str, name: str, now: datetime) -> None:
    """Move a report to another open case. The case that it had made is merged into that one when nothing else is in it.

    The caller holds both cases. Raises `ApiError` 409 when the target is not open or the old case has gone too far to be
    merged.
    """
    if CaseState(target.state) not in OPEN_STATES or target.tenant != report.tenant:
        raise ApiError(
            409, f"case {target.number} is {target.state}; only an open case takes a report in", []
        )
    old = session.get_one(CaseRow, report.case_id)
    if old.id == target.id:
        return
    others = session.scalar(
        select(func.count()).select_from(Report).where(Report.case_id == old.id, Report.id != report.id)
    )
    alerts = session.scalar(select(func.count()).select_from(AlertRow).where(AlertRow.case_id == old.id))
    if old.source != MACHINE and not others and not alerts:
        step(old, "merge", name)
        old.merged_into, old.ended_at = target.id, now
        holds.pass_on(session, old, target, by, now)
    report.case_id = target.id
    machine = target.source == MACHINE
    report.ahead_s = (report.reported_at - target.opened_at).total_seconds() if machine else None
    for case, action in ((old, "report.moved"), (target, "report.linked")):
        touch(case, now)
        record_case(session, case, now, by, action, {"report": report.id, "from": old.id, "into": target.id})
        publish(session, case, action, now)
