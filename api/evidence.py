"""The evidence store: files under their SHA-256, in a folder or an S3-compatible bucket, through obstore."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import LocalStore, ObjectStore, S3Store

from api.errors import ApiError
from api.settings import Settings
from contract.durable import sync

HASH_AT_ONCE = 1 << 20
LEAVE_S = 5.0
"""How long an ending process waits for obstore's threads, which take microseconds."""


def _leave() -> None:
    """Wait until none of obstore's threads is inside Python.

    A thread of its runtime hands a result to the event loop and needs the interpreter once more to go. Where the process
    ends first, CPython ends that thread in the midst of Rust, and Rust aborts the process: after its work, without a word.
    """
    until = time.monotonic() + LEAVE_S
    while time.monotonic() < until:
        if not sys._current_frames().keys() - {thread.ident for thread in threading.enumerate()}:
            return
        time.sleep(0.001)


atexit.register(_leave)


@dataclass(frozen=True)
class Stored:
    """A finished upload."""

    sha256: str
    size: int
    media_type: str
    moved: bool = False


@dataclass(frozen=True)
class Range:
    """The part of a file that an upload carries: first byte and the whole size."""

    start: int
    total: int | None


def media_type_of(head: bytes) -> str:
    """Name the type by the file's first bytes: JPEG, PNG, MP4, or else octet-stream."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head[4:8] in {b"ftyp", b"styp"}:
        return "video/mp4"
    return "application/octet-stream"


class EvidenceStore:
    """Content-addressed files. An upload lies in a part file until its hash is right, then it is moved in."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.max_evidence_bytes
        self._min_free = settings.min_free_bytes
        self._incoming = settings.data / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._store = make_store(settings)
        self._folder = None if settings.evidence_url else settings.data / "evidence"

    @staticmethod
    def key(sha256: str) -> str:
        """Return the object's key; two levels keep folders small."""
        return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"

    def held(self, sha256: str) -> int:
        """Bytes of an unfinished upload on this replica."""
        path = self._part(sha256)
        return path.stat().st_size if path.exists() else 0

    async def size(self, sha256: str) -> int | None:
        """Size of a stored file, or None."""
        try:
            return int((await obstore.head_async(self._store, self.key(sha256)))["size"])
        except (NotFoundError, FileNotFoundError):
            return None

    async def read(self, sha256: str, start: int, end: int) -> bytes:
        """Return bytes [start, end)."""
        return bytes(await obstore.get_range_async(self._store, self.key(sha256), start=start, end=end))

    async def stream(self, sha256: str, start: int, end: int, chunk: int = 1 << 20) -> AsyncIterator[bytes]:
        """Yield bytes [start, end) in pieces; one piece is in memory at a time."""
        for at in range(start, end, chunk):
            yield await self.read(sha256, at, min(end, at + chunk))

    async def receive(
        self, sha256: str, body: AsyncIterator[bytes], declared: str | None, part: Range | None = None
    ) -> Stored | int:
        """Take an upload, or the next part of one. Return what was stored, or the bytes held so far.

        Raises `ApiError`: 409 on a gap or a parallel upload, 413 when too large, 415 on a type that does not
        fit its bytes, 422 on a wrong hash, 507 without space.
        """
        if not self.has_room():
            raise ApiError(507, "no space left for evidence; free some or raise the quota")
        path = self._part(sha256)
        with path.open("ab") as file:
            _hold(file, path)
            start = part.start if part else 0
            if start > file.tell():
                raise ApiError(409, f"{file.tell()} bytes are here; send the part that starts there")
            file.truncate(start)
            file.seek(start)
            hasher = await asyncio.to_thread(_hash_file, path, start) if start else hashlib.sha256()
            size = await self._write(file, body, hasher, start)
            if part and part.total is not None and size < part.total:
                return size
            stored = await asyncio.to_thread(
                self._finish, file, path, Stored(sha256, size, declared or ""), hasher
            )
            if not stored.moved:
                await obstore.put_async(self._store, self.key(sha256), path)
                if self._folder is not None:
                    await asyncio.to_thread(_sync_names, self._folder / self.key(sha256), self._folder, True)
                path.unlink(missing_ok=True)
            return stored

    def _finish(self, file: IO[bytes], path: Path, told: Stored, hasher: hashlib._Hash) -> Stored:
        """Bring the bytes to the disk, check them, and move them into the folder, if the store is one."""
        _sync(file)
        stored = self._check(path, told.sha256, hasher.hexdigest(), told.size, told.media_type or None)
        if self._folder is None:
            return stored
        final = self._folder / self.key(told.sha256)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.replace(final)
        except OSError as exc:
            if exc.errno == errno.EXDEV:  # `data/incoming` is on another disk
                return stored
            raise
        _sync_names(final, self._folder)
        return replace(stored, moved=True)

    async def _write(
        self, file: IO[bytes], body: AsyncIterator[bytes], hasher: hashlib._Hash, size: int
    ) -> int:
        async for chunk in body:
            size += len(chunk)
            if size > self._limit:
                file.truncate(0)
                raise ApiError(413, f"evidence may have at most {self._limit} bytes")
            hasher.update(chunk)
            file.write(chunk)
        file.flush()
        return size

    def _check(self, path: Path, sha256: str, found: str, size: int, declared: str | None) -> Stored:
        if found != sha256 or size == 0:
            path.unlink(missing_ok=True)
            raise ApiError(
                422, f"sha256: the bytes have the hash {found}; send the file again from its start"
            )
        with path.open("rb") as file:
            media_type = media_type_of(file.read(16))
        if declared not in {None, media_type}:
            path.unlink(missing_ok=True)
            raise ApiError(415, f"Content-Type: {declared} does not fit the bytes, which are {media_type}")
        return Stored(sha256, size, media_type)

    async def remove(self, sha256: str) -> int:
        """Delete a file; return the bytes that were freed, 0 when it was not there."""
        size = await self.size(sha256)
        if size is None:
            return 0
        await obstore.delete_async(self._store, self.key(sha256))
        return size

    def sweep_parts(self, before: datetime) -> int:
        """Delete unfinished uploads on this replica that have not grown since; return how many."""
        gone = 0
        for path in self._incoming.glob("*.part"):
            with contextlib.suppress(OSError), path.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()
                    gone += 1
        return gone

    def has_room(self) -> bool:
        """True while uploads are taken: they pass through this replica's disk, whatever the store is."""
        return shutil.disk_usage(self._incoming).free >= self._min_free

    async def probe(self) -> None:
        """Write, read and delete a small object; raises when the store does not work."""
        await obstore.put_async(self._store, f"probe/{os.getpid()}", b"ok")
        await obstore.delete_async(self._store, f"probe/{os.getpid()}")

    def _part(self, sha256: str) -> Path:
        return self._incoming / f"{sha256}.part"


def make_store(settings: Settings) -> ObjectStore:
    """Return the folder's or the bucket's store."""
    if settings.evidence_url is None:
        folder = settings.data / "evidence"
        folder.mkdir(parents=True, exist_ok=True)
        return LocalStore(folder)
    bucket, _, prefix = settings.evidence_url.removeprefix("s3://").partition("/")
    endpoint = settings.s3_endpoint
    return S3Store(
        bucket,
        prefix=prefix or None,
        region=settings.s3_region,
        endpoint=endpoint,
        access_key_id=settings.s3_access_key.get_secret_value() if settings.s3_access_key else None,
        secret_access_key=settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else None,
        virtual_hosted_style_request=False,
        client_options={"allow_http": bool(endpoint and endpoint.startswith("http://"))},
    )


def _hold(file: IO[bytes], path: Path) -> None:
    """Keep other requests, on this and other processes, off a part file."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held = False
    else:
        # Between our open and our lock the file may have been finished and moved: then it is evidence, no part.
        held = path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino
    if not held:
        raise ApiError(409, "this file is being uploaded by another request; retry later")


def _hash_file(path: Path, size: int) -> hashlib._Hash:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, HASH_AT_ONCE))):
            hasher.update(chunk)
            size -= len(chunk)
    return hasher


def _sync_names(path: Path, root: Path, itself: bool = False) -> None:
    """Bring the folders that lead to a stored file to the disk, and the file; a box forgets what is acknowledged."""
    folders = list(path.parents)[: len(path.relative_to(root).parts)]
    for part in [path, *folders] if itself else folders:
        sync(part)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
