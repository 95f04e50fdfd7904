"""What the camera tests share: a sink that remembers, and waiting for a condition."""

from __future__ import annotations

import contextlib
import http.server
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from camera_adapters.clock import SystemClock
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame
from camera_adapters.open import open_stream
from camera_adapters.stream import CameraStream, StreamEvent, StreamOptions, StreamState

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
QUICK = StreamOptions(
    stall_s=1.5, backoff_base_s=0.1, quick_cap_s=0.3, backoff_cap_s=0.3, auth_backoff_s=0.3, key_stall_s=1.5
)


def handles_of(path: Path) -> int:
    """Return how many open descriptors of this process are of `path`."""
    wanted, found = path.stat(), 0
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # Another thread may close one meanwhile.
            found += os.path.samestat(os.fstat(int(handle.name)), wanted)
    return found


class Memory:
    """Keeps what a stream says."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.events: list[StreamEvent] = []
        self.changed = threading.Condition()

    def on_frame(self, frame: Frame) -> None:
        with self.changed:
            self.frames.append(frame)
            self.changed.notify_all()

    def on_event(self, event: StreamEvent) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def states(self) -> list[StreamState]:
        return [e.state for e in self.events]

    def reasons(self) -> str:
        return " | ".join(f"{e.state}: {e.reason}" for e in self.events)


def wait_for(met: Callable[[], object], timeout_s: float = 90.0) -> None:
    """Wait until `met()` is true; fail after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.02)


@contextmanager
def running(url: str, options: StreamOptions = QUICK) -> Iterator[tuple[CameraStream, Memory]]:
    """Play pictures of an address, all of them, ten a second at most."""
    memory = Memory()
    stream = open_stream("gate", url, memory, replace(options, snapshot_s=0.1), SystemClock())
    stream.demand = Demand("all")
    stream.start()
    try:
        yield stream, memory
    finally:
        stream.close(8)


@contextmanager
def web(answer: Answer) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


def send(to: http.server.BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    to.send_response(status)
    for name, value in headers.items():
        to.send_header(name.replace("_", "-"), value)
    to.send_header("Content-Length", str(len(body)))
    to.end_headers()
    to.wfile.write(body)


def self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "camera")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "camera.pem"
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *plain) + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
