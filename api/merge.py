"""One place, one case: to which case an alert belongs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BindParameter, and_, bindparam, literal_column, or_, select
from sqlalchemy.orm import Session

from api.geo import Spot, distance_m, normal_distance
from api.machine import OPEN_STATES
from api.settings import Settings
from api.tables import AlertRow, CaseRow
from api.tiles import around, is_there, within
from contract import Alert, CaseSource, CaseState

MAX_CANDIDATES = 64
# A case point with a worse error than this says nothing about which of two neighbours it is.
SHARP_M = 12.0
REOPENS = frozenset({CaseState.CLOSED, CaseState.SELF_RESOLVED})


@dataclass(frozen=True)
class Match:
    """The case an alert joins, why, and whether that reopens it."""

    case: CaseRow
    why: str
    reopens: bool


# A caller's word for the place is good to a house or two.
REPORT_M = 50.0


def lock_place(issue: str, lon: float, lat: float) -> str:
    """Return the name that alerts and reports of one class share when they may be one case."""
    return f"near:{issue}:{lon:.2f}:{lat:.2f}"


def lock_names(alert: Alert) -> list[str]:
    """Names that two alerts share when they may be one case; holding them keeps replicas from racing."""
    near = lock_place(alert.issue.value, alert.place.lon, alert.place.lat)
    return [f"alert:{alert.id}", f"site:{alert.key.site_id}", near]


# Each new alert asks these three; building one anew would cost more than the database's answer.
_TENANT = CaseRow.tenant == bindparam("tenant")
_CLASS: BindParameter[str] = bindparam("issue")
# Constants in the text: a parameter each would make the statement too long to be kept.
_OPEN = CaseRow.state.in_([literal_column(f"'{s.value}'") for s in sorted(OPEN_STATES)])
_SAME = (
    select(AlertRow, CaseRow)
    .join(CaseRow, CaseRow.id == AlertRow.case_id)
    .where(
        or_(
            AlertRow.site_id == bindparam("site"),
            and_(AlertRow.ground_cell == bindparam("cell"), AlertRow.issue == _CLASS),
        ),
        _TENANT,
    )
    .order_by(AlertRow.received_at.desc())
    .limit(MAX_CANDIDATES)
)
_NEAR = (
    select(AlertRow, CaseRow)
    .join(CaseRow, CaseRow.id == AlertRow.case_id)
    .where(
        AlertRow.issue == _CLASS,
        *within(AlertRow, "near"),
        AlertRow.camera_id != bindparam("camera"),
        _TENANT,
        _OPEN,
    )
    .order_by(AlertRow.received_at.desc())
    .limit(MAX_CANDIDATES)
)
_TOLD = (
    select(CaseRow)
    .where(
        CaseRow.issue == _CLASS,
        *within(CaseRow, "told"),
        _TENANT,
        CaseRow.source != literal_column(f"'{CaseSource.CAMERA_AI.value}'"),
        _OPEN,
        CaseRow.id.not_in(select(AlertRow.case_id).where(AlertRow.case_id == CaseRow.id)),
    )
    .limit(MAX_CANDIDATES)
)
# Whether each has an answer at all: most new alerts are of new places, and one statement asks for all of it.
CLUES = {"same": is_there(_SAME), "near": is_there(_NEAR), "told": is_there(_TOLD)}


@dataclass(frozen=True)
class Clues:
    """Which of the three questions have an answer."""

    same: bool = True
    near: bool = True
    told: bool = True


def clue_values(alert: Alert, tenant: str, settings: Settings) -> dict[str, object]:
    """Return what `CLUES` are asked with."""
    spot = Spot.of(alert.place.model_dump())
    return {
        "site": alert.key.site_id, "cell": alert.key.ground_cell, "camera": alert.camera_id, "tenant": tenant,
        "issue": alert.issue.value, **around("near", spot, settings.merge_m), **around("told", spot, REPORT_M),
    }  # fmt: skip


def find_case(
    session: Session, alert: Alert, tenant: str, now: datetime, settings: Settings, clues: Clues
) -> Match | None:
    """Return the case this new alert joins, or None. Order: same site, same ground cell, other camera's place."""
    if not (clues.same or clues.near or clues.told):
        return None
    values = clue_values(alert, tenant, settings)
    rows = session.execute(_SAME, values).all() if clues.same else []
    for row, case in sorted(rows, key=lambda r: r[0].site_id != alert.key.site_id):
        by_site = row.site_id == alert.key.site_id
        if not by_site and not _one_ground(row, alert):
            continue
        match = _judge(session, row, case, alert, by_site, now, settings)
        if match:
            return match
    match = _other_camera(session, alert, settings, values) if clues.near else None
    return match or (_reported(session, alert, values) if clues.told else None)


def _one_ground(row: AlertRow, alert: Alert) -> bool:
    """A cell of the picture means something within one camera alone."""
    on_ground = alert.place.source == "homography" and row.body["place"]["source"] == "homography"
    return on_ground or row.camera_id == alert.camera_id


def _judge(
    session: Session,
    row: AlertRow,
    case: CaseRow,
    alert: Alert,
    by_site: bool,
    now: datetime,
    settings: Settings,
) -> Match | None:
    case = follow(session, case)
    state = CaseState(case.state)
    why = "same site" if by_site else "same ground cell and time"
    if state in OPEN_STATES:
        return Match(case, why, reopens=False) if by_site or overlaps(row, alert) else None
    ended = case.ended_at or case.updated_at
    if state is CaseState.VOID or now - ended > timedelta(hours=settings.reopen_h):
        return None
    # What a person rejected a moment ago stays rejected: the same thing shown again is the users' first complaint.
    if by_site or overlaps(row, alert) or state in REOPENS:
        return Match(case, f"{why}, within {settings.reopen_h:g} h", reopens=state in REOPENS)
    return None


def follow(session: Session, case: CaseRow) -> CaseRow:
    """Follow merges to the case that took this one in."""
    for _ in range(16):
        if case.merged_into is None:
            break
        target = session.get(CaseRow, case.merged_into)
        if target is None:
            break
        case = target
    return case


def overlaps(row: AlertRow, alert: Alert) -> bool:
    """True when the stored alert had not ended before the new one began."""
    return row.ends_at is None or row.ends_at >= alert.dwell.first_seen_at


def _other_camera(
    session: Session, alert: Alert, settings: Settings, values: dict[str, object]
) -> Match | None:
    """Another camera's open case of the same class whose place is ours as far as both errors can tell."""
    spot = Spot.of(alert.place.model_dump())
    if alert.place.source != "homography" or spot.major_m > SHARP_M or settings.merge_m <= 0:
        return None
    rows = session.execute(_NEAR, values).all()
    best: tuple[float, CaseRow] | None = None
    for row, case in rows:
        there = Spot.of(row.body["place"])
        if row.body["place"]["source"] != "homography" or there.major_m > SHARP_M or not overlaps(row, alert):
            continue
        far = normal_distance(spot, there)
        if far > 1.0 or distance_m(spot, there) > settings.merge_m or _has_own(session, case, alert):
            continue
        if best is None or far < best[0]:
            best = (far, case)
    return Match(best[1], "another camera's view of the place", reopens=False) if best else None


def _reported(session: Session, alert: Alert, values: dict[str, object]) -> Match | None:
    """The nearest open case of the class that people reported and no camera has seen yet, as far as both errors allow."""
    spot = Spot.of(alert.place.model_dump())
    rows = session.scalars(_TOLD, values)
    best: tuple[float, CaseRow] | None = None
    for case in rows:
        there = Spot.of(case.place)
        far = distance_m(spot, there)
        if far <= min(REPORT_M, spot.major_m + there.major_m) and (best is None or far < best[0]):
            best = (far, case)
    return Match(best[1], "reported by others", reopens=False) if best else None


def _has_own(session: Session, case: CaseRow, alert: Alert) -> bool:
    """True when our camera already sees that case's object as another site: then ours is its neighbour."""
    found = session.scalar(
        select(AlertRow.id)
        .where(
            AlertRow.case_id == case.id,
            AlertRow.camera_id == alert.camera_id,
            AlertRow.site_id != alert.key.site_id,
            or_(AlertRow.ends_at.is_(None), AlertRow.ends_at >= alert.dwell.first_seen_at),
        )
        .limit(1)
    )
    return found is not None
