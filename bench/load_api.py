"""Load on the centre: a real server process on a real PostgreSQL with many cases in it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from api.db import Database
from api.examples import ALERT_EVENT
from api.migrate import migrate
from api.security import add_device, add_user
from api.settings import Settings
from bench.servers import free_port, new_database, postgres
from contract import new_id, utc_now

# Old cases as a city would have them: 20 km of streets, three years, most of them closed, 2 000 waiting.
FILL = """
INSERT INTO cases (id, number, tenant, state, source, issue, street_class, camera_id, camera_name, lon, lat, place,
  opened_at, updated_at, ended_at, dwell_s, priority, version, held)
SELECT overlay(gen_random_uuid()::text placing '7' from 15), 'old-' || i, '/',
  CASE WHEN i % (%(n)s / 2000) = 0 THEN 'in_review' WHEN i %% 4 = 0 THEN 'rejected' ELSE 'closed' END, 'camera_ai',
  (ARRAY['parking.motor','parking.non_motor','dumping.exposed','vendor.unlicensed'])[1 + i %% 4],
  (ARRAY['prohibit','control','regulate'])[1 + i %% 3], 'cam-' || (i %% 1000), '', lon, lat,
  jsonb_build_object('lon', lon, 'lat', lat, 'source', 'homography',
    'error', jsonb_build_object('semi_major_m', 2.0, 'semi_minor_m', 1.0, 'bearing_deg', 0)),
  t, t, t, 200, i %% 3, 1, '{}'
FROM (SELECT i, 112.4 + random() * 0.2 AS lon, 37.8 + random() * 0.2 AS lat,
  now() - random() * interval '1000 days' AS t FROM generate_series(1, %(n)s) i) g
""".replace("i % (", "i %% (")


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        f"p{q}_ms": round(1000 * ordered[min(len(ordered) - 1, len(ordered) * q // 100)], 1)
        for q in (50, 95, 99)
    }


def fill(url: str, cases: int) -> float:
    """Put `cases` old cases into the database; return the seconds it took."""
    began = time.perf_counter()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(FILL, {"n": cases})
        connection.execute("VACUUM ANALYZE cases")
    return time.perf_counter() - began


def alert(at: datetime, picture: bytes | None) -> dict[str, Any]:
    """Return an alert of a place of its own, with one picture."""
    message = deepcopy(ALERT_EVENT)
    data = message["data"]
    data["id"] = message["subject"] = new_id()
    message["id"] = new_id()
    data["key"] = {"site_id": new_id(), "ground_cell": new_id()}
    data["camera_id"] = f"cam-{random.randrange(1000)}"
    data["place"] |= {"lon": 112.4 + random.random() * 0.2, "lat": 37.8 + random.random() * 0.2}
    data["occurred_at"] = data["dwell"]["confirmed_at"] = at.isoformat()
    data["dwell"]["first_seen_at"] = (at - timedelta(seconds=185)).isoformat()
    data["dwell"]["candidate_at"] = (at - timedelta(seconds=125)).isoformat()
    if picture is not None:
        data["evidence"][0] |= {"sha256": hashlib.sha256(picture).hexdigest(), "size": len(picture)}
    else:
        data["evidence"] = []
    return message


class Load:
    """Clients of one server."""

    def __init__(self, base: str, token: str, password: str) -> None:
        self._base, self._token, self._password, self._local = base, token, password, threading.local()

    def client(self, box: bool) -> httpx.Client:
        """Return this thread's client, a box or a person."""
        name = "box" if box else "person"
        found: httpx.Client | None = getattr(self._local, name, None)
        if found is None:
            found = httpx.Client(base_url=self._base, timeout=30, trust_env=False)
            if box:
                found.headers["Authorization"] = f"Bearer {self._token}"
            else:
                found.post(
                    "/session", json={"username": "load", "password": self._password}
                ).raise_for_status()
            setattr(self._local, name, found)
        return found

    def ingest(self) -> None:
        """One alert, then its picture of 20 kB."""
        picture = b"\xff\xd8\xff" + os.urandom(20_000)
        client = self.client(box=True)
        client.post("/alerts", json=alert(datetime.now(UTC), picture)).raise_for_status()
        client.put(f"/evidence/{hashlib.sha256(picture).hexdigest()}", content=picture).raise_for_status()

    def queue_page(self) -> None:
        """The queue's first fifty."""
        self.client(box=False).get(
            "/cases", params={"state": "in_review", "order": "queue"}
        ).raise_for_status()

    def map_box(self) -> None:
        """Two hundred cases of a square kilometre."""
        lon, lat = 112.4 + random.random() * 0.19, 37.8 + random.random() * 0.19
        box = f"{lon},{lat},{lon + 0.011},{lat + 0.009}"
        self.client(box=False).get("/cases", params={"bbox": box, "limit": 200}).raise_for_status()

    def verdict(self) -> None:
        """Lease the next case and confirm it."""
        client = self.client(box=False)
        case = client.get("/queue/next").raise_for_status()
        if case.status_code == httpx.codes.OK:
            path = f"/cases/{case.json()['id']}/verdicts"
            client.post(path, json={"kind": "confirm", "seconds": 1}).raise_for_status()


def _run(act: Callable[[], None], times: int, threads: int) -> dict[str, float]:
    def timed(_: int) -> float:
        began = time.perf_counter()
        act()
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        took = list(pool.map(timed, range(times)))
    return {"n": times, "per_s": round(times / (time.perf_counter() - began), 1), **_quantiles(took)}


def run(cases: int, times: int, workers: int) -> dict[str, Any]:
    """Fill a new database, start `workers` server processes, and measure. Everything ends with it."""
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cw-load-")))
        url = new_database(stack.enter_context(postgres()), "load")
        db = Database(Settings(data=data, database_url=url))  # type: ignore[arg-type]
        migrate(db.engine)
        filled = fill(url, cases)
        with db.write() as session:
            token = add_device(session, "box-1", utc_now())
            password = add_user(session, "load", "admin", utc_now())
        db.close()
        port = free_port()
        env = {**os.environ, "CURBWATCH_API_DATABASE_URL": url}
        command = [sys.executable, "-m", "curbwatch", "api", "run", "--data", str(data), "--port", str(port)]
        server = subprocess.Popen(
            [*command, "--workers", str(workers)],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(server.wait)
        stack.callback(server.terminate)
        base = f"http://127.0.0.1:{port}"
        _wait(base, server)
        load = Load(base, token, password)
        steps: tuple[tuple[str, Callable[[], None], int], ...] = (
            ("ingest with evidence", load.ingest, 8),
            ("queue page of 50", load.queue_page, 2),
            ("map box of 1 km2", load.map_box, 2),
            ("lease and verdict", load.verdict, 1),
        )
        for _, act, threads in steps:
            _run(act, 4 * threads, threads)
        figures = {name: _run(act, times, threads) for name, act, threads in steps}
    return {
        "cases": cases,
        "workers": workers,
        "fill_s": round(filled, 1),
        "cores": os.cpu_count(),
        "figures": figures,
    }


def _wait(base: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 90
    while True:
        try:
            if httpx.get(f"{base}/readyz", trust_env=False, timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the server did not become ready")
        time.sleep(0.2)
