"""What a chaos run left behind: chain, alerts and files, compared between the box's disk and the centre's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from contract.chain import ORIGIN, LinkError, open_link
from edge.identity import load_signer


@dataclass
class Result:
    """What the count says. Everything from `lost` to `still_queued` should be zero.

    `stays` counts cars that stood in a zone, `expected` those that had to become an alert: the box was surely looking.
    `empty` counts alerts whose picture does not show their car: it had left when the box raised them.
    `evidence` counts what alerts name, `files` the distinct ones: the same picture of a loop is one file.
    """

    faults: dict[str, int] = field(default_factory=dict)
    power_cuts: int = 0
    box_starts: int = 0
    api_starts: int = 0
    stays: int = 0
    expected: int = 0
    alerts: int = 0
    clips: int = 0
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    not_cleared: int = 0
    empty: int = 0
    evidence: int = 0
    files: int = 0
    evidence_missing: int = 0
    evidence_wrong: int = 0
    evidence_unreadable: int = 0
    links: int = 0
    chain_breaks: int = 0
    centre_missing: int = 0
    centre_faults: int = 0
    still_queued: int = 0
    settled_s: float = 0.0

    @property
    def clean(self) -> bool:
        """True when nothing was lost, doubled, missing, wrong or broken."""
        bad = (
            self.lost, self.doubled, self.invented, self.not_cleared, self.empty, self.evidence_missing, self.evidence_wrong,
            self.evidence_unreadable, self.chain_breaks, self.centre_missing, self.centre_faults, self.still_queued,
        )  # fmt: skip
        return not any(bad)

    @property
    def good(self) -> bool:
        """True when the run is clean and there was something to lose."""
        return self.clean and self.expected > 0 and self.alerts > 0

    def wire(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self) | {"good": self.good}


@dataclass(frozen=True, slots=True)
class Told:
    """A message of the box's chain."""

    seq: int
    alert: dict[str, Any]


def chain_of(box: Path, after: int = 0) -> list[Told]:
    """Return the messages of a box's chain beyond a number; none where the file cannot be read at this moment."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(
            sqlite3.connect(f"file:{box}/outbox/outbox.db?mode=ro", uri=True, timeout=2)
        ) as db,
    ):
        rows = db.execute("SELECT seq, body FROM chain WHERE seq > ? ORDER BY seq", (after,)).fetchall()
        return [Told(seq, json.loads(body)["data"]) for seq, body in rows]
    return []


def waiting(box: Path) -> int:
    """Return how much a box has still to send."""
    return sum(rows(box / "outbox/outbox.db", table) for table in ("alerts", "files", "refused"))


def rows(path: Path, table: str) -> int:
    """Return the number of rows of a table."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - names are ours


def alerts_at(api: Path) -> list[str]:
    """Return the ids of the alerts that the centre has."""
    with contextlib.closing(sqlite3.connect(api / "curbwatch.db")) as db:
        return [a for (a,) in db.execute("SELECT id FROM alerts")]


def count(result: Result, box: Path, api: Path) -> None:
    """Fill in what chain, evidence and the two stores say."""
    told = chain_of(box)
    there, opened = set(alerts_at(api)), {t.alert["id"] for t in told}
    result.still_queued, result.alerts = waiting(box), len(there)
    # On top of what the truth says: what the box wrote and the centre never got, and the other way round.
    result.lost += len(opened - there)
    result.invented += len(there - opened)
    result.not_cleared += len(opened - {t.alert["id"] for t in told if t.alert["stage"] == "cleared"})
    items = {item["sha256"]: item for t in told for item in t.alert.get("evidence", ())}
    result.clips = len({t.alert["id"] for t in told if any(e["kind"] == "clip" for e in t.alert["evidence"])})
    pairs = {(t.alert["id"], e["kind"], e["sha256"]) for t in told for e in t.alert.get("evidence", ())}
    result.evidence, result.files = len(pairs), len(items)
    for sha256, item in items.items():
        path = api / "evidence" / sha256[:2] / sha256[2:4] / sha256
        if not path.is_file():
            result.evidence_missing += 1
        elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            result.evidence_wrong += 1
        elif not readable(path, item["media_type"]):
            result.evidence_unreadable += 1
    _count_chain(result, box, api)


def readable(path: Path, media_type: str) -> bool:
    """True when a picture decodes to its end and a clip has pictures; sealed files are not looked into."""
    if media_type == "image/jpeg":
        data = np.fromfile(path, np.uint8)
        return data[-2:].tobytes() == b"\xff\xd9" and cv2.imdecode(data, cv2.IMREAD_COLOR) is not None
    if media_type == "video/mp4":
        try:
            with av.open(str(path)) as container:
                return next(container.decode(video=0), None) is not None
        except (OSError, av.error.FFmpegError):
            return False
    return path.stat().st_size > 0


def _count_chain(result: Result, box: Path, api: Path) -> None:
    key = load_signer(box / "identity.key").public_key
    with contextlib.closing(sqlite3.connect(box / "outbox/outbox.db")) as db:
        links = db.execute("SELECT envelope, body FROM chain ORDER BY seq").fetchall()
    previous, seq = ORIGIN, 0
    for envelope, body in links:
        try:
            link = open_link(envelope, key)
            seq += 1
            result.chain_breaks += link.previous != previous or link.seq != seq
            result.chain_breaks += hashlib.sha256(body.encode()).hexdigest() != link.event_sha256
            previous = link.digest()
        except LinkError:
            result.chain_breaks += 1
    with contextlib.closing(sqlite3.connect(api / "curbwatch.db")) as db:
        there = db.execute("SELECT seq, fault FROM chain_links").fetchall()
    result.links = len(links)
    result.centre_faults = sum(fault is not None for _, fault in there)
    result.centre_missing = len(set(range(1, len(links) + 1)) - {number for number, _ in there})
