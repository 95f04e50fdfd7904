"""Two more ways to a real API: through an MQTT broker (Mosquitto, TLS) and over HTTP/2 (Hypercorn, TLS)."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from case_parts import KINDS, alert, jpegs, picture_item
from hypercorn.asyncio import serve
from hypercorn.config import Config
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from real_centre import Broker, RealCentre, certificate, real_centre, until

from api.bridge import Bridge
from bench.ports import free_port
from contract.mqtt import PART_BYTES, allowed, up_topic
from edge.config import ApiConfig, MqttConfig
from edge.identity import load_signer, public_key
from edge.log import get_logger
from edge.mqtt import MqttTransport
from edge.outbox import Outbox, Priority
from edge.uplink import Uplink, client_for, client_of

CLIP = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 5000


def fill(outbox: Outbox, count: int = 3) -> None:
    for n in range(count):
        pictures = jpegs(f"w{n}")
        items = tuple(picture_item(d, k) for d, k in zip(pictures, KINDS, strict=True))
        for data in pictures:
            outbox.put_file(data, Priority.PICTURE, "image/jpeg", 1.0)
        outbox.put_alert(alert(items=items))


@contextmanager
def running(uplink: Uplink, outbox: Outbox) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=uplink.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        outbox.changed.set()
        thread.join(60)


def empty(outbox: Outbox) -> bool:
    level = outbox.level()
    return level.alerts + level.files == 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if shutil.which("mosquitto", path="/usr/sbin:/usr/bin") is None:
        pytest.fail("mosquitto is missing: scripts/install system")
    made = Broker(tmp_path / "broker")
    yield made
    made.kill()


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[RealCentre]:
    with real_centre(tmp_path / "api") as made:
        yield made


@contextmanager
def bridge_to(centre: RealCentre, broker: Broker) -> Iterator[Bridge]:
    with httpx.Client(base_url=centre.url, timeout=60, trust_env=False) as client:
        made = Bridge(client, "127.0.0.1", broker.port, ca_file=broker.ca)
        until(made.ready.is_set)
        try:
            yield made
        finally:
            made.close()


def box_of(
    tmp_path: Path, centre: RealCentre, second: MqttTransport, always: bool = True, url: str | None = None
) -> tuple[Outbox, Uplink, Callable[[], None]]:
    signer = load_signer(tmp_path / "k")
    outbox = Outbox(tmp_path / "outbox", signer=signer)
    client = client_for(url or centre.url, centre.token, 5.0, second=second, always_second=always)
    uplink = Uplink(
        outbox, client, get_logger(), backoff_cap_s=0.5,
        public_key=public_key(signer, "box-1"), part_bytes=PART_BYTES,
    )  # fmt: skip
    return outbox, uplink, client.close


def test_alerts_files_and_clips_in_parts_through_a_broker_that_dies_and_a_bridge_that_dies(
    tmp_path: Path, broker: Broker, centre: RealCentre
) -> None:
    transport = MqttTransport("127.0.0.1", broker.port, "box-1", ca_file=broker.ca, wait_s=1.5)
    outbox, uplink, close = box_of(tmp_path, centre, transport)
    fill(outbox)
    outbox.put_file(CLIP, Priority.CLIP, "video/mp4", 2.0)
    with running(uplink, outbox):
        until(lambda: uplink.counts.failures >= 1)
        assert outbox.level().alerts == 3, "what only a broker has is not acknowledged"
        with bridge_to(centre, broker) as bridge:
            until(lambda: empty(outbox))
            assert bridge.counts["202"] >= 3, "the clip came in parts"
            assert centre.counts() == (3, 16, 3, 0)
            broker.kill()
            fill(outbox, 5)
            until(lambda: uplink.counts.failures >= 2)
            broker.start()
            until(lambda: empty(outbox))
        fill(outbox, 7)
        with bridge_to(centre, broker):
            until(lambda: empty(outbox))
    close()
    alerts, files, links, faults = centre.counts()
    assert (alerts, links, faults) == (15, 15, 0)
    assert files == 1 + 7 * 5


def test_the_broker_is_taken_when_the_api_is_away_and_left_when_it_is_back(
    tmp_path: Path, broker: Broker, centre: RealCentre
) -> None:
    transport = MqttTransport("127.0.0.1", broker.port, "box-1", ca_file=broker.ca, wait_s=5)
    closed = f"http://127.0.0.1:{free_port()}"
    with bridge_to(centre, broker) as bridge:
        outbox, uplink, close = box_of(tmp_path, centre, transport, always=False, url=closed)
        fill(outbox, 1)
        with running(uplink, outbox):
            until(lambda: empty(outbox))
        close()
        passed = sum(bridge.counts.values())
        assert passed >= 7
        transport = MqttTransport("127.0.0.1", broker.port, "box-1", ca_file=broker.ca)
        direct = client_for(centre.url, centre.token, second=transport)
        assert direct.head("/evidence/" + "0" * 64).status_code == 404
        assert sum(bridge.counts.values()) == passed
        direct.close()


@pytest.mark.parametrize(
    ("method", "path", "passes"),
    [
        ("POST", "/alerts", True),
        ("HEAD", "/evidence/" + "a" * 64, True),
        ("PUT", "/devices/self/key", True),
        ("POST", "/callouts/01890000-0000-7000-8000-000000000000/report", True),
        ("POST", "/cases/01890000-0000-7000-8000-000000000000/steps", False),
        ("GET", "/cases", False),
        ("POST", "/devices", False),
        ("DELETE", "/devices/box-2", False),
        ("PUT", "/evidence/../cases", False),
        ("PUT", "/evidence/" + "a" * 64 + "?x=1", False),
        ("POST", "http://10.0.0.1/alerts", False),
        ("GET", "/evidence/" + "a" * 64, False),
    ],
)
def test_the_bridge_passes_what_a_box_may_ask_and_nothing_else(method: str, path: str, passes: bool) -> None:
    assert allowed(method, path) is passes


def test_a_stranger_at_the_broker_gets_no_further_than_at_the_api(broker: Broker, centre: RealCentre) -> None:
    with bridge_to(centre, broker):
        transport = MqttTransport("127.0.0.1", broker.port, "box-1", ca_file=broker.ca, wait_s=5)
        for token, method, path, status in (
            ("stolen?", "POST", "/alerts", 401),
            (centre.token, "GET", "/cases", 405),
            (centre.token, "POST", "/alerts", 422),
        ):
            client = client_for(centre.url, token, second=transport, always_second=True)
            assert client.request(method, path, json={}).status_code == status
        with pytest.raises(httpx.WriteError, match="do not fit"):
            client.put("/evidence/" + "0" * 64, content=b"x" * (2**20 + 1))
        transport.close()


def test_an_answer_that_nobody_can_read_ends_one_request_and_not_the_way(broker: Broker) -> None:
    """Whoever may publish to the box's topic can send anything."""
    told, statuses = (
        paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5),
        ["\u00b2\u2070\u2074", "204"],
    )
    told.tls_set(ca_certs=str(broker.ca))
    told.on_connect = lambda client, *_: client.subscribe(up_topic("box-1"), 1)

    def answer(client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        asked = message.properties
        assert asked is not None
        told = Properties(PacketTypes.PUBLISH)
        told.CorrelationData = asked.CorrelationData
        told.UserProperty = [("status", statuses.pop(0)), ("retry-after", "\u00b2")]
        client.publish(asked.ResponseTopic, b"", 1, properties=told)

    ready = threading.Event()
    told.on_message, told.on_subscribe = answer, lambda *_: ready.set()
    told.connect("127.0.0.1", broker.port)
    told.loop_start()
    transport = MqttTransport("127.0.0.1", broker.port, "box-1", ca_file=broker.ca, wait_s=8)
    try:
        assert ready.wait(8)
        with httpx.Client(transport=transport, base_url="https://api") as client:
            with pytest.raises(httpx.ReadError, match="without a status"):
                client.post("/alerts")
            answered = client.post("/alerts")
        assert answered.status_code == 204
        assert "retry-after" not in answered.headers
    finally:
        transport.close()
        told.disconnect()
        told.loop_stop()


def test_a_subscription_that_the_broker_refuses_is_named(broker: Broker) -> None:
    transport = MqttTransport("127.0.0.1", broker.port, "box-1", ca_file=broker.ca, wait_s=0.5)
    try:
        until(transport._online.is_set)
        transport._online.clear()
        refused = ReasonCode(PacketTypes.SUBACK, identifier=0x87)
        transport._on_subscribe(transport._client, None, 1, [refused], None)
        with (
            httpx.Client(transport=transport, base_url="https://api") as client,
            pytest.raises(httpx.ConnectTimeout, match=r"refuses the subscription to .*: Not authorized"),
        ):
            client.post("/alerts")
    finally:
        transport.close()


def test_tokens_do_not_travel_in_the_clear() -> None:
    with pytest.raises(ValueError, match="tls"):
        MqttConfig(host="broker.example", tls=False)
    assert MqttConfig(host="127.0.0.1", tls=False).port == 8883


@pytest.mark.parametrize("field", ["ca_file", "mqtt.ca_file"])
def test_a_wrong_certificate_file_is_named(tmp_path: Path, field: str) -> None:
    (tmp_path / "x.pem").write_text("nonsense")
    told: dict[str, object] = {"url": "https://127.0.0.1", "token": "t"}
    if field == "ca_file":
        told["ca_file"] = tmp_path / "x.pem"
    else:
        told["mqtt"] = {"host": "127.0.0.1", "ca_file": tmp_path / "x.pem"}
    with pytest.raises(ValueError, match=f"api.{field}"):
        client_of(ApiConfig.model_validate(told), "box-1")


def test_the_uplink_speaks_http_2_where_the_server_does(tmp_path: Path, centre: RealCentre) -> None:
    from api.app import create_app

    ca, key = certificate(tmp_path)
    config, port = Config(), free_port()
    config.bind, config.certfile, config.keyfile = [f"127.0.0.1:{port}"], str(ca), str(key)
    app = create_app(centre.core.settings)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def wait() -> None:
        await stop.wait()

    thread = threading.Thread(
        target=loop.run_until_complete,
        args=(serve(app, config, shutdown_trigger=wait),),  # type: ignore[arg-type]
    )
    thread.start()
    versions: list[str] = []
    client = client_for(f"https://127.0.0.1:{port}", centre.token, ca_file=ca)
    client.event_hooks["response"].append(lambda r: versions.append(r.http_version))
    outbox = Outbox(tmp_path / "outbox", signer=load_signer(tmp_path / "k"))
    fill(outbox)
    outbox.put_file(CLIP * 4, Priority.CLIP, "video/mp4", 2.0)
    with running(Uplink(outbox, client, get_logger(), backoff_cap_s=0.3), outbox):
        until(lambda: empty(outbox))
    assert len(versions) >= 3 + 15 + 3
    assert set(versions) == {"HTTP/2"}
    assert centre.counts()[:2] == (3, 16)
    with pytest.raises(httpx.ConnectError):
        client_for(f"https://127.0.0.1:{port}", centre.token).get("/healthz")
    client.close()
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)
    loop.close()
    app.state.core.db.close()
