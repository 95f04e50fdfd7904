"""From changes of sites to alerts in the outbox: evidence first, then the message, then the ledger.

The alert's id is its site's id, so that whatever is done twice after a crash is the same alert to the API.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from camera_adapters.frame import Frame
from camera_adapters.ring import NoPicturesError, PacketRing
from contract import (
    Alert,
    AlertEvent,
    AlertStage,
    DwellFacts,
    EvidenceItem,
    EvidenceKind,
    ModelRef,
    PlaceKey,
    new_id,
)
from edge import pictures
from edge.config import CameraConfig
from edge.judge import Change, SiteView
from edge.ledger import AlertLedger
from edge.outbox import Outbox, Priority
from edge.stills import Still, StillStore
from models.detections import Detections

MAX_WAITING_CLIPS = 64
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
    ) -> None:
        self._camera, self._box, self._ring = camera, box, ring
        self._stills, self._outbox, self._ledger, self._work, self._log = stills, outbox, ledger, work, log
        self._clips: list[_WaitingClip] = []
        work.mkdir(parents=True, exist_ok=True)

    def record(self, change: Change, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Record one change; `detections` are in pixels of a `width` x `height` picture of the frame."""
        site = change.site
        if change.kind in {"seen", "candidate"}:
            self._keep(site.site_id, "first", frame, detections, width, height, site)
        elif change.kind == "confirmed":
            self._open(site, frame, detections, width, height)
        elif change.kind == "cleared":
            self._close(site, frame)
        elif change.kind == "dropped":
            self._stills.forget(site.site_id)

    def middle(self, site: SiteView, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Keep the middle picture once half of the confirm time has passed."""
        if site.confirmed_at is None and site.dwell_s >= site.rule.confirm_s / 2:
            self._keep(site.site_id, "middle", frame, detections, width, height, site)

    def tick(self, now: datetime, final: bool = False) -> None:
        """Cut the clips whose last second is in the ring; `final` cuts what there is."""
        for waiting in [c for c in self._clips if final or now >= c.end + timedelta(seconds=0.5)]:
            self._clips.remove(waiting)
            self._cut(waiting)

    def resume(
        self, sites: list[SiteView], frame: Frame, detections: Detections, width: int, height: int
    ) -> None:
        """After a restart: send what was confirmed on disk but never reached the outbox."""
        for site in sites:
            if site.confirmed_at is not None and self._ledger.get(site.site_id) is None:
                self._open(site, frame, detections, width, height)

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
        picture = frame.rgb()
        if self._box.blur:
            pictures.blur_people(picture, detections, width, height, site.box)
        return Still(pictures.jpeg(picture), frame.meta.captured_at, picture.shape[1], picture.shape[0])

    def _open(self, site: SiteView, frame: Frame, detections: Detections, width: int, height: int) -> None:
        picture = frame.rgb()
        if self._box.blur:
            pictures.blur_people(picture, detections, width, height, site.box)
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
        alert = self._alert(site, frame, items)
        self._send(alert)
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
        }
        self._send(alert.model_copy(update={**changes, "occurred_at": frame.meta.captured_at}))
        self._log.info(
            "alert.cleared", alert=alert.id, camera=alert.camera_id, dwell_s=round(site.dwell_s, 1)
        )

    def _cut(self, waiting: _WaitingClip) -> None:
        alert, ring = self._ledger.get(waiting.alert_id), self._ring()
        if alert is None or ring is None:
            return
        path = self._work / f"{waiting.alert_id}.mp4"
        try:
            info = ring.clip(waiting.start, waiting.end, path)
            digest = self._outbox.put_file(path, Priority.CLIP, "video/mp4", info.start.timestamp())
        except (NoPicturesError, OSError, ValueError) as exc:
            self._log.warning("clip.missing", alert=waiting.alert_id, reason=f"{type(exc).__name__}: {exc}")
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
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
        )
        stage = AlertStage.UPDATED if alert.stage is AlertStage.OPENED else alert.stage
        changes = {"stage": stage, "revision": alert.revision + 1, "evidence": (*alert.evidence, item)}
        self._send(alert.model_copy(update=changes))
        self._log.info("alert.clip", alert=alert.id, seconds=round(info.duration_s, 1), bytes=info.size)

    def _send(self, alert: Alert) -> None:
        # The message is in the outbox before the ledger knows it: a crash between the two sends the same revision again.
        self._outbox.put_alert(AlertEvent.of(alert, new_id(), alert.occurred_at))
        self._ledger.put(alert, alert.occurred_at.timestamp())
