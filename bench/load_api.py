"""Load on the centre: real server processes on a real PostgreSQL with many cases in it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # no __all__

from api.db import Database
from api.examples import ALERT_EVENT
from api.migrate import migrate
from api.security import add_device, add_user
from api.settings import Settings
from bench.load_client import Act, Connection, play, request, sends
from bench.ports import free_port
from bench.servers import new_database, postgres
from bench.waiting import until_ready
from contract import AlertEvent, new_id, utc_now
from contract.chain import LINK_HEADER, ORIGIN, event_body
from edge.evidence_chain import sign_link
from edge.identity import public_key

# Old cases as a city would have them: 20 km of streets, three years, most of them closed, 2 000 waiting.
FILL = """
INSERT INTO cases (id, number, tenant, state, source, issue, street_class, camera_id, camera_name, lon, lat, place,
  opened_at, seen_at, updated_at, ended_at, dwell_s, priority, version, held)
SELECT overlay(gen_random_uuid()::text placing '7' from 15), 'old-' || i, '/',
  CASE WHEN i % (%(n)s / 2000) = 0 THEN 'in_review' WHEN i %% 4 = 0 THEN 'rejected' ELSE 'closed' END, 'camera_ai',
  (ARRAY['parking.motor','parking.non_motor','dumping.exposed','vendor.unlicensed'])[1 + i %% 4],
  (ARRAY['prohibit','control','regulate'])[1 + i %% 3], 'cam-' || (i %% 1000), '', lon, lat,
  jsonb_build_object('lon', lon, 'lat', lat, 'source', 'homography',
    'error', jsonb_build_object('semi_major_m', 2.0, 'semi_minor_m', 1.0, 'bearing_deg', 0)),
  t, t, t, t, 200, i %% 3, 1, '{}'
FROM (SELECT i, 112.4 + random() * 0.2 AS lon, 37.8 + random() * 0.2 AS lat,
  now() - random() * interval '1000 days' AS t FROM generate_series(1, %(n)s) i) g
""".replace("i % (", "i %% (")
BOXES = 16
PICTURE = 20_000


def fill(url: str, cases: int) -> float:
    """Put `cases` old cases into the database; return the seconds it took."""
    began = time.perf_counter()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(FILL, {"n": cases})
        connection.execute("VACUUM ANALYZE cases")
    return time.perf_counter() - began


def alert(device: str, at: datetime, picture: bytes) -> AlertEvent:
    """Return an alert of a place of its own, with one picture."""
    message = deepcopy(ALERT_EVENT)
    data = message["data"]
    data["id"] = message["subject"] = new_id()
    message["id"] = new_id()
    data["key"] = {"site_id": new_id(), "ground_cell": new_id()}
    data["device_id"], data["camera_id"] = device, f"cam-{random.randrange(1000)}"
    message["source"] = f"/device/{device}/camera/{data['camera_id']}"
    data["place"] |= {"lon": 112.4 + random.random() * 0.2, "lat": 37.8 + random.random() * 0.2}
    data["occurred_at"] = data["dwell"]["confirmed_at"] = at.isoformat()
    data["dwell"]["first_seen_at"] = (at - timedelta(seconds=185)).isoformat()
    data["dwell"]["candidate_at"] = (at - timedelta(seconds=125)).isoformat()
    data["evidence"] = [
        data["evidence"][0] | {"sha256": hashlib.sha256(picture).hexdigest(), "size": len(picture)}
    ]
    return AlertEvent.model_validate(message)


@dataclass
class Box:
    """A box with its key: each message is the next link of its chain, as in service."""

    name: str
    token: str
    signer: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    seq: int = 0
    previous: str = ORIGIN

    def _headers(self, kind: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": kind}

    def enrol(self) -> Act:
        """Give the centre the key."""
        body = json.dumps({"key": public_key(self.signer, self.name)}).encode()
        return sends(request("PUT", "/devices/self/key", self._headers("application/json"), body))

    def ingest(self) -> Act:
        """One signed alert, then its picture."""
        picture = b"\xff\xd8\xff" + os.urandom(PICTURE)
        event = alert(self.name, datetime.now(UTC), picture)
        self.seq += 1
        link, envelope = sign_link(self.signer, event, self.seq, self.previous, utc_now())
        self.previous = link.digest()
        signed = {LINK_HEADER: base64.b64encode(envelope.encode()).decode()}
        path = f"/evidence/{hashlib.sha256(picture).hexdigest()}"
        return sends(
            request("POST", "/alerts", self._headers("application/json") | signed, event_body(event)),
            request("PUT", path, self._headers("image/jpeg"), picture),
        )


class Person:
    """Somebody at the console."""

    def __init__(self, cookie: str) -> None:
        self._headers = {"Cookie": f"curbwatch_session={cookie}", "Content-Type": "application/json"}

    def _get(self, path: str) -> bytes:
        return request("GET", path, self._headers)

    def queue_page(self) -> Act:
        """The queue's first fifty."""
        return sends(self._get("/cases?state=in_review&order=queue"))

    def map_box(self) -> Act:
        """Two hundred cases of a square kilometre."""
        lon, lat = 112.4 + random.random() * 0.19, 37.8 + random.random() * 0.19
        return sends(self._get(f"/cases?bbox={lon},{lat},{lon + 0.011},{lat + 0.009}&limit=200"))

    def verdict(self) -> Act:
        """Lease the next case and confirm it."""

        async def act(connection: Connection) -> None:
            case = json.loads(await connection.ask(self._get("/queue/next")) or b"{}")
            if case:
                body = json.dumps({"kind": "confirm", "seconds": 1}).encode()
                await connection.ask(request("POST", f"/cases/{case['id']}/verdicts", self._headers, body))

        return act


def cpu_s(root: psutil.Process) -> float:
    """CPU seconds of a process, its living descendants and those that it has waited for."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            t = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += t.user + t.system + t.children_user + t.children_system
    return total


@dataclass(frozen=True)
class House:
    """A running centre with boxes and a person."""

    port: int
    api: psutil.Process
    store: psutil.Process
    boxes: list[Box]
    person: Person

    def measure(self, clients: list[list[Act]]) -> dict[str, float]:
        """Play the acts; return rate, quantiles and CPU milliseconds an act of API, PostgreSQL and client."""
        before = cpu_s(self.api), cpu_s(self.store), time.process_time()
        row = play(self.port, clients).row()
        after = cpu_s(self.api), cpu_s(self.store), time.process_time()
        api, store, client = (1000 * (b - a) / row["n"] for a, b in zip(before, after, strict=True))
        cores = os.cpu_count() or 1
        return row | {
            "api_cpu_ms": round(api, 2),
            "pg_cpu_ms": round(store, 2),
            "client_cpu_ms": round(client, 2),
            # What all cores could do if the clients stood elsewhere and nobody else worked here.
            "per_s_by_cpu": round(1000 * cores / max(api + store, 1e-9), 1),
        }


@contextmanager
def house(cases: int, workers: int) -> Iterator[tuple[House, float]]:
    """Fill a new database and start a server on it; yield it with the seconds of the filling."""
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cw-load-")))
        server = stack.enter_context(postgres(durable=True))
        url = new_database(server, "load")
        db = Database(Settings(data=data, database_url=url))  # type: ignore[arg-type]
        migrate(db.engine)
        filled = fill(url, cases)
        with db.write() as session:
            boxes = [Box(f"box-{i}", add_device(session, f"box-{i}", utc_now())) for i in range(BOXES)]
            password = add_user(session, "load", "admin", utc_now())
        db.close()
        port = free_port()
        env = {**os.environ, "CURBWATCH_API_DATABASE_URL": url}
        command = [sys.executable, "-m", "curbwatch", "api", "run", "--data", str(data), "--port", str(port)]
        api = subprocess.Popen(
            [*command, "--workers", str(workers)],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(api.wait)
        stack.callback(api.terminate)
        until_ready(f"http://127.0.0.1:{port}", api)
        login = httpx.post(
            f"http://127.0.0.1:{port}/session",
            json={"username": "load", "password": password},
            trust_env=False,
            timeout=30,
        ).raise_for_status()
        made = House(
            port,
            psutil.Process(api.pid),
            _listener(server),
            boxes,
            Person(login.cookies["curbwatch_session"]),
        )
        play(port, [[box.enrol()] for box in boxes])
        yield made, filled


def _listener(url: str) -> psutil.Process:
    port = int(url.rpartition(":")[2])
    for process in psutil.Process().children(recursive=True):
        if f"-p {port}" in " ".join(process.cmdline()):
            return process
    raise RuntimeError("the PostgreSQL process is not ours")


def run(cases: int, times: int, workers: int) -> dict[str, Any]:
    """Fill a new database, start `workers` server processes, and measure. Everything ends with it."""
    with house(cases, workers) as (made, filled):
        boxes, person = made.boxes, made.person

        def ingest(n: int) -> list[list[Act]]:
            return [[box.ingest() for _ in range(max(1, n // len(boxes)))] for box in boxes]

        made.measure(ingest(10 * BOXES))  # connections, plans, caches
        figures = {"ingest with evidence": made.measure(ingest(4 * times))}
        for name, act, clients in (
            ("queue page of 50", person.queue_page, 2),
            ("map box of 1 km2", person.map_box, 2),
            ("lease and verdict", person.verdict, 1),
        ):
            made.measure([[act() for _ in range(8)] for _ in range(clients)])
            figures[name] = made.measure(
                [[act() for _ in range(max(1, times // clients))] for _ in range(clients)]
            )
    return {
        "cases": cases,
        "workers": workers,
        "fill_s": round(filled, 1),
        "cores": os.cpu_count(),
        "figures": figures,
    }
