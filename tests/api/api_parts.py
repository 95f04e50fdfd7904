"""Parts of the API tests: an app on a folder, a clock that the test moves, alerts by the dozen."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.app import create_app
from api.core import Core
from api.examples import ALERT_EVENT
from api.security import add_device, add_user
from api.settings import Settings
from contract import new_id

START = datetime(2026, 3, 4, 8, 0, tzinfo=UTC)
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Clock:
    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Turns:
    """Replicas behind one address: each request goes to the next of them."""

    def __init__(self, apps: list[FastAPI]) -> None:
        self.apps, self._next = apps, cycle(apps)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await next(self._next)(scope, receive, send)


@dataclass
class Centre:
    """A running centre, of one replica or more, and its clients. `app` and `core` are the first replica's."""

    app: FastAPI
    clock: Clock
    door: Turns | None = None
    tokens: dict[str, str] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)

    @property
    def core(self) -> Core:
        core: Core = self.app.state.core
        return core

    @property
    def cores(self) -> list[Core]:
        """Of every replica."""
        return [app.state.core for app in (self.door.apps if self.door else [self.app])]

    def anonymous(self) -> TestClient:
        return TestClient(self.door or self.app, base_url="http://centre", client=("203.0.113.9", 5))

    def box(self, name: str = "box-1", tenant: str = "/") -> TestClient:
        if name not in self.tokens:
            with self.core.db.write() as session:
                self.tokens[name] = add_device(session, name, self.clock(), tenant)
        client = self.anonymous()
        client.headers["Authorization"] = f"Bearer {self.tokens[name]}"
        return client

    def person(self, name: str = "rita", role: str = "reviewer", tenant: str = "/") -> TestClient:
        if name not in self.passwords:
            with self.core.db.write() as session:
                self.passwords[name] = add_user(session, name, role, self.clock(), tenant)
        client = self.anonymous()
        answer = client.post("/session", json={"username": name, "password": self.passwords[name]})
        assert answer.status_code == 200, answer.text
        return client

    def case(self, box: TestClient | None = None, **changes: Any) -> str:
        answer = (box or self.box()).post("/alerts", json=event(self.clock(), **changes))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["case_id"])


@contextmanager
def centre(data: Path, replicas: int = 1, **settings: Any) -> Iterator[Centre]:
    clock = Clock()
    apps = [create_app(Settings(data=data, min_free_bytes=0, **settings), now=clock) for _ in range(replicas)]
    try:
        yield Centre(apps[0], clock, Turns(apps) if replicas > 1 else None)
    finally:
        for app in apps:
            app.state.core.db.close()


def event(now: datetime, stage: str = "opened", **changes: Any) -> dict[str, Any]:
    """An alert message of its own site; `changes` replace fields of the alert, `key.site_id` with a dot."""
    message = copy.deepcopy(ALERT_EVENT)
    alert = message["data"]
    alert["id"], message["id"] = new_id(), new_id()
    alert["key"] = {"site_id": new_id(), "ground_cell": new_id()}
    alert["evidence"] = []
    alert["stage"] = stage
    for name, shift in (("first_seen_at", 185), ("candidate_at", 125), ("confirmed_at", 0)):
        alert["dwell"][name] = (now - timedelta(seconds=shift)).isoformat()
    alert["occurred_at"] = now.isoformat()
    for name, value in changes.items():
        spot = alert
        *folders, last = name.split("__")
        for folder in folders:
            spot = spot[folder]
        spot[last] = value
    message["subject"], message["time"] = alert["id"], now.isoformat()
    message["source"] = f"/device/{alert['device_id']}/camera/{alert['camera_id']}"
    message["type"] = f"city.curbwatch.alert.{alert['stage']}.v1"
    return message


def evidence_item(data: bytes, kind: str = "context", media_type: str = "image/jpeg") -> dict[str, Any]:
    return {
        "kind": kind,
        "sha256": sha(data),
        "media_type": media_type,
        "size": len(data),
        "captured_at": START.isoformat(),
    }


def body(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)


def until_waiting(house: Centre, count: int = 1) -> None:
    """Return once that many wait for a lock in PostgreSQL."""
    asked = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    end = time.monotonic() + 60
    with house.core.db.read() as session:
        while session.execute(asked).scalar_one() < count:
            assert time.monotonic() < end, "nobody came to the lock"
            time.sleep(0.05)


def asked_metrics() -> set[str]:
    """Every metric that a dashboard or an alert rule names."""
    deploy = Path(__file__).parents[2] / "deploy"
    boards = [json.loads(f.read_text(encoding="utf-8")) for f in (deploy / "grafana").glob("*.json")]
    words = [t["expr"] for board in boards for panel in board["panels"] for t in panel["targets"]]
    for file in (deploy / "prometheus").glob("*.yml"):
        groups = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        words += [rule["expr"] for group in groups for rule in group["rules"]]
    return set(re.findall(r"curbwatch_[a-z_]+", " ".join(words)))


def missing_metrics(asked: set[str], page: str) -> set[str]:
    """Those that a page in Prometheus' format has not."""
    there = set(re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE))
    there |= {name.removesuffix("_total") for name in there}
    return {
        m
        for m in asked
        if not there & {m, m.removesuffix("_bucket"), m.removesuffix("_count"), m.removesuffix("_total")}
    }
