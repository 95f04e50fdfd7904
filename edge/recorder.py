"""From changes of sites to alerts in the outbox: evidence first, then the message, then the ledger.

The alert's id is its site's id, so that whatever is done twice after a crash is the same alert to the API.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from camera_adapters.frame import Frame
from camera_adapters.ring import ClipInfo, NoPicturesError, PacketRing
from contract import (
    Alert,
    AlertEvent,
    AlertStage,
    DwellFacts,
    EvidenceItem,
    EvidenceKind,
    ModelRef,
    PlaceKey,
    TimelineStep,
    new_id,
)
from edge import pictures
from edge.config import CameraConfig
from edge.evidence_clip import ClipMaker
from edge.judge import Change, SiteView
from edge.ledger import AlertLedger
from edge.outbox import Outbox, OutboxFullError, Priority
from edge.privacy import Sealer, blur, sensitive_of
from edge.references import ReferenceStore
from edge.score_floor import ScoreFloor
from edge.stills import Still, StillStore
from models.detections import Detections

REFERENCE_WIDTH = 320
MAX_WAITING_CLIPS = 64
# Each holds a decoded picture; the rest is found again after a start.
MAX_OWED = 16
MAX_STEPS = 40
_CLOCKS: dict[str, Literal["rtcp_sender_report", "arrival", "file"]] = {
    "rtcp_sender_report": "rtcp_sender_report",
    "arrival": "arrival",
    "file": "file",
}


@dataclass(frozen=True)
class BoxFacts:
    """What every alert of this box says."""

    device_id: str
    model: ModelRef
    software_version: str
    blur: bool
    sealer: Sealer | None = None


@dataclass(frozen=True, slots=True)
class _WaitingClip:
    alert_id: str
    start: datetime
    end: datetime


class AlertRecorder:
    """Evidence and messages of one camera."""

    def __init__(
        self,
        camera: CameraConfig,
        box: BoxFacts,
        ring: Callable[[], PacketRing | None],
        stills: StillStore,
        outbox: Outbox,
        ledger: AlertLedger,
        work: Path,
        log: Any,
        clips: ClipMaker | None = None,
        references: ReferenceStore | None = None,
        floor: ScoreFloor | None = None,
    ) -> None:
        """Without `clips` a maker of this camera's own is used, which has no detector and blurs the whole clip.

        `references` keeps the look of each alert's place for a later inspection; `floor` holds the least scores.
        """
        self._references, self._floor = references, floor
        self._camera, self._box, self._ring = camera, box, ring
        self._stills, self._outbox, self._ledger, self._work, self._log = stills, outbox, ledger, work, log
        self._maker = clips or ClipMaker(box.blur, lambda: None, inline=True)
        self._owed: dict[str, tuple[SiteView, Frame, Detections, int, int]] = {}
        self._owed_clear: dict[str, tuple[SiteView, Frame]] = {}
        self._owed_next = datetime.min.replace(tzinfo=UTC)
        self._clips: list[_WaitingClip] = []
        self._cutting: list[tuple[_WaitingClip, Future[ClipInfo]]] = []
        # The stream's thread ends clips while the detector's thread clears alerts: one revision each.
        self._lock = threading.RLock()
        work.mkdir(parents=True, exist_ok=True)

    def follow(self, camera: CameraConfig) -> None:
        """Take up another configuration of the camera."""
        self._camera = camera

    def record(self, change: Change, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Record one change; `detections` are in pixels of a `width` x `height` picture of the frame."""
        site = change.site
        if change.kind in {"seen", "candidate"}:
            self._keep(site.site_id, "first", frame, detections, width, height, site)
        elif change.kind == "confirmed" and self._ledger.get(site.site_id) is None:
            # Confirmed by the first frame after a start, it was sent by `resume` already, with its first pictures.
            self._open_or_owe(site, frame, detections, width, height)
        elif change.kind == "cleared":
            self._close_or_owe(site, frame)
        elif change.kind == "dropped":
            self._stills.forget(site.site_id)

    def middle(self, site: SiteView, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Keep the middle picture once half of the confirm time has passed."""
        if site.confirmed_at is None and site.dwell_s >= site.rule.confirm_s / 2:
            self._keep(site.site_id, "middle", frame, detections, width, height, site)

    def tick(self, now: datetime, final: bool = False, patience_s: float = 60.0) -> None:
        """Cut the clips whose last second is in the ring; `final` cuts what there is, within `patience_s` in all."""
        if (self._owed or self._owed_clear) and (final or now >= self._owed_next):
            self._owed_next = now + timedelta(seconds=5)
            for owed in list(self._owed.values()):
                self._open_or_owe(*owed)
            for owed_clear in list(self._owed_clear.values()):
                self._close_or_owe(*owed_clear)
        ring, until = self._ring(), time.monotonic() + patience_s
        for waiting in [c for c in self._clips if final or now >= c.end + timedelta(seconds=0.5)]:
            if ring is not None and (self._maker.free or final):
                self._clips.remove(waiting)
                path = self._work / f"{waiting.alert_id}.mp4"
                future = self._maker.cut(ring, waiting.start, waiting.end, path, self._camera.masks)
                self._cutting.append((waiting, future))
        for waiting, future in [c for c in self._cutting if final or c[1].done()]:
            self._cutting.remove((waiting, future))
            self._add_clip(waiting.alert_id, future, max(0.0, until - time.monotonic()))

    def resume(
        self, sites: list[SiteView], frame: Frame, detections: Detections, width: int, height: int
    ) -> None:
        """After a restart: send what was confirmed on disk but never reached the outbox."""
        for site in sites:
            if site.confirmed_at is None or self._ledger.get(site.site_id) is not None:
                continue
            if not self._below_floor(site, frame.meta.captured_at):
                self._open(site, frame, detections, width, height)

    def _open_or_owe(
        self, site: SiteView, frame: Frame, detections: Detections, width: int, height: int
    ) -> None:
        if self._below_floor(site, frame.meta.captured_at):
            return
        try:
            self._open(site, frame, detections, width, height)
            self._owed.pop(site.site_id, None)
        except (OSError, sqlite3.Error, OutboxFullError) as exc:
            # A full disk or a locked file: the alert waits in memory, and on disk as a confirmed site without an alert.
            if site.site_id in self._owed or len(self._owed) < MAX_OWED:
                self._owed[site.site_id] = (site, frame, detections, width, height)
            self._log.error(
                "alert.waits", alert=site.site_id, owed=len(self._owed), reason=f"{type(exc).__name__}: {exc}"
            )

    def _below_floor(self, site: SiteView, at: datetime) -> bool:
        """True when a person has set a higher least score for this camera, class and hour."""
        if self._floor is None or site.score >= self._floor.least(self._camera.id, site.issue, at):
            return False
        self._floor.held_back += 1
        self._log.info(
            "alert.held_back", site=site.site_id, camera=self._camera.id, issue=site.issue.value,
            score=round(site.score, 3),
        )  # fmt: skip
        return True

    def _close_or_owe(self, site: SiteView, frame: Frame) -> None:
        if site.site_id in self._owed:
            # Opened and cleared while the disk was full: the opening goes first, this comes again after it.
            self._owed_clear[site.site_id] = (site, frame)
            return
        try:
            with self._lock:
                self._close(site, frame)
            self._owed_clear.pop(site.site_id, None)
        except (OSError, sqlite3.Error, OutboxFullError) as exc:
            self._owed_clear[site.site_id] = (site, frame)
            self._log.error("alert.waits", alert=site.site_id, reason=f"{type(exc).__name__}: {exc}")
            while len(self._owed_clear) > MAX_OWED:
                del self._owed_clear[next(iter(self._owed_clear))]

    def _keep(
        self,
        site_id: str,
        name: str,
        frame: Frame,
        detections: Detections,
        width: int,
        height: int,
        site: SiteView,
    ) -> None:
        if not self._stills.has(site_id, name):
            self._stills.put(site_id, name, self._still(frame, detections, width, height, site))

    def _still(self, frame: Frame, detections: Detections, width: int, height: int, site: SiteView) -> Still:
        picture = self._clean(frame.rgb(), detections, width, height, site)
        return Still(pictures.jpeg(picture), frame.meta.captured_at, picture.shape[1], picture.shape[0])

    def _clean(
        self, picture: pictures.Picture, detections: Detections, width: int, height: int, site: SiteView
    ) -> pictures.Picture:
        if not self._box.blur:
            return picture
        found = sensitive_of(detections, width, height)
        return blur(picture, found, site.box, subject_plate=self._box.sealer is not None)

    def _open(self, site: SiteView, frame: Frame, detections: Detections, width: int, height: int) -> None:
        raw = frame.rgb()
        picture = self._clean(raw, detections, width, height, site)
        at = frame.meta.captured_at
        shots: list[tuple[EvidenceKind, Still]] = []
        drawn = pictures.context(picture, site.zone.polygon, site.box)
        shots.append((EvidenceKind.CONTEXT, Still(pictures.jpeg(drawn), at, drawn.shape[1], drawn.shape[0])))
        for kind in (EvidenceKind.FIRST, EvidenceKind.MIDDLE):
            still = self._stills.get(site.site_id, kind.value)
            if still is not None:
                shots.append((kind, still))
        shots.append(
            (EvidenceKind.CONFIRM, Still(pictures.jpeg(picture), at, picture.shape[1], picture.shape[0]))
        )
        part = pictures.crop(picture, site.box)
        shots.append((EvidenceKind.CROP, Still(pictures.jpeg(part), at, part.shape[1], part.shape[0])))
        items = tuple(self._file(kind, still) for kind, still in shots)
        if self._box.sealer is not None:
            items = (*items, self._seal(self._box.sealer, raw, at))
        alert = self._alert(site, frame, items)
        self._send(alert)
        if self._references is not None:
            height = max(2, round(REFERENCE_WIDTH * frame.meta.height / frame.meta.width))
            self._references.put(alert.id, frame.luma(REFERENCE_WIDTH, height))
        self._log.info(
            "alert.opened",
            alert=alert.id,
            camera=alert.camera_id,
            issue=alert.issue.value,
            dwell_s=round(site.dwell_s, 1),
        )
        clip = self._camera.clip
        if len(self._clips) < MAX_WAITING_CLIPS:
            self._clips.append(
                _WaitingClip(
                    alert.id, at - timedelta(seconds=clip.pre_s), at + timedelta(seconds=clip.post_s)
                )
            )
        self._stills.forget(site.site_id)

    def _file(self, kind: EvidenceKind, still: Still) -> EvidenceItem:
        digest = self._outbox.put_file(still.jpeg, Priority.PICTURE, "image/jpeg", still.at.timestamp())
        return EvidenceItem(
            kind=kind,
            sha256=digest,
            media_type="image/jpeg",
            size=len(still.jpeg),
            captured_at=still.at,
            width=still.width,
            height=still.height,
            blurred=self._box.blur,
        )

    def _seal(self, sealer: Sealer, raw: pictures.Picture, at: datetime) -> EvidenceItem:
        sealed = sealer.seal(pictures.jpeg(raw))
        media_type = "application/octet-stream"
        digest = self._outbox.put_file(sealed, Priority.SEALED, media_type, at.timestamp())
        return EvidenceItem(
            kind=EvidenceKind.SEALED, sha256=digest, media_type=media_type, size=len(sealed), captured_at=at
        )

    def _alert(self, site: SiteView, frame: Frame, items: tuple[EvidenceItem, ...]) -> Alert:
        meta = frame.meta
        confirmed = site.confirmed_at or meta.captured_at
        # The wall clock may have been stepped during the dwell; the order of events is known all the same.
        candidate = min(site.candidate_at or confirmed, confirmed)
        return Alert(
            id=site.site_id,
            stage=AlertStage.OPENED,
            issue=site.issue,
            camera_id=self._camera.id,
            camera_name=self._camera.name,
            lens_preset=self._camera.lens_preset,
            device_id=self._box.device_id,
            occurred_at=meta.captured_at,
            place=site.place,
            key=PlaceKey(site_id=site.site_id, ground_cell=site.ground_cell),
            box=site.box,
            zone=site.zone,
            rule=site.rule,
            model=self._box.model.model_copy(
                update={"class_name": site.class_name, "score": round(site.score, 4)}
            ),
            dwell=DwellFacts(
                first_seen_at=min(site.first_seen_at, candidate),
                candidate_at=candidate,
                confirmed_at=confirmed,
                dwell_s=round(site.dwell_s, 2),
                samples=site.samples,
                clock_source=_CLOCKS[meta.clock_source],
                clock_offset_s=meta.clock_offset_s,
            ),
            count=site.count,
            frame_width=meta.width,
            frame_height=meta.height,
            evidence=items,
            software_version=self._box.software_version,
            note=site.note[:1000],
            timeline=_timeline(site),
        )

    def _close(self, site: SiteView, frame: Frame) -> None:
        alert = self._ledger.get(site.site_id)
        if alert is None or alert.stage is AlertStage.CLEARED:
            return
        dwell = alert.dwell.model_copy(
            update={"dwell_s": round(site.dwell_s, 2), "samples": max(site.samples, 1)}
        )
        changes: dict[str, Any] = {
            "stage": AlertStage.CLEARED,
            "revision": alert.revision + 1,
            "dwell": dwell,
            "note": site.note[:1000],
            "timeline": _timeline(site),
        }
        self._send(alert.model_copy(update={**changes, "occurred_at": frame.meta.captured_at}))
        self._log.info(
            "alert.cleared", alert=alert.id, camera=alert.camera_id, dwell_s=round(site.dwell_s, 1)
        )

    def _add_clip(self, alert_id: str, future: Future[ClipInfo], patience_s: float) -> None:
        try:
            info = future.result(patience_s)
            digest = self._outbox.put_file(info.path, Priority.CLIP, "video/mp4", info.start.timestamp())
        except (NoPicturesError, OSError, ValueError, TimeoutError, CancelledError, OutboxFullError) as exc:
            self._log.warning("clip.missing", alert=alert_id, reason=f"{type(exc).__name__}: {exc}")
            with contextlib.suppress(FileNotFoundError):
                (self._work / f"{alert_id}.mp4").unlink()
            return
        item = EvidenceItem(
            kind=EvidenceKind.CLIP,
            sha256=digest,
            media_type="video/mp4",
            size=info.size,
            captured_at=info.start,
            width=info.width,
            height=info.height,
            duration_s=round(info.duration_s, 2),
            blurred=self._maker.blurred,
        )
        with self._lock:
            self._revise_with(alert_id, item)
        self._log.info("alert.clip", alert=alert_id, seconds=round(info.duration_s, 1), bytes=info.size)

    def _revise_with(self, alert_id: str, item: EvidenceItem) -> None:
        alert = self._ledger.get(alert_id)
        if alert is None:
            return
        stage = AlertStage.UPDATED if alert.stage is AlertStage.OPENED else alert.stage
        changes = {"stage": stage, "revision": alert.revision + 1, "evidence": (*alert.evidence, item)}
        self._send(alert.model_copy(update=changes))

    def _send(self, alert: Alert) -> None:
        # The message is in the outbox before the ledger knows it: a crash between the two sends the same revision again.
        self._outbox.put_alert(AlertEvent.of(alert, new_id(), alert.occurred_at))
        self._ledger.put(alert, alert.occurred_at.timestamp())


def _timeline(site: SiteView) -> tuple[TimelineStep, ...]:
    return tuple(TimelineStep(at=at, words=words[:300]) for at, words in site.timeline[-MAX_STEPS:])
