"""The two boxes of the chaos bench: `curbwatch edge run` on cameras, and the quick one on made sites."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import pyrage

from bench.chaos_count import Result, alerts_at, chain_of
from bench.chaos_street import Street, box_file, make_bundle
from bench.chaos_truth import Raised, Span, verdict

DEVICE = "chaos-box"


class ChaosBox(Protocol):
    """What is at the box's end of the line."""

    data: Path

    def command(self, url: str, token: Path) -> list[str]:
        """Return the arguments of `python -m` that start the box."""

    def databases(self) -> list[Path]:
        """Return the files that may be locked."""

    def started(self, log: Path) -> None:
        """Hear that it was started, with a log of its own."""

    def ended(self) -> None:
        """Hear that its process is gone."""

    def quiet(self) -> None:
        """From the next start on, let nothing new happen."""

    def settled(self) -> bool:
        """True when all that began has come to its end on the box."""

    def judge(self, result: Result, api: Path) -> None:
        """Say what had to arrive, and what of it did not."""

    def close(self) -> None:
        """Let go of what is not the box's process."""


class StreetBox:
    """The real box: RTSP cameras, decoder, detector, judgement, evidence, outbox, uplink."""

    def __init__(
        self, folder: Path, cameras: int, loop_s: float, confirm_s: float = 3.0, sure_s: float = 10.0
    ) -> None:
        self.data, self._folder = folder / "box", folder
        self.data.mkdir(parents=True, exist_ok=True)
        self._confirm_s, self._sure_s = confirm_s, sure_s
        self._bundle = make_bundle(folder / "bundle")
        self._seal_to = str(pyrage.x25519.Identity.generate().to_public())
        self._street = Street(folder / "street", cameras, loop_s)
        self._lock = threading.Lock()
        self._seeing: dict[str, list[Span]] = defaultdict(list)
        self._since: dict[str, float] = {}
        self._log: Path | None = None
        self._read = self._seq = 0
        self._raised: list[Raised] = []
        self._open: set[str] = set()
        self._quiet_from: float | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def command(self, url: str, token: Path) -> list[str]:
        """Return `curbwatch edge run` with its file."""
        path = box_file(
            self._folder / "box.yaml", self.data, self._bundle, (url, token), self._street.urls(), self._seal_to,
            self._confirm_s,
        )  # fmt: skip
        return ["curbwatch", "edge", "run", str(path)]

    def databases(self) -> list[Path]:
        """Return outbox, ledger and places."""
        return [self.data / "outbox/outbox.db", self.data / "alerts.db", self.data / "sites.db"]

    def started(self, log: Path) -> None:
        """Read this log from now on."""
        with self._lock:
            self._log, self._read = log, 0

    def ended(self) -> None:
        """Nothing is seen any more."""
        with self._lock:
            self._blind()
            self._log = None

    def quiet(self) -> None:
        """Empty the street."""
        self._quiet_from = time.monotonic()
        self._street.clear()

    def settled(self) -> bool:
        """True when each camera was seen since the last start, and each alert's car was seen to have gone."""
        self._look()
        with self._lock:
            return len(self._since) == len(self._street.urls()) and not self._open

    def judge(self, result: Result, api: Path) -> None:
        """Compare the alerts with the cars that stood there, and their pictures with what a car looks like."""
        self._end.set()
        self._thread.join(5)
        self._look()
        self.ended()
        until = self._quiet_from or time.monotonic()
        told = verdict(
            self._street.stays(until),
            {camera: [(a, min(b, until)) for a, b in spans] for camera, spans in self._seeing.items()},
            self._raised,
            self._confirm_s,
            self._sure_s,
        )
        result.empty = sum(
            not _shows_a_car(t.alert, api) for t in chain_of(self.data) if t.alert["stage"] == "opened"
        )
        result.stays, result.expected = told.stays, told.expected
        result.lost, result.doubled, result.invented = len(told.lost), len(told.doubled), len(told.invented)
        (self._folder / "verdict.txt").write_text(
            "\n".join(str(x) for x in (*told.lost, *told.doubled, *told.invented, *self._raised))
        )

    def close(self) -> None:
        """End the cameras and the watch."""
        self._end.set()
        self._thread.join(5)
        self._street.close()

    def _watch(self) -> None:
        while not self._end.wait(0.3):
            self._look()

    def _look(self) -> None:
        with self._lock:
            self._read_log()
            for told in chain_of(self.data, self._seq):
                self._seq, alert = told.seq, told.alert
                if alert["stage"] == "opened" and alert["revision"] == 0:
                    self._raised.append(
                        Raised(alert["id"], alert["camera_id"], alert["zone"]["id"], time.monotonic())
                    )
                if alert["stage"] == "cleared":
                    self._open.discard(alert["id"])
                else:
                    self._open.add(alert["id"])

    def _blind(self) -> None:
        now = time.monotonic()
        for camera, since in self._since.items():
            self._seeing[camera].append((since, now))
        self._since = {}

    def _read_log(self) -> None:
        if self._log is None or not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if b"worker.ended" in line:
                    # The supervisor lives on and starts another; meanwhile nobody looks.
                    self._blind()
                elif b"camera.first_frame" in line:
                    self._since[json.loads(line)["camera"]] = time.monotonic()


def _shows_a_car(alert: dict[str, Any], api: Path) -> bool:
    (sha256,) = (e["sha256"] for e in alert["evidence"] if e["kind"] == "crop")
    picture = cv2.imread(str(api / "evidence" / sha256[:2] / sha256[2:4] / sha256))
    return picture is None or float(np.mean(picture[:, :, 2].astype(int) - picture[:, :, 0] > 60)) > 0.2


class SitesBox:
    """The quick box: places are made up and confirmed at once; recorder, outbox and uplink are the real ones."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "box"
        self.data.mkdir(parents=True, exist_ok=True)
        self._log: Path | None = None

    def command(self, url: str, token: Path) -> list[str]:
        """Return the made sites' module."""
        return ["bench.chaos_sites", str(self.data), url, str(token)]

    def databases(self) -> list[Path]:
        """Return the outbox."""
        return [self.data / "outbox/outbox.db"]

    def started(self, log: Path) -> None:
        """Remember its log."""
        self._log = log

    def ended(self) -> None:
        """Nothing to do."""

    def quiet(self) -> None:
        """Promise no more."""
        (self.data / "quiet").touch()

    def settled(self) -> bool:
        """True when it was started again and has looked for what it owes."""
        return self._log is not None and b"box.ready" in self._log.read_bytes()

    def judge(self, result: Result, api: Path) -> None:
        """Compare what was promised with what the centre has."""
        with contextlib.closing(sqlite3.connect(self.data / "truth.db")) as db:
            truth = dict(db.execute("SELECT id, cleared FROM sites").fetchall())
        told = chain_of(self.data)
        cleared = {t.alert["id"] for t in told if t.alert["stage"] == "cleared"}
        there = set(alerts_at(api))
        result.stays = result.expected = len(truth)
        opened = {t.alert["id"] for t in told}
        result.lost, result.invented = len(set(truth) - there - opened), len(there - set(truth))
        # The count asks that all that was opened is cleared; here a third was promised to be.
        result.not_cleared = len({i for i, c in truth.items() if c} - cleared) - len(opened - cleared)

    def close(self) -> None:
        """Nothing to do."""
