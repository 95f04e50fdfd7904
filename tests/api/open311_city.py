"""A city's GeoReport v2 endpoint for tests: answers shaped as the specification's examples, over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvicorn
from api_parts import Centre

from api.pack import CityService
from api.tables_city import CityRequest as Row
from contract import IssueClass

# Like the published examples: ids with leading zeros are texts in XML and numbers in some servers' JSON.
JSON: dict[str, tuple[int, Any]] = {
    "GET services": (200, [
        {"service_code": "007", "service_name": "Bins left out", "description": "Bins on the pavement for a day.",
         "metadata": True, "type": "realtime", "keywords": "bins, waste", "group": "sanitation"},
        {"service_code": 8, "service_name": "Blocked kerb", "metadata": False, "type": "batch", "keywords": None, "group": "street"},
    ]),
    "GET services/007": (200, {"service_code": "007", "attributes": [
        {"variable": True, "code": "HOWMANY", "datatype": "singlevaluelist", "required": True, "datatype_description": None,
         "order": 1, "description": "How many bins?", "values": [{"key": 1, "name": "One"}, {"key": 2, "name": "More"}]},
        {"variable": False, "code": "NOTE", "datatype": "text", "required": True, "order": 2, "description": "Thank you."},
    ]}),
    "POST requests 007": (200, [{"service_request_id": 100293, "service_notice": "Within three days.", "account_id": None}]),
    "POST requests 8": (200, [{"token": "T-77", "service_notice": "", "account_id": None}]),
    "GET tokens/T-77": (200, [{"service_request_id": 100294, "token": "T-77"}]),
    "GET requests": (200, [
        {"service_request_id": 100293, "status": "closed", "status_notes": "Taken away.", "service_name": "Bins left out",
         "service_code": "007", "description": None, "agency_responsible": None, "service_notice": None,
         "requested_datetime": "2026-03-04T06:37:38-08:00", "updated_datetime": "2026-03-04T07:00:00-08:00",
         "expected_datetime": "", "address": "8th and Judah", "address_id": 545483, "zipcode": 94122, "lat": 37.7624,
         "long": -122.4638, "media_url": None},
        {"service_request_id": 100294, "status": "open", "service_code": 8, "lat": None, "long": "far"},
    ]),
    "POST requests nokey": (403, [{"code": 403, "description": "Invalid api_key received -- can't create a request."}]),
}  # fmt: skip
XML: dict[str, tuple[int, str]] = {
    "GET services": (200, """<services>
      <service><service_code>007</service_code><service_name>Bins left out</service_name><metadata>true</metadata>
        <type>realtime</type><keywords>bins, waste</keywords><group>sanitation</group></service>
      <service><service_code>8</service_code><metadata>false</metadata><type>batch</type><keywords/>
        <group>street</group><service_name>Blocked kerb</service_name></service></services>"""),
    "GET services/007": (200, """<service_definition><service_code>007</service_code><attributes><attribute>
      <variable>true</variable><code>HOWMANY</code><datatype>singlevaluelist</datatype><required>true</required>
      <datatype_description/><order>1</order><description>How many bins?</description>
      <values><value><key>1</key><name>One</name></value><value><key>2</key><name>More</name></value></values></attribute>
      <attribute><variable>false</variable><code>NOTE</code><datatype>text</datatype><required>true</required><order>2</order>
      </attribute></attributes></service_definition>"""),
    "POST requests 007": (200, """<service_requests><request><service_request_id>100293</service_request_id>
      <service_notice>Within three days.</service_notice><account_id/></request></service_requests>"""),
    "POST requests 8": (200, "<service_requests><request><token>T-77</token></request></service_requests>"),
    "GET tokens/T-77": (200, """<service_requests><request><service_request_id>100294</service_request_id>
      <token>T-77</token></request></service_requests>"""),
    "GET requests": (200, """<service_requests><request><service_request_id>100293</service_request_id><status>closed</status>
      <status_notes>Taken away.</status_notes><service_name>Bins left out</service_name><service_code>007</service_code>
      <description/><requested_datetime>2026-03-04T06:37:38-08:00</requested_datetime>
      <updated_datetime>2026-03-04T07:00:00-08:00</updated_datetime><lat>37.7624</lat><long>-122.4638</long><media_url/>
      </request><request><service_request_id>100294</service_request_id><status>open</status><service_code>8</service_code>
      <lat/><long>far</long></request></service_requests>"""),
    "POST requests nokey": (403, "<errors><error><code>403</code><description>Invalid api_key received -- can't create a request.</description></error></errors>"),
}  # fmt: skip


class City:
    """What was asked of it, and what it answers instead of its examples."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.instead: dict[str, tuple[int, bytes]] = {}
        self.url = ""


@contextmanager
def city_server() -> Iterator[City]:
    """Serve the examples on loopback."""
    city = City()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            assert self.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
            self._answer({k: v[0] for k, v in parse_qs(body).items()})

        def _answer(self, form: dict[str, str]) -> None:
            parts = urlsplit(self.path)
            path, _, shape = parts.path.removeprefix("/v2/").rpartition(".")
            told = form or {k: v[0] for k, v in parse_qs(parts.query).items()}
            name = f"{self.command} {path}"
            city.asked.append((name, told))
            if form:
                name += " nokey" if form.get("api_key") != "secret-key" else f" {form['service_code']}"
            status, raw = city.instead.get(name, (0, b""))
            if not status:
                status, body = (JSON if shape == "json" else XML)[name]
                raw = (
                    json.dumps(body).encode()
                    if shape == "json"
                    else b'<?xml version="1.0" encoding="utf-8"?>' + str(body).encode()
                )
            self.send_response(status)
            self.send_header(
                "Content-Type", "application/json" if shape == "json" else "text/xml; charset=utf-8"
            )
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    city.url = f"http://127.0.0.1:{server.server_port}/v2"
    try:
        yield city
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def served(house: Centre) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(house.app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/open311/v2"
    finally:
        server.should_exit = True
        thread.join()


def key_of(house: Centre, kind: str) -> str:
    made = house.person("root", "admin").post("/keys", json={"name": f"{kind}-key", "kind": kind})
    return str(made.json()["secret"])


def filed(house: Centre, **changes: Any) -> str:
    case = house.case(**changes)
    root = house.person("root", "admin")
    assert root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).is_success
    assert root.post(f"/cases/{case}/steps", json={"step": "file"}).is_success
    return case


def services(house: Centre, **codes: str) -> None:
    told = {IssueClass(i.replace("__", ".")): CityService(code=c) for i, c in codes.items()}
    house.core.__dict__["pack"] = house.core.pack.model_copy(update={"open311": told})


def row_of(house: Centre, case: str) -> Row:
    with house.core.db.read() as session:
        return session.get_one(Row, case)
