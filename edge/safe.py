"""Safe mode: cameras, detector and rules rest; what waits is sent, and the centre is told why.

A box that ended again and again is worth more so than ending once more: its confirmed cases still reach the centre,
and the engineer reads the state of every camera there.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from camera_adapters.clock import Clock, SystemClock
from contract import CameraHealth, Heartbeat, new_id
from contract.mqtt import PART_BYTES
from edge.config import BoxConfig
from edge.fleet.agent import FleetAgent
from edge.fleet.signs import temperature_c, versions
from edge.identity import public_key, signer_of
from edge.outbox import Outbox
from edge.uplink import CHUNK, Uplink, client_of

REASON = "the box is in safe mode: it ended too often; see its log"
NO_MODEL = "0" * 64


class SafeBox:
    """The uplink and the heartbeat of a box, without its cameras."""

    def __init__(
        self, config: BoxConfig, log: Any, clock: Clock | None = None, env_file: Path | None = None
    ) -> None:
        """See `edge.box.Box`."""
        config.data_dir.mkdir(parents=True, exist_ok=True)
        self._fleet = FleetAgent(config, env_file, log)
        config = self._fleet.central.merged(config)
        self._config, self._log, self._clock = config, log, clock or SystemClock()
        signer = signer_of(config.identity, config.data_dir)
        self._outbox = Outbox(
            config.data_dir / "outbox", config.outbox.quota_mib * 2**20, signer, self._clock.now
        )
        self._client = client_of(config.api, config.device)
        cap = config.api.rate_cap_kib_s
        self._uplink = Uplink(
            self._outbox, self._client, log, cap * 1024 if cap else None,
            public_key=public_key(signer, config.device),
            part_bytes=PART_BYTES if config.api.mqtt else 4 * CHUNK,
        )  # fmt: skip
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._threads = [
            threading.Thread(target=self._uplink.run, args=(self._stop,), name="uplink", daemon=True),
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
        ]

    def start(self) -> None:
        """Start the uplink and the heartbeat."""
        for thread in self._threads:
            thread.start()
        self._log.warning("box.safe_mode", device=self._config.device, cameras=len(self._config.cameras))

    def on_restart(self, restart: Callable[[], None]) -> None:
        """Set what starts the worker again when the centre wishes another model than the one that ended it."""
        self._fleet.restart = restart

    def stop(self) -> None:
        """Stop both; what was not sent stays in the outbox."""
        self._stop.set()
        self._outbox.changed.set()
        for thread in self._threads:
            thread.join(5)
        self._client.close()
        self._outbox.close()

    def heartbeat(self) -> Heartbeat:
        """Return what the box says of itself: every camera failed, and the reason."""
        level = self._outbox.level()
        disk = psutil.disk_usage(os.fspath(self._config.data_dir))
        return Heartbeat(
            id=new_id(), device_id=self._config.device, at=self._clock.now(), mode="safe",
            uptime_s=time.monotonic() - self._began, software_version=version("curbwatch"),
            model_name="none", model_version="0", model_sha256=NO_MODEL, config_sha256=NO_MODEL,
            cameras=tuple(
                CameraHealth(camera_id=c.id, state="failed", reason=REASON)
                for c in self._config.cameras if c.enabled
            ),
            outbox_items=level.alerts + level.files, outbox_bytes=level.bytes, fleet=self._fleet.report(),
            disk_free_bytes=disk.free, disk_bytes=disk.total, temperature_c=temperature_c(), versions=versions(),
        )  # fmt: skip

    def _beat(self) -> None:
        while True:
            try:
                answer = self._client.post("/heartbeats", json=self.heartbeat().wire())
                if answer.is_success:
                    self._fleet.obey_resting(answer, self._client)
            # Whatever it is: the next beat tries again.
            except Exception as exc:
                self._log.warning("heartbeat.failed", reason=type(exc).__name__)
            if self._stop.wait(self._config.api.heartbeat_s):
                return
