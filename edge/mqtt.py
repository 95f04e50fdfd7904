"""The second way to the centre: the uplink's HTTP requests as MQTT 5 messages. An answer is the API's own, never the broker's."""

from __future__ import annotations

import ssl
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from contract.mqtt import ANSWER_HEADERS, MAX_PAYLOAD, REQUEST_HEADERS, down_topic, up_topic

QOS = 1
EXPIRY_S = 60
# Requests on their way and waiting at once: the uplink, the heartbeat and whoever else of a box asks.
MOST_ASKING = 8


class MqttTransport(httpx.BaseTransport):
    """Sends requests through a broker and waits for the API's answers. Safe for several threads."""

    def __init__(
        self,
        host: str,
        port: int,
        device: str,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: bool = True,
        ca_file: Path | None = None,
        wait_s: float = 20.0,
    ) -> None:
        """Connect in the background; a broker that is away is tried again for as long as the box lives.

        Raises:
            ValueError: `ca_file` is no certificate file.
        """
        session = uuid4().hex
        self._up, self._down, self._wait_s = up_topic(device), down_topic(device, session), wait_s
        self._waiting: dict[bytes, _Answer] = {}
        # Why the broker lets this box ask, but not hear.
        self._refused = ""
        self._lock, self._online = threading.Lock(), threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"{device}-{session[:8]}", protocol=paho.MQTTv5
        )
        # What waits for the broker waits in the outbox, not in a second queue: each thread that asks waits for its one answer.
        # What is on its way counts among these, so with one the heartbeat was lost while a file was sent.
        self._client.max_queued_messages_set(MOST_ASKING)
        # An answer that cannot be read must not end the client's thread, which nobody would start again.
        self._client.suppress_exceptions = True
        self._client.reconnect_delay_set(1, 30)
        if username is not None:
            self._client.username_pw_set(username, password)
        if tls:
            try:
                self._client.tls_set_context(ssl.create_default_context(cafile=ca_file))
            except (OSError, ssl.SSLError) as exc:
                raise ValueError(f"api.mqtt.ca_file: {ca_file} is no certificate file ({exc})") from None
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect_async(host, port, keepalive=20)
        self._client.loop_start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Publish a request and return the API's answer.

        Raises:
            httpx.ConnectTimeout, httpx.ReadTimeout: no broker, or no answer in time.
        """
        body = request.read()
        if len(body) > MAX_PAYLOAD:
            raise httpx.WriteError(f"{len(body)} bytes do not fit into one message", request=request)
        until = time.monotonic() + self._wait_s
        if not self._online.wait(self._wait_s):
            raise httpx.ConnectTimeout(self._refused or "the broker is away", request=request)
        name, answer = uuid4().bytes, _Answer()
        with self._lock:
            self._waiting[name] = answer
        try:
            sent = self._client.publish(self._up, body, QOS, properties=self._properties(request, name))
            if sent.rc == paho.MQTT_ERR_QUEUE_SIZE:
                raise httpx.WriteError("too many requests wait for the broker", request=request)
            if not answer.here.wait(max(0.0, until - time.monotonic())):
                raise httpx.ReadTimeout("no answer through the broker; is the bridge up?", request=request)
        finally:
            with self._lock:
                self._waiting.pop(name, None)
        if not 200 <= answer.status <= 599:
            raise httpx.ReadError("an answer without a status", request=request)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body, request=request)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _properties(self, request: httpx.Request, name: bytes) -> Properties:
        told = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        told.ResponseTopic, told.CorrelationData, told.MessageExpiryInterval = self._down, name, EXPIRY_S
        headers = [(k.lower(), v) for k, v in request.headers.items() if k.lower() in REQUEST_HEADERS]
        told.UserProperty = [("method", request.method), ("path", request.url.path), *headers]
        return told

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _props: Any) -> None:
        if not reason.is_failure:
            client.subscribe(self._down, QOS)

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _props: Any) -> None:
        # Where it may not listen no answer can come, and what is asked would wait for one.
        refused = [str(r) for r in reasons if r.is_failure]
        self._refused = (
            f"the broker refuses the subscription to {self._down}: {refused[0]}" if refused else ""
        )
        if not refused:
            self._online.set()

    def _on_disconnect(self, *_told: Any) -> None:
        self._online.clear()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        told = dict(getattr(message.properties, "UserProperty", ()))
        with self._lock:
            answer = self._waiting.get(bytes(getattr(message.properties, "CorrelationData", b"")))
        if answer is None:
            return  # it came too late; the request was sent again, and the API knows it
        status = told.get("status", "")
        answer.status = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 0
        answer.headers = {k: v for k, v in told.items() if k in ANSWER_HEADERS and v.isascii()}
        answer.body = bytes(message.payload)
        answer.here.set()


class _Answer:
    def __init__(self) -> None:
        self.here = threading.Event()
        self.status, self.headers, self.body = 0, dict[str, str](), b""


class SecondWay(httpx.BaseTransport):
    """Takes the first way, and the second for a request that found the first one closed."""

    def __init__(self, first: httpx.BaseTransport, second: httpx.BaseTransport) -> None:
        self._first, self._second = first, second

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; what failed before it could be sent goes the second way."""
        try:
            return self._first.handle_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return self._second.handle_request(request)

    def close(self) -> None:
        """Close both."""
        self._first.close()
        self._second.close()
