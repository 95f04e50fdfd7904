"""Faults in a row against a real API and a real box, then the count: lost, doubled, missing, wrong, chain."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.chaos_boxes import DEVICE, ChaosBox
from bench.chaos_count import Result, count, rows, waiting
from bench.chaos_net import FaultyLine, Mode
from bench.chaos_rim import Rim, build
from bench.ports import free_port

FAULTS = (
    "kill_box", "kill_api", "net_cut", "net_half_open", "api_500", "api_slow", "box_disk_full", "api_disk_full",
    "clock_step", "box_db_locked", "api_db_locked", "box_power_cut", "api_power_cut",
)  # fmt: skip
_LINE: dict[str, Mode] = {
    "net_cut": "cut",
    "net_half_open": "half_open",
    "api_500": "error_500",
    "api_slow": "slow",
}
# Every second sync is the last one, for so long; a process that syncs nothing in that time is killed.
POWER_CHANCE, POWER_S = 0.5, 4.0


class Chaos:
    """One API, one box, one line between them. Both processes are the unchanged programs, over a rim with faults."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None], box: ChaosBox) -> None:
        self._rng = random.Random(seed)
        self._say, self._box, self._folder = say, box, folder
        self._api_dir = folder / "api"
        self._api_dir.mkdir(parents=True, exist_ok=True)
        library = build(folder)
        self._rims = {
            "box": Rim(library, folder / "box.page", box.data),
            "api": Rim(library, folder / "api.page", self._api_dir),
        }
        self._starts: Counter[str] = Counter()
        self._api_port = free_port()
        self._token = folder / "token"
        told = self._cli("api", "device", "add", DEVICE, "--data", str(self._api_dir), "--json")
        self._token.write_text(json.loads(told.splitlines()[-1])["token"])
        self._line = FaultyLine(self._api_port)
        self._running = {"api": self._start("api"), "box": self._start("box")}

    def run(
        self, number: int, faults: tuple[str, ...] = FAULTS, calm_s: tuple[float, float] = (0.5, 4.0)
    ) -> Result:
        """Do `number` of `faults`, settle, and count.

        After a start, the next fault comes after one of `calm_s`: half of them hit a start, half a process at work.
        """
        done: Counter[str] = Counter()
        self.wait_for_alerts(1)
        for i in range(number):
            name = faults[i] if number == len(faults) else self._rng.choice(faults)
            done[name] += 1
            self._fault(name)
            time.sleep(self._rng.uniform(0.1, 0.8))
            if self._revive():
                time.sleep(self._rng.choice(calm_s))
            if (i + 1) % 20 == 0:
                self._say(f"{i + 1} faults")
        result = Result(faults=dict(sorted(done.items())), settled_s=self._settle())
        result.power_cuts = sum(rim.struck for rim in self._rims.values())
        result.box_starts, result.api_starts = self._starts["box"], self._starts["api"]
        self._box.judge(result, self._api_dir)
        count(result, self._box.data, self._api_dir)
        return result

    def wait_for_alerts(self, number: int, limit_s: float = 90.0) -> None:
        """Wait until the API has so many alerts.

        Raises:
            RuntimeError: it has not in time.
        """
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            with contextlib.suppress(sqlite3.OperationalError):
                if rows(self._api_dir / "curbwatch.db", "alerts") >= number:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"no alert reached the API within {limit_s:.0f} s; see the logs in {self._folder}")

    def close(self) -> None:
        """End both processes, by their ids."""
        for process in self._running.values():
            process.kill()
            process.wait()
        self._line.close()
        self._box.close()

    def _fault(self, name: str) -> None:
        who, _, what = name.partition("_")
        if name in _LINE:
            self._line.set(_LINE[name])
            time.sleep(self._rng.uniform(0.3, 4.0 if name == "net_half_open" else 1.5))
            self._line.set("pass")
        elif name == "clock_step":
            self._rims["box"].clock(self._rng.choice([-3600.0, 3600.0, 0.0]))
        elif who == "kill":
            self._running[what].kill()
        elif what == "disk_full":
            self._rims[who].full(True)
            time.sleep(self._rng.uniform(0.3, 1.5))
            self._rims[who].full(False)
        elif what == "power_cut":
            self._rims[who].power(POWER_CHANCE)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running[who].wait(POWER_S)
            self._rims[who].power(0)
            self._running[who].kill()
        else:
            paths = self._box.databases() if who == "box" else [self._api_dir / "curbwatch.db"]
            with _locked(self._rng.choice(paths)):
                time.sleep(self._rng.uniform(0.3, 1.5))

    def _revive(self) -> bool:
        """Start what is gone; True when anything was."""
        gone = []
        for name, process in self._running.items():
            # A killed process may still be on its way out: the next of its kind waits for it, as a service manager does.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
            if process.poll() is not None:
                gone.append(name)
        for name in gone:
            if name == "box":
                self._box.ended()
            self._running[name] = self._start(name)
        return bool(gone)

    def _settle(self, limit_s: float = 240.0) -> float:
        """Let line, disk, clock and street be quiet until nothing waits; return the seconds it took."""
        began = time.monotonic()
        for rim in self._rims.values():
            rim.full(False)
            rim.power(0)
            rim.clock(0)
        self._box.quiet()
        # A last start, as after any power cut: what is owed in memory alone must be found on disk.
        self._running["box"].kill()
        self._running["box"].wait()
        while time.monotonic() - began < limit_s:
            self._revive()
            time.sleep(0.3)
            if self._box.settled() and waiting(self._box.data) == 0:
                break
        return round(time.monotonic() - began, 1)

    def _cli(self, *args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "curbwatch", *args], capture_output=True, text=True, check=True
        )
        return done.stdout

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        self._starts[name] += 1
        log = self._folder / f"{name}-{self._starts[name]:03}.log"
        if name == "api":
            args = ["curbwatch", "api", "run", "--data", str(self._api_dir), "--port", str(self._api_port)]
        else:
            args = self._box.command(f"http://127.0.0.1:{self._line.port}", self._token)
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *args],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self._rims[name].env},
            )
        if name == "box":
            self._box.started(log)
        return process


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if not path.exists():
        yield
        return
    with contextlib.closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as db:
        with contextlib.suppress(sqlite3.OperationalError):
            db.execute("BEGIN IMMEDIATE")
        yield
        with contextlib.suppress(sqlite3.OperationalError):
            db.execute("ROLLBACK")
