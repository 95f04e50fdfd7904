"""Backup and restore of a centre on SQLite and a folder. With PostgreSQL and S3, use their own tools."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.audit import verify
from api.db import Database
from api.migrate import migrate
from api.settings import Settings
from api.tables import Audit, CaseRow, Evidence

MANIFEST = "manifest.json"


class BackupError(RuntimeError):
    """The backup cannot be made or brought back; the message says why."""


def back_up(settings: Settings, target: Path) -> dict[str, int]:
    """Copy database first, then evidence: a file that the copied database names is there, unless retention takes it meanwhile."""
    if not settings.is_sqlite or settings.evidence_url:
        raise BackupError("backup is for SQLite and a folder; use pg_dump and your bucket's replication")
    target.mkdir(parents=True, exist_ok=True)
    copy = target / "curbwatch.db"
    source = sqlite3.connect(settings.data / "curbwatch.db")
    made = sqlite3.connect(copy)
    with source, made:
        source.backup(made)
    files = [(str(s), int(n)) for s, n in made.execute("SELECT sha256, size FROM evidence")]
    cases = int(made.execute("SELECT count(*) FROM cases").fetchone()[0])
    source.close()
    gone: list[tuple[str]] = []
    for sha256, _ in files:
        name = _key(sha256)
        (target / "evidence" / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(settings.data / "evidence" / name, target / "evidence" / name)
        except FileNotFoundError:
            # Retention deleted it since the database was copied; the copy must not promise it.
            gone.append((sha256,))
    with made:
        made.executemany("DELETE FROM evidence WHERE sha256 = ?", gone)
    made.close()
    told = {"cases": cases, "files": len(files) - len(gone)}
    (target / MANIFEST).write_text(json.dumps(told | {"database": _sha256(copy)}), encoding="utf-8")
    return told


def bring_back(settings: Settings, source: Path) -> dict[str, int]:
    """Restore into an empty folder, then migrate and check every hash and chain. Raises `BackupError`."""
    database = settings.data / "curbwatch.db"
    if database.exists():
        raise BackupError(f"{settings.data} holds a centre already; restore into an empty folder")
    manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    if _sha256(source / "curbwatch.db") != manifest["database"]:
        raise BackupError("curbwatch.db: its hash is not that of the manifest; take another backup")
    settings.data.mkdir(parents=True, exist_ok=True)
    if (source / "evidence").is_dir():
        shutil.copytree(source / "evidence", settings.data / "evidence", dirs_exist_ok=True)
    shutil.copyfile(source / "curbwatch.db", database)
    db = Database(settings)
    migrate(db.engine)
    try:
        with db.read() as session:
            files = list(session.scalars(select(Evidence.sha256)))
            cases = session.scalar(select(func.count()).select_from(CaseRow)) or 0
            chains, fault = check_chains(session)
    finally:
        db.close()
    for sha256 in files:
        path = settings.data / "evidence" / _key(sha256)
        if not path.exists() or _sha256(path) != sha256:
            raise BackupError(f"evidence {sha256} is missing or damaged in the backup")
    if fault:
        raise BackupError(fault)
    return {"cases": cases, "files": len(files), "chains": chains}


def check_chains(session: Session) -> tuple[int, str | None]:
    """Check every audit chain; return how many there are and the first fault."""
    chains = list(session.scalars(select(Audit.chain).distinct()))
    for chain in chains:
        fault = verify(session, chain)
        if fault:
            return len(chains), fault
    return len(chains), None


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
