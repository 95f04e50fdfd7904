"""Cameras over HTTP: a snapshot asked for again and again, or an endless multipart of JPEG pictures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from camera_adapters.clock import Clock
from camera_adapters.hosts import SHARED_GATE, HostGate
from camera_adapters.jpeg import MAX_PICTURE_BYTES, MultipartPictures, is_whole
from camera_adapters.pictures import PictureStream
from camera_adapters.reasons import StreamFaultError, connect_fault
from camera_adapters.rtsp import host_of
from camera_adapters.stream import FrameSink, StreamOptions, StreamState

# How soon a change of what is asked for is heard.
LISTEN_S = 0.5

# A snapshot may take so many times as long as nothing at all may come.
PATIENCE = 10.0
_LENGTHS = frozenset({"content-length", "transfer-encoding"})


class HttpStream(PictureStream):
    """A camera over HTTP or HTTPS. The answer's type tells which kind it is: `image/jpeg` or multipart."""

    def __init__(
        self,
        camera_id: str,
        url: str,
        sink: FrameSink,
        options: StreamOptions,
        clock: Clock,
        gate: HostGate = SHARED_GATE,
    ) -> None:
        super().__init__(camera_id, url, host_of(url), sink, options, clock, gate=gate)
        self._address, self._login = without_login(url)
        self._auth: httpx.Auth | None = None

    def _session(self, stop: threading.Event) -> None:
        with _translated(), httpx.Client(timeout=self._options.stall_s, trust_env=False) as client:
            self._epoch += 1
            while not stop.is_set():
                asked = self._clock.monotonic()
                self._request(client, stop)
                # What is asked for changes while this waits, as soon as the last picture was judged.
                while not stop.is_set() and (left := self._left_s(asked)) > 0:
                    stop.wait(min(left, LISTEN_S))

    def _left_s(self, asked: float) -> float:
        wait = max(self._options.snapshot_s, self.demand.min_interval_s)
        return asked + wait - self._clock.monotonic()

    def _request(self, client: httpx.Client, stop: threading.Event) -> None:
        for _ in range(2):
            with client.stream("GET", self._address, auth=self._auth) as response:
                if response.status_code == 401 and self._login:
                    # A login that was sent and refused is not sent again at once: cameras lock an address out.
                    first = self._auth is None
                    challenge = response.headers.get("www-authenticate", "")
                    self._auth = _auth_for(challenge, self._login) if first else None
                    if first:
                        continue
                _check(response)
                kind = Message()
                kind["Content-Type"] = response.headers.get("content-type", "")
                if kind.get_content_maintype() == "multipart":
                    self._multipart(response, kind.get_boundary(), stop)
                else:
                    self._snapshot(response, stop)
                return

    def _snapshot(self, response: httpx.Response, stop: threading.Event) -> None:
        data, began = bytearray(), self._clock.monotonic()
        for chunk in response.iter_bytes():
            if stop.is_set():
                return
            data += chunk
            if len(data) > MAX_PICTURE_BYTES:
                raise StreamFaultError("protocol", "the answer is longer than any picture")
            # A few bytes now and then keep the socket's own timeout from firing. A picture over a lean link may take its time.
            if self._clock.monotonic() - began > self._options.stall_s * PATIENCE:
                raise StreamFaultError(
                    "timeout", f"no whole picture within {self._options.stall_s * PATIENCE:g} s"
                )
        # Where its length was told, the client has counted the bytes.
        if self._now(bytes(data), bool(_LENGTHS & response.headers.keys())):
            return
        if data.startswith(b"\xff\xd8") and not is_whole(bytes(data), "mjpeg"):
            raise StreamFaultError("eof", "the answer ended in the middle of a picture")
        raise StreamFaultError(
            "codec", f"the answer is no JPEG but {response.headers.get('content-type', 'untyped')}"
        )

    def _multipart(self, response: httpx.Response, boundary: str | None, stop: threading.Event) -> None:
        if not boundary:
            raise StreamFaultError("protocol", "the multipart answer names no boundary")
        parts, last = MultipartPictures(boundary), self._clock.monotonic()
        for chunk in response.iter_bytes():
            if stop.is_set():
                return
            for picture in parts.feed(chunk):
                if self._now(picture, came_whole=True):
                    last = self._clock.monotonic()
            # Bytes that never make a picture keep the socket's own timeout from firing.
            if self._clock.monotonic() - last > self._options.stall_s:
                if self._state is StreamState.LIVE:
                    self._go(StreamState.STALLED, "bytes, but no picture")
                raise StreamFaultError("timeout", f"no picture for {self._options.stall_s:g} s")
        raise StreamFaultError("eof", "the server closed the stream")

    def _now(self, data: bytes, came_whole: bool) -> bool:
        return self._take(data, "mjpeg", self._clock.now(), self._clock.monotonic(), "arrival", came_whole)


def without_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return the address without its user part, and (user, password) where it has one."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return urlunsplit((parts.scheme, host, parts.path, parts.query, "")), login


def _auth_for(challenge: str, login: tuple[str, str]) -> httpx.Auth:
    if challenge.lower().lstrip().startswith("basic"):
        return httpx.BasicAuth(*login)
    return httpx.DigestAuth(*login)


def _check(response: httpx.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    code = {401: "auth", 403: "auth", 404: "not_found"}.get(status, "server")
    raise StreamFaultError(code, f"HTTP status {status}")


@contextmanager
def _translated() -> Iterator[None]:
    """Give httpx's exceptions our reason codes."""
    try:
        yield
    except httpx.TimeoutException as exc:
        raise StreamFaultError("timeout", f"no answer ({type(exc).__name__})") from exc
    except httpx.ConnectError as exc:
        raise connect_fault(exc, "the camera cannot be reached") from exc
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise StreamFaultError("eof", f"{type(exc).__name__}: {exc}") from exc
    except ValueError as exc:
        raise StreamFaultError("protocol", str(exc)) from exc
