"""Many rows at once: on PostgreSQL one statement writes a new case with all that belongs to it, its number included.

Each statement costs a thread its turn and both processes a switch, and a case that opens has eight rows. All other new
cases wait for the number, so it is taken in the statement that needs it, and the commit follows. Each row travels as
one JSON parameter, which is half the work of a parameter a column.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import DeclarativeBase, Session

from api.db import case_number, counter_of, insert_of, is_postgres

Rows = list[tuple[type[DeclarativeBase], dict[str, Any]]]
# Table, columns, and whether its body tells the number.
Shape = tuple[tuple[str, tuple[str, ...], bool], ...]
_QUOTE = PGDialect_psycopg().identifier_preparer.quote  # type: ignore[no-untyped-call]
# A number of six digits, or more when there are more.
_COUNTED = """counted AS (INSERT INTO counters (name, value) VALUES (%(counter)s, 1)
 ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value),
numbered AS (SELECT %(year)s || lpad(value::text, greatest(6, length(value::text)), '0') AS number FROM counted)"""


def add_rows(session: Session, rows: Rows) -> None:
    """Insert rows in their order, past the unit of work, which takes three times as long. A row that is there stays."""
    connection = session.connection()
    if is_postgres(session):
        if rows:
            connection.exec_driver_sql(_together(_shape(rows), numbered=False), _values(rows))
        return
    for model, values in rows:
        connection.execute(insert_of(model, "sqlite"), values)


def add_numbered(session: Session, rows: Callable[[str], Rows], now: datetime, *, apart: bool) -> None:
    """Insert the rows that `rows` makes of the next case number of the year; see `case_number`.

    The number stands in columns called `number` and at the top of bodies that tell it; `apart` takes it in a statement
    of its own, for rows that hold it elsewhere.
    """
    if apart or not is_postgres(session):
        add_rows(session, rows(case_number(session, now)))
        return
    made = rows("")
    values = _values(made) | {"counter": counter_of(now), "year": f"{now.year}-"}
    session.connection().exec_driver_sql(_together(_shape(made), numbered=True), values)


def _shape(rows: Rows) -> Shape:
    return tuple((model.__tablename__, tuple(values), _tells(values.get("body"))) for model, values in rows)


def _tells(body: object) -> bool:
    return isinstance(body, dict) and "number" in body


def _values(rows: Rows) -> dict[str, Any]:
    return {f"row_{i}": to_json(values).decode() for i, (_, values) in enumerate(rows)}


@lru_cache(256)
def _together(shape: Shape, *, numbered: bool) -> str:
    """Return one statement that inserts rows of this shape. What they refer to is checked at its end."""
    *before, last = (_insert(i, *told, numbered=numbered) for i, told in enumerate(shape))
    parts = [_COUNTED] if numbered else []
    parts += [f"written_{i} AS ({text})" for i, text in enumerate(before)]
    return f"WITH {', '.join(parts)} {last}" if parts else last


def _insert(i: int, table: str, names: tuple[str, ...], told: bool, *, numbered: bool) -> str:
    columns = [_QUOTE(name) for name in names]
    found = {name: f"r.{column}" for name, column in zip(names, columns, strict=True)}
    source = f"json_populate_record(NULL::{_QUOTE(table)}, %(row_{i})s::json) AS r"
    if numbered and (told or "number" in names):
        # Joined, so that what the table counts up itself is counted after the number: the feed's order is the cases'.
        source += ", numbered"
        changed = {"body": "jsonb_set(r.body, '{number}', to_jsonb(numbered.number))"} if told else {}
        found |= changed or {"number": "numbered.number"}
    return (
        f"INSERT INTO {_QUOTE(table)} ({', '.join(columns)}) SELECT {', '.join(found.values())} FROM {source} "  # noqa: S608  # names of the models
        "ON CONFLICT DO NOTHING"
    )
