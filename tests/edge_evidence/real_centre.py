"""A real centre on loopback for the tests of the uplink: the API in uvicorn, a broker, certificates."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import func, select

from api.app import create_app
from api.core import Core
from api.security import add_device
from api.settings import Settings
from api.tables import AlertRow, Evidence
from api.tables_custody import ChainLink
from bench.ports import free_port
from contract import utc_now


@dataclass
class RealCentre:
    url: str
    core: Core
    token: str

    def counts(self) -> tuple[int, int, int, int]:
        """Alerts, files, links, links with a fault."""
        with self.core.db.read() as session:
            one = lambda table: session.scalar(select(func.count()).select_from(table)) or 0  # noqa: E731
            faults = session.scalar(select(func.count(ChainLink.fault))) or 0
            return one(AlertRow), one(Evidence), one(ChainLink), faults


@contextmanager
def real_centre(folder: Path, **settings: Any) -> Iterator[RealCentre]:
    app = create_app(Settings(data=folder, min_free_bytes=0, **settings))
    core: Core = app.state.core
    with core.db.write() as session:
        token = add_device(session, "box-1", utc_now())
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        yield RealCentre(f"http://127.0.0.1:{port}", core, token)
    finally:
        server.should_exit = True
        thread.join(60)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=centre",
    ]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "tls.key", "-out", "tls.pem"]
    subprocess.run([*command, *names], check=True, capture_output=True, cwd=folder)
    (folder / "tls.key").chmod(0o644)  # mosquitto drops its rights when it starts as root
    return folder / "tls.pem", folder / "tls.key"


class Broker:
    """Mosquitto with TLS on loopback; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o755)
        self.ca, key = certificate(folder)
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nper_listener_settings false\n"
            f"certfile {self.ca}\nkeyfile {key}\nuser root\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = ["mosquitto", "-c", str(self._config)]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/bin"},
        )
        until(self._listens)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0


def until(ready: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.05)
