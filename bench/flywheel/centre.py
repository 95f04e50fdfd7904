"""The real centre of the flywheel: an API process, a box that files what a model sees, and a reviewer who knows the truth."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from api.db import Database
from api.examples import ALERT_EVENT
from api.migrate import migrate
from api.security import add_device, add_user
from api.settings import Settings
from bench.ports import free_port
from bench.waiting import until_ready
from contract import ModelRef, new_id, utc_now
from training.dataset_items import Floats, Item, iou_matrix, to_corners

ISSUES: Mapping[str, str] = {"garbage": "dumping.exposed", "overflow": "dumping.bin_overflow"}
"""Classes that are an issue by themselves: only these raise an alert, so only these get verdicts."""

SURE, LOOSE, HINT = 0.8, 0.3, 0.1
"""IoU with the truth from which a reviewer confirms a box as it is, confirms it and draws it anew, and is unsure."""


@dataclass(frozen=True)
class Sight:
    """One detection that becomes an alert: the picture, x1 y1 x2 y2 normalised, the class and its score."""

    item: Item
    box: tuple[float, float, float, float]
    name: str
    score: float


@dataclass
class Centre:
    """A running centre. `truth` maps the SHA-256 of a picture to its labels."""

    data: Path
    box: httpx.Client
    reviewer: httpx.Client
    classes: tuple[str, ...]
    truth: dict[str, Item] = field(default_factory=dict)
    given: Counter[str] = field(default_factory=Counter)

    def file(self, sight: Sight, model: ModelRef, number: int) -> None:
        """The box's part: the alert, and its picture where the centre lacks it."""
        content = sight.item.path.read_bytes()
        sha = hashlib.sha256(content).hexdigest()
        self.truth[sha] = sight.item
        told = self.box.post("/alerts", json=message_of(sight, model, number, sha, len(content)))
        if sha in told.raise_for_status().json()["missing_evidence"]:
            self.box.put(
                f"/evidence/{sha}", content=content, headers={"Content-Type": "image/jpeg"}
            ).raise_for_status()

    def review(self, count: int) -> int:
        """Judge the next `count` cases of the queue, or what is left; returns how many were judged."""
        for done in range(count):
            case = self.reviewer.get("/queue/next").raise_for_status()
            if case.status_code == httpx.codes.NO_CONTENT:
                return done
            told = case.json()
            alert = told["alerts"][-1]
            verdict = answer(alert, self.truth[alert["evidence"][0]["sha256"]], self.classes)
            self.reviewer.post(f"/cases/{told['id']}/verdicts", json=verdict).raise_for_status()
            self.given[kind_of(verdict)] += 1
        return count

    def export(self, out: Path) -> None:
        """The judged cases and their pictures, by the command that an ML engineer types."""
        command = ["api", "export-labels", "--data", str(self.data), "--out", str(out)]
        subprocess.run(
            [sys.executable, "-m", "curbwatch", *command], check=True, stdout=subprocess.DEVNULL, timeout=600
        )


def kind_of(verdict: Mapping[str, Any]) -> str:
    """The verdict in words, for the table."""
    if verdict["kind"] != "confirm":
        return str(verdict["kind"])
    return (
        "confirm, other class"
        if "issue" in verdict
        else "confirm, drawn anew"
        if "box" in verdict
        else "confirm"
    )


def answer(alert: Mapping[str, Any], truth: Item, classes: tuple[str, ...]) -> dict[str, Any]:
    """What a reviewer who sees the labels says of an alert, as the API takes it."""
    corners = to_corners(truth.boxes)
    overlaps = iou_matrix(np.array([alert["box"]], np.float32), corners)[0]
    names = [classes[c] for c in truth.classes]
    rows = sorted(
        (
            (float(v), names[n] == alert["model"]["class_name"], n)
            for n, v in enumerate(overlaps)
            if names[n] in ISSUES
        ),
        reverse=True,
    )
    best = next((r for r in rows if r[1]), rows[0] if rows else None)
    if best is not None and not best[1] and best[0] < LOOSE:
        best = None
    if best is not None and best[1] and best[0] < LOOSE and rows[0][0] >= LOOSE:
        best = rows[0]
    if best is None or best[0] < HINT:
        return {"kind": "reject", "reason": 1, "seconds": 3}
    value, same, number = best
    if value < LOOSE:
        return {"kind": "unsure", "seconds": 6}
    verdict: dict[str, Any] = {"kind": "confirm", "seconds": 3}
    if not same:
        verdict["issue"] = ISSUES[names[number]]
    if value < SURE or not same:
        verdict["box"] = clean_box(corners[number])
    return verdict


def clean_box(corners: Floats) -> list[float]:
    """Corners inside 0–1, as the wire wants them."""
    return [round(float(v), 6) for v in np.clip(corners, 0, 1)]


def message_of(sight: Sight, model: ModelRef, number: int, sha: str, size: int) -> dict[str, Any]:
    """An alert message of a place of its own; cameras and times are made up, three hours between two of one camera."""
    message = deepcopy(ALERT_EVENT)
    data = message["data"]
    at = datetime.now(UTC) - timedelta(minutes=5)
    data |= {
        "id": new_id(), "issue": ISSUES[sight.name], "camera_id": f"cam-{number % 24:02d}", "box": list(sight.box),
        "key": {"site_id": new_id(), "ground_cell": new_id()}, "occurred_at": at.isoformat(),
        "model": {**model.model_dump(mode="json"), "class_name": sight.name, "score": round(sight.score, 4)},
        "rule": {"name": f"{ISSUES[sight.name]}@v1", "candidate_s": 60, "confirm_s": 600},
        "note": f"{sight.name} at {sight.score:.2f}.",
    }  # fmt: skip
    data["place"] |= {"lon": 112.4 + number % 100 * 0.002, "lat": 37.8 + number // 100 * 0.002}
    for name, minutes in (("first_seen_at", 12), ("candidate_at", 11), ("confirmed_at", 2)):
        data["dwell"][name] = (at - timedelta(minutes=minutes)).isoformat()
    # Public pictures have readable faces: they are called what they are, and the export's reader must allow them.
    data["evidence"] = [
        {"kind": "context", "sha256": sha, "media_type": "image/jpeg", "size": size, "captured_at": at.isoformat(), "blurred": False}
    ]  # fmt: skip
    message |= {"id": new_id(), "subject": data["id"], "time": at.isoformat()}
    message["type"] = "city.curbwatch.alert.opened.v1"
    message["source"] = f"/device/{data['device_id']}/camera/{data['camera_id']}"
    return message


@contextmanager
def centre(data: Path, classes: tuple[str, ...]) -> Iterator[Centre]:
    """Start an API process on SQLite in `data`, with one box and one reviewer; it ends with the block."""
    settings = Settings(data=data)
    data.mkdir(parents=True, exist_ok=True)
    db = Database(settings)
    migrate(db.engine)
    with db.write() as session:
        token = add_device(session, "box-1", utc_now())
        password = add_user(session, "rita", "reviewer", utc_now())
    db.close()
    port = free_port()
    command = [sys.executable, "-m", "curbwatch", "api", "run", "--data", str(data), "--port", str(port)]
    with (data / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})
    base = f"http://127.0.0.1:{port}"
    try:
        until_ready(base, server)
        with (
            httpx.Client(base_url=base, timeout=60, trust_env=False) as box,
            httpx.Client(base_url=base, timeout=60, trust_env=False) as person,
        ):
            box.headers["Authorization"] = f"Bearer {token}"
            person.post("/session", json={"username": "rita", "password": password}).raise_for_status()
            yield Centre(data, box, person, classes)
    finally:
        server.terminate()
        server.wait(30)
