"""Blind readings: a share of the judged cases is read again by somebody else, and known answers test everybody.

A reading looks like any case of the queue and changes none. What it measures is in `api.agreement`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from api.access import Principal
from api.errors import ApiError
from api.leases import put_back
from api.review import VerdictIn
from api.tables import CaseRow, VerdictRow
from api.tables_console import GoldItem, Reading
from contract import CaseState, VerdictKind, new_id

JUDGED = {VerdictKind.CONFIRM.value, VerdictKind.REJECT.value}
_WHOLE = select(CaseRow.id).where(CaseRow.merged_into.is_(None))


def chosen(case_id: str, share: float) -> bool:
    """True for `share` of all cases, the same ones on every replica."""
    drawn = int.from_bytes(hashlib.sha256(f"second reading {case_id}".encode()).digest()[:8], "big")
    return drawn < share * 2**64


def offer(session: Session, case: CaseRow, verdict: VerdictRow, was: str, share: float) -> None:
    """After a first verdict: put a blind second reading on the pile, for the chosen share."""
    if was != CaseState.IN_REVIEW or verdict.kind not in JUDGED or not chosen(case.id, share):
        return
    shown = verdict.before.get("issue", case.issue)
    asked = {"kind": verdict.kind, "reason": verdict.reason, "issue": case.issue, "shown": shown}
    session.add(
        Reading(
            id=new_id(), case_id=case.id, tenant=case.tenant, kind="second", verdict_id=verdict.id,
            first_reviewer=verdict.reviewer, asked=asked, made_at=verdict.at,
        )
    )  # fmt: skip


def forget(session: Session, verdict_id: str) -> None:
    """Drop the reading of a verdict that was taken back, unless it has been answered."""
    session.execute(delete(Reading).where(Reading.verdict_id == verdict_id, Reading.answered_at.is_(None)))


def next_reading(
    session: Session, who: Principal, now: datetime, lease_s: float, skip: Sequence[str] = ()
) -> Reading | None:
    """Lease a second reading of somebody else's verdict, or a gold item this person has not seen."""
    until = now + timedelta(seconds=lease_s)
    seen = select(VerdictRow.case_id).where(VerdictRow.reviewer == who.name)
    waiting = session.scalar(
        select(Reading)
        .where(
            Reading.answered_at.is_(None), Reading.kind == "second", Reading.first_reviewer != who.name,
            who.sees(Reading.tenant), Reading.case_id.not_in(skip), Reading.case_id.not_in(seen), Reading.case_id.in_(_WHOLE),
            Reading.case_id.not_in(put_back(who, now)),
            or_(Reading.lease_until.is_(None), Reading.lease_until <= now, Reading.reader == who.name),
        )
        .order_by(Reading.made_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )  # fmt: skip
    if waiting is None:
        return _gold(session, who, now, until, skip)
    waiting.reader, waiting.lease_until = who.name, until
    return waiting


def _gold(
    session: Session, who: Principal, now: datetime, until: datetime, skip: Sequence[str]
) -> Reading | None:
    mine = session.scalar(
        select(Reading)
        .where(
            Reading.kind == "gold", Reading.reader == who.name, Reading.answered_at.is_(None),
            who.sees(Reading.tenant), Reading.case_id.not_in(skip), Reading.case_id.in_(_WHOLE),
            Reading.case_id.in_(select(GoldItem.case_id)), Reading.case_id.not_in(put_back(who, now)),
        )
        .limit(1)
    )  # fmt: skip
    if mine is not None:
        mine.lease_until = until
        return mine
    known = select(Reading.case_id).where(Reading.reader == who.name)
    judged = select(VerdictRow.case_id).where(VerdictRow.reviewer == who.name)
    item = session.scalar(
        select(GoldItem)
        .where(
            who.sees(GoldItem.tenant), GoldItem.set_by != who.name, GoldItem.case_id.not_in(known),
            GoldItem.case_id.not_in(judged), GoldItem.case_id.not_in(skip),
            GoldItem.case_id.in_(_WHOLE), GoldItem.case_id.not_in(put_back(who, now)),
        )
        .order_by(GoldItem.set_at)
        .limit(1)
    )  # fmt: skip
    if item is None:
        return None
    made = Reading(
        id=new_id(), case_id=item.case_id, tenant=item.tenant, kind="gold", first_reviewer=item.set_by,
        asked=item.expected, made_at=now, reader=who.name, lease_until=until,
    )  # fmt: skip
    session.add(made)
    session.flush()
    return made


def extend(
    session: Session, who: Principal, now: datetime, lease_s: float, ids: Sequence[str]
) -> dict[str, str | None]:
    """Extend one's leases on the readings among `ids`; return each with None, or who holds it ('' when it is over)."""
    rows = session.scalars(
        select(Reading)
        .where(Reading.id.in_(ids), Reading.reader.is_not(None), who.sees(Reading.tenant))
        .order_by(Reading.id)
        .with_for_update()
    )
    out: dict[str, str | None] = {}
    for row in rows:
        mine = row.reader == who.name and row.answered_at is None
        held = row.answered_at is None and row.lease_until is not None and row.lease_until > now
        out[row.id] = None if mine else str(row.reader) if held else ""
        if mine:
            row.lease_until = now + timedelta(seconds=lease_s)
    return out


def let_go(session: Session, who: Principal, *conditions: ColumnElement[bool]) -> int:
    """End one's leases on unanswered readings; return how many there were."""
    query = update(Reading).where(Reading.reader == who.name, Reading.answered_at.is_(None), *conditions)
    return int(session.connection().execute(query.values(lease_until=None)).rowcount)


def blind(case: dict[str, Any]) -> dict[str, Any]:
    """Return a case as it looked before anybody judged it."""
    first = case["alerts"][0]["issue"] if case["alerts"] else case["issue"]
    hidden = {k: v for k, v in case.items() if k != "deadline_at"}
    return hidden | {
        "state": CaseState.IN_REVIEW.value,
        "verdicts": [],
        "issue": first,
        "updated_at": case["opened_at"],
    }


def find_reading(session: Session, reading_id: str, who: Principal) -> Reading:
    """Return one's own leased reading; 404 otherwise."""
    row = session.scalar(
        select(Reading)
        .where(Reading.id == reading_id, Reading.reader == who.name, who.sees(Reading.tenant))
        .with_for_update()
    )
    if row is None:
        raise ApiError(404, f"no reading {reading_id} is yours")
    return row


def answer(reading: Reading, told: VerdictIn, now: datetime) -> None:
    """Keep the answer, and whether it agrees. Unsure, or a merge, agrees with nothing and counts as neither."""
    if reading.answered_at is not None:
        raise ApiError(409, "this reading has been answered", [])
    reading.answer = told.model_dump(mode="json", exclude_none=True)
    reading.answered_at = now
    reading.agrees = _agrees(reading.asked, told) if told.kind.value in JUDGED else None


def _agrees(asked: dict[str, Any], told: VerdictIn) -> bool:
    if asked["kind"] != told.kind.value:
        return False
    named = told.issue.value if told.issue else asked["shown"]
    return told.kind is VerdictKind.REJECT or named == asked["issue"]


def take_back(reading: Reading, now: datetime, within_s: float) -> None:
    """Forget the answer within `within_s` seconds."""
    if reading.answered_at is None or now - reading.answered_at > timedelta(seconds=within_s):
        raise ApiError(409, f"a reading can be taken back for {within_s:g} s", [])
    reading.answer, reading.answered_at, reading.agrees = None, None, None
