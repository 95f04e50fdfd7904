"""Waiting for a server that was just started."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import httpx

AGAIN_S = 0.1


def until_up(
    server: subprocess.Popen[bytes], ask: Callable[[], object], yet: type[Exception], limit_s: float = 90.0
) -> None:
    """Return when `ask` no longer raises `yet`.

    Raises:
        RuntimeError: the server ended, or took longer than `limit_s` seconds.
    """
    end = time.monotonic() + limit_s
    while True:
        try:
            ask()
        except yet as exc:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not become ready ({type(exc).__name__})") from exc
            time.sleep(AGAIN_S)
        else:
            return


def until_ready(base: str, server: subprocess.Popen[bytes], limit_s: float = 90.0) -> None:
    """Return when the centre at `base` says that it is ready; see `until_up`."""

    def ask() -> None:
        httpx.get(f"{base}/readyz", trust_env=False, timeout=5).raise_for_status()

    until_up(server, ask, httpx.HTTPError, limit_s)
