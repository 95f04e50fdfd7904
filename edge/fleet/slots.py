"""Two slots for released models, and which of them runs: an atomic switch, a trial, and the way back.

`slots.json` is the one truth and is replaced in one step: {"active": {"slot", "model"}, "trial": {...}, "boots", "refused",
"reason", "kept"}. The slot that runs is never written to. A trial that was booted twice and did not become good is over at the
next boot: a power cut is no fault of the model, and one that ends its process comes up twice before the one before runs again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contract.fleet import OWN, Phase
from edge.fleet.state import phase_of, read_state, write_state

SLOTS = ("a", "b")
BOOTS = 2
# Models that passed their trial on this box and need none again, the newest last.
KEPT = 8


class QuotaError(RuntimeError):
    """The release does not fit into the disk space that is allowed, or that is free."""


class Slots:
    """The two slots under a folder. Not for two processes at once; the box holds its data folder alone."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self._folder, self._quota = folder, quota_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._state = read_state(folder / "slots.json")
        # Why the disk does not have what holds here; empty when it does.
        self.unsaved = ""

    @property
    def model(self) -> str:
        """The released model that runs, on trial or held; empty for the file's own."""
        running = self._state.get("trial") or self._state.get("active") or {}
        return str(running.get("model", ""))

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        return phase_of(self._state, "active")

    @property
    def begun(self) -> bool:
        """Whether a start of the box has taken up the trial."""
        return int(self._state.get("boots", 0)) >= 1

    @property
    def refused(self) -> tuple[str, str]:
        """The model that was refused or taken back, and why."""
        return str(self._state.get("refused") or ""), str(self._state.get("reason") or "")

    def boot(self) -> Path | None:
        """Return the folder of the bundle to run; None: the file's own. Call once a start of the box."""
        trial = self._state.get("trial")
        if trial and int(self._state.get("boots", 0)) >= BOOTS:
            self.fall_back("the box ended while the model was on trial")
            trial = None
        if trial:
            try:
                self._write(self._state | {"boots": int(self._state.get("boots", 0)) + 1})
            except OSError:
                # Starts that nobody counts could go on for ever: the one before runs until there is room.
                self.give_up(own=False)
                trial = None
        running = trial or self._state.get("active")
        return self._path(str(running["slot"])) if running else None

    def free(self) -> Path | None:
        """Return the slot that does not run: what is fetched goes there, and a cut download is found there again.

        None while one is on trial and the other is the way back.
        """
        busy = {str(s["slot"]) for s in (self._state.get("active"), self._state.get("trial")) if s}
        return next((self._path(s) for s in SLOTS if s not in busy), None)

    def make_room(self, wanted_bytes: int, keep: Callable[[Path], bool]) -> Path:
        """Return the free slot with room for a release; what `keep` does not want there is deleted first.

        Raises:
            QuotaError: the running release and this one are more than the quota, or than the disk has.
        """
        slot = self.free()
        if slot is None:
            raise QuotaError("both slots are in use: a model is on trial")
        slot.mkdir(parents=True, exist_ok=True)
        for path in slot.iterdir():
            if not keep(path):
                path.unlink()
        here = sum(p.stat().st_size for p in slot.iterdir())
        other = sum(p.stat().st_size for s in SLOTS for p in self._path(s).glob("*") if self._path(s) != slot)
        if other + wanted_bytes > self._quota:
            raise QuotaError(
                f"the release has {wanted_bytes >> 20} MiB, the one that runs {other >> 20} MiB; fleet.quota_mib allows "
                f"{self._quota >> 20} MiB for both"
            )
        free = shutil.disk_usage(self._folder).free
        if wanted_bytes - here > free - 64 * 2**20:
            raise QuotaError(
                f"the disk has {free >> 20} MiB left; the release needs {wanted_bytes >> 20} MiB"
            )
        return slot

    def switch(self, slot: Path, model: str) -> None:
        """Let the next boot run `slot`: on trial, unless the model was kept here before.

        A rollout that is taken back must not hang on a second trial, which a power cut or a camera's trouble could end.
        """
        active, wanted = self._state.get("active"), {"slot": slot.name, "model": model}
        if model in self._kept:
            self._write({"active": wanted})
            return
        self._write({"trial": wanted, "boots": 0} | ({"active": active} if active else {}))

    def keep(self) -> None:
        """The trial was good: it is the active one."""
        trial = self._state["trial"]
        kept = [m for m in self._kept if m != trial["model"]]
        self._note({"active": trial, "kept": [*kept, trial["model"]][-KEPT:]})

    @property
    def before(self) -> frozenset[str]:
        """What runs again when a trial is given up: the active model; `own` for the file's, which is always there."""
        return frozenset({str((self._state.get("active") or {}).get("model", OWN)), OWN})

    def give_up(self, own: bool) -> None:
        """End a trial without a word against its model; with `own` the file's model runs at the next boot.

        Raises:
            OSError: the disk is full, and what ran without a trial would run again.
        """
        active = self._state.get("active")
        write = self._note if self._state.get("trial") else self._write
        write({"active": active} if active and not own else {})

    def own(self) -> None:
        """Go back to the file's own model. The one that is held, and did not load, is on trial anew when it comes again."""
        self._note({"kept": [m for m in self._kept if m != self.model]})

    def fall_back(self, reason: str) -> None:
        """The trial was bad: the next boot runs the one before."""
        refused = str((self._state.get("trial") or {}).get("model", ""))
        self._refuse(refused, reason, taken_back=True)

    def refuse(self, model: str, reason: str) -> None:
        """Note that a release was not taken; nothing else changes."""
        self._refuse(model, reason, taken_back=False)

    def save(self) -> None:
        """Write what the disk had no room for before."""
        if self.unsaved:
            self._note(self._state)

    def forgive(self) -> None:
        """Forget what was refused or taken back, and why; what runs goes on."""
        self._write({k: v for k, v in self._state.items() if k not in {"refused", "reason", "taken_back"}})

    def _refuse(self, model: str, reason: str, taken_back: bool) -> None:
        active = self._state.get("active")
        told: dict[str, Any] = {"refused": model, "reason": reason[:300], "taken_back": taken_back}
        self._note(told | ({"active": active} if active else {}))

    @property
    def _kept(self) -> list[str]:
        active = self._state.get("active")
        told = [str(m) for m in self._state.get("kept", ())]
        return [*told, str(active["model"])] if active and active["model"] not in told else told

    def _path(self, slot: str) -> Path:
        return self._folder / slot

    def _note(self, state: dict[str, Any]) -> None:
        """As `_write`; where the disk is full it holds all the same, and `save` writes it later."""
        try:
            self._write(state)
        except OSError as exc:
            self._state, self.unsaved = self._with_kept(state), f"{type(exc).__name__}: {exc}"

    def _write(self, state: dict[str, Any]) -> None:
        state = self._with_kept(state)
        write_state(self._folder / "slots.json", state)
        self._state, self.unsaved = state, ""

    def _with_kept(self, state: dict[str, Any]) -> dict[str, Any]:
        kept = self._state.get("kept")
        return {"kept": kept} | state if kept else state
