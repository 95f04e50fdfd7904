"""From changes of sites to alerts in the outbox: evidence first, then the message, then the ledger.

The alert's id is its site's id, so that whatever is done twice after a crash is the same alert to the API.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from camera_adapters.frame import Frame
from camera_adapters.ring import PacketRing
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
from edge.album import Album, Kept
from edge.config import CameraConfig
from edge.evidence_clip import ClipMaker
from edge.judge import Change, SiteView
from edge.ledger import AlertLedger
from edge.main_pictures import MainPictures, Shown
from edge.outbox import Outbox, OutboxFullError, Priority
from edge.privacy import Sealer, Sensitive, sensitive_of
from edge.references import ReferenceStore
from edge.score_floor import ScoreFloor
from edge.stills import Still, StillStore
from edge.trace import AlertTrace
from edge.trace import now as wall
from edge.waiting_clips import WaitingClips
from models.detections import Detections
from models.roles import Role

REFERENCE_WIDTH = 320
# Each holds a decoded picture; the rest is found again after a start.
MAX_OWED = 16
OWED_EVERY = timedelta(seconds=5)
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
    roles: Mapping[str, Role] = field(default_factory=dict)


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
        trace: AlertTrace | None = None,
        main: MainPictures | None = None,
    ) -> None:
        """Without `clips` a maker of this camera's own is used, which has no detector and blurs the whole clip.

        `references` keeps the look of each alert's place for a later inspection; `floor` holds the least scores.
        `main` finds the main stream's pictures, for a camera that is judged by its sub stream.
        """
        self._album = Album(stills, main, box.blur, box.sealer is not None, log)
        self._references, self._floor, self._trace = references, floor, trace or AlertTrace(None)
        self._camera, self._box = camera, box
        self._outbox, self._ledger, self._log = outbox, ledger, log
        maker = clips or ClipMaker(box.blur, lambda: None, inline=True)
        self._clips = WaitingClips(
            camera, ring, maker, work / camera.id, outbox, log, self._revise_with, main
        )
        self._owed: dict[str, tuple[SiteView, Frame, Shown, Sensitive]] = {}
        self._owed_clear: dict[str, tuple[SiteView, Frame]] = {}
        self._prepared: dict[str, Kept] = {}
        self._owed_next = datetime.min.replace(tzinfo=UTC) + OWED_EVERY
        # The stream's thread ends clips while the detector's thread clears alerts: one revision each.
        self._lock = threading.RLock()

    def follow(self, camera: CameraConfig) -> None:
        """Take up another configuration of the camera."""
        self._camera = camera
        self._clips.follow(camera)

    def record(self, change: Change, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Record one change; `detections` are in pixels of a `width` x `height` picture of the frame."""
        site, found = change.site, sensitive_of(detections, width, height, self._box.roles)
        if change.kind == "seen":
            self._album.first(site, frame, found)
        elif change.kind == "candidate":
            self._album.candidate(site, frame, found)
        elif change.kind == "confirmed":
            kept = self._prepared.pop(site.site_id, None)
            self._open_or_owe(site, frame, None if kept is None else kept.shown, found, kept)
        elif change.kind == "cleared":
            self._close_or_owe(site, frame)
        elif change.kind == "dropped":
            self._album.forget(site.site_id)

    def prepare(
        self, changes: Sequence[Change], frame: Frame, detections: Detections, width: int, height: int
    ) -> None:
        """Keep the picture of a confirmation on disk, synced, before the place is written down as confirmed.

        If the box is stopped before the alert is written, it is sent at the next start, when the place may be empty.
        """
        # Of a frame whose judgement failed in between.
        self._prepared.clear()
        for change in changes:
            if change.kind == "confirmed":
                found = sensitive_of(detections, width, height, self._box.roles)
                self._prepared[change.site.site_id] = self._album.confirmed(change.site, frame, found)

    def middle(self, site: SiteView, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Keep the middle picture once half of the confirm time has passed."""
        if site.confirmed_at is None and site.dwell_s >= site.rule.confirm_s / 2:
            self._album.middle(site, frame, sensitive_of(detections, width, height, self._box.roles))

    def tick(self, now: datetime, final: bool = False, patience_s: float = 60.0, down: bool = False) -> None:
        """Cut the clips whose last second is in the ring; see `Recorder` and `WaitingClips`."""
        # A clock that was set back must not make what is owed wait for the time that it lost.
        waits = self._owed_next - OWED_EVERY <= now < self._owed_next
        if (self._owed or self._owed_clear) and (final or not waits):
            self._owed_next = now + OWED_EVERY
            for owed in list(self._owed.values()):
                self._open_or_owe(*owed)
            for owed_clear in list(self._owed_clear.values()):
                self._close_or_owe(*owed_clear)
        self._clips.tick(now, final, patience_s, down)

    def resume(
        self, sites: list[SiteView], frame: Frame, detections: Detections, width: int, height: int
    ) -> bool:
        """After a start or another configuration: send what was confirmed and never reached the outbox, end what is no place now.

        Returns:
            False when the box's memory of its alerts could not be read: then it is to be called again.
        """
        try:
            orphans = [
                a for a in self._ledger.open_of(self._camera.id) if a.id not in {s.site_id for s in sites}
            ]
        except sqlite3.Error as exc:
            self._log.error("alerts.unread", camera=self._camera.id, reason=f"{type(exc).__name__}: {exc}")
            return False
        for site in sites:
            if site.confirmed_at is not None:
                self._open_or_owe(site, frame, None, sensitive_of(detections, width, height, self._box.roles))
        done = [self._end(alert, frame) for alert in orphans]
        return all(done)

    def _open_or_owe(
        self, site: SiteView, frame: Frame, shown: Shown | None, found: Sensitive, kept: Kept | None = None
    ) -> None:
        if self._below_floor(site, frame.meta.captured_at):
            self._owed.pop(site.site_id, None)
            return
        try:
            # What `resume` has sent may be confirmed by the same frame once more.
            if self._ledger.get(site.site_id) is None:
                # Looked for once, by the detector's thread: later the ring has moved on.
                shown = shown or self._album.shown(frame, site.dwell_s)
                self._open(site, frame, shown, found, kept)
            self._owed.pop(site.site_id, None)
        except (OSError, sqlite3.Error, OutboxFullError) as exc:
            # A full disk or a locked file: the alert waits in memory, and on disk as a confirmed site without an alert.
            if site.site_id in self._owed or len(self._owed) < MAX_OWED:
                self._owed[site.site_id] = (site, frame, shown or Shown(frame), found)
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

    def _open(self, site: SiteView, frame: Frame, shown: Shown, found: Sensitive, kept: Kept | None) -> None:
        began = wall()
        earlier = self._album.earlier(site, frame, shown)
        shown = shown if earlier else self._album.now(site, frame, shown)
        if earlier is not None:
            picture, confirm = pictures.read(earlier.jpeg), earlier
        elif kept is not None and kept.shown is shown:
            # Made a moment ago: neither cleaned nor encoded again.
            picture, confirm = kept.picture, kept.still
        else:
            picture = self._album.clean(shown, found, site.box)
            confirm = self._album.still(shown, picture)

        def shot(of: pictures.Picture) -> Still:
            return earlier.showing(of) if earlier else self._album.still(shown, of)

        # Cut out before anything is drawn; nobody needs the picture afterwards.
        subject = shot(pictures.crop(picture, site.box))
        drawn = shot(pictures.context(picture, site.zone.polygon, site.box))
        shots: list[tuple[EvidenceKind, Still]] = [(EvidenceKind.CONTEXT, drawn)]
        for kind in (EvidenceKind.FIRST, EvidenceKind.MIDDLE):
            still = self._album.get(site.site_id, kind.value)
            if still is not None:
                shots.append((kind, still))
        shots.append((EvidenceKind.CONFIRM, confirm))
        shots.append((EvidenceKind.CROP, subject))
        items = tuple(self._file(kind, still) for kind, still in shots)
        if self._box.sealer is not None and earlier is None:
            items = (*items, self._seal(self._box.sealer, shown))
        alert = self._alert(site, frame, shown, items)
        self._send(alert)
        self._trace.opened(alert, frame, began)
        self._remember_look(alert.id, frame)
        self._log.info(
            "alert.opened",
            alert=alert.id,
            camera=alert.camera_id,
            issue=alert.issue.value,
            dwell_s=round(site.dwell_s, 1),
            **({"evidence": shown.frame.meta.role, "reason": shown.why} if shown.why else {}),
        )
        self._clips.expect(alert.id, frame.meta)
        self._album.forget(site.site_id)

    def _remember_look(self, alert_id: str, frame: Frame) -> None:
        if self._references is None:
            return
        height = max(2, round(REFERENCE_WIDTH * frame.meta.height / frame.meta.width))
        try:
            self._references.put(alert_id, frame.luma(REFERENCE_WIDTH, height))
        except OSError as exc:
            self._log.warning("reference.missing", alert=alert_id, reason=f"{type(exc).__name__}: {exc}")

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
            stream=still.stream,
            note=still.note,
            blurred=self._box.blur,
        )

    def _seal(self, sealer: Sealer, shown: Shown) -> EvidenceItem:
        meta, sealed = shown.frame.meta, sealer.seal(pictures.jpeg(shown.frame.rgb()))
        at = meta.captured_at
        media_type = "application/octet-stream"
        digest = self._outbox.put_file(sealed, Priority.SEALED, media_type, at.timestamp())
        return EvidenceItem(
            kind=EvidenceKind.SEALED, sha256=digest, media_type=media_type, size=len(sealed), captured_at=at,
            stream=meta.role, note=shown.why,
        )  # fmt: skip

    def _alert(self, site: SiteView, frame: Frame, shown: Shown, items: tuple[EvidenceItem, ...]) -> Alert:
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
            frame_width=shown.frame.meta.width,
            frame_height=shown.frame.meta.height,
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

    def _end(self, alert: Alert, frame: Frame) -> bool:
        """Clear an alert whose place ended without its message: the box was stopped in between."""
        changes: dict[str, Any] = {
            "stage": AlertStage.CLEARED,
            "revision": alert.revision + 1,
            "occurred_at": frame.meta.captured_at,
            "note": "cleared: the box no longer knows the place (it was stopped in between, or its zone is gone)",
        }
        try:
            with self._lock:
                self._send(alert.model_copy(update=changes))
        except (OSError, sqlite3.Error, OutboxFullError) as exc:
            self._log.error("alert.waits", alert=alert.id, reason=f"{type(exc).__name__}: {exc}")
            return False
        self._log.info("alert.cleared", alert=alert.id, camera=alert.camera_id)
        return True

    def _revise_with(self, alert_id: str, item: EvidenceItem) -> None:
        with self._lock:
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
