"""`curbwatch edge run`: one worker process for each group of cameras (each box file), kept alive, kept small, kept in order.

The parent imports neither the detector nor the decoder, so what ends a worker does not end it. A worker whose parent is
gone is ended by the kernel.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from pydantic import ValidationError

from edge.breaker import CrashBreaker, Restart
from edge.notify import notify
from edge.supervise_config import SuperviseConfig
from edge.vitals import Vitals, read_vitals, vitals_file

# The worker's word for "my file is wrong": it is tried again when it changes, and now and then, since what it names (the secrets,
# what the centre gives) may have changed as well.
REFUSED = 2
RETRY_S = 300.0
# Its word for "start me again", such as on another model. No crash.
AGAIN = 75
STOP_S = 85.0
ABORT_S = 5.0
TURN_S = 0.5
WorkerCommand = Callable[[Path, bool], Sequence[str]]


def worker_command(config: Path, safe: bool) -> list[str]:
    """Return the command of one worker."""
    return [sys.executable, "-m", "curbwatch", "edge", "work", str(config), *(["--safe"] if safe else [])]


def settings_of(config: Path) -> SuperviseConfig:
    """Read the section `supervise` alone; what is wrong there the worker says, with file and line."""
    try:
        told = yaml.safe_load(config.read_text(encoding="utf-8"))
        return SuperviseConfig.model_validate((told or {}).get("supervise") or {})
    except (OSError, ValueError, AttributeError, yaml.YAMLError, ValidationError):
        return SuperviseConfig()


def memory_limit_mib() -> int:
    """Return the container's memory limit where there is one, the machine's memory otherwise, in MiB."""
    least = psutil.virtual_memory().total
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            least = min(least, int(text))
    return least // 2**20


@dataclass
class _Group:
    config: Path
    settings: SuperviseConfig
    breaker: CrashBreaker
    process: subprocess.Popen[bytes] | None = None
    began_s: float = 0.0
    start_at_s: float = 0.0  # when it may start
    safe: bool = False
    safe_until_s: float = 0.0
    refused: bool = False
    asked: str = ""  # why we ended it ourselves
    kill_at_s: float = 0.0
    stamp: tuple[int, int] = field(default=(0, 0))


class Supervisor:
    """Keeps one worker for each box file. `run` returns the exit status of the command.

    Args:
        configs: the box files; the memory is shared out among them where `memory_mib` is not set.
        log: a structlog logger.
        command: makes a worker's command line from its file and whether it is safe mode.
        clock: monotonic seconds.
    """

    def __init__(
        self, configs: Sequence[Path], log: Any, command: WorkerCommand = worker_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._log, self._command, self._clock = log, command, clock
        self._groups = [self._group(path) for path in configs]
        self._stop, self._reload = threading.Event(), threading.Event()
        self._cap_mib = max(128, memory_limit_mib() * 9 // 10 // max(1, len(self._groups)))

    @staticmethod
    def _group(path: Path) -> _Group:
        settings = settings_of(path)
        return _Group(path, settings, CrashBreaker(settings.crashes, settings.crash_window_s))

    def stop(self) -> None:
        """End every worker in order, then `run` returns."""
        self._stop.set()

    def reload(self) -> None:
        """Let every worker read its file again; one that was refused or is in safe mode starts anew."""
        self._reload.set()

    def run(self) -> int:
        """Keep the workers until `stop`; 2 when no file could be used at the first start, 0 otherwise."""
        told = False
        while not self._stop.is_set():
            if self._reload.is_set():
                self._reload.clear()
                self._pass_on()
            for group in self._groups:
                self._turn(group)
            if not told and all(g.refused for g in self._groups):
                return REFUSED
            ready = any(
                (v := read_vitals(vitals_file(g.config))) and v.mode != "starting" for g in self._groups
            )
            if ready and not told:
                told = True
                notify("READY=1")
            notify("WATCHDOG=1")
            self._stop.wait(TURN_S)
        notify("STOPPING=1")
        self._end_all()
        return 0

    def _turn(self, group: _Group) -> None:
        now = self._clock()
        if group.process is None:
            if now < group.start_at_s and _stamp(group.config) != group.stamp:
                self._log.info("worker.file_changed", config=group.config.name)
                group.refused, group.start_at_s = False, now
            elif group.refused and now >= group.start_at_s:
                group.refused = False
            if not group.refused and now >= group.start_at_s:
                self._start(group, now)
            return
        changed = (stamp := _stamp(group.config)) != group.stamp
        if changed:
            group.stamp, group.settings = stamp, settings_of(group.config)
        code = group.process.poll()
        if code is not None:
            self._ended(group, code, now)
            return
        if group.asked:
            if now >= group.kill_at_s:
                group.process.kill()
            return
        if group.safe and (changed or now >= group.safe_until_s):
            # What ended the worker again and again may have been the file.
            self._ask(group, signal.SIGTERM, "reload" if changed else "safe mode is over", STOP_S)
            return
        self._watch(group, now)

    def _start(self, group: _Group, now: float) -> None:
        group.settings, group.stamp = settings_of(group.config), _stamp(group.config)
        vitals_file(group.config).unlink(missing_ok=True)
        group.process = subprocess.Popen(list(self._command(group.config, group.safe)))
        group.began_s, group.asked = now, ""
        self._log.info(
            "worker.started", config=group.config.name, pid=group.process.pid, safe=group.safe,
            ends=group.breaker.total,
        )  # fmt: skip

    def _ended(self, group: _Group, code: int, now: float) -> None:
        group.process = None
        asked, group.asked = group.asked, ""
        if code == REFUSED and not asked:
            group.refused, group.start_at_s = True, now + RETRY_S
            self._log.error(
                "worker.refused", config=group.config.name, mend="correct the file; it is tried again then",
                again_in_s=RETRY_S,
            )  # fmt: skip
            return
        if code == AGAIN and not asked:
            self._log.info("worker.again", config=group.config.name)
            # In safe mode it asks for it when another model is there: what ended it may be gone.
            group.safe, group.start_at_s = False, now
            return
        if asked in {"safe mode is over", "reload"}:
            group.safe, group.start_at_s = False, now
            return
        again: Restart = group.breaker.ended(group.began_s, now)
        group.start_at_s = now + again.wait_s
        group.safe = again.safe or (group.safe and now < group.safe_until_s)
        if again.safe:
            group.safe_until_s = now + again.safe_s
            self._log.error(
                "worker.safe_mode", config=group.config.name, ends=group.breaker.total, for_s=again.safe_s,
                meaning="cameras rest, what waits is sent, the centre is told",
            )  # fmt: skip
        else:
            self._log.error(
                "worker.ended", config=group.config.name, code=code, reason=asked or _word(code),
                again_in_s=again.wait_s,
            )  # fmt: skip

    def _watch(self, group: _Group, now: float) -> None:
        process = group.process
        if process is None:
            return
        vitals = read_vitals(vitals_file(group.config))
        fresh: Vitals | None = vitals if vitals is not None and vitals.pid == process.pid else None
        silent = fresh.age_s(now) if fresh is not None else now - group.began_s
        limit = group.settings.watchdog_s
        if fresh is None or fresh.mode == "starting":
            silent, limit = now - group.began_s, group.settings.start_s
        if silent > limit:
            # SIGABRT makes the worker print where each of its threads stands.
            self._ask(group, signal.SIGABRT, f"no sign of life for {silent:.0f} s", ABORT_S)
            return
        cap = group.settings.memory_mib or self._cap_mib
        try:
            held = psutil.Process(process.pid).memory_info().rss // 2**20
        except psutil.Error:
            return
        if held > cap:
            self._ask(group, signal.SIGTERM, f"{held} MiB of {cap} MiB", STOP_S)

    def _ask(self, group: _Group, number: signal.Signals, why: str, patience_s: float) -> None:
        group.asked, group.kill_at_s = why, self._clock() + patience_s
        self._log.warning("worker.ending", config=group.config.name, reason=why)
        if group.process is not None:
            group.process.send_signal(number)

    def _pass_on(self) -> None:
        for group in self._groups:
            if group.refused:
                group.refused, group.start_at_s = False, self._clock()
            if group.process is None or group.asked:
                continue
            if group.safe:
                self._ask(group, signal.SIGTERM, "reload", STOP_S)
            else:
                group.process.send_signal(signal.SIGHUP)

    def _end_all(self) -> None:
        running = [g.process for g in self._groups if g.process is not None]
        for process in running:
            process.terminate()
        until = self._clock() + STOP_S
        for process in running:
            try:
                process.wait(max(0.1, until - self._clock()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _word(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
