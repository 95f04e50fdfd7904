"""Ports of the loopback for servers that start a moment later, in this process or in a child."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import threading
from pathlib import Path
from typing import IO

# Below what Linux hands out by itself (32768 on): of a port of that range, asked for and closed again, any process may
# be given the same before the server takes it. In a run of two test workers that was one failed start in some thousand.
PORTS = range(12_000, 32_000)
_lock = threading.Lock()
_mine: set[int] = set()
_book: IO[bytes] | None = None


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a port of 127.0.0.1 on which nobody listens, and which no other caller is given while this process lives.

    The port is a byte of a file that all callers of this user lock; the system takes the locks of a process that ends away.
    `kind` is SOCK_STREAM or SOCK_DGRAM. RuntimeError when there is none.
    """
    with _lock:
        book = _open()
        for port in random.sample(PORTS, len(PORTS)):
            if port not in _mine and _locked(book, port) and _unused(port, kind):
                _mine.add(port)
                return port
    raise RuntimeError(f"no free port among {PORTS[0]} to {PORTS[-1]}")


def _open() -> IO[bytes]:
    # Opened once and never closed: with any descriptor of the file a process gives all its locks away.
    global _book
    if _book is None:
        _book = (Path(tempfile.gettempdir()) / f"curbwatch-ports-{os.getuid()}").open("a+b")
    return _book


def _locked(book: IO[bytes], port: int) -> bool:
    try:
        fcntl.lockf(book, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _unused(port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
