"""What the store knows of an alert that comes in, asked in one statement.

Nearly every new alert is of a place where nothing is open, nothing was before, and whose link follows the last one.
One question finds that out; only where the answer is another are the longer ones asked that say what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Exists, bindparam, func, literal, literal_column, select
from sqlalchemy.orm import Session

from api import custody, merge, recurrence
from api.areas import VERSION_NOW
from api.core import Core
from api.geo import Spot
from api.tables import AlertMessage, AlertRow, Camera, Evidence, Hook
from api.tables_custody import ChainLink
from contract import AlertEvent

_ONE = select(literal(1).label("one")).subquery()
_HERE = select(Evidence.sha256).where(
    Evidence.sha256.in_(bindparam("hashes", expanding=True)), Evidence.size > 0
)
_MESSAGE = bindparam("message", type_=AlertMessage.id.type)


def _is(condition: ColumnElement[bool]) -> Exists:
    return select(literal_column("1")).where(condition).exists()


_ASKED = (
    select(
        _is(AlertRow.id == bindparam("alert")).label("known"),
        _is(AlertMessage.id == _MESSAGE).label("seen"),
        _is(ChainLink.event_id == _MESSAGE).label("linked"),
        _is(Hook.active.is_(True)).label("hooks"),
        Camera.id.label("camera"), Camera.tenant, Camera.name, Camera.lon,
        VERSION_NOW.scalar_subquery().label("areas"),
        _HERE.with_only_columns(func.count()).scalar_subquery().label("here"),
        recurrence.CLUE.label("recurs"),
        *(clue.label(name) for name, clue in {**merge.CLUES, **custody.CLUES}.items()),
    )
    .select_from(_ONE)
    .outerjoin(Camera, Camera.id == bindparam("camera"))
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What is known of an alert: whether it, its message and its link are here, and what may lie at its place.

    `camera` says how the stored camera compares: None when it is not here, else whether it is as the alert tells it.
    """

    alert: bool
    seen: bool
    linked: bool
    camera: bool | None
    hooks: bool
    areas: int
    recurs: bool
    missing: list[str]
    place: merge.Clues
    link: custody.Clues


def ask(
    session: Session, message: AlertEvent, claim: custody.Claim, case_id: str, tenant: str, core: Core
) -> Known:
    """Ask the store; `case_id` is the id that a new case would have. The caller holds the alert's locks."""
    alert, now = message.data, core.now()
    hashes = sorted({e.sha256 for e in alert.evidence})
    place = Spot.of(alert.place.model_dump())
    values: dict[str, Any] = {
        "alert": alert.id, "message": message.id, "device": alert.device_id, "hashes": hashes,
        "keyid": claim.keyid or "", "seq": claim.seq or 0, "previous": claim.previous or "",
        **merge.clue_values(alert, tenant, core.settings),
        **recurrence.clue_values(case_id, place, core.pack.recurrence.radius_m, recurrence.seen_at(alert, now)),
    }  # fmt: skip
    row = session.connection().execute(_ASKED, values).one()
    same = row.tenant != tenant or (row.lon is not None and row.name == alert.camera_name)
    return Known(
        alert=row.known, seen=row.seen or row.linked, linked=row.linked, camera=None if row.camera is None else same,
        # A signed message's id outlives `AlertMessage` in the chain.
        hooks=row.hooks, areas=row.areas or 0,
        # Where only the camera's point is known, the same cell of its picture says whether something was before.
        recurs=row.recurs or (row.same and alert.place.source == "camera_point"),
        missing=missing_of(session, hashes, row.here),
        place=merge.Clues(same=row.same, near=row.near, told=row.told),
        link=custody.Clues(claim, joined=row.joined, crowded=row.crowded, key=row.key),
    )  # fmt: skip


def missing_of(session: Session, hashes: list[str], here: int | None = None) -> list[str]:
    """Return which of the files are not in the store, of which `here` are, if that is known."""
    if not hashes or here == len(hashes):
        return []
    if here == 0:
        return hashes
    return sorted(set(hashes) - set(session.scalars(_HERE, {"hashes": hashes})))
