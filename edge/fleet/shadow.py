"""A box shadows a model as the centre orders: fetched like any release, run beside the champion, reported, ended.

`models/shadow.json` has the order, the release's hash and the counts, so that a restart of the box goes on with both, also while
the centre is away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

from contract import DesiredState
from contract.fleet import ShadowOrder, ShadowReport
from edge.fleet.models import ModelFromCentre
from edge.fleet.settings import FleetConfig
from edge.fleet.state import read_state, write_state
from edge.shadow.runner import Running, ShadowRunner
from edge.worker import Beside
from models.bundle import Bundle, BundleError, load_bundle

GPU = frozenset({"cuda", "tensorrt"})


@dataclass(frozen=True, slots=True)
class Champion:
    """How the model that counts is run, and whether the box has too much to do."""

    provider: str
    threads: int
    overloaded: Callable[[], bool]


class ShadowFromCentre:
    """The shadow of one box. `obey`, `report` and `give_way` are called by the heartbeat's thread, `looking` by the detector's."""

    def __init__(self, data_dir: Path, settings: FleetConfig, models: ModelFromCentre, log: Any) -> None:
        self._file, self._settings, self._models, self._log = (
            data_dir / "models" / "shadow.json", settings, models, log,
        )  # fmt: skip
        self._lock = threading.RLock()
        self._champion: Champion | None = None
        self._runner: ShadowRunner | None = None
        # What it waits for; True: in vain, until somebody changes the box.
        self._waits: tuple[str, bool] = ("", False)
        self._order, self._report, self._sha256 = self._read()

    def begin(self, champion: Champion) -> None:
        """Take up the shadow of before the restart; before this, and where it is never called, nothing runs."""
        with self._lock:
            self._champion = champion
            if self._order is None or self._report.problem or self._models.slots.phase == "trial":
                return
            slot = self._models.slots.free()
            if slot is not None and (slot / "manifest.json").is_file():
                self._run(slot, self._sha256)

    def looking(self) -> Beside | None:
        """Return what takes judged frames, see `ShadowRunner.offer`; None while no candidate is at work."""
        runner = self._runner
        return None if runner is None else runner.offer

    def obey(self, order: ShadowOrder | None, client: httpx.Client) -> None:
        """Begin, change or end the shadow; `client` is the centre's."""
        with self._lock:
            if order is None or self._order is None or order.model != self._order.model:
                self._end(order)
            if order is None:
                return
            if order != self._order:
                self._order = order
                self._save()
            if self._runner is not None:
                self._runner.share = order.share
            elif not self._report.problem:
                self._fetch(order, client)

    def forgive(self) -> None:
        """Begin anew with a candidate that was given up: a person says so."""
        with self._lock:
            if self._order is not None and self._report.problem:
                self._stop()
                self._report, self._waits = ShadowReport(model=self._order.model), ("", False)
                self._save()

    def give_way(self, wanted: DesiredState) -> None:
        """Leave the slot to another model that the box shall run; an order that stands is taken up again after it."""
        with self._lock:
            if wanted.shadow is None:
                self._end(None)
            elif self._runner is not None and self._order is not None and wanted.model != self._order.model:
                self._stop()
                self._waits = "another model is being fetched or on trial", False

    def report(self) -> ShadowReport | None:
        """Return the counts since the shadow began, and keep them; None without an order."""
        with self._lock:
            if self._order is None:
                return None
            self._keep()
            if self._report.problem or self._runner is not None:
                return self._report
            reason, in_vain = self._waits
            return self._report.model_copy(
                update={"problem": reason} if in_vain else {"waits": reason or "it has not begun"}
            )

    def close(self) -> None:
        """End the candidate's process; the order and the counts stay for the next start."""
        with self._lock:
            self._stop()

    def _fetch(self, order: ShadowOrder, client: httpx.Client) -> None:
        if order.model == self._models.slots.model:
            self._waits = "it is the model that counts", False
            return

        def told(slot: Path | None, reason: str) -> None:
            with self._lock:
                if self._order is None or self._order.model != order.model or self._runner is not None:
                    return  # withdrawn meanwhile
                if slot is None:
                    self._problem(reason)
                else:
                    self._run(slot)

        self._waits = self._models.fetch_beside(order.model, client, told)

    def _run(self, slot: Path, known: str = "") -> None:
        if self._champion is None or self._order is None:
            return
        try:
            bundle = load_bundle(slot)
        except BundleError as exc:
            if not known:
                self._problem(str(exc))
            return  # of before the restart: it is fetched again
        if known and bundle.sha256 != known:
            return
        self._sha256 = bundle.sha256
        self._runner = ShadowRunner(
            self._running(bundle, self._champion), self._order.share, self._report, self._champion.overloaded, self._log
        )  # fmt: skip
        self._save()
        self._runner.start()

    def _running(self, bundle: Bundle, champion: Champion) -> Running:
        # A GPU knows no low priority between processes: there the candidate would delay the champion.
        on_gpu = champion.provider in GPU
        provider = "cpu" if on_gpu else champion.provider
        return Running(bundle, provider, champion.threads, self._settings.shadow_mib, timed=not on_gpu)

    def _end(self, order: ShadowOrder | None) -> None:
        self._stop()
        if self._order is not None:
            self._log.info("shadow.ended", model=self._order.model, frames=self._report.frames)
        self._order, self._sha256, self._waits = order, "", ("", False)
        if order is not None:
            self._report = ShadowReport(model=order.model)
            self._save()
        else:
            self._file.unlink(missing_ok=True)

    def _stop(self) -> None:
        if self._runner is not None:
            self._keep()
            self._runner.stop()
            self._runner = None

    def _keep(self) -> None:
        if self._runner is not None and (report := self._runner.report()) != self._report:
            self._report = report
            self._save()

    def _problem(self, reason: str) -> None:
        self._report = self._report.model_copy(update={"problem": reason[:300]})
        self._save()

    def _save(self) -> None:
        if self._order is None:
            return
        told = {"order": self._order.wire(), "report": self._report.wire(), "sha256": self._sha256}
        try:
            write_state(self._file, told)
        except OSError as exc:  # a full disk costs the counts of a restart, no more
            self._log.warning("shadow.not_kept", reason=type(exc).__name__)

    def _read(self) -> tuple[ShadowOrder | None, ShadowReport, str]:
        state = read_state(self._file)
        try:
            order = ShadowOrder.model_validate(state["order"])
            return order, ShadowReport.model_validate(state["report"]), str(state.get("sha256", ""))
        except (KeyError, ValidationError):
            return None, ShadowReport(model="none/none@0"), ""
