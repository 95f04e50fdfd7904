"""A box follows the model that the centre wishes: fetched and checked beside the work, run on trial, taken back by itself.

The model is changed by a new start of the worker: the one that runs is never touched, and what a bad one breaks ends with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from contract.fleet import OWN
from edge.fleet.enrol import ROOT
from edge.fleet.health_window import HealthWindow, Look
from edge.fleet.releases import ReleaseError, Releases, UntrustedError, WrongBytesError
from edge.fleet.settings import FleetConfig
from edge.fleet.slots import QuotaError, Slots
from edge.fleet.state import read_state, write_state
from models.bundle import Bundle, BundleError, load_bundle

LINE_S = 30.0
T = TypeVar("T")
# What is not the signers' is asked for again at the next beat, and then after a minute, two, four ... an hour.
REST_S, LONGEST_REST_S = 60.0, 3600.0
# So often in a row the same wrong bytes: they are what is there.
WRONG = 5


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What keeps a release from being taken for now, and when (monotonic seconds) it is asked for again."""

    model: str
    reason: str
    rests: int = 0
    until_s: float = 0.0
    wrong: int = 0


class ModelFromCentre:
    """The released model of one box. `obey` and `watch` are called by the heartbeat's thread."""

    def __init__(
        self, data_dir: Path, settings: FleetConfig, api_url: str, log: Any,
        later: Callable[[], bool] = lambda: False, lock: AbstractContextManager[Any] | None = None,
    ) -> None:  # fmt: skip
        """No model is switched to while `later` says so; what it tells of changes under `lock` alone."""
        self._later, self._lock = later, lock or threading.RLock()
        self._folder, self._settings, self._log = data_dir / "models", settings, log
        self._url = settings.releases_url or f"{api_url.rstrip('/')}/releases"
        self._trust, self._root = data_dir / "fleet" / "tuf", data_dir / "fleet" / ROOT
        self.slots = Slots(self._folder, settings.quota_mib * 2**20)
        self._window: HealthWindow | None = None
        self._fetching: threading.Thread | None = None
        self._wanted: str | None = None
        self._trouble: _Trouble | None = None

    def load(self, own: str, opened: Callable[[Bundle], T]) -> T:
        """Return `opened` of the bundle to run at this start: the released one on trial or held, else the file's own.

        `opened` raises BundleError for one that does not load on this machine: the one before it runs then.

        Raises:
            models.bundle.BundleError: the file's own cannot be used.
        """
        while self._settings.models and (folder := self.slots.boot()) is not None:
            try:
                return opened(load_bundle(folder))
            except BundleError as exc:
                self._log.error("model.unusable", model=self.slots.model, reason=str(exc))
                if self.slots.phase == "trial":
                    self.slots.fall_back(str(exc))
                else:
                    # It was good here once: its files rot, or a card is not up yet. Fetched again it is on trial anew.
                    self.slots.own()
        self._tell_unsaved()
        return opened(load_bundle(own))

    def _tell_unsaved(self) -> None:
        if self.slots.unsaved:
            self._log.warning("model.state_waits", reason=self.slots.unsaved)

    def watch(self, look: Look, restart: Callable[[], None]) -> None:
        """Judge a model on trial by the box's health; a bad one goes back at once."""
        self.slots.save()
        self._tell_unsaved()
        # The worker that fetched it and is ending still beats: what it sees says nothing of a model that it does not run.
        if self.slots.phase != "trial" or not self.slots.begun:
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
        if (
            self.busy
            or slots.phase == "trial"
            or not self.wants(wanted)
            or self._rests(wanted)
            or self._later()
        ):
            return
        self._fetching = threading.Thread(
            target=self._take, args=(wanted, client, look, restart), name="model", daemon=True
        )
        self._fetching.start()

    @property
    def again(self) -> int:
        """How often a person has let refused models be tried again, as far as this box has obeyed."""
        return int(read_state(self._folder / "again.json").get("again", 0))

    def forgive(self, again: int) -> bool:
        """Forget what was refused when a person says so anew; True then."""
        if not self._settings.models or again <= self.again:
            return False
        self._trouble = None
        # First the slots: cut between the two, it is forgiven once more, which changes nothing.
        self.slots.forgive()
        write_state(self._folder / "again.json", {"again": again})
        self._log.info("model.tried_again", again=again)
        return True

    @property
    def waits(self) -> str:
        """Why the wished model is not here yet; empty where nothing stands against it."""
        trouble = self._trouble
        return trouble.reason if trouble is not None and trouble.model == self._wanted else ""

    def _rests(self, model: str) -> str:
        """Why a model is not asked for now; empty where it is."""
        trouble = self._trouble
        if trouble is None or trouble.model != model or time.monotonic() >= trouble.until_s:
            return ""
        return trouble.reason

    @property
    def busy(self) -> bool:
        """Whether a release is being fetched."""
        return self._fetching is not None and self._fetching.is_alive()

    def wants(self, wanted: str | None) -> bool:
        """Whether a wish is still to be gone towards."""
        return wanted is not None and wanted not in {self.slots.model or OWN, self.slots.refused[0]}

    def fetch_beside(
        self, model: str, client: httpx.Client, told: Callable[[Path | None, str], None]
    ) -> tuple[str, bool]:
        """Fetch a release into the slot that does not run, and leave it there; return what is waited for.

        True with it: waiting will not help. `told` is called by another thread with the slot, or with None and a reason; a line that broke is not told of, and
        the next call goes on where it ended.
        """
        if not self._settings.models:
            return "fleet.models is off in the box's file", True
        if not self._root.is_file():
            return "the box has no trust in releases; enrol it again", True
        if self.busy or self.slots.phase == "trial":
            return "another model is being fetched or on trial", False
        if reason := self._rests(model):
            return reason, False

        def fetch() -> None:
            slot, reason, final = self._fetch(model, client)
            if slot is not None or final:
                told(slot, reason)

        self._fetching = threading.Thread(target=fetch, name="shadow-model", daemon=True)
        self._fetching.start()
        return "it is being fetched", False

    def _fetch(self, wanted: str, client: httpx.Client) -> tuple[Path | None, str, bool]:
        """Return the slot that holds a release now; or None, why, and whether asking again gives the same answer."""
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
        except (ReleaseError, QuotaError, OSError) as exc:
            reason = f"{type(exc).__name__}: {exc}" if isinstance(exc, OSError) else str(exc)
            final = self._fails(wanted, exc, reason)
            self._log.warning("model.not_taken", model=wanted, reason=reason, final=final)
            return None, reason, final
        self._trouble = None
        self._log.info(
            "model.fetched", model=wanted, bytes=release.size, seconds=round(time.monotonic() - began, 1)
        )
        return slot, "", True

    def _fails(self, model: str, exc: Exception, reason: str) -> bool:
        """Note a failure, and say whether asking again gives the same answer."""
        before = self._trouble if self._trouble is not None and self._trouble.model == model else None
        rests, until_s, wrong = 0, 0.0, before.wrong if before is not None else 0
        if isinstance(exc, UntrustedError):
            rests = before.rests + 1 if before is not None else 1
            rest_s = min(REST_S * 2.0 ** min(rests - 2, 16), LONGEST_REST_S) if rests > 1 else 0.0
            until_s = time.monotonic() + rest_s
        if isinstance(exc, WrongBytesError):
            wrong = wrong + 1 if before is not None and before.reason == reason else 1
        if isinstance(exc, QuotaError) or (isinstance(exc, ReleaseError) and exc.final) or wrong >= WRONG:
            self._trouble = None
            return True
        self._trouble = _Trouble(model, reason[:300], rests, until_s, wrong)
        return False

    def _take(
        self, wanted: str, client: httpx.Client, look: Callable[[], Look], restart: Callable[[], None]
    ) -> None:
        slot, reason, final = self._fetch(wanted, client)
        if slot is None:
            if final:
                self.slots.refuse(wanted, reason)
            return
        if self._wanted != wanted:
            self._log.info("model.not_wanted_any_more", model=wanted)
            return
        live = sorted(look().live)
        try:
            with self._lock:
                if self._later():
                    return  # it is here; a beat after the other trial switches to it
                write_state(self._folder / "before.json", {"live": live})
                self.slots.switch(slot, wanted)
        except OSError as exc:
            # A new start would run the one before: the next beat tries again.
            self._log.warning(
                "model.not_taken", model=wanted, reason=f"{type(exc).__name__}: {exc}", final=False
            )
            return
        restart()
