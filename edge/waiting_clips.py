"""Clips of alerts whose last seconds are still to come: cut from the ring when they have, put into the outbox.

All waiting is by the monotonic clock: a wall clock that is stepped meanwhile neither delays a clip nor tears it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from camera_adapters.frame import FrameMeta, Role
from camera_adapters.ring import ClipInfo, NoPicturesError, PacketRing
from contract import EvidenceItem, EvidenceKind
from edge.config import CameraConfig
from edge.evidence_clip import ClipMaker
from edge.main_pictures import MainPictures
from edge.outbox import Outbox, OutboxFullError, Priority

MAX_WAITING_CLIPS = 64
# The packet of the last second has come when one is this much younger.
SPARE_S = 0.5
AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    alert_id: str
    at: datetime
    mono_s: float


class WaitingClips:
    """The clips of one camera. `add` is told of each that is done: the alert's id and the evidence."""

    def __init__(
        self,
        camera: CameraConfig,
        ring: Callable[[], PacketRing | None],
        maker: ClipMaker,
        work: Path,
        outbox: Outbox,
        log: Any,
        add: Callable[[str, EvidenceItem], None],
        main: MainPictures | None = None,
    ) -> None:
        """`main` chooses the ring for a camera of two streams."""
        self._main = main
        self._camera, self._ring, self._maker, self._work = camera, ring, maker, work
        self._outbox, self._log, self._add = outbox, log, add
        self._waiting: list[_Waiting] = []
        self._cutting: list[tuple[_Waiting, Future[ClipInfo], Role]] = []
        self._ready: list[tuple[str, ClipInfo, Role]] = []
        self._again = 0.0
        work.mkdir(parents=True, exist_ok=True)
        for left in work.iterdir():
            # Of a start that was ended in between; whatever was whole is in the outbox.
            left.unlink()

    def follow(self, camera: CameraConfig) -> None:
        """Take up another configuration of the camera."""
        self._camera = camera

    def expect(self, alert_id: str, meta: FrameMeta) -> None:
        """Cut a clip round this moment once its last second is in the ring."""
        if len(self._waiting) + len(self._ready) < MAX_WAITING_CLIPS:
            self._waiting.append(_Waiting(alert_id, meta.captured_at, meta.mono_s))

    def tick(self, now: datetime, final: bool, patience_s: float, down: bool = False) -> None:
        """Cut what is due; `final` cuts what there is, within `patience_s` in all, `down` too, but waits for nothing."""
        until = time.monotonic() + patience_s
        for waiting in [w for w in self._waiting if final or down or self._due(w, now)]:
            ring, role = self._ring_of(waiting)
            if ring is not None and (self._maker.free or final):
                self._waiting.remove(waiting)
                self._cutting.append((waiting, self._cut(waiting, ring), role))
        for cutting in [c for c in self._cutting if final or c[1].done()]:
            self._cutting.remove(cutting)
            self._collect(*cutting, max(0.0, until - time.monotonic()))
        if self._ready and (final or time.monotonic() >= self._again):
            self._again = time.monotonic() + AGAIN_S
            self._ready = [ready for ready in self._ready if not self._hand_over(*ready)]

    def _ring_of(self, waiting: _Waiting) -> tuple[PacketRing | None, Role]:
        if self._main is None:
            return self._ring(), "main"
        clip = self._camera.clip
        return self._main.ring(waiting.at, waiting.mono_s, clip.pre_s, clip.post_s)

    def _due(self, waiting: _Waiting, now: datetime) -> bool:
        ring = self._ring()
        newest = None if ring is None else ring.newest_mono()
        if self._main is not None:
            newest = self._main.newest_mono()
        since = (now - waiting.at).total_seconds() if newest is None else newest - waiting.mono_s
        return since >= self._camera.clip.post_s + SPARE_S

    def _cut(self, waiting: _Waiting, ring: PacketRing) -> Future[ClipInfo]:
        clip = self._camera.clip
        begin = waiting.at - timedelta(seconds=clip.pre_s)
        end = waiting.at + timedelta(seconds=clip.post_s)
        path = self._work / f"{waiting.alert_id}.mp4"
        timed = ring.timed_by(waiting.at, waiting.mono_s)
        return self._maker.cut(timed, begin, end, path, self._camera.cuts, waiting.at)

    def _collect(self, waiting: _Waiting, future: Future[ClipInfo], role: Role, patience_s: float) -> None:
        try:
            self._ready.append((waiting.alert_id, future.result(patience_s), role))
            self._again = 0.0
        except (NoPicturesError, OSError, ValueError, TimeoutError, CancelledError) as exc:
            self._miss(waiting.alert_id, exc)

    def _hand_over(self, alert_id: str, info: ClipInfo, role: Role) -> bool:
        """Queue a clip and tell of it; False when the disk or a lock is in the way, and it is to be tried again."""
        try:
            if info.path.exists():
                self._outbox.put_file(info.path, Priority.CLIP, "video/mp4", info.start.timestamp())
            self._add(alert_id, self._item(info, role))
        except OutboxFullError as exc:
            self._miss(alert_id, exc)
        except (OSError, sqlite3.Error) as exc:
            self._log.warning("clip.waits", alert=alert_id, reason=f"{type(exc).__name__}: {exc}")
            return False
        else:
            self._log.info("alert.clip", alert=alert_id, seconds=round(info.duration_s, 1), bytes=info.size)
        return True

    def _miss(self, alert_id: str, reason: BaseException) -> None:
        self._log.warning("clip.missing", alert=alert_id, reason=f"{type(reason).__name__}: {reason}")
        with contextlib.suppress(OSError):
            (self._work / f"{alert_id}.mp4").unlink()

    def _item(self, info: ClipInfo, role: Role) -> EvidenceItem:
        return EvidenceItem(
            kind=EvidenceKind.CLIP,
            sha256=info.sha256,
            media_type="video/mp4",
            size=info.size,
            captured_at=info.start,
            width=info.width,
            height=info.height,
            duration_s=round(info.duration_s, 2),
            stream=role,
            note="main stream: it holds less of that time" if role == "sub" else "",
            blurred=self._maker.blurred,
        )
