"""All tables of a PostgreSQL database as files, of one moment, and back. No client programs and no version of them to match."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from psycopg import sql
from sqlalchemy import Engine, MetaData, inspect

from api.migrate import migrate


def _tables(engine: Engine) -> list[Any]:
    """The database's own tables, those that others point at first."""
    found = MetaData()
    found.reflect(engine)
    return [t for t in found.sorted_tables if t.name != "alembic_version"]


def dump(engine: Engine, folder: Path) -> dict[str, dict[str, Any]]:
    """Write `NAME.copy` for each table, all as of one moment; return columns and SHA-256 by name."""
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, dict[str, Any]] = {}
    tables = _tables(engine)
    raw = engine.raw_connection()
    try:
        driver: Any = raw.driver_connection
        with driver.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for table in tables:
                columns = [c.name for c in table.columns]
                hasher = hashlib.sha256()
                with cursor.copy(_copy(table.name, columns, "TO STDOUT")) as rows, (folder / f"{table.name}.copy").open("wb") as out:  # fmt: skip
                    for part in rows:
                        out.write(part)
                        hasher.update(part)
                told[table.name] = {"columns": columns, "sha256": hasher.hexdigest()}
        driver.rollback()
    finally:
        raw.close()
    return told


def is_empty(engine: Engine) -> bool:
    """True when the database has no tables at all."""
    return not inspect(engine).get_table_names()


def load(engine: Engine, folder: Path, told: dict[str, dict[str, Any]], revision: str) -> None:
    """Bring the tables back into an empty database, in one transaction, then take it to the newest revision."""
    migrate(engine, revision)
    raw = engine.raw_connection()
    try:
        driver: Any = raw.driver_connection
        with driver.cursor() as cursor:
            for table in _tables(engine):
                if table.name not in told:
                    continue
                into = _copy(table.name, told[table.name]["columns"], "FROM STDIN")
                with cursor.copy(into) as rows, (folder / f"{table.name}.copy").open("rb") as source:
                    while part := source.read(1 << 20):
                        rows.write(part)
                for column in table.columns:
                    _go_on_counting(cursor, table.name, column.name)
        driver.commit()
    finally:
        raw.close()
    migrate(engine)


def _go_on_counting(cursor: Any, table: str, column: str) -> None:
    name = sql.Identifier(table).as_string(None)
    sequence = cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", (name, column)).fetchone()[0]
    if sequence is not None:
        last = sql.SQL("SELECT setval(%s, greatest(max({}), 1), max({}) IS NOT NULL) FROM {}")
        one = sql.Identifier(column)
        cursor.execute(last.format(one, one, sql.Identifier(table)), (sequence,))


def _copy(table: str, columns: list[str], way: str) -> sql.Composed:
    names = sql.SQL(", ").join(sql.Identifier(c) for c in columns)
    return sql.SQL("COPY {} ({}) " + way).format(sql.Identifier(table), names)
