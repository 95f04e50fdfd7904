"""A day of alerts at ten times the usual rate into the outbox with the uplink away, then delivery to a real API."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.chaos_sites import DEVICE, SIZE, frame_of, site_view
from bench.ports import free_port
from bench.waiting import until_ready
from contract import ModelRef, new_id
from edge.config import CameraConfig
from edge.identity import load_signer
from edge.judge import Change
from edge.ledger import AlertLedger
from edge.log import get_logger
from edge.outbox import Outbox, OutboxFullError, Priority
from edge.recorder import AlertRecorder, BoxFacts
from edge.stills import StillStore
from edge.uplink import Uplink, client_for
from models.detections import Detections

# A busy box files about 30 alerts a day.
USUAL_A_DAY = 30
START = datetime(2026, 5, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Offline:
    """Sizes in MiB, times in seconds."""

    alerts: int
    pictures: int
    clips_put: int
    clips_dropped: int
    quota_mib: float
    high_water_mib: float
    rss_growth_mib: float
    fill_s: float
    deliver_s: float
    delivered_mib: float
    last_alert_s: float
    last_picture_s: float
    left: int


def run(folder: Path, days: int, factor: int, quota_mib: int, clip_kib: int) -> Offline:
    """Fill, then deliver. Each alert has three pictures of about 50 KiB and a clip of `clip_kib` KiB."""
    outbox = Outbox(folder / "outbox", quota_mib * 2**20, load_signer(folder / "identity.key"))
    camera = CameraConfig.model_validate(
        {"id": "cam", "url": "folder:", "place": {"lon": 0, "lat": 0}, "zones": []}
    )
    facts = BoxFacts(DEVICE, ModelRef(name="m", version="1", sha256="a" * 64), "0.1.0", blur=False)
    recorder = AlertRecorder(
        camera, facts, lambda: None, StillStore(folder / "stills"), outbox,
        AlertLedger(folder / "alerts.db"), folder / "clips", get_logger(),
    )  # fmt: skip
    count = USUAL_A_DAY * factor * days
    process, refused = psutil.Process(), 0
    before, began = process.memory_info().rss, time.monotonic()
    for n in range(count):
        at = START + timedelta(days=days) * (n / count)
        site = replace(site_view(new_id(), n, at), timeline=())
        recorder.record(Change("confirmed", site), frame_of(n, at), Detections.empty(), *SIZE)
        clip = np.random.default_rng(n).integers(0, 256, clip_kib * 1024, np.uint8).tobytes()
        try:
            outbox.put_file(b"\0\0\0\x18ftypisom" + clip, Priority.CLIP, "video/mp4", at.timestamp())
        except OutboxFullError:
            refused += 1
    filled = outbox.level()
    fill_s, growth = time.monotonic() - began, process.memory_info().rss - before
    with _api(folder / "api") as (url, token):
        times = _deliver(outbox, url, token)
    return Offline(
        alerts=count,
        pictures=count * 3,
        clips_put=count,
        clips_dropped=filled.dropped_files + refused,
        quota_mib=quota_mib,
        high_water_mib=round(filled.high_water_bytes / 2**20, 1),
        rss_growth_mib=round(growth / 2**20, 1),
        fill_s=round(fill_s, 1),
        deliver_s=round(times["all"], 1),
        delivered_mib=round(filled.bytes / 2**20, 1),
        last_alert_s=round(times["alerts"], 1),
        last_picture_s=round(times["pictures"], 1),
        left=outbox.level().alerts + outbox.level().files,
    )


def _deliver(outbox: Outbox, url: str, token: str, limit_s: float = 1200.0) -> dict[str, float]:
    uplink = Uplink(outbox, client_for(url, token), get_logger())
    stop, began = threading.Event(), time.monotonic()
    thread = threading.Thread(target=uplink.run, args=(stop,))
    thread.start()
    times: dict[str, float] = {}
    while "all" not in times and time.monotonic() - began < limit_s:
        time.sleep(0.1)
        level, passed = outbox.level(), time.monotonic() - began
        first = outbox.next_files(1)
        if not level.alerts:
            times.setdefault("alerts", passed)
        if not first or first[0].priority is not Priority.PICTURE:
            times.setdefault("pictures", passed)
        if not level.alerts and not level.files:
            times["all"] = passed
    stop.set()
    outbox.changed.set()
    thread.join(30)
    return {"alerts": -1.0, "pictures": -1.0, "all": -1.0} | times


@contextmanager
def _api(data: Path) -> Iterator[tuple[str, str]]:
    command = [sys.executable, "-m", "curbwatch", "api"]
    add = [*command, "device", "add", DEVICE, "--data", str(data), "--json"]
    told: dict[str, Any] = json.loads(subprocess.check_output(add, text=True).splitlines()[-1])
    port = free_port()
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "run", "--data", str(data), "--port", str(port)], stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until_ready(url, process, 60)
        yield url, str(told["token"])
    finally:
        process.terminate()
        process.wait(20)
