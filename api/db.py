"""The database: one engine, short transactions, SQLite and PostgreSQL alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Connection, DateTime, Dialect, Engine, TypeDecorator, create_engine, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from api.settings import Settings

BUSY_MS = 15_000
Json = JSON().with_variant(JSONB(), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite, which knows no zones, stores it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time; give SQLite its naive UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without an offset cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """An engine and its two kinds of transaction. `read` changes nothing, `write` commits at its end."""

    def __init__(self, settings: Settings) -> None:
        self.engine = make_engine(settings)
        self._writing = self.engine.execution_options(curbwatch_write=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a reading transaction."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a writing transaction; it commits at the block's end and rolls back on an error."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def make_engine(settings: Settings) -> Engine:
    """Return an engine: SQLite in WAL mode with a busy timeout, or PostgreSQL with a checked pool."""
    size = settings.pool_size
    if not settings.is_sqlite:
        return create_engine(settings.db_url, pool_size=size, max_overflow=size, pool_pre_ping=True)
    settings.data.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        settings.db_url, pool_size=size, max_overflow=size, connect_args={"timeout": BUSY_MS / 1000}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _entry: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late for BEGIN IMMEDIATE
    cursor = connection.cursor()
    pragmas = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={BUSY_MS}")
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A reader that turns writer in WAL mode fails at once with SQLITE_BUSY, whatever the timeout says.
    writes = connection.get_execution_options().get("curbwatch_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def lock(session: Session, names: Sequence[str]) -> None:
    """Hold `names` until the transaction ends. On SQLite the one writer holds everything already."""
    if session.get_bind().dialect.name != "postgresql":
        return
    keys = sorted(int.from_bytes(hashlib.sha256(n.encode()).digest()[:8], "big", signed=True) for n in names)
    for key in keys:
        session.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": key})


def next_number(session: Session, name: str) -> int:
    """Count `name` up by one and return it; gap-free, since it is part of the transaction."""
    statement = text(
        "INSERT INTO counters (name, value) VALUES (:n, 1) "
        "ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value"
    )
    return int(session.execute(statement, {"n": name}).scalar_one())


def plain(value: Any) -> Any:
    """Return `value` with every time in it as ISO 8601 text, for JSON columns."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
