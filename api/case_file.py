"""A case as one ZIP file that anyone can check offline with `curbwatch evidence verify`."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from api.core import Core
from api.db import plain
from api.errors import ApiError
from api.tables import AlertEvidence, AlertRow, Audit, CaseRow, Evidence
from api.tables_custody import ChainLink, DeviceKey, Tombstone
from contract import AlertEvent, EvidenceItem
from contract.case_file import Strand, texts

MAX_LINKS = 15_000
IN_MEMORY = 8 * 2**20


async def write_case_file(core: Core, case: CaseRow) -> IO[bytes]:
    """Return the ZIP file, rewound. What is here is packed; a link that is missing is the verifier's to name.

    Raises `ApiError`: 409 when nothing is signed or evidence is still on the way, 410 when it was deleted.
    """
    strands, files, custody = gather(core, case)
    out = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the caller closes it
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in texts(strands, len(files), custody):
            archive.writestr(name, data)
        for sha256 in files:
            size = await core.store.size(sha256)
            if size is None:
                out.close()
                raise ApiError(409, f"the file {sha256} is still on its way from the box; try again later")
            with archive.open(zipfile.ZipInfo(f"files/{sha256}"), "w", force_zip64=True) as entry:
                async for chunk in core.store.stream(sha256, 0, size):
                    entry.write(chunk)
    out.seek(0)
    return out


def gather(core: Core, case: CaseRow) -> tuple[list[Strand], list[str], list[dict[str, Any]]]:
    """Return the case's strands, the hashes that its messages name, and its log."""
    with core.db.read() as session:
        gone = session.scalar(select(Tombstone.at).where(Tombstone.case_id == case.id).limit(1))
        if gone is not None:
            raise ApiError(
                410, f"the evidence was deleted on {gone:%Y-%m-%d}; the case's audit says what and why"
            )
        alerts = list(session.scalars(select(AlertRow.id).where(AlertRow.case_id == case.id)))
        strands = [strand for alert_id in alerts for strand in _strands(session, alert_id)]
        log = [
            {
                "before": e.before_hash, "chain": e.chain, "position": e.position, "at": plain(e.at),
                "actor": e.actor, "action": e.action, "body": e.body, "hash": e.hash,
            }
            for e in session.scalars(
                select(Audit).where(Audit.chain == f"case:{case.id}").order_by(Audit.position)
            )
        ]  # fmt: skip
    if not strands:
        raise ApiError(
            409, "no message of this case came with a link of its box's chain, so nothing can be proven"
        )
    named = {
        item.sha256
        for strand in strands
        for _, _, body in strand.links
        if body is not None
        for item in _items(body)
    }
    return strands, sorted(named), log


def _items(body: str) -> tuple[EvidenceItem, ...]:
    try:
        return AlertEvent.model_validate_json(body).data.evidence
    except ValueError:
        return ()  # a damaged message goes into the file as it is: the verifier says so


def _strands(session: Session, alert_id: str) -> Iterator[Strand]:
    own = session.execute(
        select(ChainLink.keyid, ChainLink.seq).where(
            ChainLink.alert_id == alert_id, ChainLink.seq.is_not(None)
        )
    ).all()
    # A box that was given a new key in the middle of an alert: the newest key's part is what can be joined.
    keyid = max(own, key=lambda row: _enrolled(session, row[0]), default=(None, None))[0]
    seqs = [seq for key, seq in own if key == keyid and seq is not None]
    if keyid is None or not seqs:
        return
    if max(seqs) - min(seqs) > MAX_LINKS:
        raise ApiError(
            409, f"alert {alert_id} spans {max(seqs) - min(seqs)} links; a case file has at most {MAX_LINKS}"
        )
    rows = session.scalars(
        select(ChainLink)
        .where(ChainLink.keyid == keyid, ChainLink.seq.between(min(seqs), max(seqs)))
        .order_by(ChainLink.seq, ChainLink.received_at)
    )
    taken: dict[int, ChainLink] = {}
    for row in rows:
        if row.seq is not None:
            taken.setdefault(row.seq, row)
    key = session.get_one(DeviceKey, keyid)
    yield Strand(
        alert_id=alert_id,
        key_text=key.public,
        device=key.device_id,
        links=[
            (seq, row.envelope, row.body if row.alert_id == alert_id else None) for seq, row in taken.items()
        ],
        tokens={s: r.token for s, r in taken.items() if r.token is not None and r.alert_id == alert_id},
    )


def _enrolled(session: Session, keyid: str | None) -> float:
    row = session.get(DeviceKey, keyid) if keyid else None
    return row.enrolled_at.timestamp() if row else 0.0


def named_files(session: Session, case_id: str) -> list[tuple[str, str, bool]]:
    """Return (hash, kind, whether it is here) of a case's evidence."""
    rows = session.execute(
        select(AlertEvidence.sha256, AlertEvidence.kind, Evidence.sha256)
        .join(AlertRow, AlertRow.id == AlertEvidence.alert_id)
        .outerjoin(Evidence, and_(Evidence.sha256 == AlertEvidence.sha256, Evidence.size > 0))
        .where(AlertRow.case_id == case_id)
        .order_by(AlertEvidence.sha256)
    )
    return [(sha256, kind, here is not None) for sha256, kind, here in rows]
