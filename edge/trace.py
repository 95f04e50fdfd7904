"""What a box tells of an alert's way: the frame, detection, judgement, evidence, the outbox, each upload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from camera_adapters.frame import Frame
from contract import Alert
from contract.trace import HEADER, parent_of

if TYPE_CHECKING:
    from contract.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Detected:
    """When the detector took a frame up and let it go, wall clock, and with how many others at once."""

    began: datetime
    ended: datetime
    batch: int


_DETECTED: ContextVar[Detected | None] = ContextVar("curbwatch_detected", default=None)


@contextmanager
def during(detected: Detected) -> Iterator[None]:
    """Remember for what is judged within the block when its frame was detected."""
    token = _DETECTED.set(detected)
    try:
        yield
    finally:
        _DETECTED.reset(token)


def now() -> datetime:
    """Return the wall clock; spans are for people who compare machines."""
    return datetime.now(UTC)


def tracing_of(endpoint: str | None, device: str, version: str) -> Tracing | None:
    """Return where spans go, None without an endpoint.

    Raises:
        ValueError: an endpoint is given, and the extra `traces` is not installed.
    """
    if endpoint is None:
        return None
    try:
        from contract.tracing import Tracing

        return Tracing(endpoint, "curbwatch-edge", device, version)
    except ImportError as exc:
        raise ValueError("otlp_endpoint: needs `pip install curbwatch[traces]`") from exc


class AlertTrace:
    """The spans of an alert's opening."""

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing

    def opened(self, alert: Alert, frame: Frame, recording: datetime) -> None:
        """Write the spans from the confirming frame to the outbox. `recording`: when the evidence was begun."""
        tracing = self._tracing
        if tracing is None:
            return
        meta, done, seen = frame.meta, now(), _DETECTED.get()
        frame_facts = {
            "camera.id": alert.camera_id, "frame.seq": meta.seq, "frame.epoch": meta.epoch, "frame.width": meta.width,
            "frame.height": meta.height, "frame.captured_at": meta.captured_at.isoformat(),
            "frame.clock_source": meta.clock_source,
        }  # fmt: skip
        model = {
            "model.name": alert.model.name, "model.version": alert.model.version, "model.sha256": alert.model.sha256,
            "model.class": alert.model.class_name, "model.score": alert.model.score,
        }  # fmt: skip
        told = {
            "alert.id": alert.id, "alert.issue": alert.issue.value, "device.id": alert.device_id,
            "rule.name": alert.rule.name, "zone.id": alert.zone.id, "dwell.s": alert.dwell.dwell_s,
        }  # fmt: skip
        begin = min(meta.captured_at, recording)
        tracing.add(alert.id, "alert", begin, done, {**told, **frame_facts, **model}, root=True)
        if seen is not None:
            tracing.add(alert.id, "frame", begin, seen.began, frame_facts)
            tracing.add(alert.id, "detect", seen.began, seen.ended, {**model, "detect.batch": seen.batch})
            tracing.add(alert.id, "judge", seen.ended, recording, {"rule.name": alert.rule.name})
        tracing.add(alert.id, "evidence", recording, done, {"evidence.files": len(alert.evidence)})


@contextmanager
def upload(
    tracing: Tracing | None, alert_id: str | None, name: str, headers: dict[str, str]
) -> Iterator[Callable[[int], None]]:
    """Put the trace of an upload into its request's headers, and write its span; call what is yielded with the status."""
    if alert_id is None:
        yield lambda _: None
        return
    headers[HEADER] = parent_of(alert_id)
    if tracing is None:
        yield lambda _: None
        return
    with tracing.begin(headers[HEADER], name, "client") as span:
        headers[HEADER] = span.traceparent
        yield lambda status: span.set("http.response.status_code", status)
