"""A signed repository behind a server that tests can make bad, and a box that asks it."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from curbwatch.releasing.repository import Repository
from edge.fleet.releases import ReleaseError, Releases
from edge.fleet.slots import Slots
from models.bundle import embedded, write_manifest
from models.bundle import load_bundle as load

MODEL = "north/street@1"


def bundle(folder: Path, version: str = "1", weight: bytes = b"weights" * 30_000) -> Path:
    """A bundle whose ONNX is only bytes: nothing here runs it."""
    folder.mkdir(parents=True)
    manifest = load(embedded()).manifest.model_copy(
        update={"name": "street", "version": version, "onnx": "model.onnx"}
    )
    (folder / "model.onnx").write_bytes(weight + version.encode())
    write_manifest(folder, manifest)
    return folder


class Line:
    """A file server that the tests can make bad."""

    def __init__(self, root: Path) -> None:
        self.root, self.cut, self.endless, self.asked = root, 0, "", []  # type: ignore[var-annotated]
        line = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = line.root / self.path.lstrip("/")
                wanted = self.headers.get("Range", "")
                line.asked.append((self.path, wanted))
                if line.endless and line.endless in self.path:
                    self.send_response(200)
                    self.end_headers()
                    try:
                        while True:
                            self.wfile.write(b"x" * 65536)
                    except OSError:
                        return
                if not path.is_file():
                    self.send_error(404)
                    return
                data = path.read_bytes()
                first = int(wanted[6:-1]) if wanted else 0
                self.send_response(206 if wanted else 200)
                if wanted:
                    self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
                self.send_header("Content-Length", str(len(data) - first))
                self.end_headers()
                piece = data[first:]
                if line.cut and "model.onnx" in self.path and len(piece) > line.cut:
                    self.wfile.write(piece[: line.cut])
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.wfile.write(piece)

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


class Scene:
    """A repository, its server, and one box."""

    def __init__(self, folder: Path) -> None:
        self.repo, self.keys, self.folder = folder / "repo", folder / "keys", folder
        made = self.signer()
        made.create()
        made.delegate("north")
        made.publish("north", bundle(folder / "one"))
        self.line = Line(self.repo)
        self.root = (self.repo / "metadata" / "1.root.json").read_bytes()
        self.client = httpx.Client(trust_env=False, timeout=60)
        self.slots = Slots(folder / "slots", 64 * 2**20)

    def signer(self, shift: timedelta = timedelta(0)) -> Repository:
        return Repository(self.repo, self.keys, datetime.now(UTC) + shift)

    def box(self) -> Releases:
        return Releases(self.folder / "box", self.line.url, self.client, self.root)

    def take(self, model: str = MODEL) -> Path:
        releases = self.box()
        release, _ = releases.find(model)
        slot = self.slots.make_room(release.size, lambda p: p.name.removesuffix(".part") in release.files)
        releases.fetch(release, slot)
        return slot

    def meta(self, name: str) -> Path:
        return self.repo / "metadata" / name


def refused(scene: Scene, word: str, model: str = MODEL, final: bool = False) -> None:
    with pytest.raises(ReleaseError, match=word) as caught:
        scene.take(model)
    assert caught.value.final == final
