"""A centre on loopback with an admin, and boxes that enrol as real ones do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from api_parts import Clock

from api.app import create_app
from api.core import Core
from api.security import add_user
from api.settings import Settings
from bench.ports import free_port
from edge.fleet.enrol import enrol


@dataclass
class City:
    url: str
    core: Core
    clock: Clock
    admin: httpx.Client

    def enrolled(self, folder: Path, name: str = "box-1", **told: Any) -> httpx.Client:
        code = (
            self.admin.post("/fleet/codes", json={"device_id": name, **told})
            .raise_for_status()
            .json()["code"]
        )
        with httpx.Client(timeout=60, base_url=self.url, trust_env=False) as nobody:
            got = enrol(folder, nobody, code)
        return httpx.Client(
            timeout=60, base_url=self.url, headers={"Authorization": f"Bearer {got.token}"}, trust_env=False
        )


@contextmanager
def city(folder: Path, clock: Any = None, **settings: Any) -> Iterator[City]:
    clock = clock or Clock()
    app = create_app(Settings(data=folder, min_free_bytes=0, **settings), now=clock)
    core: Core = app.state.core
    with core.db.write() as session:
        password = add_user(session, "root", "admin", clock())
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{port}"
    admin = httpx.Client(base_url=url, trust_env=False, timeout=120)
    admin.post("/session", json={"username": "root", "password": password}).raise_for_status()
    try:
        yield City(url, core, clock, admin)
    finally:
        admin.close()
        server.should_exit = True
        thread.join(60)
