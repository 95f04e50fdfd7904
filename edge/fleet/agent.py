"""What a box makes of the centre's wishes about itself. Called by the heartbeat's thread."""

from __future__ import annotations

import threading
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

Apply = Callable[[BoxConfig], Changes]


class FleetAgent:
    """One box's configuration from the centre, and its report. `lock` is held by whoever changes the configuration."""

    def __init__(self, config: BoxConfig, env_file: Path | None, log: Any) -> None:
        self._settings, self._log = config.fleet, log
        self.lock = threading.RLock()
        self.models = ModelFromCentre(config.data_dir, config.fleet, config.api.url, log)
        # Starts the worker again; whoever runs the box sets it.
        self.restart: Callable[[], None] = lambda: None
        self.central = ConfigFromCentre(config.data_dir, env_file, config.device, log)
        self._enrolled = (config.data_dir / "fleet" / FLEET_KEY).is_file()

    def watch(self, look: Look, apply: Apply) -> None:
        """Judge what is on trial."""
        with self.lock:
            self.central.watch(look, apply)
        self.models.watch(look, self.restart)

    def obey(
        self, wanted: DesiredState, client: httpx.Client, apply: Apply, look: Callable[[], Look]
    ) -> None:
        """Go towards the desired state; a box that was not enrolled by code has nothing to check it with, and stays."""
        if not self._enrolled:
            return
        if self._settings.config:
            with self.lock:
                self.central.take(wanted.config_version, client, apply, look, self._settings.window_s)
        self.models.obey(wanted.model, client, look, self.restart)

    def report(self) -> FleetReport:
        """Return what the heartbeat says of it."""
        refused, reason = self.central.refused
        model_refused, model_reason = self.models.slots.refused
        return FleetReport(
            config_version=self.central.version,
            config_phase=self.central.phase,
            config_refused=refused,
            config_reason=reason,
            model=self.models.slots.model,
            model_phase=self.models.slots.phase,
            model_refused=model_refused,
            model_reason=model_reason,
        )
