"""Readiness that tells the truth; replicas that end under load and lose nothing; the feed of two replicas."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from api_parts import Centre, centre, event
from sqlalchemy import func, select

from api.db import Database
from api.examples import ALERT_EVENT
from api.migrate import migrate
from api.security import add_device, add_user
from api.settings import Settings
from api.tables import AlertMessage, AlertRow
from bench.ports import free_port
from bench.servers import new_database
from contract import new_id, utc_now


def _said(house: Centre) -> tuple[int, str]:
    answer = house.anonymous().get("/readyz")
    assert house.anonymous().get("/healthz").status_code == 200, "alive all the same"
    return answer.status_code, answer.json().get("detail", "")


def test_readiness_names_what_is_gone(house: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _said(house) == (200, "")
    monkeypatch.setattr(house.core.store, "_min_free", 2**62)
    assert _said(house) == (503, "evidence store: the disk is full, uploads are refused; make room")
    monkeypatch.undo()
    migrate(house.core.db.engine, "c1a")
    assert _said(house) == (503, "database: migrations are missing; run `curbwatch api migrate`")
    migrate(house.core.db.engine)
    folder = house.core.settings.data / "evidence"
    shutil.rmtree(folder)
    folder.write_text("a file where the folder was")
    assert _said(house)[1].startswith("evidence store: not writable")
    folder.unlink()
    folder.mkdir()
    assert _said(house) == (200, "")
    house.app.state.draining = True
    assert _said(house) == (503, "shutting down")


def test_readiness_without_the_database(tmp_path: Path, pg_url: str) -> None:
    url = new_database(pg_url, f"cw_{new_id()}")
    with centre(tmp_path / "pg", database_url=url) as house:
        assert _said(house)[0] == 200
        plain, _, name = url.replace("+psycopg", "").rpartition("/")
        with psycopg.connect(f"{plain}/postgres", autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            assert _said(house) == (503, "database: not reachable (OperationalError)")
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert _said(house)[0] == 200, "it comes back by itself"
    with centre(tmp_path / "lite") as house:
        house.core.db.close()
        for file in (tmp_path / "lite").glob("curbwatch.db*"):
            file.unlink()
        assert _said(house)[0] == 503


@contextmanager
def _replica(data: Path, url: str | None, port: int, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "CURBWATCH_API_MIN_FREE_BYTES": "0", "CURBWATCH_API_RETENTION_EVERY_S": "0"}
    if url:
        env["CURBWATCH_API_DATABASE_URL"] = url
    command = [sys.executable, "-m", "curbwatch", "api", "run", "--data", str(data), "--port", str(port)]
    command += ["--workers", str(workers)]
    with (data.parent / f"{data.name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _until(ready: Callable[[], bool], limit_s: float = 150.0) -> None:
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.05)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _same_feed(bases: list[str], token: str, password: str) -> None:
    """Cases that come in at one replica are on the other's feed, each once; a reader that comes back misses none."""
    with (
        httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=120) as box,
        httpx.Client(trust_env=False, timeout=120) as root,
        ThreadPoolExecutor(2) as pool,
    ):
        login = {"username": "root", "password": password}
        assert root.post(f"{bases[1]}/session", json=login).status_code == 200
        cookie = {"Cookie": f"curbwatch_session={root.cookies['curbwatch_session']}"}

        def opened(n: int) -> str:
            return str(box.post(f"{bases[n % 2]}/alerts", json=event(utc_now())).json()["case_id"])

        def read(base: str, after: int, count: int) -> tuple[list[str], int]:
            cases: list[str] = []
            last, head = after, {**cookie, "Last-Event-ID": str(after)}
            with httpx.stream("GET", f"{base}/events", headers=head, timeout=120, trust_env=False) as stream:
                for line in stream.iter_lines():
                    if line.startswith("id:"):
                        last = int(line[3:])
                    if line.startswith("data:") and "case_id" in line:
                        cases.append(json.loads(line[5:])["case_id"])
                        if len(cases) == count:
                            break
            return cases, last

        readers = [pool.submit(read, base, 0, 8) for base in bases]
        made = [opened(n) for n in range(8)]
        told = [reader.result(120) for reader in readers]
        assert [sorted(cases) for cases, _ in told] == [sorted(made)] * 2
        later = [opened(n) for n in range(4)]
        assert sorted(read(bases[0], told[1][1], 4)[0]) == sorted(later), (
            "one goes on where the other stopped"
        )


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_replicas_tell_one_feed_and_end_under_load_without_losing_a_request(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    """SIGTERM in the middle of a storm: what was answered is stored, nothing is cut off in the middle, and it ends cleanly.

    On PostgreSQL two replicas serve one database, the first with two processes; the second takes what the first does not.
    """
    url = new_database(request.getfixturevalue("pg_url"), f"cw_{new_id()}") if store == "postgresql" else None
    db = Database(Settings(data=tmp_path / "a", **({"database_url": url} if url else {})))
    migrate(db.engine)
    with db.write() as session:
        token = add_device(session, ALERT_EVENT["data"]["device_id"], utc_now())
        password = add_user(session, "root", "admin", utc_now())
    ports = [free_port(), *([free_port()] if url else [])]
    acknowledged: list[str] = []
    cut: list[str] = []
    stop, going = threading.Event(), threading.Event()
    first_ended = threading.Event()

    def send(number: int) -> None:
        head = {"Authorization": f"Bearer {token}"}
        with httpx.Client(headers=head, trust_env=False, timeout=120) as client:
            while not stop.is_set():
                message = event(utc_now())
                for port in ports:
                    try:
                        answer = client.post(f"http://127.0.0.1:{port}/alerts", json=message)
                    except httpx.ConnectError:
                        continue  # not taken: the box sends it elsewhere, or later
                    except httpx.TransportError as exc:
                        cut.append(type(exc).__name__)
                        continue
                    if answer.status_code in (200, 201):
                        acknowledged.append(message["id"])
                        if len(acknowledged) > 40:
                            going.set()
                        break
                    assert answer.status_code == 503, answer.text
                else:
                    if first_ended.is_set():
                        return

    with ExitStack() as stack:
        replicas = [
            stack.enter_context(_replica(tmp_path / "abc"[n], url, p, len(ports) - n))
            for n, p in enumerate(ports)
        ]
        _until(lambda: all(_ready(p) for p in ports))
        if url:
            _same_feed([f"http://127.0.0.1:{p}" for p in ports], token, password)
        with ThreadPoolExecutor(8) as pool:
            senders = [pool.submit(send, n) for n in range(8)]
            assert going.wait(120)
            replicas[0].send_signal(signal.SIGTERM)
            code = replicas[0].wait(150)
            first_ended.set()
            if url:
                before = len(acknowledged)
                _until(lambda: len(acknowledged) > before + 20)
            stop.set()
            for sender in senders:
                sender.result()
        assert code in (0, -signal.SIGTERM), "it ended by itself, not by the clock"
    with db.read() as session:
        stored = set(session.scalars(select(AlertMessage.id)))
        alerts = session.scalar(select(func.count()).select_from(AlertRow)) or 0
    db.close()
    assert set(acknowledged) <= stored, "what was answered is stored"
    assert len(acknowledged) == len(set(acknowledged))
    # A connection that waits for its next request is closed by a server that ends; HTTP lets the client send again
    # then. No request that was being worked on may be cut off: each of them is stored, and acknowledged.
    assert "ReadTimeout" not in cut
    assert len(stored) == alerts
    others = 12 if url else 0  # those of the feed
    assert len(stored - set(acknowledged)) == others, "stored, but never told"
