"""The centre's spans: a request that names a sampled `traceparent` is one, with what it does inside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from socket import gethostname
from typing import TYPE_CHECKING

from api.settings import Settings
from contract.trace import read_parent

if TYPE_CHECKING:
    from contract.tracing import Kind, Live, Tracing

_LIVE: ContextVar[Live | None] = ContextVar("curbwatch_span", default=None)


def tracing_of(settings: Settings) -> Tracing | None:
    """Return where spans go, None without an endpoint.

    Raises:
        ValueError: an endpoint is given, and the extra `traces` is not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    try:
        from contract.tracing import Tracing

        return Tracing(settings.otlp_endpoint, "curbwatch-api", gethostname(), version("curbwatch"))
    except ImportError as exc:
        raise ValueError("otlp_endpoint: needs `pip install curbwatch[traces]`") from exc


@contextmanager
def request_span(tracing: Tracing | None, traceparent: str | None, name: str) -> Iterator[Live | None]:
    """Open the span of a request whose caller traces; None otherwise."""
    parent = read_parent(traceparent)
    if tracing is None or traceparent is None or parent is None or not parent[2]:
        yield None
        return
    with _open(tracing.begin(traceparent, name, "server")) as live:
        yield live


@contextmanager
def span(name: str, kind: Kind = "internal") -> Iterator[Live | None]:
    """Open a span within the request's; None where nothing is traced."""
    above = _LIVE.get()
    if above is None:
        yield None
        return
    with _open(above.child(name, kind)) as live:
        yield live


@contextmanager
def _open(live: Live) -> Iterator[Live]:
    token = _LIVE.set(live)
    try:
        with live:
            yield live
    finally:
        _LIVE.reset(token)
