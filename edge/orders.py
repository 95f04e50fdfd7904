"""Orders of the centre on the box's disk: accepted once, kept over a restart, reported until the centre has heard."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from contract import InspectionOrder, InspectionReport, InspectionResult

MAX_ORDERS = 64


class OrderBook:
    """Inspections that wait for looks, and reports that wait for the centre. Safe for several threads."""

    def __init__(self, folder: Path, device_id: str, cameras: Iterable[str]) -> None:
        self._orders, self._reports = folder / "waiting", folder / "reports"
        self._device, self._cameras = device_id, frozenset(cameras)
        for path in (self._orders, self._reports):
            path.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._waiting: dict[str, InspectionOrder] = {}
        for path in sorted(self._orders.glob("*.json")):
            try:
                order = InspectionOrder.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                path.unlink(missing_ok=True)  # torn by a power cut; the centre sends it again
                continue
            self._waiting[order.id] = order

    def serve(self, cameras: Iterable[str]) -> None:
        """Take up another set of cameras; what was ordered for one that is gone runs out by its own time."""
        with self._lock:
            self._cameras = frozenset(cameras)

    def accept(self, orders: Iterable[InspectionOrder], now: datetime) -> None:
        """Take new orders; those that are known, or finished and not yet acknowledged, change nothing."""
        for order in orders:
            with self._lock:
                known = order.id in self._waiting or (self._reports / f"{order.id}.json").exists()
                if known or len(self._waiting) >= MAX_ORDERS:
                    continue
                if order.camera_id in self._cameras:
                    _write(self._orders / f"{order.id}.json", order.model_dump_json())
                    self._waiting[order.id] = order
                    continue
            self._fail(order, f"this box has no camera {order.camera_id}", now)
        self._expire(now)

    def of(self, camera_id: str) -> list[InspectionOrder]:
        """Return the orders of one camera, the oldest first."""
        with self._lock:
            return sorted((o for o in self._waiting.values() if o.camera_id == camera_id), key=lambda o: o.id)

    def finish(self, report: InspectionReport) -> None:
        """Write a report down and forget its order."""
        _write(self._reports / f"{report.order_id}.json", report.model_dump_json())
        with self._lock:
            self._waiting.pop(report.order_id, None)
        (self._orders / f"{report.order_id}.json").unlink(missing_ok=True)

    def reports(self) -> list[InspectionReport]:
        """Return what the centre has not acknowledged."""
        found = []
        for path in sorted(self._reports.glob("*.json"))[:MAX_ORDERS]:
            try:
                found.append(InspectionReport.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError):
                path.unlink(missing_ok=True)
        return found

    def told(self, order_id: str) -> None:
        """Forget a report that the centre has taken or refused for good."""
        (self._reports / f"{order_id}.json").unlink(missing_ok=True)

    def _expire(self, now: datetime) -> None:
        with self._lock:
            over = [o for o in self._waiting.values() if o.expires_at <= now]
        for order in over:
            self._fail(order, "no picture came in time", now)

    def _fail(self, order: InspectionOrder, reason: str, now: datetime) -> None:
        self.finish(
            InspectionReport(
                order_id=order.id, alert_id=order.alert_id, camera_id=order.camera_id, device_id=self._device,
                result=InspectionResult.INCONCLUSIVE, reason=reason, finished_at=now,
            )
        )  # fmt: skip


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
