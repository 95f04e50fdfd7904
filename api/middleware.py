"""The outermost layer, plain ASGI: request id, body limit, security headers, timing, structured log."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.settings import Settings
from api.tracing import request_span
from contract import new_id
from contract.trace import HEADER as TRACE_HEADER
from contract.trace import read_parent

if TYPE_CHECKING:
    from contract.tracing import Live, Tracing

LOG = structlog.get_logger("api")
_LETTER = re.compile(r"[^.]*\{s\}[^.]*")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
MAX_GEO_BYTES = 32 * 2**20  # 10 000 cells as GeoJSON are 3 MB
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


def policy(map_tiles: str | None) -> str:
    """Return the content security policy: our own files alone, and pictures from the city's tile server, if any.

    A host with `{s}`, which Leaflet fills with a letter, becomes a wildcard.
    """
    tiles = ""
    if map_tiles:
        address = urlsplit(map_tiles)
        tiles = f" {address.scheme}://{_LETTER.sub('*', address.netloc)}"
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:{tiles}; "
        "media-src 'self' blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


class TooLargeError(HTTPException):
    """The body grew past its limit. An HTTPException, since FastAPI turns any other into a 400."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body may have at most {limit} bytes", {"Connection": "close"})


class Outer:
    """Wraps the app once. Evidence has its own limit, kept while it is written."""

    def __init__(
        self, app: ASGIApp, settings: Settings, metrics: Metrics, tracing: Tracing | None = None
    ) -> None:
        self._app, self._settings, self._metrics, self._tracing = app, settings, metrics, tracing
        self._security = SECURITY | {"Content-Security-Policy": policy(settings.map_tiles)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else new_id()
        started, status = time.perf_counter(), 500
        upload = scope["method"] == "PUT" and scope["path"].startswith("/evidence/")
        limit = self._settings.max_evidence_bytes if upload else self._settings.max_body_bytes
        if scope["method"] == "PUT" and scope["path"].startswith("/geo/"):
            limit = max(limit, MAX_GEO_BYTES)
        answered = False

        async def guarded_send(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                self._dress(MutableHeaders(scope=message), scope, request_id)
            await send(message)

        traceparent = headers.get(TRACE_HEADER)
        trace = read_parent(traceparent)
        structlog.contextvars.bind_contextvars(
            request_id=request_id, **({"trace_id": trace[0]} if trace else {})
        )
        try:
            with request_span(self._tracing, traceparent, scope["method"]) as live:
                try:
                    declared = headers.get("content-length")
                    if declared is not None and (not declared.isdigit() or int(declared) > limit):
                        await _refuse(guarded_send, limit)
                        return
                    await self._app(scope, _counted(receive, limit), guarded_send)
                except TooLargeError:
                    if answered:
                        raise
                    await _refuse(guarded_send, limit)
                finally:
                    _finish(live, scope, status)
        finally:
            self._note(scope, status, time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id", "trace_id")

    def _dress(self, headers: MutableHeaders, scope: Scope, request_id: str) -> None:
        for name, value in self._security.items():
            headers.setdefault(name, value)
        if scope.get("scheme") == "https":
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        headers.setdefault("Cache-Control", "no-store")
        headers["X-Request-Id"] = request_id

    def _note(self, scope: Scope, status: int, took: float) -> None:
        route: Any = scope.get("route")
        path = getattr(route, "path", "unmatched")
        self._metrics.requests.labels(scope["method"], path, str(status)).observe(took)
        if scope["path"] not in QUIET:
            LOG.info("request", method=scope["method"], route=path, status=status, ms=round(took * 1000, 1))


def _finish(live: Live | None, scope: Scope, status: int) -> None:
    """Name the span by its route, which is known only now; a path would hold ids."""
    if live is None:
        return
    route: Any = scope.get("route")
    live.rename(f"{scope['method']} {getattr(route, 'path', 'unmatched')}")
    live.set("http.response.status_code", status)
    if status >= 500:
        live.fail(str(status))


def _counted(receive: Receive, limit: int) -> Receive:
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise TooLargeError(limit)
        return message

    return counted


async def _refuse(send: Send, limit: int) -> None:
    body = b'{"detail":"the body may have at most %d bytes"}' % limit
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
