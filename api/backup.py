"""Backup and restore of a running centre: SQLite or PostgreSQL, evidence in a folder or a bucket."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import obstore
from obstore.store import ObjectStore
from sqlalchemy import delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api import pg_copy
from api.audit import verify
from api.db import Database
from api.errors import ApiError
from api.evidence import EvidenceStore, make_store
from api.fleet import fleet_key_file, fleet_signer, skip_configs
from api.migrate import current, migrate
from api.settings import SQLITE, Settings
from api.tables import Audit, CaseRow, Evidence
from contract import new_id
from contract.durable import sync, whole_file
from contract.signing import key_text

MANIFEST, TABLES, KEY = "manifest.json", "tables", "fleet.key"
_OF_DATABASE = "database-"
_OWN_FOLDER = re.compile(rf"{_OF_DATABASE}[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")


class BackupError(RuntimeError):
    """The backup cannot be made or brought back; the message says why."""


def back_up(settings: Settings, target: Path) -> dict[str, int]:
    """Copy database first, then evidence: a file that the copy names is there, unless retention takes it meanwhile.

    `target` holds `manifest.json`, the folder `database-ID` that it names (`curbwatch.db` or `tables/`, and `fleet.key`
    where the centre made its own), and `evidence/`. Files that an earlier backup has put there already are not fetched
    again; that backup is whole until this one is.

    Raises:
        BackupError: there is no centre, it cannot be read, or another backup writes into `target`.
        OSError: the folder cannot be written, or the disk is full.
    """
    if settings.is_sqlite and not (settings.data / SQLITE).is_file():
        raise BackupError(
            f"{settings.data}: no centre is here ({SQLITE} is missing); name its folder with --data"
        )
    if target.resolve() == settings.data.resolve():
        raise BackupError(f"{target}: is the centre's own folder; name another TARGET")
    target.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        before = _told_in(target)
        folder = target / f"{_OF_DATABASE}{new_id()}"
        folder.mkdir()
        try:
            told, files, cases = (_copy_sqlite if settings.is_sqlite else _copy_postgresql)(settings, folder)
            told |= {"folder": folder.name, "fleet_key": _copy_key(settings, folder)}
            sync(folder)
            store = make_store(settings)
            gone = [
                sha for sha in files if not _fetch(store, sha, target / "evidence" / EvidenceStore.key(sha))
            ]
            counts = {"cases": cases, "files": len(files) - len(gone)}
            # Replaced last: until then the folder is the backup of before.
            with whole_file(target / MANIFEST) as out:
                out.write(json.dumps(told | counts | {"gone": gone}).encode())
                out.flush()
                os.fsync(out.fileno())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        sync(target)
        _take_away(target, before, folder)
    return counts


def _take_away(target: Path, before: dict[str, Any] | None, present: Path) -> None:
    """Remove the databases of backups before, and nothing that is somebody else's; an earlier release had its one in `target`."""
    for old in target.glob(f"{_OF_DATABASE}*"):
        if old != present and _OWN_FOLDER.fullmatch(old.name):
            shutil.rmtree(old, ignore_errors=True)
    if before is None or "folder" in before:
        return
    if "database" in before:
        (target / SQLITE).unlink(missing_ok=True)
    else:
        for table in before["tables"]:
            (target / TABLES / f"{table}.copy").unlink(missing_ok=True)
        with suppress(OSError):
            (target / TABLES).rmdir()


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep a second backup, which would take this one's unfinished folder away, out of the same folder."""
    with (target / "lock").open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(
                f"{target}: another backup writes here; wait for it, or name another TARGET"
            ) from None
        yield


def _copy_sqlite(settings: Settings, folder: Path) -> tuple[dict[str, Any], list[str], int]:
    database, copy = settings.data / SQLITE, folder / SQLITE
    try:
        # Read-only: a wrong --data must not leave an empty database behind.
        source = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
        made = sqlite3.connect(copy)
        try:
            with source, made:
                source.backup(made)
            files = [str(row[0]) for row in made.execute("SELECT sha256 FROM evidence")]
            cases = int(made.execute("SELECT count(*) FROM cases").fetchone()[0])
        finally:
            source.close()
            made.close()
    except sqlite3.Error as exc:
        raise BackupError(f"{database}: cannot be copied as a centre's database ({exc})") from exc
    sync(copy)
    return {"database": _sha256(copy)}, files, cases


def _copy_postgresql(settings: Settings, folder: Path) -> tuple[dict[str, Any], list[str], int]:
    db = Database(settings)
    try:
        revision = current(db.engine)
        if revision is None:
            raise BackupError("database_url: the database holds no centre")
        tables = pg_copy.dump(db.engine, folder / TABLES)
    except SQLAlchemyError as exc:
        raise BackupError(f"database_url: the database cannot be read ({type(exc).__name__})") from exc
    finally:
        db.close()
    at = tables["evidence"]["columns"].index("sha256")
    with (folder / TABLES / "evidence.copy").open(encoding="utf-8") as rows:
        files = [line.rstrip("\n").split("\t")[at] for line in rows]
    with (folder / TABLES / "cases.copy").open("rb") as rows_of_cases:
        cases = sum(1 for _ in rows_of_cases)
    return {"revision": revision, "tables": tables}, files, cases


def _copy_key(settings: Settings, folder: Path) -> str | None:
    """Copy the fleet key that the centre made, mode 0600; return the public half of the one it uses, None without."""
    if not fleet_key_file(settings).exists():
        return None
    if settings.fleet_key is None:
        _copy_secret(fleet_key_file(settings), folder / KEY)
    return _public_key(settings)


def _public_key(settings: Settings) -> str:
    try:
        return key_text(fleet_signer(settings).public_key)
    except ApiError as exc:
        raise BackupError(exc.detail) from None


def _copy_secret(source: Path, to: Path) -> None:
    handle = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())


def _fetch(store: ObjectStore, sha256: str, path: Path) -> bool:
    """Copy a file out of the store; False when it is not there."""
    if _has(path, sha256):
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
    """Restore into an empty database and store, then migrate and check every hash and chain.

    A fleet key that is in the backup comes back where none is; `missing_key` says whether it is the right one.

    Raises:
        BackupError: the backup is not whole, or a centre is there already.
        OSError: the data folder cannot be written, or the disk is full.
    """
    manifest = _manifest(source)
    if ("database" in manifest) is not settings.is_sqlite:
        kind = "SQLite" if "database" in manifest else "PostgreSQL"
        raise BackupError(f"this is a backup of {kind}; set database_url so that it is brought back there")
    folder = source / manifest.get("folder", "")
    (_load_sqlite if settings.is_sqlite else _load_postgresql)(settings, folder, manifest)
    if settings.fleet_key is None and (folder / KEY).is_file() and not fleet_key_file(settings).exists():
        settings.data.mkdir(parents=True, exist_ok=True)
        _copy_secret(folder / KEY, fleet_key_file(settings))
    db = Database(settings)
    try:
        migrate(db.engine)
        with db.write() as session:
            session.execute(delete(Evidence).where(Evidence.sha256.in_(manifest.get("gone", []))))
            skip_configs(session)
        with db.read() as session:
            files = list(session.scalars(select(Evidence.sha256)))
            cases = session.scalar(select(func.count()).select_from(CaseRow)) or 0
            chains, fault = check_chains(session)
    finally:
        db.close()
    store = make_store(settings)
    for sha256 in files:
        path = source / "evidence" / EvidenceStore.key(sha256)
        if not _has(path, sha256):
            raise BackupError(f"evidence {sha256} is missing or damaged in the backup")
        obstore.put(store, EvidenceStore.key(sha256), path)
    if fault:
        raise BackupError(fault)
    return {"cases": cases, "files": len(files), "chains": chains}


def missing_key(settings: Settings, source: Path) -> str | None:
    """Return in words that a restored centre has not the fleet key of the one in the backup; None when all is well."""
    path, told = fleet_key_file(settings), _manifest(source)
    if told.get("fleet_key", "") is None:  # that centre had signed nothing yet
        return None
    if path.exists() and told.get("fleet_key", _public_key(settings)) == _public_key(settings):
        return None
    has = "another fleet key than" if path.exists() else "not there, the fleet key of"
    return (
        f"{path}: {has} the centre in the backup; put that one there (mode 0600) before this centre starts, "
        "or its boxes refuse every configuration until they enrol again"
    )


def _manifest(source: Path) -> dict[str, Any]:
    told = _told_in(source)
    if told is None:
        raise BackupError(f"{source / MANIFEST}: cannot be read; this is no whole backup")
    return told


def _told_in(source: Path) -> dict[str, Any] | None:
    """Return the manifest of a backup; None where there is none."""
    try:
        told: Any = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(told, dict) and ("database" in told or {"tables", "revision"} <= told.keys())
    return dict(told) if whole and isinstance(told.get("folder", ""), str) else None


def _load_sqlite(settings: Settings, folder: Path, manifest: dict[str, Any]) -> None:
    database = settings.data / SQLITE
    if database.exists():
        raise BackupError(f"{settings.data} holds a centre already; restore into an empty folder")
    if not _has(folder / SQLITE, manifest["database"]):
        raise BackupError(
            f"{folder / SQLITE}: missing, or its hash is not the manifest's; take another backup"
        )
    settings.data.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / SQLITE, database)


def _load_postgresql(settings: Settings, folder: Path, manifest: dict[str, Any]) -> None:
    for name, table in manifest["tables"].items():
        if not _has(folder / TABLES / f"{name}.copy", table["sha256"]):
            raise BackupError(f"{name}.copy: missing, or its hash is not the manifest's; take another backup")
    db = Database(settings)
    try:
        if not pg_copy.is_empty(db.engine):
            raise BackupError("the database holds tables already; restore into an empty one")
        pg_copy.load(db.engine, folder / TABLES, manifest["tables"], manifest["revision"])
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


def _has(path: Path, sha256: str) -> bool:
    return path.is_file() and _sha256(path) == sha256
