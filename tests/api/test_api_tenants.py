"""Whose rows: every route with every kind of caller of another tenant, against a city whose every row is marked.

A caller from outside must get 404 for each row that a path names, and must never see a mark in any list. The same calls
by the owner must work, so that no refusal is one for another reason. A new route needs its line in `LISTS`
of `tenant_tables`, or a body in its `BODIES` and an id in `World.ids`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from api_parts import JPEG, Centre, event, evidence_item, sha
from fastapi import APIRouter
from fastapi.testclient import TestClient
from sqlalchemy import select
from tenant_tables import ANSWER, BODIES, COUNTS, FITS_NOT, LISTS, LOOK, MARK, Route
from test_api_matrix import MATRIX, PUBLIC

from api.access import DEVICE, KEYS, ROLES, Principal, check_guards, public
from api.routes.live import _page
from api.tables import CaseRow, Delivery, Hook
from api.tables_city import CityRequest
from api.tables_console import LabelItem, Reading
from contract import new_id

PERSON, BOX = "admin", "device"


@dataclass
class World:
    """A city of the tenant /north/, one row of each kind, and the ids by the names that paths have for them."""

    house: Centre
    ids: dict[str, str] = field(default_factory=dict)
    alert: str = ""
    waits: str = ""

    def url(self, path: str, method: str = "GET") -> str:
        names = {"shape": "json", "act": "pause", "kind": "district", "version": "1"} | self.ids
        if "/callouts/" in path and "{order_id}" in path:
            names["order_id"] = self.ids["callout_id"]
        if path.startswith("/checks/"):
            names["order_id"] = self.ids["check_id"]
        asks = "?reason=the court is done" if (method, path) == ("DELETE", "/cases/{case_id}/hold") else ""
        return re.sub(r"\{(\w+)\}", lambda m: names[m[1]], path) + asks

    def body(self, route: Route, box: str) -> dict[str, Any] | None:
        who = {"order_id": self.ids["order_id"], "alert_id": self.alert, "camera_id": "north-cam"}
        who |= {"device_id": box}
        late = {"finished_at": self.house.clock().isoformat()}
        made: dict[Route, dict[str, Any]] = {
            ("POST", "/cases/{case_id}/split"): {"alerts": [self.alert]},
            ("POST", "/reports/{report_id}/link"): {"case_id": self.ids["case_id"]},
            ("POST", "/inspections/{order_id}/report"): who | late | LOOK,
            ("POST", "/checks/{order_id}/report"): {
                "order_id": self.ids["check_id"], "camera_id": "north-cam", "device_id": box, "ok": True,
                "at": self.house.clock().isoformat(),
            },
            ("POST", "/callouts/{order_id}/report"): {
                "order_id": self.ids["callout_id"], "camera_id": "north-cam", "device_id": box,
                "played": True, "at": self.house.clock().isoformat(),
            },
        }  # fmt: skip
        return BODIES.get(route) or made.get(route)


def _rows(world: World) -> None:
    """Rows that no short way of the API makes."""
    house, now, ids = world.house, world.house.clock(), world.ids
    with house.core.db.write() as session:
        for name in ("reading_id", "hook_id", "delivery_id"):
            ids[name] = new_id()
        session.add(
            Hook(
                id=ids["hook_id"], tenant="/north/", url=f"https://{MARK}.example", secret="whsec_eA==",
                active=True, created_at=now,
            )
        )  # fmt: skip
        session.flush()
        session.add(
            Delivery(
                id=ids["delivery_id"], hook_id=ids["hook_id"], state="dead", tries=3, next_at=now,
                error=MARK, body={"type": "city.curbwatch.case.opened.v1"},
            )
        )  # fmt: skip
        session.add(
            Reading(
                id=ids["reading_id"], case_id=ids["case_id"], tenant="/north/", kind="second", first_reviewer=MARK,
                asked=ANSWER, made_at=now, reader="nora", lease_until=now + timedelta(hours=1),
                answer={"kind": "reject", "reason": 1}, answered_at=now, agrees=False,
            )
        )  # fmt: skip
        session.add(
            CityRequest(case_id=ids["case_id"], tenant="/north/", state="dead", next_at=now, error=MARK)
        )
        item = {"signals": {}, "why": MARK, "hour": 8, "sha256": None, "model": "m"}
        for case in (ids["case_id"], world.waits):
            session.add(LabelItem(case_id=case, tenant="/north/", rank=0, score=0.5, body=item, made_at=now))


@pytest.fixture
def world(house: Centre) -> World:
    made = World(house)
    ids = made.ids
    nora, box = house.person("nora", "admin", "/north/"), house.box("north-box", "/north/")
    house.person(MARK, "supervisor", "/north/")
    north = {"device_id": "north-box", "camera_id": "north-cam", "camera_name": MARK}
    told = event(house.clock(), evidence=[evidence_item(JPEG)], **north)
    made.alert = told["data"]["id"]
    ids |= {"case_id": box.post("/alerts", json=told).json()["case_id"], "sha256": sha(JPEG)}
    assert box.put(f"/evidence/{sha(JPEG)}", content=JPEG).status_code == 201
    ids |= {"camera_id": "north-cam", "device_id": "north-box", "username": MARK}
    made.waits = box.post("/alerts", json=event(house.clock(), **north)).json()["case_id"]
    mark = house.person(MARK)
    verdict = mark.post(f"/cases/{ids['case_id']}/verdicts", json=ANSWER)
    ids["verdict_id"] = verdict.headers["Verdict-Id"]
    ids["key_id"] = nora.post("/keys", json={"name": MARK, "kind": "city", "tenant": "/north/"}).json()["id"]
    ids["threshold_id"] = nora.post(
        "/thresholds",
        json={"camera_id": "north-cam", "issue": "parking.motor", "min_score": 0.6, "why": MARK},
    ).json()["id"]
    ids["order_id"] = nora.post(f"/cases/{ids['case_id']}/inspections").json()["id"]
    ids["callout_id"] = nora.post(
        f"/cases/{ids['case_id']}/callouts", json={"message": "move_vehicle"}
    ).json()["id"]
    report = {
        "channel": "citizen", "external_id": MARK, "issue": "dumping.exposed", "lon": 112.5489, "lat": 37.8706,
        "text": MARK, "reported_at": house.clock().isoformat(),
    }  # fmt: skip
    ids["report_id"] = ids["request_id"] = nora.post("/reports", json=report).json()["id"]
    assert nora.put("/cameras/north-cam/setup", json={"setup": {}, "note": MARK}).is_success
    ids["check_id"] = nora.post("/cameras/north-cam/checks", json={"kind": "probe"}).json()["id"]
    assert nora.put("/fleet/boxes/north-box", json={"labels": {}}).is_success
    rollout = {"candidate": f"north/{MARK.lower()}@2", "plan": {"rings": [{"name": "all"}]}}
    ids["rollout_id"] = nora.post("/fleet/rollouts", json=rollout).json()["id"]
    ring = [[112.5, 37.8], [112.6, 37.8], [112.6, 37.9], [112.5, 37.8]]
    area = {
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"code": MARK, "name": MARK},
    }
    areas = {"type": "FeatureCollection", "features": [area | {"type": "Feature"}]}
    assert nora.put("/geo/district", json=areas).json()["features"] == 1
    _rows(made)
    assert nora.put(f"/cases/{ids['case_id']}/gold", json=ANSWER).is_success
    return made


# A file is known by its hash alone: who can name the hash has the file already, so a box is told that it need not send it.
# A release is nobody's own: its signatures say for which city it is.
BY_HASH = {("HEAD", "/evidence/{sha256}"), ("PUT", "/evidence/{sha256}"), ("GET", "/releases/{path}")}
NAMED = [
    r for r in MATRIX if re.search(r"\{(?!shape\}|kind\})", r[1]) and r not in BY_HASH and MATRIX[r] != PUBLIC
]
PLAIN = [r for r in MATRIX if r not in NAMED and r not in BY_HASH and MATRIX[r] != PUBLIC]
CALLERS = {**ROLES, "device": DEVICE, **{f"key:{kind}": found for kind, found in KEYS.items()}}


def client_of(house: Centre, caller: str, tenant: str) -> TestClient:
    name = f"{caller.replace(':', '-')}{tenant.replace('/', '-')}"
    if caller == "device":
        return house.box(name, tenant)
    if not caller.startswith("key:"):
        return house.person(name, caller, tenant)
    made = house.person("root", "admin").post(
        "/keys", json={"name": name, "kind": caller[4:], "tenant": tenant}
    )
    client = house.anonymous()
    client.headers["Authorization"] = f"Bearer {made.json()['secret']}"
    return client


def may(caller: str, route: Route) -> bool:
    return MATRIX[route] == "any person" or bool(CALLERS[caller] & set(MATRIX[route].split()))


# The feed's own test is over a real server; here is what it sends.
@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_the_feed_is_ones_own(world: World) -> None:
    def sent(tenant: str) -> list[str]:
        who = Principal("user", "x", "x", "reviewer", tenant, ROLES["reviewer"])
        return [event.tenant for event in _page(world.house.core, who, 0)]

    assert set(sent("/north/")) == set(sent("/")) == {"/north/"}
    assert sent("/south/") == sent("/north/a/") == []


def test_a_route_without_a_guard_does_not_start() -> None:
    def nothing() -> None:
        return None

    router = APIRouter()
    router.get("/open", dependencies=[public("a test")])(nothing)
    check_guards(router)
    router.get("/bare")(nothing)
    with pytest.raises(RuntimeError, match="/bare"):
        check_guards(router)


def test_every_route_says_whose_rows_it_has() -> None:
    assert set(PLAIN) == set(LISTS)
    assert set(COUNTS) <= set(LISTS)


@pytest.mark.parametrize(
    "house", ["sqlite"], indirect=True
)  # the conditions are the same text on both stores
@pytest.mark.parametrize("tenant", ["/south/", "/north/a/"])
def test_a_stranger_finds_nothing(world: World, tenant: str) -> None:
    ids = [v for k, v in world.ids.items() if k != "sha256"]
    seen, wrong = 0, []
    for caller in CALLERS:
        client = client_of(world.house, caller, tenant)
        for route in filter(lambda r: may(caller, r), NAMED):
            body = world.body(route, f"device{tenant.replace('/', '-')}")
            answer = client.request(route[0], world.url(route[1], route[0]), json=body)
            if answer.status_code != 404:
                wrong.append((caller, route, answer.status_code, answer.text[:200]))
            seen += 1
        for route in filter(lambda r: LISTS[r] and may(caller, r), PLAIN):
            if (tenant, route[1]) == ("/north/a/", "/resolve"):
                continue  # the areas of those above are one's own too
            query = (LISTS[route] or ("",))[0]
            answer = client.request(route[0], world.url(route[1]) + query)
            found = [mark for mark in (MARK, "north-cam", *ids) if mark in answer.text]
            told = [count for count in COUNTS.get(route, ()) if answer.json()[count]]
            told += ["rows"] if COUNTS.get(route) == () and answer.json() else []
            if answer.status_code not in {200, 204} or found or told:
                wrong.append((caller, route, answer.status_code, found or told))
            seen += 1
    assert not wrong, "\n".join(map(str, wrong))
    assert seen > 200


@contextmanager
def _unchanged(world: World) -> Iterator[None]:
    def now() -> list[Any]:
        with world.house.core.db.read() as session:
            rows = session.scalars(select(CaseRow).where(CaseRow.tenant == "/north/").order_by(CaseRow.id))
            return [(c.id, c.state, c.version, c.lease_by) for c in rows]

    before = now()
    yield
    assert now() == before


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_what_a_body_names(world: World) -> None:
    case, south = world.ids["case_id"], client_of(world.house, PERSON, "/south/")
    box = client_of(world.house, BOX, "/south/")
    with _unchanged(world):
        assert set(south.post("/queue/leases", json={"cases": [case]}).json()["refused"]) == {case}
        assert south.delete("/queue/leases", params={"case": case}).status_code == 204
        batch = {"cases": [{"id": case, "version": 1}], "verdict": ANSWER}
        assert south.post("/queue/batch", json=batch).status_code == 404
        queue = {"items": [{"case_id": case, "score": 0.5}]}
        assert south.put("/labels", json=queue).json() == {"taken": 0, "unknown": [case], "without_case": 0}
        threshold = {"camera_id": "north-cam", "issue": "parking.motor", "min_score": 0.5}
        assert south.post("/thresholds", json=threshold).status_code == 404
        for path, told in (
            ("/users", {"username": "x"}), ("/keys", {"name": "x", "kind": "city"}), ("/devices", {"id": "x"}),
        ):  # fmt: skip
            for tenant in ("/", "/north/"):
                assert south.post(path, json=told | {"tenant": tenant}).status_code == 403
        assert south.post("/devices", json={"id": "north-box", "tenant": "/south/"}).status_code == 403
        rollout = {"candidate": "south/m@2", "plan": {"rings": [{"name": "all"}]}}
        assert south.post("/fleet/rollouts", json=rollout).status_code == 422, "no box of one's own"
        assert south.post("/fleet/rollouts", json=rollout | {"tenant": "/north/"}).status_code == 403
        own = {"device_id": "device-south-"}
        assert box.post("/alerts", json=event(world.house.clock())).status_code == 403, "another box's name"
        site = event(world.house.clock(), **own)
        assert box.post("/alerts", json=site).json()["outcome"] == "case", (
            "the place of another tenant's case"
        )


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_the_owner_finds_all(world: World) -> None:
    """What a stranger was refused works for its owner, and whoever stands above sees the same."""
    wrong: list[tuple[Any, ...]] = []
    for tenant in ("/", "/north/"):
        world.house.clock.pass_s(91)  # the last one's leases
        for route, asked in LISTS.items():
            caller = next((c for c in (PERSON, *KEYS) if may(c if c == PERSON else f"key:{c}", route)), None)
            # What lies at a point is asked of one's own areas and of those above, so the whole city sees no district's.
            if not asked or caller is None or (tenant, route[1]) == ("/", "/resolve"):
                continue
            name = caller if caller == PERSON else f"key:{caller}"
            answer = client_of(world.house, name, tenant).request(route[0], world.url(route[1]) + asked[0])
            marked = any(mark in answer.text for mark in (MARK, "north-cam", *world.ids.values()))
            if answer.status_code != 200 or marked is not asked[1]:
                wrong.append((tenant, route, answer.status_code, marked))
    box, nora = world.house.box("north-box"), world.house.person("nora")
    for route in sorted(NAMED, key=lambda r: (r[0] == "DELETE", "device" in r[1], "hooks/{hook_id}" in r[1])):
        client = box if may(BOX, route) and not may(PERSON, route) else nora
        answer = client.request(route[0], world.url(route[1], route[0]), json=world.body(route, "north-box"))
        if answer.status_code not in {200, 201, 204, FITS_NOT.get(route, 200)}:
            wrong.append((route, answer.status_code, answer.text[:200]))
    assert not wrong, "\n".join(map(str, wrong))
