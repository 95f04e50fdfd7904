"""Clips as H.264 for browsers that do not play what a box sent: made when somebody asks, kept for a day, bounded.

The evidence itself is never touched. A copy is given out only while its original is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from api.errors import ApiError
from api.evidence import EvidenceStore
from api.settings import Settings

KEEP_S = 24 * 3600.0
# One at a time on a replica: a conversion takes a core for some seconds, and reviewers come first.
MOST_WAITING = 8
TIMEOUT_S = 180.0


class Playable:
    """The copies of one replica, as files named by the original's SHA-256."""

    def __init__(self, settings: Settings, store: EvidenceStore) -> None:
        self._folder = settings.data / "playable"
        self._quota = settings.playable_mib * 2**20
        self._store = store
        self._running: dict[str, asyncio.Task[Path]] = {}
        self._turn = asyncio.Semaphore(1)

    async def of(self, sha256: str, size: int) -> Path:
        """Return the copy of a stored clip of `size` bytes, made now when it is not there.

        Raises `ApiError`: 404 when the service makes none, 415 when the clip cannot be converted, 503 with too many waiting.
        """
        if not self._quota:
            raise ApiError(404, "this service converts no clips (playable_mib is 0)")
        path = self._folder / f"{sha256}.mp4"
        self.sweep()
        if path.is_file():
            os.utime(path)
            return path
        task = self._running.get(sha256)
        if task is None:
            if len(self._running) >= MOST_WAITING:
                raise ApiError(
                    503, "other clips are being converted; retry later", headers={"Retry-After": "10"}
                )
            task = asyncio.create_task(self._make(sha256, size, path))
            self._running[sha256] = task
            task.add_done_callback(lambda _: self._running.pop(sha256, None))
        # Who leaves does not end it for the others.
        return await asyncio.shield(task)

    async def _make(self, sha256: str, size: int, path: Path) -> Path:
        async with self._turn:
            self._folder.mkdir(parents=True, exist_ok=True)
            source, part = path.with_suffix(".source"), path.with_suffix(".part")
            try:
                with source.open("wb") as file:
                    async for chunk in self._store.stream(sha256, 0, size):
                        file.write(chunk)
                await self._run(source, part)
                part.replace(path)
            finally:
                source.unlink(missing_ok=True)
                part.unlink(missing_ok=True)
        self._shrink(path)
        return path

    async def _run(self, source: Path, part: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api.transcode", str(source), str(part),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH", "LANG", "HOME", "TMPDIR"}},
        )  # fmt: skip
        try:
            status = await asyncio.wait_for(process.wait(), TIMEOUT_S)
        except TimeoutError:
            raise ApiError(415, f"the clip could not be converted within {TIMEOUT_S:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if status != 0:
            raise ApiError(415, "the clip cannot be converted; download it instead")

    def forget(self, sha256: str) -> None:
        """Delete the copy of a clip that goes."""
        (self._folder / f"{sha256}.mp4").unlink(missing_ok=True)

    def sweep(self, now: float | None = None) -> None:
        """Delete copies that nobody asked for within a day; `now` in seconds since 1970."""
        before = (time.time() if now is None else now) - KEEP_S
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _shrink(self, newest: Path) -> None:
        """Delete the copies asked for longest ago until the rest fits the quota."""
        files = sorted(self._files(), key=lambda p: (p == newest, p.stat().st_mtime), reverse=True)
        held = 0
        for path in files:
            held += path.stat().st_size
            if held > self._quota and path != newest:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return list(self._folder.glob("*.mp4")) if self._folder.is_dir() else []
