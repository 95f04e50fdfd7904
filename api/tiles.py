"""Rows in a box, by an index of square tiles, alike on SQLite and PostgreSQL.

A tile is 0.002 degrees, about 220 m, a side; its number comes of latitude and longitude in the index itself, so no row
stores it. An index that begins with the latitude alone would read a strip across the whole city.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Dialect,
    Exists,
    Select,
    String,
    TypeDecorator,
    bindparam,
    literal_column,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType

from api.geo import Spot, box_around
from api.tables import AlertRow, CaseRow

PER_DEG = 500
ROW = 200_000  # more than the 180 000 tiles of one row
# A larger box, some ten kilometres a side, is a city: the newest first, until there are enough, is the shorter way.
MAX_TILES = 4000
_BRACES = str.maketrans("[]", "{}")
Around = tuple[float, float, float, float]


Placed = type[CaseRow] | type[AlertRow]


def tile_sql(dialect: str, lat: str = "lat", lon: str = "lon") -> str:
    """Return the tile's number as the index has it. Both terms are positive, so cutting off is rounding down."""
    kind, cut = ("bigint", "trunc") if dialect == "postgresql" else ("INTEGER", "")
    row, column = (f"CAST({cut}(({v}) * {PER_DEG}) AS {kind})" for v in (f"{lat} + 90.0", f"{lon} + 180.0"))
    return f"({row} * {ROW} + {column})"


def tiles_of(box: Around, most: int | None = None) -> list[int] | None:
    """Return the tiles that (west, south, east, north) touches; None when there are more than `most`."""
    west, south, east, north = box
    rows = range(int((south + 90.0) * PER_DEG), int((north + 90.0) * PER_DEG) + 1)
    columns = range(int((west + 180.0) * PER_DEG), int((east + 180.0) * PER_DEG) + 1)
    if most is not None and len(rows) * len(columns) > most:
        return None
    return [row * ROW + column for row in rows for column in columns]


class _Numbers(TypeDecorator[list[int]]):
    """Integers in one parameter: an array on PostgreSQL, JSON on SQLite."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" else json.dumps(value)

    def process_literal_param(self, value: Sequence[int] | None, dialect: Dialect) -> str:
        told = json.dumps(value)
        return told.translate(_BRACES) if dialect.name == "postgresql" else told


class _InTiles(FunctionElement[bool]):
    """True for a row whose tile is one of the parameter's."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: OperatorType | None = None) -> Any:  # noqa: ARG002
        """Stay as it is: SQLite would get `= 1` behind it, and use no index."""
        return self


@compiles(_InTiles)
def _in_tiles(element: _InTiles, compiler: SQLCompiler, **more: Any) -> str:
    lat, lon, tiles = (compiler.process(clause, **more) for clause in element.clauses)
    tile = tile_sql(compiler.dialect.name, lat, lon)
    if compiler.dialect.name == "postgresql":
        return f"{tile} = ANY (CAST({tiles} AS bigint[]))"
    return f"{tile} IN (SELECT value FROM json_each({tiles}))"  # noqa: S608  # compiled clauses, no text from outside


def within(table: Placed, name: str) -> list[ColumnElement[bool]]:
    """Return the conditions that a row lies in the box of `around(name, …)`."""
    return [
        _InTiles(table.lat, table.lon, bindparam(f"{name}_tiles", type_=_Numbers())),
        table.lat.between(bindparam(f"{name}_south"), bindparam(f"{name}_north")),
        table.lon.between(bindparam(f"{name}_west"), bindparam(f"{name}_east")),
    ]


def around(name: str, spot: Spot, radius_m: float) -> dict[str, Any]:
    """Return the values of `within` for the square round a place."""
    box = box_around(spot, radius_m)
    sides = zip(("west", "south", "east", "north"), box, strict=True)
    return {f"{name}_{side}": value for side, value in sides} | {f"{name}_tiles": tiles_of(box)}


def inside(table: Placed, box: Around) -> list[ColumnElement[bool]]:
    """Return the conditions that a row lies in (west, south, east, north)."""
    west, south, east, north = box
    found: list[ColumnElement[bool]] = [table.lat.between(south, north), table.lon.between(west, east)]
    tiles = tiles_of(box, MAX_TILES)
    if tiles is not None:
        found.append(_InTiles(table.lat, table.lon, bindparam("tiles", tiles, unique=True, type_=_Numbers())))
    return found


def is_there(query: Select[*tuple[Any, ...]]) -> Exists:
    """Return whether a query has an answer, as a column of another."""
    one: Select[Any] = query.with_only_columns(literal_column("1"), maintain_column_froms=True)
    return one.order_by(None).limit(None).exists()
