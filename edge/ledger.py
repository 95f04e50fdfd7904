"""The box's memory of its own alerts: latest revision of each, so that a restart neither loses nor doubles one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from contract import Alert, AlertStage

_SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
  id TEXT PRIMARY KEY, open INTEGER NOT NULL, updated REAL NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID
"""


class AlertLedger:
    """Latest revision of each alert of this box, on disk; closed ones are forgotten beyond `keep`."""

    def __init__(self, path: Path, keep: int = 2000) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(_SCHEMA)
        self._keep = keep

    def get(self, alert_id: str) -> Alert | None:
        """Return the latest revision, or None where the alert was never written."""
        row = self._db.execute("SELECT body FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        return Alert.model_validate_json(row[0]) if row else None

    def open_of(self, camera_id: str) -> list[Alert]:
        """Return a camera's alerts that are not cleared."""
        rows = self._db.execute("SELECT body FROM alerts WHERE open = 1").fetchall()
        alerts = [Alert.model_validate_json(body) for (body,) in rows]
        return [a for a in alerts if a.camera_id == camera_id]

    def put(self, alert: Alert, mono_s: float) -> None:
        """Write a revision; `mono_s` orders the forgetting."""
        is_open = int(alert.stage is not AlertStage.CLEARED)
        self._db.execute(
            "INSERT INTO alerts VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET open = excluded.open,"
            " updated = excluded.updated, body = excluded.body",
            (alert.id, is_open, mono_s, alert.model_dump_json()),
        )
        self._db.execute(
            "DELETE FROM alerts WHERE open = 0 AND id NOT IN (SELECT id FROM alerts WHERE open = 0 ORDER BY id DESC LIMIT ?)",
            (self._keep,),
        )

    def expire(self, before_s: float) -> int:
        """Forget cleared alerts that were last written before a time; return how many."""
        return self._db.execute("DELETE FROM alerts WHERE open = 0 AND updated < ?", (before_s,)).rowcount

    def close(self) -> None:
        """Close the file."""
        self._db.close()
