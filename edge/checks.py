"""An engineer's questions about a camera, asked through the centre: probe it, show it, try other zones on its record."""

from __future__ import annotations

import base64
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np

from camera_adapters.clock import Clock
from camera_adapters.frame import Frame, Picture
from camera_adapters.probe import ProbeReport, probe
from camera_adapters.redact import redact
from contract import CheckOrder, CheckReport, GeoPoint, TrialCase
from edge.config import CameraConfig
from edge.geometry import GroundPlane
from edge.judge import Judge
from edge.privacy import blur, sensitive_of
from edge.site_view import Observation
from edge.tape import Tape
from edge.zones import GroundConfig, PolicyConfig, ZoneConfig
from models.detections import Detections

MAX_WAITING, MAX_DONE = 16, 32
PROBE_S, SNAPSHOT_S = 5.0, 20.0
SNAPSHOT_WIDTH, SNAPSHOT_BYTES = 1280, 400_000
FACTS = (
    "url", "codec", "width", "height", "fps", "kbit_s", "key_interval_s", "connected_s", "first_picture_s",
    "clock_source", "clock_offset_s",
)  # fmt: skip


class Snapshots:
    """Hands the next judged frame of a camera to whoever waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[str, queue.SimpleQueue[tuple[Frame, Detections, int, int]]] = {}

    def wanted(self, camera_id: str) -> bool:
        """True while somebody waits for a picture of this camera."""
        return camera_id in self._wanted

    def give(self, camera_id: str, frame: Frame, seen: Detections, width: int, height: int) -> None:
        """Give a frame with its detections, in pixels of a `width` x `height` picture of it."""
        with self._lock:
            place = self._wanted.pop(camera_id, None)
        if place is not None:
            place.put((frame, seen, width, height))

    def take(self, camera_id: str, timeout_s: float) -> tuple[Frame, Detections, int, int] | None:
        """Wait for a frame; None when none came in time."""
        with self._lock:
            place = self._wanted[camera_id] = queue.SimpleQueue()
        try:
            return place.get(timeout=timeout_s)
        except queue.Empty:
            with self._lock:
                self._wanted.pop(camera_id, None)
            return None


class SnapshotLooker:
    """One camera's side of it: asks for a look while somebody waits, and hands the frame over."""

    def __init__(self, camera_id: str, snapshots: Snapshots) -> None:
        self._camera_id, self._snapshots = camera_id, snapshots

    def due(self, _frame: Frame) -> bool:
        """True while somebody waits."""
        return self._snapshots.wanted(self._camera_id)

    def look(self, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Hand the frame over."""
        if self._snapshots.wanted(self._camera_id):
            self._snapshots.give(self._camera_id, frame, detections, width, height)


class Checks:
    """Works off the questions, one at a time, in a thread of its own that lives while there are any."""

    def __init__(
        self, device_id: str, camera_of: Callable[[str], CameraConfig | None], tape_of: Callable[[str], Tape | None],
        snapshots: Snapshots, clock: Clock, timezone: str, roles: Any, blurs: bool, log: Any,
    ) -> None:  # fmt: skip
        self._device, self._camera_of, self._tape_of = device_id, camera_of, tape_of
        self._snapshots, self._clock, self._timezone = snapshots, clock, timezone
        self._roles, self._blurs, self._log = roles, blurs, log
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, CheckOrder] = OrderedDict()
        # What was answered is not worked on again when its report was lost on the way.
        self._done: OrderedDict[str, CheckReport | None] = OrderedDict()
        self._thread: threading.Thread | None = None

    def accept(self, orders: Iterable[CheckOrder]) -> None:
        """Take new questions; known ones change nothing."""
        with self._lock:
            for order in orders:
                known = order.id in self._waiting or order.id in self._done
                if not known and len(self._waiting) < MAX_WAITING:
                    self._waiting[order.id] = order
            if self._waiting and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="checks", daemon=True)
                self._thread.start()

    def reports(self) -> list[CheckReport]:
        """Return what the centre has not acknowledged."""
        with self._lock:
            return [r for r in self._done.values() if r is not None]

    @property
    def settled(self) -> bool:
        """True when something was asked, and all of it is answered and acknowledged."""
        with self._lock:
            return bool(self._done) and not self._waiting and not any(self._done.values())

    def told(self, order_id: str) -> None:
        """Forget a report that the centre has taken or refused for good."""
        with self._lock:
            self._done[order_id] = None

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                order = next(iter(self._waiting.values()))
            report = self._answer(order)
            with self._lock:
                self._waiting.pop(order.id, None)
                self._done[order.id] = report
                while len(self._done) > MAX_DONE:
                    self._done.popitem(last=False)
            self._log.info(
                "check.done", order=order.id, camera=order.camera_id, kind=order.kind, ok=report.ok
            )

    def _answer(self, order: CheckOrder) -> CheckReport:
        camera, now = self._camera_of(order.camera_id), self._clock.now()
        try:
            if order.expires_at <= now:
                return self._report(order, ok=False, reason="the question came too late; ask again")
            if camera is None:
                return self._report(order, ok=False, reason=f"this box has no camera {order.camera_id}")
            if order.kind == "probe":
                return self._probe(order, camera)
            return self._snapshot(order) if order.kind == "snapshot" else self._trial(order, camera)
        except (ValueError, OSError) as exc:
            return self._report(order, ok=False, reason=redact(str(exc))[:300])
        except Exception as exc:
            # A question must not end the thread that answers the next one.
            self._log.error("check.failed", order=order.id, error=f"{type(exc).__name__}: {exc}")
            return self._report(order, ok=False, reason=f"{type(exc).__name__}; the box's log says more")

    def _report(self, order: CheckOrder, *, ok: bool, **more: Any) -> CheckReport:
        return CheckReport(
            order_id=order.id, camera_id=order.camera_id, device_id=self._device, ok=ok, at=self._clock.now(), **more
        )  # fmt: skip

    def _probe(self, order: CheckOrder, camera: CameraConfig) -> CheckReport:
        found = probe(camera.url.get_secret_value(), self._clock, PROBE_S)
        reason = redact(f"{found.reason} {found.mend}".strip())[:300]
        return self._report(order, ok=found.ok, reason=reason, facts=facts_of(found))

    def _snapshot(self, order: CheckOrder) -> CheckReport:
        got = self._snapshots.take(order.camera_id, SNAPSHOT_S)
        if got is None:
            return self._report(
                order, ok=False, reason="no picture came; see the camera's state, or probe it"
            )
        frame, seen, width, height = got
        picture = frame.rgb()
        if self._blurs:
            picture = blur(picture, sensitive_of(seen, width, height, self._roles))
        return self._report(order, ok=True, picture=base64.b64encode(small_jpeg(picture)).decode())

    def _trial(self, order: CheckOrder, camera: CameraConfig) -> CheckReport:
        tape, setup = self._tape_of(order.camera_id), order.setup
        looks = tape.since(order.hours * 3600) if tape is not None else ()
        if setup is None or not looks:
            return self._report(
                order, ok=False, reason="the box has no record of this camera yet; ask again in a while"
            )
        zones = [ZoneConfig.model_validate(z.model_dump(mode="json")) for z in setup.zones]
        ground = (
            GroundConfig.model_validate(setup.ground.model_dump(mode="json"))
            if setup.ground
            else camera.ground
        )
        plane = GroundPlane.fit(ground) if ground else None
        cases = trial(order.camera_id, zones, camera.policy, camera.place.point(), plane, self._timezone, self._roles, looks)  # fmt: skip
        return self._report(
            order, ok=True, seen_from=looks[0].captured_at, looks=len(looks), raised=len(cases), cases=tuple(cases[:100])
        )  # fmt: skip


def trial(
    camera_id: str, zones: list[ZoneConfig], policy: PolicyConfig, place: GeoPoint, ground: GroundPlane | None,
    timezone: str, roles: Any, looks: Iterable[Observation],
) -> list[TrialCase]:  # fmt: skip
    """Judge a record anew with other zones, by the box's own rules, and return what would have been sent, in order."""
    judge = Judge(camera_id, zones, policy, place, ground, timezone, roles=roles)
    raised: list[TrialCase] = []
    for seen in looks:
        for change in judge.observe(seen):
            if change.kind == "confirmed":
                site = change.site
                raised.append(
                    TrialCase(
                        issue=site.issue, zone_id=site.zone.id, confirmed_at=site.confirmed_at or seen.captured_at,
                        dwell_s=site.dwell_s, box=site.box, class_name=site.class_name[:60],
                    )
                )  # fmt: skip
    return raised


def facts_of(found: ProbeReport) -> tuple[tuple[str, str], ...]:
    """Return a probe's findings as names and values; what was not found out is left out."""
    out = []
    for name in FACTS:
        value = getattr(found, name)
        if value not in (None, "", 0):
            out.append((name, f"{value:.2f}" if isinstance(value, float) else redact(str(value))[:300]))
    return (*out, *(("advice", redact(a)[:300]) for a in found.advice[:8]))


def small_jpeg(picture: Picture) -> bytes:
    """Encode RGB uint8 (H, W, 3) as a JPEG of at most 1280 pixels across and 400 kB."""
    height, width = picture.shape[:2]
    if width > SNAPSHOT_WIDTH:
        size = (SNAPSHOT_WIDTH, round(height * SNAPSHOT_WIDTH / width))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    for quality in (82, 65, 45, 25):
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
        if done and data.size <= SNAPSHOT_BYTES:
            return bytes(data.tobytes())
    raise ValueError("the picture cannot be made small enough")
