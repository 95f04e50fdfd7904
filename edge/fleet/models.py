"""A box follows the model that the centre wishes: fetched and checked beside the work, run on trial, taken back by itself.

The model is changed by a new start of the worker: the one that runs is never touched, and what a bad one breaks ends with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from contract.fleet import OWN
from edge.fleet.enrol import ROOT
from edge.fleet.health_window import HealthWindow, Look
from edge.fleet.releases import ReleaseError, Releases
from edge.fleet.settings import FleetConfig
from edge.fleet.slots import QuotaError, Slots
from edge.fleet.state import read_state, write_state
from models.bundle import Bundle, BundleError, load_bundle

LINE_S = 30.0


class ModelFromCentre:
    """The released model of one box. `obey` and `watch` are called by the heartbeat's thread."""

    def __init__(self, data_dir: Path, settings: FleetConfig, api_url: str, log: Any) -> None:
        self._folder, self._settings, self._log = data_dir / "models", settings, log
        self._url = settings.releases_url or f"{api_url.rstrip('/')}/releases"
        self._trust, self._root = data_dir / "fleet" / "tuf", data_dir / "fleet" / ROOT
        self.slots = Slots(self._folder, settings.quota_mib * 2**20)
        self._window: HealthWindow | None = None
        self._fetching: threading.Thread | None = None
        self._wanted: str | None = None

    def bundle(self, own: str) -> Bundle:
        """Return the bundle to run at this start: the released one on trial or held, else the file's own.

        Raises:
            models.bundle.BundleError: the file's own cannot be used.
        """
        if not self._settings.models:
            return load_bundle(own)
        while (folder := self.slots.boot()) is not None:
            try:
                return load_bundle(folder)
            except BundleError as exc:
                self._log.error("model.unusable", model=self.slots.model, reason=str(exc))
                if self.slots.phase != "trial":
                    self.slots.own()
                    break
                self.slots.fall_back(str(exc))
        return load_bundle(own)

    def watch(self, look: Look, restart: Callable[[], None]) -> None:
        """Judge a model on trial by the box's health; a bad one goes back at once."""
        if self.slots.phase != "trial":
            return
        if self._window is None:
            live = frozenset(map(str, read_state(self._folder / "before.json").get("live", [])))
            before = Look(look.at_s, live & look.wanted, look.wanted)
            self._window = HealthWindow(before, self._settings.window_s)
        verdict = self._window.observe(look)
        if verdict == "good":
            self.slots.keep()
            self._log.info("model.kept", model=self.slots.model)
        elif verdict == "bad":
            self._log.error("model.taken_back", model=self.slots.model, reason=self._window.reason)
            self.slots.fall_back(self._window.reason)
            restart()

    def obey(
        self, wanted: str | None, client: httpx.Client, look: Callable[[], Look], restart: Callable[[], None]
    ) -> None:
        """Go towards the wished model unless it runs, was refused, or another one is on trial; `client` is the centre's.

        The one before is taken at once, in the middle of a trial too: the centre knows of other boxes what this one would
        find out at the trial's end.
        """
        slots = self.slots
        self._wanted = wanted
        if not self._settings.models or wanted is None:
            return
        if slots.model and wanted in (slots.before if slots.phase == "trial" else {OWN}):
            self._log.warning("model.called_back", model=slots.model, to=wanted)
            slots.give_up(own=wanted == OWN)
            self._window = None
            restart()
            return
        if wanted == OWN or not self._root.is_file():
            return
        busy = self._fetching is not None and self._fetching.is_alive()
        if busy or slots.phase == "trial" or wanted in {slots.model, slots.refused[0]}:
            return
        self._fetching = threading.Thread(
            target=self._fetch, args=(wanted, client, look, restart), name="model", daemon=True
        )
        self._fetching.start()

    def _fetch(
        self, wanted: str, client: httpx.Client, look: Callable[[], Look], restart: Callable[[], None]
    ) -> None:
        began = time.monotonic()
        try:
            # At somebody else's server without the box's token: signatures are what counts.
            with httpx.Client(timeout=LINE_S, trust_env=False) as plain:
                line = client if self._settings.releases_url is None else plain
                releases = Releases(self._trust, self._url, line, self._root.read_bytes())
                release, _ = releases.find(wanted)
                slot = self.slots.make_room(
                    release.size, lambda p: p.name.removesuffix(".part") in release.files
                )
                releases.fetch(release, slot)
        except ReleaseError as exc:
            self._log.warning("model.not_taken", model=wanted, reason=str(exc), final=exc.final)
            if exc.final:
                self.slots.refuse(wanted, str(exc))
            return
        except QuotaError as exc:
            self._log.error("model.not_taken", model=wanted, reason=str(exc))
            self.slots.refuse(wanted, str(exc))
            return
        except OSError as exc:
            self._log.error("model.not_taken", model=wanted, reason=f"{type(exc).__name__}: {exc}")
            return
        if self._wanted != wanted:
            self._log.info("model.not_wanted_any_more", model=wanted)
            return
        write_state(self._folder / "before.json", {"live": sorted(look().live)})
        self.slots.switch(slot, wanted)
        self._log.info(
            "model.fetched", model=wanted, bytes=release.size, seconds=round(time.monotonic() - began, 1)
        )
        restart()
