"""Custody: boxes' keys and chains, the case file, sealed originals, legal holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select

from api.access import Principal, needs
from api.audit import record_case
from api.case_file import gather, named_files, write_case_file
from api.core import Core, CoreDep
from api.custody import enrol, gaps, links_of_case
from api.errors import ApiError, refusals
from api.merge import follow
from api.review import find
from api.seals import Unsealer
from api.tables import AlertEvidence, AlertRow, CaseRow, Device
from api.tables_custody import ChainLink, DeviceKey, LegalHold, Tombstone
from contract import EvidenceKind
from contract.base import Identifier, Sha256, Slug

router = APIRouter(tags=["custody"])
Reason = Annotated[str, Field(min_length=3, max_length=300, pattern=r"\S")]
CHUNK = 1 << 20


class KeyText(BaseModel):
    """A box's public key."""

    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(max_length=4000, description="As `curbwatch evidence key` prints it.")]


class EnrolledKey(BaseModel):
    """A key that the centre believes."""

    keyid: str
    device_id: str
    enrolled_at: datetime


class KeyChain(EnrolledKey):
    """A key and what came of its chain."""

    first: Annotated[int, Field(description="Lowest number that is here; 0 without any.")]
    last: int
    missing: Annotated[list[str], Field(description="Spans of numbers that are not here, `from-to`.")]


class Fault(BaseModel):
    """A link with something wrong."""

    event_id: str
    alert_id: str
    seq: int | None
    fault: str
    received_at: datetime


class ChainView(BaseModel):
    """A box's chain as the centre has it."""

    device_id: str
    keys: list[KeyChain]
    faults: Annotated[list[Fault], Field(description="The newest 200.")]
    fault_count: int


class FileView(BaseModel):
    """A file of a case."""

    sha256: Sha256
    kind: str
    here: bool
    deleted_at: datetime | None = None
    rule: Annotated[str | None, Field(description="Which retention rule deleted it.")] = None


class CustodyView(BaseModel):
    """What stands behind a case's evidence."""

    signed: Annotated[int, Field(description="Messages with a good link.")]
    stamped: Annotated[int, Field(description="Of these, with a time-stamp of a third party.")]
    faults: list[Fault]
    files: list[FileView]
    held: Annotated[str | None, Field(description="The reason of the legal hold.")] = None


class Because(BaseModel):
    """A reason, for the audit."""

    model_config = ConfigDict(extra="forbid")
    reason: Reason


class Original(Because):
    """Which sealed original, and why."""

    sha256: Sha256


@router.put("/devices/self/key", responses=refusals(401, 403, 409, 413, 422))
def enrol_key(
    told: KeyText, request: Request, who: Annotated[Principal, needs("device.ingest")], core: CoreDep
) -> EnrolledKey:
    """Enrol the box's public key. Its token does this once; the same key again changes nothing."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    with core.db.write() as session:
        row = enrol(session, who.id, token, told.key, core.now())
        return EnrolledKey(keyid=row.keyid, device_id=row.device_id, enrolled_at=row.enrolled_at)


def _faults(rows: list[ChainLink]) -> list[Fault]:
    return [
        Fault(event_id=r.event_id, alert_id=r.alert_id, seq=r.seq, fault=r.fault, received_at=r.received_at)
        for r in rows
        if r.fault is not None
    ]


@router.get("/devices/{device_id}/chain", responses=refusals(401, 403, 404, 422))
def device_chain(
    device_id: Slug, who: Annotated[Principal, needs("audit.read", "device.manage")], core: CoreDep
) -> ChainView:
    """Show a box's keys, what is missing of their chains, and every link with a fault."""
    with core.db.read() as session:
        if session.scalar(select(Device.id).where(Device.id == device_id, who.sees(Device.tenant))) is None:
            raise ApiError(404, f"no box {device_id} here")
        keys = []
        for key in session.scalars(select(DeviceKey).where(DeviceKey.device_id == device_id)):
            first, last, missing = gaps(session, key.keyid)
            told = {"keyid": key.keyid, "device_id": device_id, "enrolled_at": key.enrolled_at}
            keys.append(KeyChain.model_validate({**told, "first": first, "last": last, "missing": missing}))
        wrong = select(ChainLink).where(ChainLink.device_id == device_id, ChainLink.fault.is_not(None))
        count = session.scalar(select(func.count()).select_from(wrong.subquery())) or 0
        rows = list(session.scalars(wrong.order_by(ChainLink.received_at.desc()).limit(200)))
    return ChainView(device_id=device_id, keys=keys, faults=_faults(rows), fault_count=count)


@router.get("/cases/{case_id}/custody", responses=refusals(401, 403, 404, 422))
def case_custody(
    case_id: Identifier, who: Annotated[Principal, needs("case.read")], core: CoreDep
) -> CustodyView:
    """Show what is signed, what is wrong, which files are here and which were deleted by which rule."""
    with core.db.read() as session:
        case = find(session, case_id, who)
        links = links_of_case(session, case.id)
        held = session.get(LegalHold, case.id)
        gone = list(session.scalars(select(Tombstone).where(Tombstone.case_id == case.id)))
        files = [FileView(sha256=s, kind=k, here=h) for s, k, h in named_files(session, case.id)]
    files += [FileView(sha256=t.sha256, kind=t.kind, here=False, deleted_at=t.at, rule=t.rule) for t in gone]
    good = [r for r in links if r.fault is None]
    return CustodyView(
        signed=len(good),
        stamped=sum(r.token is not None for r in good),
        faults=_faults(links),
        files=files,
        held=held.reason if held else None,
    )


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    try:
        while piece := await run_in_threadpool(file.read, CHUNK):
            yield piece
    finally:
        file.close()


def _note(core: Core, who: Principal, case_id: str, action: str, body: dict[str, Any]) -> CaseRow:
    with core.db.write() as session:
        case = find(session, case_id, who, update=True)
        record_case(session, case, core.now(), f"{who.kind}:{who.name}", action, body)
        return case


def _can_pack(core: Core, who: Principal, case_id: str) -> None:
    """Refuse before the log says that the case was handed out."""
    with core.db.read() as session:
        case = find(session, case_id, who)
    gather(core, case)


@router.get(
    "/cases/{case_id}/export.zip",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/zip": {}}, "description": "The case file."},
        **refusals(401, 403, 404, 409, 410, 422),
    },
)
async def export_case(
    case_id: Identifier, who: Annotated[Principal, needs("export.read")], core: CoreDep
) -> StreamingResponse:
    """Pack messages, chain, keys, evidence and the centre's log; `curbwatch evidence verify` checks it offline."""
    await run_in_threadpool(_can_pack, core, who, case_id)
    case = await run_in_threadpool(_note, core, who, case_id, "case.exported", {})
    file = await write_case_file(core, case)
    name = f'attachment; filename="case-{case.number}.zip"'
    return StreamingResponse(
        _pieces(file),
        media_type="application/zip",
        headers={"Content-Disposition": name, "Cache-Control": "no-store"},
    )


@router.post(
    "/cases/{case_id}/original",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "The original, in the clear."},
        **refusals(401, 403, 404, 409, 413, 422, 503),
    },
)
async def open_original(
    case_id: Identifier, told: Original, who: Annotated[Principal, needs("evidence.unseal")], core: CoreDep
) -> Response:
    """Open a sealed original. Who, which and why is in the audit before the first byte leaves."""
    await run_in_threadpool(_is_sealed, core, who, case_id, told.sha256)
    unsealer = Unsealer.of(core.settings)
    size = await core.store.size(told.sha256)
    if size is None:
        raise ApiError(404, "the sealed original is still on its way from the box")
    clear = await run_in_threadpool(unsealer.open, await core.store.read(told.sha256, 0, size))
    body = {"sha256": told.sha256, "reason": told.reason}
    await run_in_threadpool(_note, core, who, case_id, "evidence.unsealed", body)
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": "sandbox; default-src 'none'"}
    return Response(clear, media_type="image/jpeg", headers=headers)


def _is_sealed(core: Core, who: Principal, case_id: str, sha256: str) -> None:
    with core.db.read() as session:
        case = find(session, case_id, who)
        found = session.scalar(
            select(AlertEvidence.sha256)
            .join(AlertRow, AlertRow.id == AlertEvidence.alert_id)
            .where(
                AlertRow.case_id == case.id,
                AlertEvidence.sha256 == sha256,
                AlertEvidence.kind == EvidenceKind.SEALED.value,
            )
            .limit(1)
        )
    if found is None:
        raise ApiError(404, f"the case has no sealed original {sha256}")


@router.put("/cases/{case_id}/hold", status_code=204, responses=refusals(401, 403, 404, 409, 413, 422))
def hold_case(
    case_id: Identifier, told: Because, who: Annotated[Principal, needs("case.supervise")], core: CoreDep
) -> None:
    """Put a legal hold on a case: nothing of it is deleted, whatever its age."""
    with core.db.write() as session:
        case = find(session, case_id, who, update=True)
        if case.merged_into is not None:
            into = follow(session, case)
            raise ApiError(
                409, f"case {case.number} was merged: its evidence is at {into.number}; hold that", []
            )
        now, row = core.now(), session.get(LegalHold, case.id)
        if row is None:
            session.add(LegalHold(case_id=case.id, reason=told.reason, by=who.name, at=now))
        else:
            row.reason, row.by, row.at = told.reason, who.name, now
        record_case(session, case, now, f"{who.kind}:{who.name}", "case.held", {"reason": told.reason})


@router.delete("/cases/{case_id}/hold", status_code=204, responses=refusals(401, 403, 404, 422))
def release_case(
    case_id: Identifier,
    who: Annotated[Principal, needs("case.supervise")],
    core: CoreDep,
    reason: Annotated[str, Query(min_length=3, max_length=300, pattern=r"\S")],
) -> None:
    """Take a legal hold away, with a reason; the retention rules count again."""
    with core.db.write() as session:
        case = find(session, case_id, who, update=True)
        row = session.get(LegalHold, case.id)
        if row is None:
            raise ApiError(404, f"case {case.number} is not held")
        session.delete(row)
        record_case(session, case, core.now(), f"{who.kind}:{who.name}", "case.released", {"reason": reason})
