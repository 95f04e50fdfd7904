"""A box put together from its configuration, with its heartbeat; started and stopped as one thing."""

from __future__ import annotations

import gc
import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psutil

from camera_adapters.clock import Clock, SystemClock
from camera_adapters.redact import redact
from contract import Heartbeat, new_id
from contract.mqtt import PART_BYTES
from edge.agent import CentreAgent
from edge.allocator import Tidying
from edge.changes import Changes, RefusedConfigError, check_addresses, compare
from edge.checks import Checks, Snapshots
from edge.config import BoxConfig, CameraConfig
from edge.evidence_clip import ClipMaker
from edge.fitting import Fitting, Shared
from edge.fleet.agent import FleetAgent
from edge.fleet.shadow import Champion
from edge.fleet.signs import Signs
from edge.health import camera_health
from edge.identity import public_key, signer_of
from edge.lane import Lane
from edge.ledger import AlertLedger
from edge.leftovers import Leftovers
from edge.load import LoadGovernor
from edge.metrics import serve
from edge.orders import OrderBook
from edge.outbox import Outbox
from edge.privacy import Sealer
from edge.recorder import BoxFacts
from edge.references import ReferenceStore
from edge.retention import BoxRetention
from edge.score_floor import ScoreFloor
from edge.site_store import SiteStore, boot_id
from edge.speakers import speakers_of
from edge.tape import Tape
from edge.trace import tracing_of
from edge.uplink import CHUNK, Uplink, client_of
from edge.view_checks import ViewChecks
from edge.view_log import ViewLog
from edge.views import ViewStore
from edge.worker import Worker
from models.detector import Detector

# Services are given 90 s to stop; the rest is for cameras and the uplink.
CLIP_PATIENCE_S = 30.0


class Box:
    """One box beside its cameras."""

    def __init__(
        self, config: BoxConfig, log: Any, clock: Clock | None = None, env_file: Path | None = None
    ) -> None:
        """`env_file` has the secrets that the centre's configuration names, as the box's own file has them."""
        data = config.data_dir
        data.mkdir(parents=True, exist_ok=True)
        self._fleet = FleetAgent(config, env_file, log)
        central = self._fleet.central
        central.base, config = config, central.merged(config)
        self._config, self._log, self._clock = config, log, clock or SystemClock()
        self._tracing = tracing_of(config.otlp_endpoint, config.device, version("curbwatch"))
        m = config.model
        self._detector = self._fleet.models.load(
            m.bundle, lambda b: Detector(b, m.provider, m.threads, m.max_batch, data / "engines")
        )
        bundle = self._detector.bundle
        signer = signer_of(config.identity, data)
        self._outbox = Outbox(data / "outbox", config.outbox.quota_mib * 2**20, signer, self._clock.now)
        self._ledger = AlertLedger(data / "alerts.db")
        self._sites = SiteStore(data / "sites.db", None if clock else boot_id())
        sealer = Sealer(config.privacy.seal_to) if config.privacy.seal_to else None
        # A detector of its own: a session is not for two threads, and clips must not slow the cameras.
        own = "openvino" if self._detector.provider == "openvino" else "cpu"
        roles = {**bundle.roles, **config.model.roles}
        self._clips = ClipMaker(config.privacy.blur, lambda: Detector(bundle, own, 1, 1).detect, roles=roles)
        self._facts = BoxFacts(
            config.device, self._detector.ref, version("curbwatch"), config.privacy.blur, sealer, roles
        )
        self._client = client_of(config.api, config.device)
        cap = config.api.rate_cap_kib_s
        self._uplink = Uplink(
            self._outbox,
            self._client,
            log,
            cap * 1024 if cap else None,
            public_key=public_key(signer, config.device),
            part_bytes=PART_BYTES if config.api.mqtt else 4 * CHUNK,
            tracing=self._tracing,
        )
        self._governor = LoadGovernor()
        self._floor = ScoreFloor(data / "thresholds.json", config.city_timezone)
        self._book = OrderBook(data / "orders", config.device, [c.id for c in config.cameras if c.enabled])
        snapshots = Snapshots()
        checks = Checks(
            config.device, self._camera, self._tape, snapshots, self._clock, config.city_timezone, roles,
            config.privacy.blur, log,
        )  # fmt: skip
        self._agent = CentreAgent(
            config.device,
            self._book,
            self._floor,
            speakers_of(config),
            self._client,
            self._clock.now,
            log,
            checks,
        )
        self._applying, self._stopped = threading.Lock(), False
        self.view_log = ViewLog(self._clock.now, log)
        self._view_checks = ViewChecks(ViewStore(data / "views"), self.view_log, log)
        self._fitting = Fitting(
            Shared(
                lambda: self._config, self._facts, self._detector, roles, self._governor, self._clips, self._outbox,
                self._ledger, self._sites, ReferenceStore(data / "references"), self._floor, self._book, snapshots,
                self._view_checks, self.view_log, self._tracing, log,
            )
        )  # fmt: skip
        self.worker = Worker(config, self._detector, self._clock, self._fitting.pipeline, log, self._governor)
        self._fitting.started = True
        self._fleet.shadow.begin(
            Champion(self._detector.provider, config.model.threads, lambda: self._governor.overloaded)
        )
        self.worker.beside, self.worker.behind = self._fleet.shadow.looking, self._clips.cpu_s
        self._stop = threading.Event()
        self._signs = Signs(self.worker, data)
        self.retention = BoxRetention(
            config.retention,
            config.outbox.max_age_h,
            self._outbox,
            self._ledger,
            lambda: list(self._fitting.stills.values()),
            self._clock.now,
            log,
            Leftovers(data, self._sites, lambda: [lane.camera.id for lane in self.worker.lanes]).expire,
            self._clock.monotonic,
        )
        self._threads = [
            threading.Thread(target=self.retention.run, args=(self._stop,), name="retention", daemon=True),
            threading.Thread(target=self._uplink.run, args=(self._stop,), name="uplink", daemon=True),
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
        ]
        # Why a newer configuration was refused; told by whoever reads it.
        self.config_problem: Callable[[], str] = lambda: ""
        self._began = time.monotonic()
        self._end_metrics: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Start the cameras, the detector, the uplink and the heartbeat.

        Raises:
            OSError: the port of the metrics page is taken.
        """
        if self._config.metrics_port is not None:
            level, counts = self._outbox.level, self._uplink.counts
            self._end_metrics = serve(self._config.metrics_port, self.worker, level, counts, self.view_log)
        for thread in self._threads:
            thread.start()
        self.worker.start()
        self._log.info(
            "box.started",
            device=self._config.device,
            cameras=len(self.worker.lanes),
            provider=self._detector.provider,
        )

    def warm(self) -> None:
        """Do now what is otherwise paid by the first picture and the first clip, for a measurement."""
        self.worker.warm()
        self._clips.warm()

    def stop(self) -> None:
        """Stop everything in order; what was not sent stays in the outbox."""
        self._end_metrics()
        with self._applying:
            self._stopped = True
        self.worker.stop()
        self._fleet.shadow.close()
        # The stream of each is closed, its ring is still there: clips end earlier, and are not lost.
        self._finish(self.worker.lanes)
        self._stop.set()
        self._outbox.changed.set()
        self.view_log.changed.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)
        if self._tracing is not None:
            self._tracing.close()
        self._client.close()
        self._clips.close()
        self._outbox.close()
        self._sites.close()
        self._ledger.close()
        self._log.info("box.stopped", device=self._config.device)

    def on_restart(self, restart: Callable[[], None]) -> None:
        """Set what starts the worker again when the centre's model is there, or is taken back; before `start`."""
        self._fleet.restart = restart

    @property
    def config(self) -> BoxConfig:
        """The configuration that holds now."""
        return self._config

    def apply_file(self, config: BoxConfig) -> Changes:
        """Take up another file; what the centre gives stays over it. See `apply`."""
        with self._fleet.lock:
            changes = self.apply(self._fleet.central.merged(config))
            # After that alone: a file that was refused is none to go back to.
            self._fleet.central.base = config
            return changes

    def apply(self, config: BoxConfig) -> Changes:
        """Take up another configuration: cameras go, come, start again or are drawn anew; the others are not touched.

        Returns when it is done. Calls from several threads are done one after the other.

        Raises:
            RefusedConfigError: it cannot be taken up, by field; nothing was changed.
        """
        with self._applying:
            if self._stopped:
                raise RefusedConfigError(["device: the box is stopping"])
            changes = compare(self._config, config)
            check_addresses(config, {*changes.added, *changes.restarted})
            now = {c.id: c for c in config.cameras if c.enabled}
            failed = self._exchange(changes, now)
            for camera_id in changes.redrawn:
                self._redraw(now[camera_id])
            # A camera that could not be started is none that runs: the next call tries it again.
            kept = tuple(c for c in config.cameras if c.id not in failed)
            self._config = config.model_copy(update={"cameras": kept})
            self._book.serve([lane.camera.id for lane in self.worker.lanes])
            self._agent.use(speakers_of(self._config))
        for camera_id, reason in failed.items():
            self._log.error("camera.not_started", camera=camera_id, reason=redact(reason))
        if changes.removed or changes.restarted:
            # A lane and its streams hold each other, and with them a ring of 25 MB.
            gc.collect()
        self._log.info(
            "config.applied", added=list(changes.added), removed=list(changes.removed),
            restarted=list(changes.restarted), redrawn=list(changes.redrawn), kept=len(changes.kept),
        )  # fmt: skip
        return changes

    def _exchange(self, changes: Changes, now: Mapping[str, CameraConfig]) -> dict[str, str]:
        """Stop the cameras that go, start those that come; return those that could not be started."""
        gone = self.worker.remove([*changes.removed, *changes.restarted])
        failed = self.worker.add(now[i] for i in changes.added)
        self._finish(gone)
        for lane in gone:
            self._fitting.stills.pop(lane.camera.id, None)
            self.view_log.forget(lane.camera.id)
        return failed | self.worker.add(now[i] for i in changes.restarted)

    def _finish(self, lanes: Iterable[Lane]) -> None:
        """End the clips of cameras whose streams are closed, all of them within one patience."""
        until = time.monotonic() + CLIP_PATIENCE_S
        for lane in lanes:
            lane.pipeline.finish(self._clock.now(), max(0.0, until - time.monotonic()))

    def _redraw(self, camera: CameraConfig) -> None:
        lane = self.worker.lane(camera.id)
        if lane is None:
            return
        before = lane.camera.view_check
        lane.pipeline.redraw(camera, self._fitting.judge(camera, "the camera's configuration was changed"))
        lane.redraw(camera)
        if camera.view_check != before:
            self._view_checks.anew(lane)

    def _camera(self, camera_id: str) -> CameraConfig | None:
        lane = self.worker.lane(camera_id)
        return lane.camera if lane is not None else None

    def _tape(self, camera_id: str) -> Tape | None:
        lane = self.worker.lane(camera_id)
        return lane.pipeline.tape if lane is not None else None

    def _beat(self) -> None:
        process = psutil.Process()
        process.cpu_percent()
        with Tidying() as tidying:
            while True:
                # A camera that was covered does not wait for the next beat.
                self.view_log.changed.wait(self._config.api.heartbeat_s)
                self.view_log.changed.clear()
                if self._stop.is_set():
                    return
                tidying.turn()
                self._one_beat(process)

    def _one_beat(self, process: psutil.Process) -> None:
        try:
            self._view_checks.renew(self.worker.lanes)
            self._fleet.watch(self._signs.look(), self.apply)
        except Exception as exc:
            # Whatever the box cannot judge or note now, the centre hears of it.
            self._log.error("trial.not_judged", error=redact(f"{type(exc).__name__}: {exc}"))
        try:
            beat = self._heartbeat(process)
            asked = self._clock.now()
            answer = self._client.post("/heartbeats", json=beat.wire())
            if answer.is_success and (wanted := self._agent.obey(answer)) is not None:
                self.view_log.sent(beat.camera_events)
                self._signs.heard(asked, wanted.server_time, self._clock.now())
                self._fleet.obey(wanted, self._client, self.apply, self._signs.look)
        except (httpx.HTTPError, OSError, sqlite3.Error) as exc:
            # A full disk or a locked file among them: the next beat tries again.
            self._log.warning("heartbeat.failed", reason=f"{type(exc).__name__}")
        except Exception as exc:
            # Without heartbeats there are no orders and nothing is taken back: the next one goes all the same.
            self._log.error("heartbeat.broken", error=redact(f"{type(exc).__name__}: {exc}"))

    def _heartbeat(self, process: psutil.Process) -> Heartbeat:
        level = self._outbox.level()
        ref = self._detector.ref
        shape = hashlib.sha256(self._config.model_dump_json().encode()).hexdigest()
        return Heartbeat(
            id=new_id(),
            device_id=self._config.device,
            at=self._clock.now(),
            uptime_s=time.monotonic() - self._began,
            software_version=self._facts.software_version,
            model_name=ref.name,
            model_version=ref.version,
            model_sha256=ref.sha256,
            config_sha256=shape,
            config_problem=redact(self.config_problem())[:300],
            cameras=tuple(
                camera_health(lane, self.worker.dropped(lane.camera.id), self.view_log.since(lane.camera.id))
                for lane in self.worker.lanes
            ),
            camera_events=self.view_log.waiting(),
            outbox_items=level.alerts + level.files,
            outbox_bytes=level.bytes,
            rss_bytes=process.memory_info().rss,
            cpu_share=process.cpu_percent() / 100,
            fleet=self._fleet.report(),
            **self._signs.take(),
        )
