"""Cases for others: CSV, GeoJSON, Parquet, the shape of GB/T 30428. Read a page at a time; memory stays flat."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from sqlalchemy import select

from api.access import Principal
from api.core import Core
from api.db import plain
from api.gbt30428 import gbt_rows
from api.parquet import Kind, parquet
from api.tables import CaseRow
from contract.datum import Datum, to_datum

Format = Literal["csv", "geojson", "parquet", "gbt30428"]
PAGE = 500
ROW_GROUP = 10_000
COLUMNS: Mapping[str, Kind] = MappingProxyType(
    {
        "number": "text", "id": "text", "state": "text", "source": "text", "issue": "text", "street_class": "text",
        "camera_id": "text", "camera_name": "text", "lon": "double", "lat": "double", "opened_at": "time",
        "updated_at": "time", "ended_at": "time", "deadline_at": "time", "dwell_s": "double", "unit": "text",
        "grid": "text", "district": "text",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """Which cases, and on which map's datum."""

    since: datetime | None = None
    until: datetime | None = None
    state: str | None = None
    datum: Datum = "wgs84"


def _pages(core: Core, who: Principal, wanted: Wanted) -> Iterator[list[CaseRow]]:
    after = ""
    while True:
        with core.db.read() as session:
            query = select(CaseRow).where(who.sees(CaseRow.tenant), CaseRow.id > after)
            if wanted.since:
                query = query.where(CaseRow.opened_at >= wanted.since)
            if wanted.until:
                query = query.where(CaseRow.opened_at < wanted.until)
            if wanted.state:
                query = query.where(CaseRow.state == wanted.state)
            rows = list(session.scalars(query.order_by(CaseRow.id).limit(PAGE)))
        if not rows:
            return
        yield rows
        after = rows[-1].id


def _flat(case: CaseRow, datum: Datum) -> dict[str, Any]:
    flat = {c: getattr(case, c) for c in COLUMNS}
    flat["lon"], flat["lat"] = to_datum(case.lon, case.lat, datum)
    return flat


def _safe(value: Any) -> Any:
    """Keep a spreadsheet from running a cell as a formula."""
    return "'" + value if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _csv(core: Core, who: Principal, wanted: Wanted) -> Iterator[str]:
    """Yield CSV with a byte order mark, which spreadsheets need to see UTF-8."""
    yield "\ufeff" + ",".join(COLUMNS) + "\r\n"
    for rows in _pages(core, who, wanted):
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerows([_safe(plain(v)) for v in _flat(r, wanted.datum).values()] for r in rows)
        yield out.getvalue()


def _geojson(core: Core, who: Principal, wanted: Wanted) -> Iterator[str]:
    """Yield one FeatureCollection (RFC 7946; that standard means WGS-84, another datum is the reader's own wish)."""
    yield '{"type":"FeatureCollection","features":['
    comma = ""
    for rows in _pages(core, who, wanted):
        for row in rows:
            flat = plain(_flat(row, wanted.datum))
            point = {"type": "Point", "coordinates": [flat.pop("lon"), flat.pop("lat")]}
            feature = {"type": "Feature", "id": row.id, "geometry": point, "properties": flat}
            yield comma + json.dumps(feature, ensure_ascii=False)
            comma = ","
    yield "]}"


def _parquet(core: Core, who: Principal, wanted: Wanted) -> Iterator[bytes]:
    def groups() -> Iterator[list[dict[str, Any]]]:
        kept: list[dict[str, Any]] = []
        for rows in _pages(core, who, wanted):
            kept += [_flat(row, wanted.datum) for row in rows]
            if len(kept) >= ROW_GROUP:
                yield kept
                kept = []
        if kept:
            yield kept

    return parquet(dict(COLUMNS), groups())


def _gbt(core: Core, who: Principal, wanted: Wanted) -> Iterator[str]:
    for rows in _pages(core, who, wanted):
        with core.db.read() as session:
            told = gbt_rows(session, rows, core.pack, wanted.datum)
        yield "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in told)


_MAKERS: dict[Format, tuple[Callable[[Core, Principal, Wanted], Iterator[Any]], str, str]] = {
    "csv": (_csv, "text/csv; charset=utf-8", "csv"),
    "geojson": (_geojson, "application/geo+json", "geojson"),
    "parquet": (_parquet, "application/vnd.apache.parquet", "parquet"),
    "gbt30428": (_gbt, "application/x-ndjson", "gbt30428.ndjson"),
}


def media_of(form: Format) -> tuple[str, str]:
    """Return (media type, ending of the file's name)."""
    return _MAKERS[form][1:]


def export(core: Core, who: Principal, form: Format, wanted: Wanted) -> Iterator[bytes]:
    """Yield the file; reads the next page when the one before is taken."""
    for part in _MAKERS[form][0](core, who, wanted):
        yield part.encode() if isinstance(part, str) else part
