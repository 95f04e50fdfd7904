"""Sites on disk: a restart of the box neither restarts a dwell nor makes a second case."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract import IssueClass
from edge.sites import Moment, Site, SiteState

_SCHEMA = "CREATE TABLE IF NOT EXISTS sites (id TEXT PRIMARY KEY, camera TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID"


class SiteStore:
    """One file for the sites of all cameras of a box; holds what is open or cooling down, nothing else."""

    def __init__(self, path: Path, boot: str | None = None) -> None:
        """`boot` names the start of the machine, see `boot_id`: within one, the monotonic clock outlives the process."""
        self._boot = boot
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(_SCHEMA)
        # The detector's thread saves while another one lets a camera go: one transaction at a time.
        self._lock = threading.Lock()

    def save(self, camera_id: str, sites: Iterable[Site], durable: bool = False) -> None:
        """Replace the sites of a camera, in one transaction.

        `durable` waits for the disk: after a power cut the same object must be the same site, or its alert comes twice.
        """
        rows = [(s.id, camera_id, json.dumps(_pack(s) | {"boot": self._boot})) for s in sites]
        with self._lock:
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("DELETE FROM sites WHERE camera = ?", (camera_id,))
                self._db.executemany("INSERT OR REPLACE INTO sites VALUES (?, ?, ?)", rows)
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk has rolled it back already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def expire(self, but: Collection[str], before: datetime) -> int:
        """Forget the sites of cameras other than `but` that were last seen before a time; return how many."""
        with self._lock:
            old = []
            for site_id, camera, body in self._db.execute("SELECT id, camera, body FROM sites"):
                try:
                    row = json.loads(body)
                    seen = float((row["last"] or row["first"])[0])
                except (KeyError, TypeError, ValueError):
                    seen = 0.0
                if camera not in but and seen < before.timestamp():
                    old.append((site_id,))
            self._db.executemany("DELETE FROM sites WHERE id = ?", old)
        return len(old)

    def load(self, camera_id: str, now: Moment) -> list[Site]:
        """Return the sites of a camera, their monotonic times moved to this start's clock.

        After a start of the machine the monotonic clock of before means nothing, so moments are carried over by the wall
        clock. After a start of the process alone they stand as they are, whatever the wall clock says.
        """
        sites = []
        with self._lock:
            rows = self._db.execute("SELECT body FROM sites WHERE camera = ?", (camera_id,)).fetchall()
        for (body,) in rows:
            try:
                sites.append(_unpack(json.loads(body), now, self._boot))
            except (KeyError, TypeError, ValueError):
                continue  # written by another version: the place is found again in a minute
        return sites

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def boot_id() -> str | None:
    """Return what names this start of the machine; None where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _pack(site: Site) -> dict[str, Any]:
    def moment(m: Moment | None) -> list[float] | None:
        return None if m is None else [m.at.timestamp(), m.mono_s]

    return {
        "id": site.id,
        "issue": site.issue.value,
        "zone": site.zone_id,
        "state": site.state.value,
        "origin": site.origin,
        "first": moment(site.first),
        "last": moment(site.last),
        "candidate": moment(site.candidate),
        "confirmed": moment(site.confirmed),
        "cleared": moment(site.cleared),
        "counts": [site.hits, site.misses, site.attended, site.count],
        "boxes": list(site.boxes),
        "scores": list(site.scores),
        "names": dict(site.names),
        "patch": None
        if site.patch is None
        else base64.b64encode(site.patch.astype("<f4").tobytes()).decode(),
        "look": [site.patch_box, site.looks, site.stills],
        "reach": site.reach,
        "alone": site.alone,
        "why": site.why,
        "timeline": [[at.timestamp(), words] for at, words in site.timeline],
    }


def _unpack(row: dict[str, Any], now: Moment, boot: str | None) -> Site:
    last_wall, last_mono = row["last"] or row["first"]
    # A wall clock that was set back must not put the past into the future.
    away = max(0.0, now.at.timestamp() - last_wall)
    same_boot = boot is not None and row.get("boot") == boot and last_mono <= now.mono_s
    shift = 0.0 if same_boot else now.mono_s - away - last_mono

    def moment(pair: list[float] | None) -> Moment | None:
        return None if pair is None else Moment(datetime.fromtimestamp(pair[0], UTC), pair[1] + shift)

    first = moment(row["first"])
    if first is None:
        raise ValueError("first: missing")
    hits, misses, attended, count = row["counts"]
    patch_box, looks, stills = row["look"]
    patch = row["patch"]
    return Site(
        issue=IssueClass(row["issue"]),
        zone_id=row["zone"],
        first=Moment(min(first.at, now.at - timedelta(0)), first.mono_s),
        origin=tuple(row["origin"]),
        id=row["id"],
        state=SiteState(row["state"]),
        last=moment(row["last"]),
        candidate=moment(row["candidate"]),
        confirmed=moment(row["confirmed"]),
        cleared=moment(row["cleared"]),
        hits=hits,
        misses=misses,
        attended=attended,
        count=count,
        boxes=deque((tuple(b) for b in row["boxes"]), maxlen=9),
        scores=deque(row["scores"], maxlen=99),
        names=Counter(row["names"]),
        patch=None if patch is None else _patch(patch),
        patch_box=None if patch_box is None else tuple(patch_box),
        looks=looks,
        stills=stills,
        reach=None if row.get("reach") is None else tuple(row["reach"]),
        alone=None if row.get("alone") is None else row["alone"] + shift,
        why=row.get("why", ""),
        timeline=[(datetime.fromtimestamp(t, UTC), words) for t, words in row["timeline"]],
    )


def _patch(told: str | list[float]) -> NDArray[np.float32]:
    """Return the look of a place; a box of before wrote its numbers one by one, which took thirty times as long."""
    if isinstance(told, str):
        return np.frombuffer(base64.b64decode(told), "<f4").astype(np.float32).reshape(24, 24)
    return np.asarray(told, np.float32).reshape(24, 24)
