"""Exports: labels for training, cases as CSV, GeoJSON and JSON lines. Streamed; memory stays flat."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import ColumnElement, select

from api.access import Principal, needs
from api.casebook import views
from api.core import Core, CoreDep
from api.db import plain
from api.errors import ApiError, refusals
from api.machine import REVIEW_STATES
from api.tables import CaseRow, VerdictRow
from contract.datum import Datum, to_datum

router = APIRouter(tags=["exports"])
Exporter = Annotated[Principal, needs("export.read")]
PAGE = 500
COLUMNS = (
    "number", "id", "state", "source", "issue", "street_class", "camera_id", "camera_name", "lon", "lat",
    "opened_at", "updated_at", "ended_at", "deadline_at", "dwell_s", "unit", "grid", "district",
)  # fmt: skip
Since = Annotated[datetime | None, Query(description="Opened (labels: judged) at or after, with its offset.")]


def _pages(core: Core, who: Principal, since: datetime | None) -> Iterator[list[CaseRow]]:
    after = ""
    while True:
        with core.db.read() as session:
            query = select(CaseRow).where(who.sees(CaseRow.tenant), CaseRow.id > after)
            if since:
                query = query.where(CaseRow.opened_at >= since)
            rows = list(session.scalars(query.order_by(CaseRow.id).limit(PAGE)))
        if not rows:
            return
        yield rows
        after = rows[-1].id


def _flat(case: CaseRow, datum: Datum) -> dict[str, Any]:
    flat = {c: plain(getattr(case, c)) for c in COLUMNS}
    if flat["lon"] is not None and flat["lat"] is not None:
        flat["lon"], flat["lat"] = to_datum(flat["lon"], flat["lat"], datum)
    return flat


def _safe(value: Any) -> Any:
    """Keep a spreadsheet from running a cell as a formula."""
    return "'" + value if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def csv_lines(core: Core, who: Principal, since: datetime | None, datum: Datum = "wgs84") -> Iterator[str]:
    """Yield CSV with a byte order mark, which spreadsheets need to see UTF-8."""
    yield "\ufeff" + ",".join(COLUMNS) + "\r\n"
    for rows in _pages(core, who, since):
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerows([_safe(v) for v in _flat(r, datum).values()] for r in rows)
        yield out.getvalue()


def geojson(core: Core, who: Principal, since: datetime | None, datum: Datum = "wgs84") -> Iterator[str]:
    """Yield one FeatureCollection (RFC 7946; that standard means WGS-84, another datum is the reader's own wish)."""
    yield '{"type":"FeatureCollection","features":['
    comma = ""
    for rows in _pages(core, who, since):
        for row in rows:
            flat = _flat(row, datum)
            point = {"type": "Point", "coordinates": [flat.pop("lon"), flat.pop("lat")]}
            feature = {"type": "Feature", "id": row.id, "geometry": point, "properties": flat}
            yield comma + json.dumps(feature, ensure_ascii=False)
            comma = ","
    yield "]}"


@router.get(
    "/exports/cases",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}, "application/geo+json": {}}}, **refusals(401, 403, 422)},
)
def export_cases(
    who: Exporter,
    core: CoreDep,
    form: Annotated[Literal["csv", "geojson"], Query(alias="format")] = "csv",
    since: Since = None,
    datum: Annotated[
        Datum, Query(description="For maps of China: gcj02 (AMap, Tencent), bd09 (Baidu).")
    ] = "wgs84",
) -> StreamingResponse:
    """Stream all cases of the tenant."""
    made, kind = (
        (csv_lines, "text/csv; charset=utf-8") if form == "csv" else (geojson, "application/geo+json")
    )
    name = f'attachment; filename="cases.{form}"'
    return StreamingResponse(
        made(core, who, _aware(since), datum), media_type=kind, headers={"Content-Disposition": name}
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


def _aware(since: datetime | None) -> datetime | None:
    if since is not None and since.tzinfo is None:
        raise ApiError(422, "since: give the time with its offset, such as 2026-03-04T08:00:00Z")
    return since


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
    lines = label_lines(core, who, _aware(since), which)
    return StreamingResponse(lines, media_type="application/x-ndjson")
