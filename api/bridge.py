"""The bridge: takes boxes' requests from an MQTT 5 broker to the API and its answers back. It believes no one: the API does.

The device's token is in each request and the API checks it; the bridge passes only what a box may ask for, and answers
only on the topic of the box that asked.
"""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from contract.mqtt import (
    ANSWER_HEADERS,
    MAX_PAYLOAD,
    PREFIX,
    REQUEST_HEADERS,
    allowed,
    device_of,
    down_topic,
)

LOG = structlog.get_logger("bridge")
WORKERS, MAX_WAITING = 8, 64
GROUP = "$share/curbwatch-bridge"


class Bridge:
    """One bridge; several share the work through a shared subscription."""

    def __init__(
        self,
        api: httpx.Client,
        host: str,
        port: int,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: bool = True,
        ca_file: Path | None = None,
    ) -> None:
        """`api` has the API's address as its base."""
        self._api, self._pool = api, ThreadPoolExecutor(WORKERS, thread_name_prefix="bridge")
        self._room = threading.BoundedSemaphore(MAX_WAITING)
        self.counts: Counter[str] = Counter()
        self.ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 15)
        if username is not None:
            self._client.username_pw_set(username, password)
        if tls:
            self._client.tls_set_context(ssl.create_default_context(cafile=ca_file))
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self.ready.set()
        self._client.on_disconnect = lambda *_: self.ready.clear()
        self._client.on_message = self._on_message
        self._client.connect_async(host, port, keepalive=20)
        self._client.loop_start()

    def close(self) -> None:
        """Answer what is at work, and disconnect."""
        self._pool.shutdown(wait=True)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _props: Any) -> None:
        LOG.info("bridge.connected", reason=str(reason))
        if not reason.is_failure:
            client.subscribe(f"{GROUP}/{PREFIX}/up/+", 1)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        told = list(getattr(message.properties, "UserProperty", ()))
        back = str(getattr(message.properties, "ResponseTopic", ""))
        name = bytes(getattr(message.properties, "CorrelationData", b""))
        device = device_of(message.topic)
        if device is None or not back.startswith(down_topic(device, "")) or set("+#") & set(back):
            self.counts["stray"] += 1
            return
        if not self._room.acquire(blocking=False):
            self._answer(back, name, httpx.Response(429, headers={"Retry-After": "5"}))
            return
        self._pool.submit(self._work, told, bytes(message.payload), back, name)

    def _work(self, told: list[tuple[str, str]], body: bytes, back: str, name: bytes) -> None:
        try:
            self._answer(back, name, self._ask(dict(told), body))
        except Exception as exc:
            # Without an answer the box asks again; one bad message must not end the bridge.
            LOG.warning("bridge.failed", error=type(exc).__name__)
        finally:
            self._room.release()

    def _ask(self, told: dict[str, str], body: bytes) -> httpx.Response:
        method, path = told.get("method", ""), told.get("path", "")
        if not allowed(method, path) or len(body) > MAX_PAYLOAD:
            return httpx.Response(405, json={"detail": "not a request of a box"})
        headers = {k: v for k, v in told.items() if k in REQUEST_HEADERS}
        try:
            return self._api.request(method, path, headers=headers, content=body)
        except httpx.HTTPError as exc:
            return httpx.Response(
                503, json={"detail": f"the bridge cannot reach the API: {type(exc).__name__}"}
            )

    def _answer(self, back: str, name: bytes, answer: httpx.Response) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData, properties.MessageExpiryInterval = name, 60
        headers = [(k.lower(), v) for k, v in answer.headers.items() if k.lower() in ANSWER_HEADERS]
        properties.UserProperty = [("status", str(answer.status_code)), *headers]
        self.counts[str(answer.status_code)] += 1
        self._client.publish(back, answer.content[:MAX_PAYLOAD], 1, properties=properties)
