"""The audit: append-only rows, each holding the hash of the one before it in its chain.

A case has its own chain, `case:<id>`, so that two cases never wait for each other. The case keeps its chain's
last hash, so a chain cut short shows as well as one changed in the middle.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db import lock, plain
from api.tables import Audit, CaseRow
from contract.case_file import GENESIS, custody_hash


def entry_hash(
    before: str, chain: str, position: int, at: datetime, actor: str, action: str, body: dict[str, Any]
) -> str:
    """Return the SHA-256 over the canonical JSON of one entry."""
    return custody_hash(before, chain, position, plain(at), actor, action, body)


def opening(chain: str, at: datetime, actor: str, action: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the first entry of a chain that nobody else can know yet."""
    told = plain(body)
    found = entry_hash(GENESIS, chain, 0, at, actor, action, told)
    return {
        "chain": chain, "position": 0, "at": at, "actor": actor, "action": action, "body": told,
        "before_hash": GENESIS, "hash": found,
    }  # fmt: skip


def record(
    session: Session, chain: str, at: datetime, actor: str, action: str, body: dict[str, Any] | None = None
) -> str:
    """Append an entry to `chain` within the transaction and return its hash."""
    lock(session, [f"audit:{chain}"])
    return _append(session, chain, at, actor, action, body)


def _append(
    session: Session, chain: str, at: datetime, actor: str, action: str, body: dict[str, Any] | None
) -> str:
    last = session.execute(
        select(Audit.position, Audit.hash)
        .where(Audit.chain == chain)
        .order_by(Audit.position.desc())
        .limit(1)
    ).first()
    position, before = (last[0] + 1, last[1]) if last else (0, GENESIS)
    told = plain(body or {})
    found = entry_hash(before, chain, position, at, actor, action, told)
    session.add(
        Audit(
            chain=chain, position=position, at=at, actor=actor, action=action, body=told,
            before_hash=before, hash=found,
        )
    )  # fmt: skip
    session.flush()
    return found


def record_case(
    session: Session, case: CaseRow, at: datetime, actor: str, action: str, body: dict[str, Any] | None = None
) -> None:
    """Append to the case's chain and remember its head in the case.

    The case's own row is what such transactions wait for: a second lock beside it could be taken the other way round.
    """
    session.execute(select(CaseRow.id).where(CaseRow.id == case.id).with_for_update())
    case.audit_head = _append(session, f"case:{case.id}", at, actor, action, body)


def verify(session: Session, chain: str) -> str | None:
    """Return what is wrong with a chain, or None."""
    before = GENESIS
    rows = session.scalars(select(Audit).where(Audit.chain == chain).order_by(Audit.position)).all()
    for expected, row in enumerate(rows):
        if row.position != expected:
            return f"{chain}: entry {expected} is missing"
        found = entry_hash(before, chain, row.position, row.at, row.actor, row.action, row.body)
        if row.before_hash != before or row.hash != found:
            return f"{chain}: entry {row.position} ({row.action}) was changed"
        before = row.hash
    if chain.startswith("case:"):
        head = session.scalar(select(CaseRow.audit_head).where(CaseRow.id == chain[5:]))
        if head is not None and head != before:
            return f"{chain}: the last entries are missing"
    return None
