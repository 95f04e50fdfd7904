"""A file server of releases that can be made bad, and a box that starts again as its supervisor lets it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, ClassVar

import httpx

from curbwatch.releasing.repository import Repository
from edge.fleet.enrol import ROOT
from edge.fleet.health_window import Look
from edge.fleet.models import ModelFromCentre
from edge.fleet.settings import FleetConfig
from edge.fleet.state import write_bytes
from edge.log import get_logger
from models.bundle import Bundle, embedded, write_manifest
from models.bundle import load_bundle as load


class Quiet(SimpleHTTPRequestHandler):
    """A file server that can answer with a page instead, as long as the file where it `fills`."""

    page, fills = "", False
    pages: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if not self.page or self.page not in self.path:
            super().do_GET()
            return
        self.pages.append(self.path)
        text = b"<html>Please sign in</html>"
        text = text.ljust(Path(self.translate_path(self.path)).stat().st_size) if self.fills else text
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: object) -> None:
        return


def wait(met: Callable[[], Any], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.02)


class Box:
    """A box that starts again as the supervisor lets it, and asks its model."""

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        self.data, self.url = folder / "data", url
        write_bytes(self.data / "fleet" / ROOT, root)
        self.asked, self.centre = Event(), httpx.Client(timeout=60, trust_env=False)
        self.start()

    def start(self, opened: Callable[[Bundle], Bundle] = lambda bundle: bundle) -> None:
        settings = FleetConfig(window_s=10.0, releases_url=self.url)
        self.models = ModelFromCentre(self.data, settings, "http://127.0.0.1:9", get_logger())
        self.asked.clear()
        bundle = self.models.load("centernet", opened)
        self.runs = f"{bundle.manifest.name}@{bundle.manifest.version}"

    def wish(self, model: str | None) -> None:
        self.models.obey(model, self.centre, lambda: self.look(0.0), self.asked.set)

    def look(self, at_s: float, live: str = "ab") -> Look:
        return Look(at_s, frozenset(live), frozenset("ab"))

    def watch(self, at_s: float, live: str = "ab") -> None:
        self.models.watch(self.look(at_s, live), self.asked.set)

    def on_trial(self, model: str) -> None:
        self.wish(model)
        wait(self.asked.is_set)
        self.start()
        assert (self.runs, self.models.slots.phase) == (model.partition("/")[2], "trial")


def full(state: Path) -> Path:
    """Let a state be written no more."""
    part = state.with_name(f"{state.name}.part")
    part.mkdir(parents=True)
    return part


def released(repo: Path, keys: Path, *versions: str) -> list[str]:
    """Publish the embedded model under other versions; returns their names."""
    signer, names = Repository(repo, keys, datetime.now(UTC)), []
    signer.create()
    signer.delegate("north")
    for version in versions:
        folder = keys.with_name(f"bundle{version}")
        shutil.copytree(embedded().parent / "centernet", folder)
        write_manifest(folder, load(folder).manifest.model_copy(update={"version": version}))
        names.append(signer.publish("north", folder))
    return names


@contextmanager
def served_box(tmp_path: Path) -> Iterator[Box]:
    repo, keys = tmp_path / "repo", tmp_path / "keys"
    released(repo, keys, "7", "8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(repo)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield Box(
        tmp_path, f"http://127.0.0.1:{server.server_port}", (repo / "metadata" / "1.root.json").read_bytes()
    )
    server.shutdown()
    server.server_close()
