"""What the box let go unsent: one row a file, each with the hash of the row before it, so that none can be taken away."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass

from contract.case_file import GENESIS
from contract.chain import canonical

SCHEMA = """
CREATE TABLE IF NOT EXISTS tombstones (
  seq INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL, captured REAL NOT NULL,
  dropped REAL NOT NULL, why TEXT NOT NULL, before TEXT NOT NULL, hash TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A file that will never be sent. Times in seconds since 1970, by the box's wall clock."""

    seq: int
    sha256: str
    kind: str
    size: int
    captured: float
    dropped: float
    why: str


def bury(
    db: sqlite3.Connection, sha256: str, kind: str, size: int, captured: float, now: float, why: str
) -> None:
    """Write a tombstone within the caller's transaction."""
    last = db.execute("SELECT seq, hash FROM tombstones ORDER BY seq DESC LIMIT 1").fetchone()
    seq, before = (last[0] + 1, last[1]) if last else (1, GENESIS)
    stone = (seq, sha256, kind, size, captured, now, why, before)
    db.execute("INSERT INTO tombstones VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*stone, _hash(stone)))


def read(db: sqlite3.Connection) -> tuple[list[Tombstone], str | None]:
    """Return all tombstones, the oldest first, and what is wrong with their chain, or None."""
    found: list[Tombstone] = []
    before = GENESIS
    for expected, row in enumerate(db.execute("SELECT * FROM tombstones ORDER BY seq"), 1):
        if row[0] != expected:
            return found, f"tombstone {expected} is missing"
        if row[7] != before or row[8] != _hash(row[:8]):
            return found, f"tombstone {expected} was changed"
        found.append(Tombstone(*row[:7]))
        before = row[8]
    return found, None


def _hash(stone: tuple[object, ...]) -> str:
    return hashlib.sha256(canonical(list(stone)).encode()).hexdigest()
