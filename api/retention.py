"""Retention: how long a case's evidence stays, by the case's state. A deletion leaves a tombstone in the case's audit.

What goes is the pictures, clips, sealed originals and signed messages. The case, its verdicts, its audit and the bare
links of the chain stay: they count, and they hold hashes, not pictures. A file of two cases stays while one needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from fastapi.concurrency import run_in_threadpool
from obstore.exceptions import BaseError
from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from api.audit import record, record_case
from api.casebook import hold
from api.core import Core
from api.db import lock
from api.machine import OPEN_STATES, REVIEW_STATES
from api.settings import Settings
from api.shedding import shed
from api.tables import AlertEvidence, AlertRow, CaseRow, Evidence
from api.tables_custody import ChainLink, LegalHold, Tombstone
from contract import CaseState

LOG = structlog.get_logger("retention")
AT_ONCE = 200
# A box that sends a part comes back within minutes; after two days it has begun anew or never will.
UNFINISHED = timedelta(days=2)
# A deletion that began longer ago than this was cut short.
GOING = timedelta(minutes=5)
RULES: Mapping[CaseState, str] = {
    **dict.fromkeys(REVIEW_STATES, "candidate"),
    **dict.fromkeys(OPEN_STATES - REVIEW_STATES, "filed"),
    **dict.fromkeys(
        (CaseState.REJECTED, CaseState.VOID, CaseState.SELF_RESOLVED, CaseState.MERGED), "rejected"
    ),
    CaseState.CLOSED: "closed",
}


@dataclass
class Swept:
    """What one sweep did."""

    cases: int = 0
    files: int = 0
    bytes: int = 0
    kept_for_others: int = 0
    orphans: int = 0
    unfinished: int = 0
    failed: int = 0


def limits(settings: Settings) -> dict[str, timedelta | None]:
    """Return how long evidence stays by rule; None is for ever."""
    days = {
        "candidate": settings.keep_candidate_days,
        "rejected": settings.keep_rejected_days,
        "filed": settings.keep_filed_days,
        "closed": settings.keep_closed_days,
    }
    return {rule: timedelta(days=d) if d > 0 else None for rule, d in days.items()}


async def sweep(core: Core) -> Swept:
    """Delete what has had its time, and return what was deleted. Safe on several replicas, and after a kill anywhere."""
    done = Swept()
    for rule, keep in limits(core.settings).items():
        while keep is not None:
            ids = await run_in_threadpool(_due, core, rule, core.now() - keep)
            for case_id in ids:
                await run_in_threadpool(_bury, core, case_id, rule, core.now() - keep, done)
            if len(ids) < AT_ONCE:
                break
    await _erase(core, done)
    await _orphans(core, done)
    core.playable.sweep()
    done.unfinished = await run_in_threadpool(core.store.sweep_parts, core.now() - UNFINISHED)
    if done.cases or done.orphans or done.unfinished or done.failed:
        LOG.info("retention.swept", **vars(done))
    # Last: what it fails on must not keep evidence beyond its time.
    await run_in_threadpool(shed, core)
    return done


def preview(core: Core) -> dict[str, int]:
    """Return how many cases each rule would empty now."""
    found = {}
    with core.db.read() as session:
        for rule, keep in limits(core.settings).items():
            query = None if keep is None else _query(rule, core.now() - keep).with_only_columns(func.count())
            found[rule] = 0 if query is None else session.scalar(query) or 0
    return found


def _query(rule: str, before: datetime) -> Any:
    states = [s.value for s, r in RULES.items() if r == rule]
    has_files = exists().where(AlertRow.case_id == CaseRow.id, AlertEvidence.alert_id == AlertRow.id)
    held = exists().where(LegalHold.case_id == CaseRow.id)
    return select(CaseRow.id).where(
        CaseRow.state.in_(states),
        func.coalesce(CaseRow.ended_at, CaseRow.updated_at) < before,
        has_files,
        ~held,
    )


def _due(core: Core, rule: str, before: datetime) -> list[str]:
    with core.db.read() as session:
        return list(session.scalars(_query(rule, before).limit(AT_ONCE)))


def _bury(core: Core, case_id: str, rule: str, before: datetime, done: Swept) -> None:
    """Take a case's files from it in one transaction with their tombstones and the audit entry."""
    now = core.now()
    with core.db.write() as session:
        # Asked again once the row is held: a reviewer may have reopened it, a lawyer held it, since the list was made.
        # In one statement PostgreSQL would look at the hold as it was before it waited for the row.
        hold(session, [case_id])
        case = session.scalar(_query(rule, before).where(CaseRow.id == case_id).with_only_columns(CaseRow))
        if case is None:
            return
        alerts = select(AlertRow.id).where(AlertRow.case_id == case_id)
        rows = session.execute(
            select(AlertEvidence.sha256, AlertEvidence.kind)
            .where(AlertEvidence.alert_id.in_(alerts))
            .distinct()
        ).all()
        session.execute(delete(AlertEvidence).where(AlertEvidence.alert_id.in_(alerts)))
        # The links stay, so that the chain of the cases between can still be joined; their messages go.
        session.execute(update(ChainLink).where(ChainLink.alert_id.in_(alerts)).values(body="", token=None))
        told = []
        for sha256, kind in {s: k for s, k in rows}.items():  # noqa: C416 - one row a hash
            lock(session, [f"evidence:{sha256}"])
            needed = session.scalar(
                select(AlertEvidence.alert_id).where(AlertEvidence.sha256 == sha256).limit(1)
            )
            if session.get(Tombstone, (case_id, sha256)) is None:
                session.add(
                    Tombstone(
                        case_id=case_id, sha256=sha256, kind=kind, rule=rule, at=now, doomed=needed is None
                    )
                )
            told.append({"sha256": sha256, "kind": kind, "kept_for_another_case": needed is not None})
            done.kept_for_others += needed is not None
        record_case(
            session,
            case,
            now,
            "system:retention",
            "evidence.deleted",
            {"rule": rule, "state": case.state, "files": told},
        )
    done.cases += 1


async def _erase(core: Core, done: Swept) -> None:
    """Delete the bytes of what was buried. A kill before this leaves `doomed`, which the next sweep finds."""
    after = ""
    while doomed := await run_in_threadpool(_doomed, core, after):
        after = doomed[-1]
        for sha256 in doomed:
            with _one_file(sha256, done):
                freed = await _delete(core, sha256)
                if freed is not None:
                    done.files += 1
                    done.bytes += freed
                await run_in_threadpool(_erased, core, sha256, freed is not None)


@contextmanager
def _one_file(sha256: str, done: Swept) -> Iterator[None]:
    """Go on with the others where the store keeps a file from being deleted; the next sweep tries it again."""
    try:
        yield
    except (OSError, BaseError) as exc:
        LOG.error("retention.file_failed", sha256=sha256, error=type(exc).__name__)  # noqa: TRY400 - its words may hold an address
        done.failed += 1


def _doomed(core: Core, after: str) -> list[str]:
    with core.db.read() as session:
        return list(
            session.scalars(
                select(Tombstone.sha256)
                .where(Tombstone.doomed, Tombstone.sha256 > after)
                .distinct()
                .order_by(Tombstone.sha256)
                .limit(AT_ONCE)
            )
        )


async def _delete(core: Core, sha256: str) -> int | None:
    """Delete a file that no alert names; return the bytes that were freed, or None when one has named it since.

    The bytes go before their row: what fails or is killed between leaves a row, which the next sweep finds.
    """
    going_since = await run_in_threadpool(_unnamed, core, sha256)
    if going_since is None:
        return None
    core.playable.forget(sha256)
    freed = await core.store.remove(sha256)
    anew = await run_in_threadpool(_forget, core, sha256, going_since)
    # What was stored anew before the bytes went has gone with them.
    if anew is not None and await core.store.size(sha256) is None:
        await run_in_threadpool(_forget, core, sha256, anew)
    return freed


def _unnamed(core: Core, sha256: str) -> datetime | None:
    """Mark a file that no alert names as going, and return since when; None when one names it.

    From then on it counts as not here: whoever names it is told that it is missing, and whoever sends it sends it whole.
    """
    now = core.now()
    with core.db.write() as session:
        lock(session, [f"evidence:{sha256}", f"stored:{sha256}"])
        if session.scalar(select(AlertEvidence.alert_id).where(AlertEvidence.sha256 == sha256).limit(1)):
            return None
        session.execute(update(Evidence).where(Evidence.sha256 == sha256).values(size=0, stored_at=now))
    return now


def _forget(core: Core, sha256: str, stored_at: datetime) -> datetime | None:
    """Remove the row of a file whose bytes are gone; of one that was stored anew meanwhile, return when."""
    with core.db.write() as session:
        session.execute(delete(Evidence).where(Evidence.sha256 == sha256, Evidence.stored_at == stored_at))
        return session.scalar(select(Evidence.stored_at).where(Evidence.sha256 == sha256))


def _erased(core: Core, sha256: str, gone_now: bool) -> None:
    with core.db.write() as session:
        session.execute(
            update(Tombstone)
            .where(Tombstone.sha256 == sha256, Tombstone.doomed)
            .values(doomed=False, erased_at=core.now() if gone_now else None)
        )


async def _orphans(core: Core, done: Swept) -> None:
    """Delete files that no alert has named for a while: their alert was refused, or its case went before they came."""
    before = core.now() - timedelta(days=core.settings.keep_orphan_days)
    after = ""
    while lonely := await run_in_threadpool(_lonely, core, before, after):
        after = lonely[-1]
        went = []
        for sha256 in lonely:
            with _one_file(sha256, done):
                freed = await _delete(core, sha256)
                if freed is not None:
                    done.bytes += freed
                    went.append(sha256)
        done.orphans += len(went)
        if went:
            await run_in_threadpool(_note_orphans, core, went)


def _lonely(core: Core, before: datetime, after: str) -> list[str]:
    named = exists().where(AlertEvidence.sha256 == Evidence.sha256)
    buried = exists().where(Tombstone.sha256 == Evidence.sha256, Tombstone.doomed)
    with core.db.read() as session:
        return list(
            session.scalars(
                select(Evidence.sha256)
                .where(
                    or_(Evidence.stored_at < before, Evidence.size == 0),
                    Evidence.sha256 > after,
                    ~named,
                    ~buried,
                )
                .order_by(Evidence.sha256)
                .limit(AT_ONCE)
            )
        )


def _note_orphans(core: Core, went: list[str]) -> None:
    with core.db.write() as session:
        record(session, "retention", core.now(), "system:retention", "orphans.deleted", {"files": went})


def gone(session: Session, sha256: str) -> Tombstone | None:
    """Return the newest tombstone of a file that no alert needs any more, or None."""
    if session.scalar(select(AlertEvidence.alert_id).where(AlertEvidence.sha256 == sha256).limit(1)):
        return None
    return session.scalar(
        select(Tombstone).where(Tombstone.sha256 == sha256).order_by(Tombstone.at.desc()).limit(1)
    )
