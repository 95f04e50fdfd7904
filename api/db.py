"""The database: one engine, short transactions, SQLite and PostgreSQL alike."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Insert,
    Row,
    Select,
    TypeDecorator,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DataError, DisconnectionError
from sqlalchemy.orm import DeclarativeBase, Session

from api.settings import Settings

BUSY_MS = 15_000
# A connection that was used a moment ago is not asked whether it lives: that question is a fifth of a short request.
TRUSTED_S = 5.0
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
        # PostgreSQL's READ COMMITTED looks anew with each statement, so a transaction round reads only adds two questions.
        self._reading = (
            self.engine if settings.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        )

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    def first(self, query: Select[*tuple[Any, ...]], values: Mapping[str, Any]) -> Row[Any] | None:
        """Return the first row of a query of columns, without a session round it: for what every request asks."""
        with self._reading.connect() as connection:
            return connection.execute(query, values).first()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a writing transaction; it commits at the block's end and rolls back on an error."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def add(
        self, model: type[DeclarativeBase], values: dict[str, Any], renewed: tuple[str, ...] = ()
    ) -> None:
        """Insert one row in a transaction of its own; of a row that is there, only the columns `renewed` are written."""
        engine = self._writing if self._reading is self.engine else self._reading
        with engine.connect() as connection:
            connection.execute(insert_of(model, connection.dialect.name, renewed), values)
            connection.commit()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def make_engine(settings: Settings) -> Engine:
    """Return an engine: SQLite in WAL mode with a busy timeout, or PostgreSQL with a checked pool."""
    size = settings.pool_size
    if not settings.is_sqlite:
        engine = create_engine(settings.db_url, pool_size=size, max_overflow=size)
        event.listen(engine, "handle_error", _as_unfit)
        event.listen(engine, "checkout", _check_idle)
        event.listen(engine, "checkin", _note_use)
        return engine
    settings.data.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        settings.db_url, pool_size=size, max_overflow=size, connect_args={"timeout": BUSY_MS / 1000}
    )
    event.listen(engine, "handle_error", _as_unfit)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _entry: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late for BEGIN IMMEDIATE
    cursor = connection.cursor()
    # Full: what was acknowledged to a box is forgotten there, so it must outlive a power cut here.
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_MS}")
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A reader that turns writer in WAL mode fails at once with SQLITE_BUSY, whatever the timeout says.
    writes = connection.get_execution_options().get("curbwatch_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _as_unfit(context: ExceptionContext) -> BaseException | None:
    """Name what is too great to be bound as what PostgreSQL refuses is named; SQLite's driver raises it bare."""
    found = context.original_exception
    return DataError(context.statement, None, found) if isinstance(found, OverflowError) else None


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _check_idle(connection: Any, record: Any, _proxy: object) -> None:
    """Ask a connection that has rested whether it lives; the pool replaces a dead one."""
    used_at = record.info.get("used_at")
    if used_at is None or time.monotonic() - used_at < TRUSTED_S:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except connection.OperationalError as exc:
        raise DisconnectionError from exc


# The keys come sorted, so that two transactions never wait for each other crosswise; one statement takes them all.
_LOCKS = text("SELECT pg_advisory_xact_lock(k) FROM unnest(CAST(:keys AS bigint[])) AS k")


def is_postgres(session: Session) -> bool:
    """True when the session talks to PostgreSQL."""
    return session.get_bind().dialect.name == "postgresql"


def lock(session: Session, names: Sequence[str]) -> None:
    """Hold `names` until the transaction ends. On SQLite the one writer holds everything already."""
    if not is_postgres(session):
        return
    keys = sorted(int.from_bytes(hashlib.sha256(n.encode()).digest()[:8], "big", signed=True) for n in names)
    session.execute(_LOCKS, {"keys": keys})


_COUNT = text(
    "INSERT INTO counters (name, value) VALUES (:n, 1) "
    "ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value"
)


def next_number(session: Session, name: str) -> int:
    """Count `name` up by one and return it; gap-free, since it is part of the transaction.

    Whoever comes next waits for this transaction's end, so take the number last.
    """
    return int(session.execute(_COUNT, {"n": name}).scalar_one())


def case_number(session: Session, now: datetime) -> str:
    """Return the next case number of the year; see `next_number`."""
    return f"{now.year}-{next_number(session, counter_of(now)):06d}"


def counter_of(now: datetime) -> str:
    """Name the counter of a year's cases."""
    return f"case:{now.year}"


@cache
def insert_of(model: type[DeclarativeBase], dialect: str, renewed: tuple[str, ...] = ()) -> Insert:
    """Return the insert of one row; of a row that is there, only the columns `renewed` are written."""
    insert = pg_insert if dialect == "postgresql" else sqlite_insert
    # `inline`: the ids that the database counts up are not asked back.
    made = insert(model).inline()
    if not renewed:
        return made.on_conflict_do_nothing()
    key = inspect(model).primary_key
    return made.on_conflict_do_update(
        index_elements=key, set_={name: made.excluded[name] for name in renewed}
    )


def columns_of(row: DeclarativeBase) -> dict[str, Any]:
    """Return a row's columns without the empty ones, which in a JSON column would be a `null` that is there."""
    found = {c.key: getattr(row, c.key) for c in inspect(type(row)).column_attrs}
    return {name: value for name, value in found.items() if value is not None}


def plain(value: Any) -> Any:
    """Return `value` with every time in it as ISO 8601 text, for JSON columns."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
