"""The box's file, read again when it changes or when the box is told to; a bad one is refused and the old one goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.changes import Changes, RefusedConfigError
from edge.config import BoxConfig, load_box
from edge.yaml_source import ConfigError

EVERY_S = 2.0
Stamp = tuple[tuple[int, int, int], ...]


class ConfigWatch:
    """Looks at the file every two seconds, and at once after `poke` (SIGHUP).

    Only a file that holds still from one look to the next is read: an editor may write it in pieces.
    """

    def __init__(
        self, path: Path, apply: Callable[[BoxConfig], Changes], log: Any, every_s: float = EVERY_S
    ) -> None:
        """`apply` is the box's; it raises `RefusedConfigError` for what it cannot take up."""
        self._path, self._apply, self._log, self._every = path, apply, log, every_s
        self._wake, self._stop = threading.Event(), threading.Event()
        self._poked = False
        self._applied = self._seen = self._stamp()
        # Why the file as it stands is not the one that holds; empty when it is.
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="config-watch", daemon=True)

    def start(self) -> None:
        """Watch in a thread of its own."""
        self._thread.start()

    def poke(self) -> None:
        """Read the file at once, changed or not. Safe in a signal handler."""
        self._poked = True
        self._wake.set()

    def stop(self) -> None:
        """End the watch; a change that is at work is finished."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(60)

    def look(self) -> bool:
        """Take the file up when it has changed and holds still, or after a poke; True when it was read."""
        stamp, poked, self._poked = self._stamp(), self._poked, False
        still, self._seen = stamp == self._seen, stamp
        if not poked and (stamp == self._applied or not still):
            return False
        self._applied = stamp
        try:
            self._apply(load_box(self._path))
        except (ConfigError, RefusedConfigError) as exc:
            self.problem = exc.problems[0]
            self._log.error("config.refused", problems=exc.problems, goes_on="the configuration before")
        else:
            self.problem = ""
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._every)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                self.look()
            except Exception as exc:
                # Whatever a file can do, the box goes on with the one before.
                self.problem = f"{type(exc).__name__}: {exc}"
                self._log.error("config.failed", error=self.problem)

    def _stamp(self) -> Stamp:
        found = []
        for path in (self._path, self._path.with_suffix(".env")):
            try:
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)
