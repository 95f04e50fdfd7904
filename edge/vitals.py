"""A worker's signs of life in a small file, for its supervisor and for `curbwatch edge health`. Imports little, starts fast."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

EVERY_S = 2.0
Mode = Literal["starting", "normal", "safe"]


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a worker says of itself. Times are of CLOCK_MONOTONIC, which all processes of a machine share."""

    pid: int
    at_s: float
    turned_s: float  # when the detector's thread last came round, with work or without
    mode: Mode
    cameras: int = 0
    live: int = 0

    def age_s(self, now_s: float) -> float:
        """Return how long ago the worker, or its detector's thread, last showed a sign of life."""
        return now_s - min(self.at_s, self.turned_s)


def vitals_file(config: Path) -> Path:
    """Return where the worker of a configuration keeps its signs of life.

    That is the service's own folder where systemd names one (`RUNTIME_DIRECTORY`), which is the same inside the unit and beside
    it; else a folder of this user's own in the temporary folder.

    Raises:
        PermissionError: the folder of this user's name belongs to somebody else.
        FileNotFoundError: there is no temporary folder that can be written.
    """
    name = str(config.resolve()).strip("/").replace("/", "_")[-180:]
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(given.partition(":")[0]) / f"{name}.json"
    folder = Path(tempfile.gettempdir()) / f"curbwatch-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else; remove it")
    return folder / f"{name}.json"


def read_vitals(path: Path) -> Vitals | None:
    """Return the last signs of life; None when there are none or they cannot be read."""
    try:
        return Vitals(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_vitals(path: Path, vitals: Vitals) -> None:
    """Replace the file in one step."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(vitals)), encoding="utf-8")
    part.replace(path)


class VitalsWriter:
    """Writes `look()` every two seconds until closed; a full disk is no reason to end the worker."""

    def __init__(self, path: Path, look: Callable[[], Vitals]) -> None:
        self._path, self._look = path, look
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vitals", daemon=True)

    def start(self) -> None:
        """Write at once, and go on."""
        self._write()
        self._thread.start()

    def close(self) -> None:
        """End, and take the file away."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(EVERY_S)
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._write()

    def _write(self) -> None:
        try:
            write_vitals(self._path, self._look())
        except OSError:
            return


def starting(cameras: int = 0) -> Vitals:
    """Return the signs of a worker that loads its model, which takes minutes where an engine is built."""
    now = time.monotonic()
    return Vitals(os.getpid(), now, now, "starting", cameras)
