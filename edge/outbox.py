"""The outbox: a durable queue on disk. Kill the box at any instruction: nothing acknowledged is lost, nothing doubled.

Files are content-addressed: written to `.part`, synced, renamed to their SHA-256, and only then named in the database,
which is SQLite in WAL mode with full sync. A file without a row is an orphan and is swept at the start; a row without a
file cannot come to be.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from contract import AlertEvent, AlertStage

_SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, alert_id TEXT NOT NULL, stage TEXT NOT NULL,
  at REAL NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS files (
  sha256 TEXT PRIMARY KEY, priority INTEGER NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_order ON files (priority, at);
"""
_MAX_ALERTS = 200_000


class Priority(IntEnum):
    """What goes first among files."""

    PICTURE = 1
    CLIP = 2
    SEALED = 3


class OutboxFullError(RuntimeError):
    """The quota is used up by things that must not be dropped."""


@dataclass(frozen=True, slots=True)
class QueuedFile:
    """A file that waits."""

    sha256: str
    priority: Priority
    media_type: str
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class QueuedAlert:
    """A message that waits."""

    seq: int
    event_id: str
    body: str


@dataclass(frozen=True, slots=True)
class Level:
    """What the outbox holds, and what it had to let go since the start."""

    alerts: int
    files: int
    bytes: int
    dropped_files: int
    high_water_bytes: int


class Outbox:
    """One box's queue. Safe for several threads; one process at a time."""

    def __init__(self, folder: Path, quota_bytes: int = 2 * 2**30) -> None:
        self._spool = folder / "spool"
        self._spool.mkdir(parents=True, exist_ok=True)
        self._quota = quota_bytes
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            folder / "outbox.db", isolation_level=None, check_same_thread=False, timeout=15
        )
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=15000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._dropped = self._high = 0
        self.changed = threading.Event()
        self._sweep()

    def put_file(self, data: bytes | Path, priority: Priority, media_type: str, at: float) -> str:
        """Keep a file until it is acknowledged, and return its SHA-256. A path is moved into the spool.

        Raises:
            OutboxFullError: the quota is full of things of higher worth.
        """
        with self._lock:
            if isinstance(data, Path):
                with data.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = data.stat().st_size
            else:
                digest, size = hashlib.sha256(data).hexdigest(), len(data)
            if self._has(digest):
                return digest
            self._make_room(size, priority)
            target = self._path(digest)
            target.parent.mkdir(exist_ok=True)
            part = target.with_suffix(".part")
            if isinstance(data, Path):
                _sync(data)
                data.replace(target)
            else:
                with part.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
            # The rename itself must be on disk before the row says that the file is there.
            _sync(target.parent)
            self._db.execute(
                "INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?)",
                (digest, int(priority), media_type, size, at),
            )
            self._high = max(self._high, self._bytes())
            self.changed.set()
            return digest

    def put_alert(self, event: AlertEvent) -> None:
        """Keep a message until it is acknowledged. An unsent older message of the alert stays: order is kept.

        Raises:
            OutboxFullError: too many messages wait.
        """
        with self._transaction():
            (count,) = self._db.execute("SELECT count(*) FROM alerts").fetchone()
            if count >= _MAX_ALERTS:
                # Updates carry nothing that a later one does not; openings and clearings are never dropped.
                gone = self._db.execute(
                    "DELETE FROM alerts WHERE seq IN (SELECT seq FROM alerts WHERE stage = ? ORDER BY seq LIMIT 1000)",
                    (AlertStage.UPDATED.value,),
                ).rowcount
                if not gone:
                    raise OutboxFullError(f"{count} messages wait; is the API's address right?")
            self._db.execute(
                "INSERT OR IGNORE INTO alerts (event_id, alert_id, stage, at, body) VALUES (?, ?, ?, ?, ?)",
                (
                    event.id,
                    event.data.id,
                    event.data.stage.value,
                    event.time.timestamp(),
                    event.model_dump_json(exclude_none=True),
                ),
            )
        self.changed.set()

    def next_alerts(self, most: int = 16) -> list[QueuedAlert]:
        """Return the oldest waiting messages."""
        with self._lock:
            rows = self._db.execute("SELECT seq, event_id, body FROM alerts ORDER BY seq LIMIT ?", (most,))
            return [QueuedAlert(*row) for row in rows]

    def next_files(self, most: int = 16) -> list[QueuedFile]:
        """Return waiting files, pictures before clips, the oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT sha256, priority, media_type, size FROM files ORDER BY priority, at LIMIT ?", (most,)
            )
            return [QueuedFile(s, Priority(p), m, n, self._path(s)) for s, p, m, n in rows]

    def ack_alert(self, seq: int) -> None:
        """Forget a message that the API has."""
        with self._lock:
            self._db.execute("DELETE FROM alerts WHERE seq = ?", (seq,))

    def ack_file(self, sha256: str) -> None:
        """Forget a file that the API has."""
        with self._lock:
            # The row goes first: a crash between the two leaves an orphan, which the next start sweeps.
            self._db.execute("DELETE FROM files WHERE sha256 = ?", (sha256,))
            self._path(sha256).unlink(missing_ok=True)

    def level(self) -> Level:
        """Return what waits."""
        with self._lock:
            (alerts,) = self._db.execute("SELECT count(*) FROM alerts").fetchone()
            (files,) = self._db.execute("SELECT count(*) FROM files").fetchone()
            return Level(alerts, files, self._bytes(), self._dropped, self._high)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def _path(self, sha256: str) -> Path:
        return self._spool / sha256[:2] / sha256

    def _has(self, sha256: str) -> bool:
        return self._db.execute("SELECT 1 FROM files WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def _bytes(self) -> int:
        return int(self._db.execute("SELECT coalesce(sum(size), 0) FROM files").fetchone()[0])

    def _make_room(self, size: int, priority: Priority) -> None:
        while self._bytes() + size > self._quota:
            # The least worthy goes first, the newest of its kind: the beginning of an outage is the evidence of its cause.
            row = self._db.execute(
                "SELECT sha256 FROM files WHERE priority > ? ORDER BY priority DESC, at DESC LIMIT 1",
                (int(priority),),
            ).fetchone()
            if row is None:
                raise OutboxFullError(
                    f"the quota of {self._quota} bytes is full of pictures; give the box more disk, or mend its uplink"
                )
            self._dropped += 1
            self.ack_file(row[0])

    def _sweep(self) -> None:
        for path in self._spool.glob("*/*"):
            if not self._has(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
