"""Spans sent by OTLP over HTTP, for boxes and centre alike. Needs the extra `traces`; `contract` itself does not import it.

Spans wait in a bounded queue and are let go when the collector is away: nothing else ever waits for them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Literal

from contract.trace import parent_of, read_parent, root_span, trace_id

Kind = Literal["internal", "server", "client"]
QUEUE, BATCH = 4096, 512


class Live:
    """A span that is open. `set` adds an attribute; leaving its `with` block ends it, with the error if there was one."""

    def __init__(self, tracing: Tracing, span: Any) -> None:
        self._tracing, self._span = tracing, span

    @property
    def traceparent(self) -> str:
        """What a child names as its parent."""
        told = self._span.get_span_context()
        return f"00-{told.trace_id:032x}-{told.span_id:016x}-{int(told.trace_flags):02x}"

    def rename(self, name: str) -> None:
        """Give the span another name."""
        self._span.update_name(name)

    def set(self, name: str, value: str | int | float | bool) -> None:
        """Add an attribute."""
        self._span.set_attribute(name, value)

    def child(self, name: str, kind: Kind = "internal") -> Live:
        """Begin a span under this one."""
        return self._tracing.begin(self.traceparent, name, kind)

    def fail(self, words: str) -> None:
        """Mark the span as failed."""
        from opentelemetry.trace import StatusCode

        self._span.set_status(StatusCode.ERROR, words)

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _where: TracebackType | None
    ) -> None:
        if exc is not None:
            # The text of an exception may hold what no trace should.
            self.fail(type(exc).__name__)
        self._span.end()


class Tracing:
    """Where spans go."""

    def __init__(self, endpoint: str, service: str, instance: str, version: str) -> None:
        """`endpoint` is the collector's base address, such as http://127.0.0.1:4318.

        Raises:
            ImportError: the extra `traces` is not installed.
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

        self._ids = _fixed_ids()
        told = {"service.name": service, "service.instance.id": instance, "service.version": version}
        # A trace begins at a box; its caller's word holds from there on.
        self._provider = TracerProvider(
            resource=Resource(told),
            id_generator=self._ids,
            sampler=ParentBased(ALWAYS_ON),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter, max_queue_size=QUEUE, max_export_batch_size=BATCH, schedule_delay_millis=2000
            )
        )
        self._tracer = self._provider.get_tracer("curbwatch")

    def begin(self, parent: str, name: str, kind: Kind = "internal", start: datetime | None = None) -> Live:
        """Begin a span under `parent`, a valid `traceparent`."""
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            name, _under(parent), SpanKind[kind.upper()], start_time=_ns(start) if start else None
        )
        return Live(self, span)

    def add(
        self,
        alert_id: str,
        name: str,
        start: datetime,
        end: datetime,
        told: Mapping[str, Any],
        *,
        root: bool = False,
    ) -> None:
        """Write a span that is over: the alert's first one, or a child of it. Attributes that are None are left out."""
        fixed = (int(trace_id(alert_id), 16), int(root_span(alert_id), 16)) if root else None
        with self._ids.next_is(fixed):
            above = _nothing() if root else _under(parent_of(alert_id))
            span = self._tracer.start_span(name, above, start_time=_ns(start))
        for key, value in told.items():
            if value is not None:
                span.set_attribute(key, value)
        span.end(_ns(max(start, end)))

    def flush(self) -> None:
        """Send what waits, within five seconds."""
        self._provider.force_flush(5000)

    def close(self) -> None:
        """Send what waits and end."""
        self._provider.shutdown()


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1e6) * 1000


def _under(parent: str) -> Any:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    found = read_parent(parent)
    if found is None:
        raise ValueError("traceparent: must be as https://www.w3.org/TR/trace-context/ has it")
    trace, span, sampled = found
    told = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(sampled)))
    return set_span_in_context(NonRecordingSpan(told))


def _nothing() -> Any:
    from opentelemetry.context import Context

    return Context()


def _fixed_ids() -> Any:
    from contextlib import contextmanager

    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """Random ids, but for a first span, which has the ids that its alert gives it."""

        def __init__(self) -> None:
            self._next = threading.local()

        @contextmanager
        def next_is(self, trace_and_span: tuple[int, int] | None) -> Any:
            self._next.value = trace_and_span
            try:
                yield
            finally:
                self._next.value = None

        def generate_trace_id(self) -> int:
            fixed = getattr(self._next, "value", None)
            return fixed[0] if fixed else super().generate_trace_id()

        def generate_span_id(self) -> int:
            fixed = getattr(self._next, "value", None)
            return fixed[1] if fixed else super().generate_span_id()

    return Ids()
