"""What the box does with the centre's answer to a heartbeat: orders, least scores, call-outs, checks; and its reports back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
from pydantic import ValidationError

from camera_adapters.speaker import Speaker, SpeakerError
from contract import CalloutOrder, CalloutReport, DesiredState
from edge.answers import refuses
from edge.checks import Checks
from edge.orders import OrderBook
from edge.score_floor import ScoreFloor
from edge.uplink import FINAL

MAX_CALLOUTS = 64


class CentreAgent:
    """Obeys one box's desired state. Called by the heartbeat's thread alone."""

    def __init__(
        self, device_id: str, book: OrderBook, floor: ScoreFloor, speakers: dict[str, Speaker],
        client: httpx.Client, now: Callable[[], datetime], log: Any, checks: Checks | None = None,
    ) -> None:  # fmt: skip
        self._device, self._book, self._floor, self._speakers = device_id, book, floor, speakers
        self._client, self._now, self._log = client, now, log
        self._checks = checks
        # What was played is not played again when the report of it was lost on the way.
        self._called: OrderedDict[str, CalloutReport] = OrderedDict()

    def use(self, speakers: dict[str, Speaker]) -> None:
        """Take up other loudspeakers."""
        self._speakers = speakers

    def obey(self, answer: httpx.Response) -> DesiredState | None:
        """Take the answer to a heartbeat and return it; what this version does not know is passed over."""
        try:
            told: dict[str, Any] = answer.json()
            wanted = DesiredState.model_validate(
                {k: v for k, v in told.items() if k in DesiredState.model_fields}
            )
        except (ValueError, AttributeError, ValidationError) as exc:
            self._log.warning("desired.unreadable", status=answer.status_code, reason=type(exc).__name__)
            return None
        if self._floor.set(wanted.thresholds):
            self._log.info("thresholds.changed", count=len(wanted.thresholds))
        self._book.accept(wanted.inspections, self._now())
        for order in wanted.callouts:
            self._call(order)
        if self._checks is not None:
            self._checks.accept(wanted.checks)
        self.report()
        return wanted

    def report(self) -> None:
        """Send the finished inspections; one the centre refuses for good is dropped with a word in the log."""
        for report in self._book.reports():
            if self._send(f"/inspections/{report.order_id}/report", report.wire()):
                self._book.told(report.order_id)
        if self._checks is None:
            return
        for answer in self._checks.reports():
            if self._send(f"/checks/{answer.order_id}/report", answer.wire()):
                self._checks.told(answer.order_id)

    def _call(self, order: CalloutOrder) -> None:
        report = self._called.get(order.id)
        if report is None:
            report = self._play(order)
            self._called[order.id] = report
            while len(self._called) > MAX_CALLOUTS:
                self._called.popitem(last=False)
        self._send(f"/callouts/{order.id}/report", report.wire())

    def _play(self, order: CalloutOrder) -> CalloutReport:
        speaker, now, reason = self._speakers.get(order.camera_id), self._now(), ""
        if order.expires_at <= now:
            reason = "the order came too late"
        elif speaker is None:
            reason = "this camera has no loudspeaker"
        else:
            try:
                speaker.play(order.message)
            except SpeakerError as exc:
                reason = str(exc)[:300]
        self._log.info(
            "callout.played" if not reason else "callout.failed", order=order.id, camera=order.camera_id,
            message=order.message, reason=reason,
        )  # fmt: skip
        return CalloutReport(
            order_id=order.id, camera_id=order.camera_id, device_id=self._device, played=not reason,
            reason=reason, at=self._now(),
        )  # fmt: skip

    def _send(self, path: str, body: dict[str, Any]) -> bool:
        try:
            answer = self._client.post(path, json=body)
        except httpx.HTTPError as exc:
            self._log.debug("report.waits", reason=type(exc).__name__)
            return False
        if answer.status_code == httpx.codes.NO_CONTENT:
            return True
        unknown = answer.status_code == httpx.codes.NOT_FOUND and refuses(answer)
        gone = answer.status_code in FINAL or unknown
        if gone:
            self._log.error("report.refused", path=path, status=answer.status_code, answer=answer.text[:200])
        return gone
