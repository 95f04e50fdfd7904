"""The uplink: messages first, then the pictures that the API misses, then clips. Backs off with jitter, never gives up."""

from __future__ import annotations

import base64
import errno
import json
import random
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from contract.chain import LINK_HEADER
from edge.answers import holds, refuses, told
from edge.config import ApiConfig
from edge.mqtt import MqttTransport, SecondWay
from edge.outbox import Outbox, Priority, QueuedAlert, QueuedFile
from edge.trace import upload

if TYPE_CHECKING:
    from contract.tracing import Tracing

CHUNK = 512 * 1024
# Clips above this size go up in parts, so that a bad line resumes instead of starting over.
RESUMABLE_FROM = 4 * 2**20
# The API's word on these is final: sending the same again gives the same answer.
FINAL = frozenset({400, 413, 415, 422})
# A file of a case whose evidence the centre has deleted by its rules: nobody will ever want it.
GONE = 410
ENROL_EVERY_S = 60.0
# Whatever Retry-After says.
LONGEST_WAIT_S = 3600.0
# What the API fails at, while it takes other things, is tried again after so long each time.
ASIDE_S = (10.0, 60.0, 600.0)
# A spool file that is gone, or that the disk cannot read any more.
_UNREADABLE = frozenset({errno.ENOENT, errno.EIO, errno.EUCLEAN})


class RetryLaterError(Exception):
    """The API asked for patience, or could not be reached; `after_s` is its own word, if it gave one."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class CentreFailedError(RetryLaterError):
    """The API failed at a request (500): at this one alone, or at any."""


class _Aside:
    """What the API failed at (500) waits, and so do later messages of its alert: all else goes on.

    A second failure in a turn that has taken nothing is the API's own: it is asked for two things at most. What fails while
    other things are taken waits longer each time.
    """

    def __init__(self) -> None:
        self._waits: dict[str, tuple[float, int]] = {}
        self._failed: dict[str, CentreFailedError] = {}
        self._held: set[str] = set()
        self._now, self._taken = 0.0, 0

    def __len__(self) -> int:
        return len(self._waits)

    def begin(self, now: float, names: Collection[str]) -> None:
        """Begin a turn over what there is."""
        self._waits = {name: wait for name, wait in self._waits.items() if name in names}
        self._failed, self._held, self._now, self._taken = {}, set(), now, 0

    def send(self, name: str, alert_id: str | None, send: Callable[[], None]) -> bool:
        """Send one thing; False where it waits, or the API failed at it.

        Raises:
            CentreFailedError: the API fails at anything.
        """
        until, failures = self._waits.get(name, (0.0, 0))
        if until <= self._now and alert_id not in self._held:
            try:
                send()
            except CentreFailedError as exc:
                self._waits[name] = (self._now + ASIDE_S[0], failures)
                self._failed[name] = exc
                if len(self._failed) > 1 and not self._taken:
                    raise
            else:
                self._taken += 1
                self._waits.pop(name, None)
                return True
        if alert_id is not None:
            self._held.add(alert_id)
        return False

    def end(self) -> list[str]:
        """End the turn; return what is set aside.

        Raises:
            CentreFailedError: the API failed at the only thing that it was asked for.
        """
        for name, exc in self._failed.items():
            _, failures = self._waits.pop(name)
            if not self._taken:
                raise exc
            self._waits[name] = (self._now + ASIDE_S[min(failures, len(ASIDE_S) - 1)], failures + 1)
        return list(self._failed)


@dataclass
class UplinkCounts:
    """Since the start."""

    alerts: int = 0
    files: int = 0
    bytes: int = 0
    failures: int = 0
    refused: int = 0
    last_error: str = ""


class Uplink:
    """Empties the outbox into the API. One thread; `run` returns when `stop` is set."""

    def __init__(
        self,
        outbox: Outbox,
        client: httpx.Client,
        log: Any,
        rate_cap_bytes_s: float | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        backoff_cap_s: float = 60.0,
        public_key: str | None = None,
        part_bytes: int = 4 * CHUNK,
        tracing: Tracing | None = None,
    ) -> None:
        """`client` has the API's address and the device's token as its defaults (see `client_for`).

        `public_key` (as `edge.identity.public_key` writes it) is enrolled at the centre before the first message.
        `part_bytes` is the most of a file that one request carries; a file of more than two goes up in parts.
        """
        self._public_key, self._enrol_at, self._tracing = public_key, 0.0, tracing
        self._part_bytes, self._resume_from = part_bytes, min(RESUMABLE_FROM, 2 * part_bytes)
        self._outbox, self._client, self._log = outbox, client, log
        self._rate, self._uniform, self._cap = rate_cap_bytes_s, uniform, backoff_cap_s
        self.counts = UplinkCounts()
        self._aside = _Aside()

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set."""
        attempt = 0
        while not stop.is_set():
            try:
                busy = self.send_once(stop)
                attempt = 0
            # The box's own disk may be full or locked when it is to note what was taken, and what stands between may answer
            # anything: nothing ends this thread.
            except Exception as exc:
                attempt += 1
                stop.wait(self._wait_after(exc, attempt))
                continue
            if not busy:
                self._outbox.changed.wait(0.5)
                self._outbox.changed.clear()

    def _wait_after(self, exc: Exception, attempt: int) -> float:
        """Count and tell a failure, and return the seconds until the next try."""
        reason = type(exc).__name__
        # The text of any other could hold a header, and so the token.
        if isinstance(exc, (RetryLaterError, sqlite3.Error, OSError)):
            reason = str(exc) if isinstance(exc, RetryLaterError) else f"{reason}: {exc}"
        self.counts.failures += 1
        self.counts.last_error = reason
        wait = exc.after_s if isinstance(exc, RetryLaterError) else None
        if wait is None:
            wait = min(self._cap, 0.5 * 2.0 ** min(attempt, 12)) * self._uniform(0.5, 1.0)
        if attempt in {1, 5} or attempt % 50 == 0:
            self._log.warning("uplink.waiting", reason=reason, attempt=attempt, wait_s=round(wait, 1))
        return wait

    def send_once(self, stop: threading.Event) -> bool:
        """Send a batch of each kind; False when nothing waited.

        Raises:
            RetryLaterError: the API is away or busy; what was not acknowledged stays.
        """
        self._enrol()
        aside = self._aside
        alerts = self._outbox.next_alerts(16 + len(aside))
        files = self._outbox.next_files(4 + len(aside))
        aside.begin(time.monotonic(), {a.event_id for a in alerts} | {f.sha256 for f in files})
        sent = False
        for alert in alerts:
            sent |= aside.send(alert.event_id, alert.alert_id, partial(self._send_alert, alert))
            if stop.is_set():
                return True
        # One clip at a time between looks at the messages, so that a clip never holds an alert back for long.
        for file in files:
            went = aside.send(file.sha256, None, partial(self._send_file, file))
            sent |= went
            if stop.is_set() or (went and file.priority > Priority.PICTURE):
                break
        for name in aside.end():
            self._log.error("uplink.set_aside", name=name)
        return sent

    def _send_alert(self, alert: QueuedAlert) -> None:
        headers = {"Content-Type": "application/json"}
        if alert.envelope is not None:
            headers[LINK_HEADER] = base64.b64encode(alert.envelope.encode()).decode()
        with upload(self._tracing, alert.alert_id, "upload alert", headers) as traced:
            answer = self._ask("POST", "/alerts", content=alert.body.encode(), headers=headers)
            traced(answer.status_code)
        if answer.status_code in FINAL:
            self._refuse("alert", alert.event_id, answer)
            self._outbox.refuse_alert(alert.seq, f"{answer.status_code} {answer.text[:300]}")
        elif told(answer).get("alert_id") == alert.alert_id:
            self.counts.alerts += 1
            self._outbox.ack_alert(alert.seq)
        else:
            raise _stray(answer)

    def _send_file(self, file: QueuedFile) -> None:
        began = time.monotonic()
        headers = {"Content-Type": file.media_type}
        with upload(self._tracing, file.alert_id, f"upload {file.priority.name.lower()}", headers) as traced:
            try:
                answer = self._put(file, headers)
            except OSError as exc:
                if exc.errno not in _UNREADABLE:
                    raise
                self._log.error("uplink.unreadable", name=file.sha256, reason=type(exc).__name__)
                self._outbox.drop_file(file.sha256, "unreadable")
                return
            traced(answer.status_code)
        if answer.status_code in FINAL or answer.status_code == GONE:
            self._refuse("file", file.sha256, answer)
            self._outbox.drop_file(file.sha256, f"answer {answer.status_code}")
        elif holds(answer, file.sha256):
            self.counts.files += 1
            self.counts.bytes += file.size
            self._outbox.ack_file(file.sha256)
        else:
            raise _stray(answer)
        self._throttle(file.size, began)

    def _put(self, file: QueuedFile, headers: dict[str, str]) -> httpx.Response:
        if file.size > self._resume_from:
            return self._resume(file, headers)
        return self._ask("PUT", f"/evidence/{file.sha256}", content=file.path.read_bytes(), headers=headers)

    def _resume(self, file: QueuedFile, headers: dict[str, str]) -> httpx.Response:
        head = self._ask("HEAD", f"/evidence/{file.sha256}")
        # The API answers 200 for a part as well, and a portal for anything: only the header tells a whole file.
        if holds(head, file.sha256):
            return head
        offset = int(head.headers.get("Upload-Offset", "0"))
        if offset >= file.size:
            offset = 0  # all of it came, and could not be stored
        answer = head
        with file.path.open("rb") as source:
            while offset < file.size:
                source.seek(offset)
                part = source.read(self._part_bytes)
                began = time.monotonic()
                answer = self._ask(
                    "PUT",
                    f"/evidence/{file.sha256}",
                    content=part,
                    headers={
                        **headers,
                        "Content-Range": f"bytes {offset}-{offset + len(part) - 1}/{file.size}",
                    },
                )
                if answer.status_code in FINAL or answer.status_code in (200, 201, GONE):
                    return answer
                offset += len(part)
                self._throttle(len(part), began)
        return answer

    def _enrol(self) -> None:
        """Give the centre the box's public key, once. A centre that will not have it does not hold the alerts back."""
        if self._public_key is None or time.monotonic() < self._enrol_at:
            return
        answer = self._ask_once("PUT", "/devices/self/key", json={"key": self._public_key})
        self._enrol_at = time.monotonic() + ENROL_EVERY_S
        if answer.is_success and told(answer).get("keyid") == json.loads(self._public_key)["keyid"]:
            self._public_key = None
            self._log.info("uplink.enrolled")
        elif answer.status_code in (404, 405, 409, 422) and refuses(answer):
            self._public_key = None
            self._log.error("uplink.not_enrolled", status=answer.status_code, answer=answer.text[:300])

    def _ask_once(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **options)
        except httpx.HTTPError as exc:
            # The exception's text may hold the address, never the token, which travels in a header.
            raise RetryLaterError(f"{type(exc).__name__} on {method} {path.split('/')[1]}") from None

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._ask_once(method, path, **options)
        if answer.status_code == GONE and path.startswith("/evidence/"):
            return answer
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            asked = answer.headers.get("Retry-After", "")
            kind = CentreFailedError if answer.status_code == 500 else RetryLaterError
            raise kind(
                f"the API answered {answer.status_code}",
                min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else None,
            )
        if answer.status_code == httpx.codes.CONFLICT and path.startswith("/evidence/"):
            raise RetryLaterError("the API is at another part of this file than we thought", 1.0)
        # Nothing else is taken for done: a redirect of a proxy or a portal emptied the outbox into nothing.
        if not answer.is_success and answer.status_code not in FINAL and method != "HEAD":
            raise RetryLaterError(
                f"the API answered {answer.status_code} to {method} {path.split('/')[1]}; "
                "is the box enrolled, and the address right?",
                60.0,
            )
        return answer

    def _refuse(self, kind: str, name: str, answer: httpx.Response) -> None:
        self.counts.refused += 1
        self._log.error(
            "uplink.refused", kind=kind, name=name, status=answer.status_code, answer=answer.text[:300]
        )

    def _throttle(self, size: int, began: float) -> None:
        if self._rate is not None and (wait := size / self._rate - (time.monotonic() - began)) > 0:
            time.sleep(min(wait, 30.0))


def _stray(answer: httpx.Response) -> RetryLaterError:
    asked = f"{answer.request.method} {answer.request.url.path}"
    return RetryLaterError(
        f"the answer {answer.status_code} to {asked} does not name what was sent: is it the centre that answers?",
        60.0,
    )


def client_for(
    url: str,
    token: str,
    timeout_s: float = 20.0,
    ca_file: Path | None = None,
    second: httpx.BaseTransport | None = None,
    always_second: bool = False,
) -> httpx.Client:
    """Return a client for the API: HTTP/2 where it is offered, certificates checked, no proxy of the environment.

    `second` is taken when the API cannot be reached, or always.

    Raises:
        ValueError: `ca_file` is no certificate file.
    """
    headers = {"Authorization": f"Bearer {token}"}
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ValueError(f"api.ca_file: {ca_file} is no certificate file ({exc})") from None
    transport: httpx.BaseTransport = httpx.HTTPTransport(verify=context, http2=True, trust_env=False)
    if second is not None:
        transport = second if always_second else SecondWay(transport, second)
    return httpx.Client(
        base_url=url, headers=headers, timeout=timeout_s, transport=transport, trust_env=False
    )


def client_of(config: ApiConfig, device: str) -> httpx.Client:
    """Return the client that a box's configuration asks for.

    Raises:
        ValueError: a file that it names cannot be used.
    """
    mqtt, second = config.mqtt, None
    if mqtt is not None:
        password = mqtt.password_file.read_text().strip() if mqtt.password_file else None
        second = MqttTransport(
            mqtt.host, mqtt.port, device,
            username=mqtt.username, password=password, tls=mqtt.tls, ca_file=mqtt.ca_file,
        )  # fmt: skip
    always = mqtt is not None and mqtt.when == "always"
    return client_for(config.url, config.read_token(), 20.0, config.ca_file, second, always)
