"""The quick chaos bench's box: real recorder, ledger, outbox, chain and uplink, fed with sites instead of cameras.

`python -m bench.chaos_sites FOLDER URL TOKEN_FILE`. What it promises is in `truth.db` before the recorder hears of it, as
the site store has it in service. Once a file `quiet` is in the folder, it sends and promises no more.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from camera_adapters.frame import Frame, FrameMeta
from contract import (
    ErrorEllipse,
    GeoPoint,
    IssueClass,
    ModelRef,
    RuleRef,
    StreetClass,
    ZoneKind,
    ZoneRef,
    new_id,
    utc_now,
)
from edge.config import CameraConfig
from edge.identity import load_signer, public_key
from edge.judge import Change, SiteView
from edge.ledger import AlertLedger
from edge.log import configure, get_logger
from edge.outbox import Outbox
from edge.recorder import AlertRecorder, BoxFacts
from edge.stills import StillStore
from edge.uplink import Uplink, client_for
from models.detections import Detections

DEVICE = "chaos-box"
SIZE = (320, 180)
POLYGON = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))


class Truth:
    """Sites that were confirmed, on disk before anyone else hears of them."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS sites (id TEXT PRIMARY KEY, n INTEGER, at TEXT, cleared INTEGER)"
        )

    def all(self) -> list[tuple[str, int, str, int]]:
        return self._db.execute("SELECT id, n, at, cleared FROM sites ORDER BY n").fetchall()

    def add(self, site_id: str, n: int, at: datetime) -> None:
        self._db.execute("INSERT INTO sites VALUES (?, ?, ?, 0)", (site_id, n, at.isoformat()))

    def clear(self, site_id: str) -> None:
        self._db.execute("UPDATE sites SET cleared = 1 WHERE id = ?", (site_id,))


def site_view(site_id: str, n: int, at: datetime) -> SiteView:
    """Return the confirmed site number `n`; each is 200 m from the next, so that no two are one case."""
    place = GeoPoint(
        lon=100 + (n % 1000) * 0.002,
        lat=20 + (n // 1000) * 0.002,
        error=ErrorEllipse(semi_major_m=2, semi_minor_m=2),
        source="homography",
    )
    zone = ZoneRef(id="z", kind=ZoneKind.NO_PARKING, street_class=StreetClass.CONTROL, polygon=POLYGON)
    return SiteView(
        site_id=site_id,
        issue=IssueClass("parking.motor"),
        zone=zone,
        rule=RuleRef(name="parking.motor@v1", candidate_s=60, confirm_s=300),
        first_seen_at=at - timedelta(seconds=300),
        candidate_at=at - timedelta(seconds=240),
        confirmed_at=at,
        dwell_s=300.0,
        samples=30,
        box=(0.2, 0.2, 0.5, 0.6),
        class_name="car",
        score=0.8,
        count=1,
        place=place,
        ground_cell=f"chaos-{n}",
        note="chaos",
        timeline=(),
    )


def frame_of(n: int, at: datetime) -> Frame:
    """Return a picture that no other site has."""
    picture = np.random.default_rng(n).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    meta = FrameMeta("cam", n, at, time.monotonic(), "arrival", None, True, False, 0, *SIZE)
    return Frame.from_rgb(picture, meta)


def main(folder: Path, url: str, token_file: Path) -> None:
    """Work until killed, or until `control.json` says `quiet`: then only send."""
    configure(json_lines=True)
    log = get_logger()
    signer = load_signer(folder / "identity.key")
    outbox = Outbox(folder / "outbox", 512 * 2**20, signer)
    ledger = AlertLedger(folder / "alerts.db", keep=1_000_000)
    truth = Truth(folder / "truth.db")
    camera = CameraConfig.model_validate(
        {"id": "cam", "url": "folder:", "place": {"lon": 0, "lat": 0}, "zones": []}
    )
    facts = BoxFacts(DEVICE, ModelRef(name="m", version="1", sha256="a" * 64), "0.1.0", blur=False)
    recorder = AlertRecorder(
        camera, facts, lambda: None, StillStore(folder / "stills"), outbox, ledger, folder / "clips", log
    )
    nothing = Detections.empty()
    client = client_for(url, token_file.read_text().strip(), 3.0)
    uplink = Uplink(outbox, client, log, backoff_cap_s=2.0, public_key=public_key(signer, DEVICE))
    threading.Thread(target=uplink.run, args=(threading.Event(),), daemon=True).start()

    def clear(site_id: str, n: int, at: datetime) -> None:
        recorder.record(Change("cleared", site_view(site_id, n, at)), frame_of(n, at), nothing, *SIZE)

    known = truth.all()
    for site_id, n, told_at, cleared in known:
        moment = datetime.fromisoformat(told_at)
        recorder.resume([site_view(site_id, n, moment)], frame_of(n, moment), nothing, *SIZE)
        if cleared:
            clear(site_id, n, moment)
    log.info("box.ready")
    n = known[-1][1] + 1 if known else 0
    while True:
        time.sleep(0.15)
        recorder.tick(utc_now())
        if (folder / "quiet").exists():
            continue
        at, site_id = utc_now(), new_id()
        try:
            truth.add(site_id, n, at)
            recorder.record(Change("confirmed", site_view(site_id, n, at)), frame_of(n, at), nothing, *SIZE)
            if n % 3 == 0:
                truth.clear(site_id)
                clear(site_id, n, at)
        except (OSError, sqlite3.Error) as exc:
            log.warning("box.fault", reason=f"{type(exc).__name__}: {exc}")
        n += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
