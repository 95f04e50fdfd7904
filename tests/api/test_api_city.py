"""Geography, routing, webhooks, statistics, the live feed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from api_parts import Centre, asked_metrics, centre, event, missing_metrics

from api.outbox import check_address, send_due, wait_s
from api.tables import Hook
from bench.geo import run as run_geo
from bench.ports import free_port
from contract import new_id


def cell(code: str, lon: float, lat: float, size: float = 0.001, **more: Any) -> dict[str, Any]:
    ring = [[lon, lat], [lon + size, lat], [lon + size, lat + size], [lon, lat + size], [lon, lat]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"code": code, **more},
    }


def collection(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def test_a_case_knows_its_cell_and_unit(house: Centre) -> None:
    root = house.person("root", "admin")
    assert house.case() is not None
    assert root.put(
        "/geo/grid", json=collection(cell("g1", 112.5485, 37.8702, unit="east-office"))
    ).json() == {
        "kind": "grid",
        "features": 1,
        "unknown_units": ["east-office"],
    }
    root.put(
        "/geo/district", json=collection(cell("d1", 112.5, 37.8, 0.1, unit="d-office"), cell("d2", 0, 0))
    )
    house.case()
    rows = root.get("/exports/cases").text.splitlines()
    assert rows[1].endswith(",traffic-police,,")
    assert rows[2].endswith(",east-office,g1,d1")
    found = root.get("/resolve", params={"lon": 112.51, "lat": 37.81}).json()
    assert (found["codes"], found["unit"]) == ({"district": "d1"}, "d-office")
    assert len(root.get("/geo/district").json()["features"]) == 2


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"type": "Feature"}, "type"),
        (collection({"type": "Feature", "geometry": None, "properties": {"code": "x"}}), "features[0]"),
        (collection(cell("a", 1, 1), cell("a", 2, 2)), "features[1].properties.code"),
        (collection(cell("a", 500_000, 4_000_000)), "WGS-84"),
        (
            collection(
                {
                    "type": "Feature",
                    "properties": {"code": "bow"},
                    "geometry": {
                        "type": "Polygon",
                        "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]],
                    },
                }
            ),
            "crosses itself",
        ),
    ],
)
def test_a_wrong_import_names_the_feature(house: Centre, body: dict[str, Any], names: str) -> None:
    answer = house.person("root", "admin").put("/geo/grid", json=body)
    assert answer.status_code == 422
    assert names in answer.json()["detail"]


def test_every_cell_of_a_grid_resolves() -> None:
    assert run_geo(side=20, points=300)["cells"] == 400


class Receiver(BaseHTTPRequestHandler):
    got: list[tuple[dict[str, str], bytes]]
    fail: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).got.append((dict(self.headers), body))
        self.send_response(self.fail.pop() if self.fail else 204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return


@contextmanager
def receiver(fail: list[int]) -> Iterator[tuple[str, type[Receiver]]]:
    kind = type("Mine", (Receiver,), {"got": [], "fail": fail})
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", kind
    finally:
        server.shutdown()
        server.server_close()


def test_webhooks_are_signed_retried_and_die_in_sight(tmp_path: Path) -> None:
    with (
        centre(tmp_path, allow_private_hooks=True, hook_tries=2) as house,
        receiver([500, 500, 500]) as (url, kind),
        httpx.Client(timeout=60, trust_env=False) as client,
    ):
        root = house.person("root", "admin")
        made = root.post("/hooks", json={"url": url}).json()
        case = house.case()

        def send() -> int:
            return send_due(house.core.db, client, house.clock, 2, True)

        assert send() == 1
        assert send() == 0, "it waits before it tries again"
        house.clock.pass_s(wait_s(1) + 1)
        assert send() == 1
        dead = root.get(f"/hooks/{made['id']}/deliveries", params={"state": "dead"}).json()
        assert [(d["error"], d["tries"]) for d in dead] == [("HTTP 500", 2)]
        kind.fail.clear()
        assert root.post(f"/hooks/{made['id']}/deliveries/{dead[0]['id']}").status_code == 204
        assert send() == 1
        headers, body = kind.got[-1]
        assert json.loads(body)["subject"] == case
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(made["secret"].removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        assert len({h["webhook-id"] for h, _ in kind.got}) == 1, (
            "one id for all tries, so a receiver can drop doubles"
        )
        assert root.delete(f"/hooks/{made['id']}").status_code == 204
        house.case()
        assert send() == 0


def test_a_verdict_leaves_when_it_can_no_longer_be_taken_back(tmp_path: Path) -> None:
    with (
        centre(tmp_path, allow_private_hooks=True) as house,
        receiver([]) as (url, kind),
        httpx.Client(timeout=60, trust_env=False) as client,
    ):
        house.person("root", "admin").post("/hooks", json={"url": url}).raise_for_status()
        rita, case = house.person("rita"), house.case()

        def left() -> list[str]:
            send_due(house.core.db, client, house.clock, 2, True)
            return [json.loads(body)["type"].split(".")[-2] for _, body in kind.got]

        assert left() == ["opened"]
        for _ in range(2):
            said = rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).raise_for_status()
            house.clock.pass_s(29)
            assert left() == ["opened"]
            rita.delete(f"/cases/{case}/verdicts/{said.headers['Verdict-Id']}").raise_for_status()
            house.clock.pass_s(60)
            assert left() == ["opened"], "neither the verdict nor that it was taken back"
        rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).raise_for_status()
        house.clock.pass_s(31)
        assert left() == ["opened", "judged"]


class SlowLine(httpx.HTTPTransport):
    """Each request takes twenty seconds; during the fourth it calls back."""

    def __init__(self, house: Centre, during: Callable[[], object]) -> None:
        super().__init__()
        self.house, self.during, self.sent = house, during, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        self.house.clock.pass_s(20)
        if self.sent == 4:
            self.during()
        return super().handle_request(request)


def hook_to(house: Centre, url: str) -> None:
    with house.core.db.write() as session:
        told = {"tenant": "/", "secret": "whsec_eA==", "active": True, "created_at": house.clock()}
        session.add(Hook(id=new_id(), url=url, **told))


def test_two_replicas_send_no_delivery_twice_over_a_slow_line(house: Centre) -> None:
    with receiver([]) as (url, kind), httpx.Client(timeout=60, trust_env=False) as client:
        hook_to(house, url)
        for _ in range(8):
            house.case()
        other = house.cores[-1]
        with httpx.Client(
            transport=SlowLine(house, lambda: send_due(other.db, client, house.clock, 2, True))
        ) as slow:
            send_due(house.core.db, slow, house.clock, 2, True)
        ids = [headers["webhook-id"] for headers, _ in kind.got]
        assert len(ids) == len(set(ids)) == 8


def test_a_webhook_that_never_answers_costs_the_others_one_wait(house: Centre) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        receiver([]) as (url, kind),
        httpx.Client(timeout=0.5, trust_env=False) as client,
    ):
        hook_to(house, f"http://127.0.0.1:{silent.getsockname()[1]}/hook")
        hook_to(house, url)
        for _ in range(6):
            house.case()
        assert send_due(house.core.db, client, house.clock, 2, True) == 7
        assert len(kind.got) == 6


@pytest.mark.parametrize(
    "url",
    ["http://example.org/x", "https://127.0.0.1/x", "https://[::1]/x", "https://u:p@127.0.0.1/", "ftp://x"],
)
def test_webhooks_do_not_reach_inside(url: str) -> None:
    assert check_address(url, allow_private=False)


# The client reads the last of them as a call of 127.0.0.1, others as one of 1.1.1.1.
NO_ADDRESS = [
    "https://1.1.1.1/\x01",
    "https://[::1",
    "https://\u2603.example/",
    "https://1.1.1.1:99999/",
    "https://1.1.1.1\\@127.0.0.1/",
]


def test_what_is_no_address_is_refused(house: Centre) -> None:
    root = house.person("root", "admin")
    for url in NO_ADDRESS:
        answer = root.post("/hooks", json={"url": url})
        assert (answer.status_code, answer.json()["detail"][:5]) == (422, "url: "), url


def test_a_webhook_that_cannot_be_called_holds_up_no_other(tmp_path: Path) -> None:
    """As it stands in a store of before such addresses were refused."""
    with (
        centre(tmp_path, allow_private_hooks=True) as house,
        receiver([]) as (url, kind),
        httpx.Client(timeout=60, trust_env=False) as client,
    ):
        root = house.person("root", "admin")
        hooks = [root.post("/hooks", json={"url": url}).json()["id"] for _ in NO_ADDRESS]
        with house.core.db.write() as session:
            for hook_id, bad in zip(hooks, NO_ADDRESS, strict=True):
                session.get_one(Hook, hook_id).url = bad
        root.post("/hooks", json={"url": url}).raise_for_status()
        house.case()
        send_due(house.core.db, client, house.clock, 2, True)
        assert len(kind.got) == 1
        told = [root.get(f"/hooks/{hook_id}/deliveries").json()[0] for hook_id in hooks]
        assert all((d["state"], d["tries"]) == ("due", 1) and d["error"] for d in told)


def test_the_live_feed_over_a_real_server(house: Centre) -> None:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(house.app, port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    rita = house.person()
    cookie = {"Cookie": f"curbwatch_session={rita.cookies['curbwatch_session']}"}
    thread.start()
    try:
        deadline = time.monotonic() + 120
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        first = house.case()
        url, kinds, ids = f"http://127.0.0.1:{port}/events", [], []
        with httpx.stream(
            "GET", url, params={"after": 0}, headers=cookie, timeout=120, trust_env=False
        ) as stream:
            for line in stream.iter_lines():
                if line.startswith("event:"):
                    kinds.append(line[6:].strip())
                if line.startswith("data:") and "case_id" in line:
                    ids.append(json.loads(line[5:])["case_id"])
                    if len(ids) == 2:
                        break
                    house.box().post("/alerts", json=event(house.clock()))
        assert kinds[:3] == ["hello", "case.opened", "case.opened"]
        assert ids[0] == first
        assert ids[1] != first
    finally:
        server.should_exit = True
        thread.join(60)


def test_dashboard_and_alert_rules_ask_for_metrics_that_exist(house: Centre) -> None:
    asked = {name for name in asked_metrics() if not name.startswith("curbwatch_edge_")}
    told = house.person("root", "admin").get("/metrics").text
    assert len(asked) > 10
    assert missing_metrics(asked, told) == set()


def test_the_citys_system_walks_a_case_with_its_key(house: Centre) -> None:
    root, case = house.person("root", "admin"), house.case()
    root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    root.post(f"/cases/{case}/steps", json={"step": "file"})
    city = house.anonymous()
    city.headers["Authorization"] = (
        f"Bearer {root.post('/keys', json={'name': 'c', 'kind': 'city'}).json()['secret']}"
    )
    for step in ("accept", "dispatch", "start", "done"):
        assert city.post(f"/cases/{case}/steps", json={"step": step}).is_success
    assert city.post(f"/cases/{case}/steps", json={"step": "close"}).status_code == 403
    assert root.post(f"/cases/{case}/steps", json={"step": "close"}).json()["state"] == "closed"
