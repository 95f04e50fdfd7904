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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path

from securesystemslib.signer import Signer  # type: ignore[attr-defined]  # no __all__

from contract import AlertEvent, AlertStage, utc_now
from contract.chain import ORIGIN, event_body
from contract.durable import sync
from edge import tombstones
from edge.evidence_chain import sign_link

_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS alerts (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, alert_id TEXT NOT NULL, stage TEXT NOT NULL,
  at REAL NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS refused (
  event_id TEXT PRIMARY KEY, alert_id TEXT NOT NULL, stage TEXT NOT NULL, at REAL NOT NULL, body TEXT NOT NULL,
  reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
  sha256 TEXT PRIMARY KEY, priority INTEGER NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chain (
  seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, alert_id TEXT NOT NULL, digest TEXT NOT NULL,
  envelope TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS named (sha256 TEXT PRIMARY KEY, alert_id TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chain_alert ON chain (alert_id);
CREATE INDEX IF NOT EXISTS files_order ON files (priority, at);
"""
    + tombstones.SCHEMA
)
_MAX_ALERTS = 200_000
# About 5 KB each: half a year of a busy box.
_MAX_CHAIN = 50_000


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
    alert_id: str | None = None


@dataclass(frozen=True, slots=True)
class QueuedAlert:
    """A message that waits."""

    seq: int
    event_id: str
    body: str
    envelope: str | None = None
    alert_id: str | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """What the outbox holds, and what it let go since the start; `bytes_of` are pictures, clips, sealed originals."""

    alerts: int
    files: int
    bytes: int
    dropped_files: int
    high_water_bytes: int
    high_water_alerts: int = 0
    oldest_s: float = 0.0
    bytes_of: tuple[int, int, int] = (0, 0, 0)


class Outbox:
    """One box's queue. Safe for several threads; one process at a time."""

    def __init__(
        self,
        folder: Path,
        quota_bytes: int = 2 * 2**30,
        signer: Signer | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """With a `signer` each message becomes a link of the box's chain, in the transaction that queues it."""
        self._signer, self._now = signer, now
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
        # On a full disk what was refused is offered again at a later start; deleting nothing would need room as well.
        with contextlib.suppress(sqlite3.OperationalError):
            if self._db.execute("SELECT 1 FROM refused LIMIT 1").fetchone() is not None:
                self._db.execute(
                    "INSERT OR IGNORE INTO alerts (event_id, alert_id, stage, at, body)"
                    " SELECT event_id, alert_id, stage, at, body FROM refused"
                )
                self._db.execute("DELETE FROM refused")
        self._dropped = 0
        self._held = self._high = int(
            self._db.execute("SELECT coalesce(sum(size), 0) FROM files").fetchone()[0]
        )
        self._high_alerts = int(self._db.execute("SELECT count(*) FROM alerts").fetchone()[0])
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
            if not target.parent.exists():
                target.parent.mkdir()
                sync(self._spool)
            part = target.with_suffix(".part")
            if isinstance(data, Path):
                sync(data)
                data.replace(target)
            else:
                with part.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
            try:
                # The rename itself must be on disk before the row says that the file is there.
                sync(target.parent)
                self._db.execute(
                    "INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?)",
                    (digest, int(priority), media_type, size, at),
                )
            except (OSError, sqlite3.Error):
                if isinstance(data, Path):
                    target.replace(data)  # so that it can be tried again
                raise
            self._held += size
            self._high = max(self._high, self._held)
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
            done = self._db.execute(
                "INSERT OR IGNORE INTO alerts (event_id, alert_id, stage, at, body) VALUES (?, ?, ?, ?, ?)",
                (
                    event.id,
                    event.data.id,
                    event.data.stage.value,
                    event.time.timestamp(),
                    event_body(event).decode(),
                ),
            )
            known = self._db.execute("SELECT 1 FROM chain WHERE event_id = ?", (event.id,)).fetchone()
            if done.rowcount and known is None and self._signer is not None:
                self._chain(event, self._signer)
            self._db.executemany(
                "INSERT OR IGNORE INTO named SELECT sha256, ? FROM files WHERE sha256 = ?",
                [(event.data.id, item.sha256) for item in event.data.evidence],
            )
            self._high_alerts = max(self._high_alerts, count + 1)
        self.changed.set()

    def next_alerts(self, most: int = 16) -> list[QueuedAlert]:
        """Return the oldest waiting messages."""
        with self._lock:
            rows = self._db.execute(
                "SELECT a.seq, a.event_id, a.body, c.envelope, a.alert_id FROM alerts a LEFT JOIN chain c USING (event_id)"
                " ORDER BY a.seq LIMIT ?",
                (most,),
            )
            return [QueuedAlert(*row) for row in rows]

    def next_files(self, most: int = 16) -> list[QueuedFile]:
        """Return waiting files, pictures before clips, the oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT sha256, priority, media_type, size, alert_id FROM files LEFT JOIN named USING (sha256)"
                " ORDER BY priority, at LIMIT ?",
                (most,),
            )
            return [QueuedFile(s, Priority(p), m, n, self._path(s), a) for s, p, m, n, a in rows]

    def ack_alert(self, seq: int) -> None:
        """Forget a message that the API has."""
        with self._lock:
            self._db.execute("DELETE FROM alerts WHERE seq = ?", (seq,))

    def refuse_alert(self, seq: int, reason: str) -> None:
        """Lay aside a message that the API will not have as it is; it is offered again after the next start."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO refused SELECT event_id, alert_id, stage, at, body, ? FROM alerts WHERE seq = ?",
                (reason, seq),
            )
            self._db.execute("DELETE FROM alerts WHERE seq = ?", (seq,))

    def links(self, alert_id: str) -> list[tuple[int, str, str | None]]:
        """Return (seq, envelope, message) from an alert's first link to its last; messages of that alert alone."""
        with self._lock:
            rows = self._db.execute(
                "SELECT seq, envelope, CASE WHEN alert_id = ?1 THEN body END FROM chain WHERE seq BETWEEN"
                " (SELECT min(seq) FROM chain WHERE alert_id = ?1) AND (SELECT max(seq) FROM chain WHERE alert_id = ?1)"
                " ORDER BY seq",
                (alert_id,),
            )
            return [(int(seq), str(envelope), body) for seq, envelope, body in rows]

    def _chain(self, event: AlertEvent, signer: Signer) -> None:
        last = self._db.execute("SELECT seq, digest FROM chain ORDER BY seq DESC LIMIT 1").fetchone()
        seq, previous = (last[0] + 1, last[1]) if last else (1, ORIGIN)
        link, envelope = sign_link(signer, event, seq, previous, self._now())
        self._db.execute(
            "INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)",
            (seq, event.id, event.data.id, link.digest(), envelope, event_body(event).decode()),
        )
        self._db.execute("DELETE FROM chain WHERE seq <= ?", (seq - _MAX_CHAIN,))

    def ack_file(self, sha256: str) -> None:
        """Forget a file that the API has."""
        with self._lock:
            # The row goes first: a crash between the two leaves an orphan, which the next start sweeps.
            row = self._db.execute("SELECT size FROM files WHERE sha256 = ?", (sha256,)).fetchone()
            self._db.execute("DELETE FROM files WHERE sha256 = ?", (sha256,))
            self._db.execute("DELETE FROM named WHERE sha256 = ?", (sha256,))
            self._held -= row[0] if row else 0
            self._path(sha256).unlink(missing_ok=True)

    def drop_file(self, sha256: str, why: str) -> None:
        """Let a file go unsent, with a tombstone."""
        with self._lock:
            self._drop(sha256, why)

    def expire(self, before: datetime) -> int:
        """Let unsent clips and sealed originals go that were taken before a time; return how many.

        Pictures and messages stay: they are what a case stands on, and they are small.
        """
        with self._lock:
            rows = self._db.execute(
                "SELECT sha256 FROM files WHERE priority > ? AND at < ? LIMIT 1000",
                (int(Priority.PICTURE), before.timestamp()),
            ).fetchall()
            for (sha256,) in rows:
                self._drop(sha256, "age")
            return len(rows)

    def forget_sent(self, before: datetime) -> int:
        """Empty messages that were acknowledged and are older; their links stay, for the chain. Return how many."""
        with self._lock:
            return self._db.execute(
                "UPDATE chain SET body = '' WHERE body != '' AND julianday(json_extract(body, '$.time')) < julianday(?)"
                " AND event_id NOT IN (SELECT event_id FROM alerts) AND event_id NOT IN (SELECT event_id FROM refused)",
                (before.isoformat(),),
            ).rowcount

    def tombstones(self) -> tuple[list[tombstones.Tombstone], str | None]:
        """Return what was let go unsent, and what is wrong with the record, or None."""
        with self._lock:
            return tombstones.read(self._db)

    def _drop(self, sha256: str, why: str) -> None:
        row = self._db.execute("SELECT priority, size, at FROM files WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            return
        kind = Priority(row[0]).name.lower()
        with self._transaction():
            tombstones.bury(self._db, sha256, kind, row[1], row[2], self._now().timestamp(), why)
            self._db.execute("DELETE FROM files WHERE sha256 = ?", (sha256,))
            self._db.execute("DELETE FROM named WHERE sha256 = ?", (sha256,))
        self._dropped += 1
        self._held -= row[1]
        self._path(sha256).unlink(missing_ok=True)

    def level(self) -> Level:
        """Return what waits."""
        with self._lock:
            (alerts,) = self._db.execute("SELECT count(*) FROM alerts").fetchone()
            (files,) = self._db.execute("SELECT count(*) FROM files").fetchone()
            (oldest,) = self._db.execute(
                "SELECT min(at) FROM (SELECT min(at) AS at FROM alerts UNION ALL SELECT min(at) FROM files)"
            ).fetchone()
            by = dict(self._db.execute("SELECT priority, sum(size) FROM files GROUP BY priority"))
            age = 0.0 if oldest is None else max(0.0, self._now().timestamp() - oldest)
            of = (by.get(1, 0), by.get(2, 0), by.get(3, 0))
            return Level(alerts, files, self._held, self._dropped, self._high, self._high_alerts, age, of)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def _path(self, sha256: str) -> Path:
        return self._spool / sha256[:2] / sha256

    def _has(self, sha256: str) -> bool:
        return self._db.execute("SELECT 1 FROM files WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def _make_room(self, size: int, priority: Priority) -> None:
        while self._held + size > self._quota:
            # The least worthy goes first, the newest of its kind: the beginning of an outage is the evidence of its cause.
            row = self._db.execute(
                "SELECT sha256 FROM files WHERE priority > ? ORDER BY priority DESC, at DESC LIMIT 1",
                (int(priority),),
            ).fetchone()
            if row is None:
                raise OutboxFullError(
                    f"the quota of {self._quota} bytes is full of pictures; give the box more disk, or mend its uplink"
                )
            self._drop(row[0], "quota")

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
                # A full disk has rolled it back already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
