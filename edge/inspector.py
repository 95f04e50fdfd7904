"""One camera's inspections: when a look is due, the look itself, and the before-and-after crop at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camera_adapters.frame import Frame
from contract import (
    EvidenceItem,
    EvidenceKind,
    InspectionLook,
    InspectionOrder,
    InspectionReport,
    InspectionResult,
)
from edge import pictures
from edge.inspection import SILENT, Subject, conclude, look
from edge.main_pictures import MainPictures, Shown
from edge.orders import OrderBook
from edge.outbox import Outbox, OutboxFullError, Priority
from edge.privacy import blur, sensitive_of
from edge.recorder import BoxFacts
from edge.references import ReferenceStore
from edge.scene import things_of
from models.detections import Detections

GREY_WIDTH = 320


@dataclass
class _Running:
    order: InspectionOrder
    subject: Subject | None
    looks: list[InspectionLook] = field(default_factory=list)
    next_s: float = float("-inf")

    @property
    def usable(self) -> int:
        return sum(x.found not in SILENT for x in self.looks)


class Inspector:
    """Works off the orders of one camera. `due` is called by the stream's thread, `look` by the detector's."""

    def __init__(
        self, camera_id: str, box: BoxFacts, book: OrderBook, references: ReferenceStore, outbox: Outbox, log: Any,
        main: MainPictures | None = None,
    ) -> None:  # fmt: skip
        """`main` finds the main stream's pictures, for a camera that is judged by its sub stream."""
        self._main = main
        self._camera_id, self._box, self._book = camera_id, box, book
        self._references, self._outbox, self._log = references, outbox, log
        self._running: dict[str, _Running] = {}

    def due(self, frame: Frame) -> bool:
        """True when an order wants a look at this frame."""
        return any(self._wants(o, frame) for o in self._book.of(self._camera_id))

    def look(self, frame: Frame, detections: Detections, width: int, height: int) -> None:
        """Take the looks that are due; `detections` are in pixels of a `width` x `height` picture of the frame."""
        orders = self._book.of(self._camera_id)
        self._running = {o.id: self._running[o.id] for o in orders if o.id in self._running}
        for order in orders:
            if self._wants(order, frame):
                running = self._running.setdefault(order.id, _Running(order, self._subject(order)))
                self._step(running, frame, detections, width, height)

    def _wants(self, order: InspectionOrder, frame: Frame) -> bool:
        running = self._running.get(order.id)
        started = running is not None and frame.meta.mono_s >= running.next_s
        return started or (running is None and frame.meta.captured_at >= order.not_before)

    def _subject(self, order: InspectionOrder) -> Subject | None:
        grey = self._references.get(order.alert_id)
        return None if grey is None else Subject.of(order.box, order.issue, grey)

    def _step(self, run: _Running, frame: Frame, detections: Detections, width: int, height: int) -> None:
        if run.subject is None:
            self._finish(run, frame, None, "the box has kept no picture of this alert")
            return
        shape = run.subject.grey.shape
        grey: NDArray[np.uint8] = frame.luma(shape[1], shape[0])
        things, _ = things_of(detections, width, height, self._box.roles)
        run.looks.append(look(run.subject, grey, things, frame.meta.captured_at))
        run.next_s = frame.meta.mono_s + run.order.span_s / (run.order.samples - 1)
        # Bad views and buses in front are looked past for as long again, not for ever.
        if run.usable >= run.order.samples or len(run.looks) >= 2 * run.order.samples:
            sensitive = (detections, width, height)
            self._finish(run, frame, sensitive, "")

    def _finish(
        self, run: _Running, frame: Frame, seen: tuple[Detections, int, int] | None, reason: str
    ) -> None:
        order = run.order
        result, told = conclude(run.looks) if seen else (InspectionResult.INCONCLUSIVE, reason)
        after = whole = None
        if seen is not None:
            try:
                after, whole = self._pictures(order, frame, *seen)
            except (OSError, OutboxFullError) as exc:
                self._log.warning(
                    "inspection.without_pictures", order=order.id, reason=f"{type(exc).__name__}: {exc}"
                )
        self._book.finish(
            InspectionReport(
                order_id=order.id, alert_id=order.alert_id, camera_id=order.camera_id,
                device_id=self._box.device_id, result=result, reason=told[:300],
                finished_at=frame.meta.captured_at, looks=tuple(run.looks), after=after, context=whole,
            )
        )  # fmt: skip
        self._running.pop(order.id, None)
        self._log.info(
            "inspection.done", order=order.id, camera=order.camera_id, result=result.value, reason=told
        )

    def _pictures(
        self, order: InspectionOrder, frame: Frame, detections: Detections, width: int, height: int
    ) -> tuple[EvidenceItem, EvidenceItem]:
        shown = Shown(frame) if self._main is None else self._main.near(frame)
        picture = shown.frame.rgb()
        if self._box.blur:
            found = sensitive_of(detections, width, height, self._box.roles) | shown.found
            picture = blur(picture, found, order.box, subject_plate=self._box.sealer is not None)
        crop = pictures.crop(picture, order.box)
        return self._file(EvidenceKind.AFTER, crop, shown), self._file(EvidenceKind.CONTEXT, picture, shown)

    def _file(self, kind: EvidenceKind, picture: pictures.Picture, shown: Shown) -> EvidenceItem:
        meta = shown.frame.meta
        data, at = pictures.jpeg(picture), meta.captured_at
        digest = self._outbox.put_file(data, Priority.PICTURE, "image/jpeg", at.timestamp())
        return EvidenceItem(
            kind=kind, sha256=digest, media_type="image/jpeg", size=len(data), captured_at=at,
            width=picture.shape[1], height=picture.shape[0], blurred=self._box.blur,
            stream=meta.role, note=shown.why,
        )  # fmt: skip
