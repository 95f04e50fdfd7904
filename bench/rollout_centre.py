"""The real centre as a process of its own, on a clock that the simulation turns: `python -m bench.rollout_centre DATA PORT CLOCK`.

CLOCK is a file of eight bytes, seconds since 1970 as a double; both processes map it.
"""

from __future__ import annotations

import logging
import mmap
import struct
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvicorn

from api.app import create_app
from api.settings import Settings


def clock_of(path: Path) -> Callable[[], datetime]:
    """Return the clock that a file holds."""
    with path.open("rb") as file:
        seen = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    return lambda: datetime.fromtimestamp(struct.unpack("d", seen[:8])[0], UTC)


def settings_of(data: Path, step_s: float) -> Settings:
    """Return the centre's settings: a box is silent after three of the simulation's steps, the job looks all the time."""
    return Settings(
        data=data, min_free_bytes=0, offline_s=3 * step_s, rollout_every_s=0.2, second_share=0.0,
        reading_mix=0.0, session_hours=168, retention_every_s=0,
    )  # fmt: skip


def main(data: str, port: str, clock: str, step_s: str) -> None:
    """Serve until the process is ended."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    app = create_app(settings_of(Path(data), float(step_s)), now=clock_of(Path(clock)))
    uvicorn.run(app, port=int(port), log_level="error", access_log=False, timeout_keep_alive=600)


if __name__ == "__main__":
    main(*sys.argv[1:])
