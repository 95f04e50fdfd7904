"""Exports: labels for training; cases as CSV, GeoJSON, Parquet and GB/T 30428's shape. Streamed; memory stays flat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import ColumnElement, select

from api.access import Principal, needs
from api.case_export import Format, Wanted, export, media_of
from api.casebook import views
from api.core import Core, CoreDep
from api.errors import refusals
from api.machine import REVIEW_STATES
from api.tables import CaseRow, VerdictRow
from contract import CaseState
from contract.base import UtcTime
from contract.datum import Datum

router = APIRouter(tags=["exports"])
Exporter = Annotated[Principal, needs("export.read")]
PAGE = 500
Since = Annotated[UtcTime | None, Query(description="Opened (labels: judged) at or after, with its offset.")]


@router.get(
    "/exports/cases",
    response_class=StreamingResponse,
    responses={
        200: {"content": {media_of(f)[0].split(";")[0]: {} for f in get_args(Format)}},
        **refusals(401, 403, 422),
    },
)
def export_cases(
    who: Exporter,
    core: CoreDep,
    form: Annotated[Format, Query(alias="format")] = "csv",
    since: Since = None,
    until: Annotated[UtcTime | None, Query(description="Opened before, with its offset.")] = None,
    state: CaseState | None = None,
    datum: Annotated[
        Datum, Query(description="For maps of China: gcj02 (AMap, Tencent), bd09 (Baidu).")
    ] = "wgs84",
) -> StreamingResponse:
    """Stream the tenant's cases. `gbt30428` is one JSON object a line in the shape of that series of standards."""
    kind, ending = media_of(form)
    wanted = Wanted(since, until, state.value if state else None, datum)
    name = f'attachment; filename="cases.{ending}"'
    return StreamingResponse(
        export(core, who, form, wanted), media_type=kind, headers={"Content-Disposition": name}
    )


def _judged(since: datetime | None) -> ColumnElement[bool]:
    return CaseRow.id.in_(
        select(VerdictRow.case_id).where(
            VerdictRow.undone_at.is_(None),
            VerdictRow.kind.in_(["confirm", "reject"]),
            *([VerdictRow.at >= since] if since else []),
        )
    )


def label_lines(
    core: Core, who: Principal, since: datetime | None, which: Literal["judged", "waiting"] = "judged"
) -> Iterator[str]:
    """Yield one `contract.Case` a line: verdicts, boxes, zones, evidence hashes; of judged cases, or of those in review."""
    after = ""
    waiting = CaseRow.state.in_([s.value for s in REVIEW_STATES])
    while True:
        with core.db.read() as session:
            query = (
                select(CaseRow)
                .where(who.sees(CaseRow.tenant), CaseRow.id > after)
                .where(_judged(since) if which == "judged" else waiting)
                .order_by(CaseRow.id)
                .limit(PAGE)
            )
            rows = list(session.scalars(query))
            cases = views(session, rows)
        if not rows:
            return
        for case in cases:
            yield json.dumps(case, ensure_ascii=False) + "\n"
        after = rows[-1].id


@router.get(
    "/exports/labels",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}, **refusals(401, 403, 422)},
)
def export_labels(
    who: Exporter,
    core: CoreDep,
    since: Since = None,
    which: Annotated[
        Literal["judged", "waiting"],
        Query(description="waiting: cases in review, to choose what to label next."),
    ] = "judged",
) -> StreamingResponse:
    """Stream cases for training, one `Case` a line: verdicts, boxes, zones, evidence hashes."""
    lines = label_lines(core, who, since, which)
    return StreamingResponse(lines, media_type="application/x-ndjson")
