"""Backup and restore of a running centre: SQLite or PostgreSQL, evidence in a folder or a bucket."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import obstore
from obstore.store import ObjectStore
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from api import pg_copy
from api.audit import verify
from api.db import Database
from api.evidence import EvidenceStore, make_store
from api.migrate import current, migrate
from api.settings import Settings
from api.tables import Audit, CaseRow, Evidence
from contract.durable import whole_file

MANIFEST, SQLITE, TABLES = "manifest.json", "curbwatch.db", "tables"


class BackupError(RuntimeError):
    """The backup cannot be made or brought back; the message says why."""


def back_up(settings: Settings, target: Path) -> dict[str, int]:
    """Copy database first, then evidence: a file that the copied database names is there, unless retention takes it meanwhile.

    `target` holds `manifest.json`, `curbwatch.db` or `tables/`, and `evidence/`. Files that an earlier backup has put
    there already are not fetched again.
    """
    target.mkdir(parents=True, exist_ok=True)
    (target / MANIFEST).unlink(missing_ok=True)
    store = make_store(settings)
    told, files, cases = (_copy_sqlite if settings.is_sqlite else _copy_postgresql)(settings, target)
    gone = [sha for sha in files if not _fetch(store, sha, target / "evidence" / EvidenceStore.key(sha))]
    counts = {"cases": cases, "files": len(files) - len(gone)}
    told |= counts | {"gone": gone}
    # Written last: a folder without it is no backup.
    (target / MANIFEST).write_text(json.dumps(told), encoding="utf-8")
    return counts


def _copy_sqlite(settings: Settings, target: Path) -> tuple[dict[str, Any], list[str], int]:
    copy = target / SQLITE
    copy.unlink(missing_ok=True)
    source = sqlite3.connect(settings.data / SQLITE)
    made = sqlite3.connect(copy)
    try:
        with source, made:
            source.backup(made)
        files = [str(row[0]) for row in made.execute("SELECT sha256 FROM evidence")]
        cases = int(made.execute("SELECT count(*) FROM cases").fetchone()[0])
    finally:
        source.close()
        made.close()
    return {"database": _sha256(copy)}, files, cases


def _copy_postgresql(settings: Settings, target: Path) -> tuple[dict[str, Any], list[str], int]:
    db = Database(settings)
    try:
        revision = current(db.engine)
        tables = pg_copy.dump(db.engine, target / TABLES)
    finally:
        db.close()
    at = tables["evidence"]["columns"].index("sha256")
    with (target / TABLES / "evidence.copy").open(encoding="utf-8") as rows:
        files = [line.rstrip("\n").split("\t")[at] for line in rows]
    with (target / TABLES / "cases.copy").open("rb") as rows_of_cases:
        cases = sum(1 for _ in rows_of_cases)
    return {"revision": revision, "tables": tables}, files, cases


def _fetch(store: ObjectStore, sha256: str, path: Path) -> bool:
    """Copy a file out of the store; False when it is not there."""
    if path.exists() and _sha256(path) == sha256:
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as out:
            for chunk in obstore.get(store, EvidenceStore.key(sha256)).stream(1 << 20):
                out.write(chunk)
    except FileNotFoundError:
        # Retention deleted it since the database was copied; the copy must not promise it.
        return False
    return True


def bring_back(settings: Settings, source: Path) -> dict[str, int]:
    """Restore into an empty database and store, then migrate and check every hash and chain. Raises `BackupError`."""
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BackupError(f"{source / MANIFEST}: cannot be read; this is no whole backup") from exc
    if ("database" in manifest) is not settings.is_sqlite:
        kind = "SQLite" if "database" in manifest else "PostgreSQL"
        raise BackupError(f"this is a backup of {kind}; set database_url so that it is brought back there")
    (_load_sqlite if settings.is_sqlite else _load_postgresql)(settings, source, manifest)
    db = Database(settings)
    try:
        migrate(db.engine)
        with db.write() as session:
            session.execute(delete(Evidence).where(Evidence.sha256.in_(manifest.get("gone", []))))
        with db.read() as session:
            files = list(session.scalars(select(Evidence.sha256)))
            cases = session.scalar(select(func.count()).select_from(CaseRow)) or 0
            chains, fault = check_chains(session)
    finally:
        db.close()
    store = make_store(settings)
    for sha256 in files:
        path = source / "evidence" / EvidenceStore.key(sha256)
        if not path.exists() or _sha256(path) != sha256:
            raise BackupError(f"evidence {sha256} is missing or damaged in the backup")
        obstore.put(store, EvidenceStore.key(sha256), path)
    if fault:
        raise BackupError(fault)
    return {"cases": cases, "files": len(files), "chains": chains}


def _load_sqlite(settings: Settings, source: Path, manifest: dict[str, Any]) -> None:
    database = settings.data / SQLITE
    if database.exists():
        raise BackupError(f"{settings.data} holds a centre already; restore into an empty folder")
    if _sha256(source / SQLITE) != manifest["database"]:
        raise BackupError(f"{SQLITE}: its hash is not that of the manifest; take another backup")
    settings.data.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / SQLITE, database)


def _load_postgresql(settings: Settings, source: Path, manifest: dict[str, Any]) -> None:
    for name, table in manifest["tables"].items():
        if _sha256(source / TABLES / f"{name}.copy") != table["sha256"]:
            raise BackupError(f"{name}.copy: its hash is not that of the manifest; take another backup")
    db = Database(settings)
    try:
        if not pg_copy.is_empty(db.engine):
            raise BackupError("the database holds tables already; restore into an empty one")
        pg_copy.load(db.engine, source / TABLES, manifest["tables"], manifest["revision"])
    finally:
        db.close()


def check_chains(session: Session) -> tuple[int, str | None]:
    """Check every audit chain; return how many there are and the first fault."""
    chains = list(session.scalars(select(Audit.chain).distinct()))
    for chain in chains:
        fault = verify(session, chain)
        if fault:
            return len(chains), fault
    return len(chains), None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
