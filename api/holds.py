"""Legal holds go where the evidence goes: the case that takes alerts of a held one in is held for the same reason."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from api.audit import record_case
from api.db import plain
from api.tables import CaseRow
from api.tables_custody import LegalHold

MAX_REASON = 300


def pass_on(
    session: Session, source: CaseRow, target: CaseRow, by: str, now: datetime
) -> dict[str, str | None] | None:
    """Hold `target` as `source` is; a hold of its own gets the other's reason beside its own. The source stays held.

    The caller holds both rows. Returns what `take_back` needs, or None where nothing changed.
    """
    told, row = session.get(LegalHold, source.id), session.get(LegalHold, target.id)
    if told is None or (row is not None and told.reason in row.reason.split("; ")):
        return None
    before = row.reason if row else None
    if row is None:
        row = LegalHold(case_id=target.id, reason=told.reason, by=told.by, at=told.at)
        session.add(row)
    else:
        row.reason = f"{row.reason}; {told.reason}"[:MAX_REASON]
    record_case(session, target, now, by, "case.held", {"reason": told.reason, "from": source.id})
    return {"before": before, "reason": row.reason, "at": plain(row.at)}


def take_back(
    session: Session, source: CaseRow, target: CaseRow, passed: dict[str, str | None], by: str, now: datetime
) -> None:
    """Put the target's hold back as it was before `pass_on`, unless a person has put or released one there since."""
    row = session.get(LegalHold, target.id)
    if row is None or (row.reason, plain(row.at)) != (passed["reason"], passed["at"]):
        return
    if passed["before"] is None:
        session.delete(row)
    else:
        row.reason = passed["before"]
    told = {"reason": "the merge was taken back", "from": source.id, "still": passed["before"]}
    record_case(session, target, now, by, "case.released", told)


def held_at(session: Session, case: CaseRow) -> str | None:
    """Return when the case's hold was put, or None where it has none."""
    row = session.get(LegalHold, case.id)
    return None if row is None else str(plain(row.at))


def held_since(session: Session, case: CaseRow, since: datetime, before: str | None) -> bool:
    """True when a person has put a hold on the case since; `before` is what `held_at` said then.

    It was meant for all that the case had, so that it goes along with evidence that leaves the case again.
    """
    row = session.get(LegalHold, case.id)
    return row is not None and row.at >= since and plain(row.at) != before
