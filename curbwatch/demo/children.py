"""The demo's child processes: started with their logs in files, ended by their ids, never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self


class ChildDiedError(RuntimeError):
    """A part of the demo ended by itself; the message holds the end of its log."""


@dataclass
class Child:
    """One process and its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise `ChildDiedError` when the process has ended."""
        code = self.process.poll()
        if code is not None:
            raise ChildDiedError(
                f"the {self.name} ended with status {code}; the end of its log:\n{tail(self.log)}"
            )


@dataclass
class Children:
    """Processes that end with the `with` block, the youngest first."""

    logs: Path
    started: list[Child] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def start(self, name: str, args: Sequence[str], env: dict[str, str] | None = None) -> Child:
        """Start `python -m ARGS...` under `name`; its output goes to `<name>.log`."""
        log = self.logs / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                start_new_session=True,  # a Ctrl-C on the terminal reaches this command alone, which then ends them in order
            )
        child = Child(name, process, log)
        self.started.append(child)
        return child

    def stop(self, child: Child, grace_s: float = 10.0) -> None:
        """Ask the process to end, and kill it when it has not after `grace_s` seconds."""
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
            try:
                child.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        if child in self.started:
            self.started.remove(child)

    def check(self) -> None:
        """Raise `ChildDiedError` when any process has ended."""
        for child in self.started:
            child.check()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        deadline = time.monotonic() + 12
        for child in reversed(self.started.copy()):
            self.stop(child, max(1.0, deadline - time.monotonic()))


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
