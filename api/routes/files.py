"""Evidence for people's eyes, with ranges; a sealed original needs a reason, and each opening is recorded."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from sqlalchemy import select

from api.access import Principal, needs
from api.audit import record_case
from api.core import Core, CoreDep
from api.errors import ApiError, refusals
from api.evidence import media_type_of
from api.tables import AlertEvidence, AlertRow, CaseRow, Evidence
from api.tables_custody import Tombstone
from contract import EvidenceKind
from contract.base import Sha256

router = APIRouter(tags=["cases"])
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


def parse_range(value: str | None, size: int) -> tuple[int, int] | None:
    """Return [start, end) of a single byte range (RFC 9110), or None for the whole file. Raises 416."""
    found = _RANGE.fullmatch(value.strip()) if value else None
    if not found or found[1] == found[2] == "":
        return None
    first, last = found[1], found[2]
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if start >= size or start >= end:
        raise ApiError(416, f"Range: the file has {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    return start, end


def _open(core: Core, who: Principal, sha256: str, reason: str | None) -> str:
    """Check that the file belongs to a case of the tenant; return its kind. Record the opening of a sealed one."""
    with core.db.read() as session:
        found = session.execute(
            select(AlertEvidence.kind, CaseRow.id)
            .join(AlertRow, AlertRow.id == AlertEvidence.alert_id)
            .join(CaseRow, CaseRow.id == AlertRow.case_id)
            .where(AlertEvidence.sha256 == sha256, who.sees(CaseRow.tenant))
            .limit(8)
        ).all()
    if not found:
        raise _absent(core, who, sha256)
    if all(kind != EvidenceKind.SEALED for kind, _ in found):
        return str(found[0][0])
    if "evidence.unseal" not in who.permissions:
        raise ApiError(403, f"{who.role} may not open sealed originals")
    if not reason or not reason.strip():
        raise ApiError(403, "reason: say why the sealed original is opened")
    with core.db.write() as session:
        case = session.get_one(CaseRow, found[0][1])
        record_case(
            session,
            case,
            core.now(),
            f"user:{who.name}",
            "evidence.unsealed",
            {"sha256": sha256, "reason": reason},
        )
    return EvidenceKind.SEALED.value


def _absent(core: Core, who: Principal, sha256: str) -> ApiError:
    with core.db.read() as session:
        told = session.execute(
            select(Tombstone.at, Tombstone.rule)
            .join(CaseRow, CaseRow.id == Tombstone.case_id)
            .where(Tombstone.sha256 == sha256, who.sees(CaseRow.tenant))
            .limit(1)
        ).first()
    if told is None:
        return ApiError(404, f"no evidence {sha256} here")
    return ApiError(
        410, f"deleted on {told[0]:%Y-%m-%d} by the rule for {told[1]} cases; the case's audit has the entry"
    )


def _media_type(core: Core, sha256: str) -> str:
    with core.db.read() as session:
        row = session.get(Evidence, sha256)
        return row.media_type if row else ""


@router.get(
    "/evidence/{sha256}",
    response_class=Response,
    responses={
        200: {
            "content": {t: {} for t in ("image/jpeg", "image/png", "video/mp4", "application/octet-stream")},
            "description": "The file.",
        },
        206: {"description": "The range of the file."},
        **refusals(401, 403, 404, 410, 416, 422),
    },
)
async def get_evidence(
    sha256: Annotated[Sha256, Path()], core: CoreDep, who: Annotated[Principal, needs("evidence.read")],
    byte_range: Annotated[str | None, Header(alias="Range")] = None,
    reason: Annotated[str | None, Query(max_length=300, description="Why a sealed original is opened.")] = None,
) -> Response:  # fmt: skip
    """Return a file, or a range of it. It never changes, so a browser may keep it."""
    kind = await run_in_threadpool(_open, core, who, sha256, reason)
    size = await core.store.size(sha256)
    if size is None:
        raise ApiError(404, "the alert is here, its file is still on the way")
    media_type = await run_in_threadpool(_media_type, core, sha256)
    media_type = media_type or media_type_of(await core.store.read(sha256, 0, min(16, size)))
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{sha256}"',
        "Cache-Control": "no-store" if kind == EvidenceKind.SEALED else "private, max-age=86400, immutable",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if media_type == "application/octet-stream":
        headers["Content-Disposition"] = f'attachment; filename="{sha256}.bin"'
    wanted = parse_range(byte_range, size)
    start, end = wanted or (0, size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(
        core.store.stream(sha256, start, end), 206 if wanted else 200, headers, media_type=media_type
    )


@router.get(
    "/evidence/{sha256}/playable",
    response_class=FileResponse,
    responses={
        200: {"content": {"video/mp4": {}}, "description": "The clip as H.264."},
        206: {"description": "The range of it."},
        **refusals(401, 403, 404, 410, 415, 422, 503),
    },
)
async def get_playable(
    sha256: Annotated[Sha256, Path()], core: CoreDep, who: Annotated[Principal, needs("evidence.read")]
) -> FileResponse:
    """Return a clip as H.264, which every browser plays. It is made when it is first asked for, and takes some seconds."""
    kind = await run_in_threadpool(_open, core, who, sha256, None)
    if kind != EvidenceKind.CLIP:
        raise ApiError(415, "only a clip can be converted")
    size = await core.store.size(sha256)
    if size is None:
        raise ApiError(404, "the alert is here, its file is still on the way")
    copy = await core.playable.of(sha256, size)
    headers = {
        "Cache-Control": "private, max-age=3600",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return FileResponse(copy, media_type="video/mp4", headers=headers)
