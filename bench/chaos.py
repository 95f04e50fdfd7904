"""Faults in a row against a real API and a real outbox, then the count: lost, doubled, missing, wrong, chain."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.chaos_box import DEVICE
from bench.chaos_net import FaultyLine, Mode
from contract.chain import ORIGIN, LinkError, open_link
from edge.identity import load_signer

FAULTS = (
    "kill_box", "kill_api", "net_cut", "net_half_open", "api_500", "api_slow",
    "disk_full", "clock_step", "box_db_locked", "api_db_locked", "power_cut",
)  # fmt: skip


@dataclass
class Result:
    """What the count says. All but `promised`, `faults` and `settled_s` should be zero."""

    faults: dict[str, int] = field(default_factory=dict)
    promised: int = 0
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    not_cleared: int = 0
    evidence: int = 0
    evidence_missing: int = 0
    evidence_wrong: int = 0
    links: int = 0
    chain_breaks: int = 0
    centre_missing: int = 0
    centre_faults: int = 0
    still_queued: int = 0
    settled_s: float = 0.0

    @property
    def good(self) -> bool:
        """True when nothing was lost, doubled, missing, wrong or broken."""
        bad = (
            self.lost, self.doubled, self.invented, self.not_cleared, self.evidence_missing,
            self.evidence_wrong, self.chain_breaks, self.centre_missing, self.centre_faults, self.still_queued,
        )  # fmt: skip
        return self.promised > 0 and not any(bad)

    def wire(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self) | {"good": self.good}


class Chaos:
    """One API, one box, one line between them."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self._rng = random.Random(seed)
        self._say, self._api_dir, self._box_dir = say, folder / "api", folder / "box"
        self._box_dir.mkdir(parents=True, exist_ok=True)
        self._logs = folder
        self._api_port = free_port()
        self._token = folder / "token"
        told = self._cli("api", "device", "add", DEVICE, "--data", str(self._api_dir), "--json")
        self._token.write_text(json.loads(told.splitlines()[-1])["token"])
        self._line = FaultyLine(self._api_port)
        self._control: dict[str, float] = {}
        self._api = self._start_api()
        self._box = self._start_box()

    def run(self, count: int) -> Result:
        """Do `count` faults, settle, and count."""
        done: Counter[str] = Counter()
        self._wait_for_work()
        for i in range(count):
            name = self._rng.choice(FAULTS)
            done[name] += 1
            self._fault(name)
            time.sleep(self._rng.uniform(0.1, 0.8))
            if self._revive():
                # Half of the next faults hit a start, half a process at work.
                time.sleep(self._rng.choice([0.5, 4.0]))
            if (i + 1) % 20 == 0:
                self._say(f"{i + 1} faults")
        settled = self._settle()
        result = self._count()
        result.faults, result.settled_s = dict(sorted(done.items())), settled
        return result

    def close(self) -> None:
        """End both processes, by their ids."""
        for process in (self._box, self._api):
            process.kill()
            process.wait()
        self._line.close()

    def _fault(self, name: str) -> None:
        rng = self._rng
        modes: dict[str, Mode] = {
            "net_cut": "cut", "net_half_open": "half_open", "api_500": "error_500", "api_slow": "slow",
        }  # fmt: skip
        if name == "kill_box":
            self._box.kill()
        elif name == "kill_api":
            self._api.kill()
        elif name in modes:
            self._line.set(modes[name])
            time.sleep(rng.uniform(0.3, 4.0 if name == "net_half_open" else 1.5))
            self._line.set("pass")
        elif name == "clock_step":
            self._tell(clock_s=rng.choice([-3600.0, 3600.0, 0.0]))
        elif name == "disk_full":
            self._tell(full=1)
            time.sleep(rng.uniform(0.3, 1.5))
            self._tell(full=0)
        elif name == "power_cut":
            self._tell(power=0.5)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._box.wait(3)
            self._tell(power=0)
        else:
            path = (
                self._box_dir / "outbox/outbox.db"
                if name == "box_db_locked"
                else self._api_dir / "curbwatch.db"
            )
            with _locked(path):
                time.sleep(rng.uniform(0.3, 1.5))

    def _tell(self, **values: float) -> None:
        self._control |= values
        part = self._box_dir / "control.part"
        part.write_text(json.dumps(self._control))
        part.replace(self._box_dir / "control.json")

    def _wait_for_work(self, limit_s: float = 60.0) -> None:
        """Wait until the API has taken an alert of the box."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            with contextlib.suppress(sqlite3.OperationalError):
                if _count(self._api_dir / "curbwatch.db", "alerts"):
                    return
            time.sleep(0.3)
        raise RuntimeError(f"no alert reached the API within {limit_s:.0f} s; see the logs in {self._logs}")

    def _revive(self) -> bool:
        """Start what was killed; True when anything was."""
        ended = self._box.poll() is not None, self._api.poll() is not None
        if ended[0]:
            self._box = self._start_box()
        if ended[1]:
            self._api = self._start_api()
        return any(ended)

    def _settle(self, limit_s: float = 240.0) -> float:
        """Let the line be good and the box quiet until nothing waits; return the seconds it took."""
        began = time.monotonic()
        self._tell(quiet=1, full=0, power=0, clock_s=0)
        # A last start, as after any power cut: what is owed in memory alone is found on disk.
        time.sleep(6)
        self._box.send_signal(signal.SIGKILL)
        self._box.wait()
        self._box = self._start_box()
        time.sleep(5)
        while time.monotonic() - began < limit_s:
            self._revive()
            if self._waiting() == 0:
                break
            time.sleep(0.5)
        return round(time.monotonic() - began, 1)

    def _waiting(self) -> int:
        path = self._box_dir / "outbox/outbox.db"
        return sum(_count(path, table) for table in ("alerts", "files", "refused"))

    def _count(self) -> Result:
        result = Result(still_queued=self._waiting())
        with contextlib.closing(sqlite3.connect(self._box_dir / "truth.db")) as db:
            truth = dict(db.execute("SELECT id, cleared FROM sites").fetchall())
        with contextlib.closing(sqlite3.connect(self._api_dir / "curbwatch.db")) as db:
            alerts = [a for (a,) in db.execute("SELECT id FROM alerts")]
            cases = Counter(c for (c,) in db.execute("SELECT case_id FROM alerts"))
        result.promised = len(truth)
        result.lost = len(set(truth) - set(alerts))
        result.invented = len(set(alerts) - set(truth))
        result.doubled = (len(alerts) - len(set(alerts))) + sum(n - 1 for n in cases.values())
        self._count_chain(result, truth)
        return result

    def _count_chain(self, result: Result, truth: dict[str, int]) -> None:
        key = load_signer(self._box_dir / "identity.key").public_key
        with contextlib.closing(sqlite3.connect(self._box_dir / "outbox/outbox.db")) as db:
            rows = db.execute("SELECT envelope, body FROM chain ORDER BY seq").fetchall()
        previous, seq = ORIGIN, 0
        cleared: set[str] = set()
        items: dict[str, dict[str, Any]] = {}
        for envelope, body in rows:
            try:
                link = open_link(envelope, key)
                seq += 1
                result.chain_breaks += link.previous != previous or link.seq != seq
                result.chain_breaks += hashlib.sha256(body.encode()).hexdigest() != link.event_sha256
                previous = link.digest()
            except LinkError:
                result.chain_breaks += 1
            data = json.loads(body)["data"]
            if data["stage"] == "cleared":
                cleared.add(data["id"])
            items |= {item["sha256"]: item for item in data.get("evidence", ())}
        result.links, result.evidence = len(rows), len(items)
        with contextlib.closing(sqlite3.connect(self._api_dir / "curbwatch.db")) as db:
            there = db.execute("SELECT seq, fault FROM chain_links").fetchall()
        result.centre_faults = sum(fault is not None for _, fault in there)
        result.centre_missing = len(set(range(1, len(rows) + 1)) - {number for number, _ in there})
        result.not_cleared = len({i for i, c in truth.items() if c} - cleared)
        for sha256 in items:
            path = self._api_dir / "evidence" / sha256[:2] / sha256[2:4] / sha256
            if not path.is_file():
                result.evidence_missing += 1
            elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                result.evidence_wrong += 1

    def _cli(self, *args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "curbwatch", *args], capture_output=True, text=True, check=True
        )
        return done.stdout

    def _start_api(self) -> subprocess.Popen[bytes]:
        return self._start(
            "api", "curbwatch", "api", "run", "--data", str(self._api_dir), "--port", str(self._api_port)
        )

    def _start_box(self) -> subprocess.Popen[bytes]:
        url = f"http://127.0.0.1:{self._line.port}"
        return self._start("box", "bench.chaos_box", str(self._box_dir), url, str(self._token))

    def _start(self, name: str, *args: str) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *args],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ,
            )


def _count(path: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - names are ours


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


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
