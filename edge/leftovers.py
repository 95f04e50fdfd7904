"""What a camera leaves on the disk when it is taken out of service: kept for a while, since it may come back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path

from edge.site_store import SiteStore
from edge.stills import StillStore

# A view reference is 10 KB, and a camera that is off for the winter wants its own back.
MAX_VIEWS = 512


class Leftovers:
    """Places, pictures and view references of cameras that are not in service."""

    def __init__(self, data_dir: Path, sites: SiteStore, in_service: Callable[[], Collection[str]]) -> None:
        self._data, self._sites, self._in_service = data_dir, sites, in_service

    def expire(self, before: datetime) -> int:
        """Forget what is older; return how many places and pictures' sites that were."""
        ids = set(self._in_service())
        gone = self._sites.expire(ids, before)
        for folder in self._others("stills", ids):
            gone += StillStore(folder).expire(before)
            if not any(folder.iterdir()):
                folder.rmdir()
        views = sorted(self._others("views", ids), key=lambda p: p.stat().st_mtime, reverse=True)
        for folder in views[MAX_VIEWS:]:
            shutil.rmtree(folder, ignore_errors=True)
        return gone

    def _others(self, name: str, ids: set[str]) -> list[Path]:
        root = self._data / name
        return [p for p in root.iterdir() if p.is_dir() and p.name not in ids] if root.is_dir() else []
