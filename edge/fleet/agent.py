"""What a box makes of the centre's wishes about itself. Called by the heartbeat's thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from contract import DesiredState
from contract.fleet import FleetReport
from edge.changes import Changes
from edge.config import BoxConfig
from edge.fleet.central_config import ConfigFromCentre
from edge.fleet.enrol import FLEET_KEY
from edge.fleet.health_window import Look
from edge.fleet.models import ModelFromCentre
from edge.fleet.shadow import ShadowFromCentre

Apply = Callable[[BoxConfig], Changes]


class FleetAgent:
    """One box's configuration from the centre, and its report. `lock` is held by whoever changes the configuration."""

    def __init__(self, config: BoxConfig, env_file: Path | None, log: Any) -> None:
        self._settings, self._log = config.fleet, log
        self.lock = threading.RLock()
        # One change at a time: the start of the worker for a model would end a configuration's trial.
        self.models = ModelFromCentre(
            config.data_dir,
            config.fleet,
            config.api.url,
            log,
            lambda: self.central.phase == "trial",
            self.lock,
        )
        self.shadow = ShadowFromCentre(config.data_dir, config.fleet, self.models, log)
        # Starts the worker again; whoever runs the box sets it.
        self.restart: Callable[[], None] = lambda: None
        self.central = ConfigFromCentre(config.data_dir, env_file, config.device, log)
        self._enrolled = (config.data_dir / "fleet" / FLEET_KEY).is_file()

    def watch(self, look: Look, apply: Apply) -> None:
        """Judge what is on trial."""
        try:
            with self.lock:
                self.central.watch(look, apply)
        finally:
            self.models.watch(look, self.restart)

    def obey(
        self, wanted: DesiredState, client: httpx.Client, apply: Apply, look: Callable[[], Look]
    ) -> None:
        """Go towards the desired state; a box that was not enrolled by code has nothing to check it with, and stays."""
        if not self._enrolled:
            return
        if self._settings.config:
            with self.lock:
                if not self._settings.models or self.models.slots.phase != "trial":
                    self.central.take(wanted.config_version, client, apply, look, self._settings.window_s)
        if self.models.forgive(wanted.model_again):
            self.shadow.forgive()
        # A model that shall run goes before one that shall be looked at: both need the slot that does not run.
        first = self._settings.models and self.models.wants(wanted.model)
        if first:
            self.shadow.give_way(wanted)
        self.models.obey(wanted.model, client, look, self._begin_again)
        if not first:
            self.shadow.obey(wanted.shadow, client)

    def _begin_again(self) -> None:
        """Start the worker again, asked to: that says nothing against a configuration on trial, which is taken anew."""
        with self.lock:
            self.central.put_off()
        self.restart()

    def obey_resting(self, answer: httpx.Response, client: httpx.Client) -> None:
        """Follow the wish for the model alone, in safe mode: it may be the model that ends this box again and again."""
        try:
            wanted = answer.json().get("model")
        except (ValueError, AttributeError):
            return
        if self._enrolled and isinstance(wanted, str):
            nothing = Look(time.monotonic(), frozenset(), frozenset())
            self.models.obey(wanted, client, lambda: nothing, self.restart)

    def report(self) -> FleetReport:
        """Return what the heartbeat says of it."""
        refused, reason = self.central.refused
        model_refused, model_reason = self.models.slots.refused
        return FleetReport(
            config_version=self.central.version,
            config_phase=self.central.phase,
            config_refused=refused,
            config_reason=reason if refused else self.central.waits,
            model=self.models.slots.model,
            model_phase=self.models.slots.phase,
            model_refused=model_refused,
            model_reason=model_reason if model_refused else self.models.waits,
            model_again=self.models.again,
            shadow=self.shadow.report(),
        )
