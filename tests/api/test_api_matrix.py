"""Who may do what: every route of the app against every kind of caller. A new route needs its line here."""

from __future__ import annotations

import pytest
from api_parts import Centre

from api.access import KEYS, ROLES
from contract import new_id

PUBLIC = "public"
OF_A_PERSON = " of a person"
MATRIX: dict[tuple[str, str], str] = {
    ("PUT", "/evidence/{sha256}"): "device.ingest",
    ("HEAD", "/evidence/{sha256}"): "device.ingest evidence.read",
    ("GET", "/evidence/{sha256}"): "evidence.read",
    ("GET", "/evidence/{sha256}/playable"): "evidence.read",
    ("POST", "/alerts"): "device.ingest",
    ("POST", "/heartbeats"): "device.ingest",
    ("POST", "/session"): PUBLIC,
    ("GET", "/session"): "any person",
    ("DELETE", "/session"): PUBLIC,
    ("GET", "/session/ways"): PUBLIC,
    ("GET", "/session/oidc"): PUBLIC,
    ("GET", "/session/oidc/callback"): PUBLIC,
    ("GET", "/cases"): "case.read",
    ("GET", "/cases/{case_id}"): "case.read",
    ("POST", "/cases/{case_id}/verdicts"): "case.review",
    ("DELETE", "/cases/{case_id}/verdicts/{verdict_id}"): "case.review",
    ("GET", "/queue"): "case.review",
    ("GET", "/queue/next"): "case.review",
    ("GET", "/queue/waiting"): "case.review",
    ("POST", "/queue/leases"): "case.review",
    ("DELETE", "/queue/leases"): "case.review",
    ("POST", "/queue/batch"): "case.review",
    ("POST", "/cases/{case_id}/defer"): "case.review",
    ("POST", "/cases/{case_id}/views"): "case.read",
    ("GET", "/cases/{case_id}/cluster"): "case.review",
    ("GET", "/cases/{case_id}/place"): "case.read",
    ("PUT", "/cases/{case_id}/gold"): "case.supervise",
    ("DELETE", "/cases/{case_id}/gold"): "case.supervise",
    ("GET", "/session/preferences"): "case.read of a person",
    ("PUT", "/session/preferences"): "case.read of a person",
    ("POST", "/readings/{reading_id}"): "case.review",
    ("DELETE", "/readings/{reading_id}"): "case.review",
    ("GET", "/labels"): "case.review",
    ("PUT", "/labels"): "case.supervise",
    ("DELETE", "/labels/{case_id}"): "case.review",
    ("GET", "/quality"): "stats.read",
    ("GET", "/quality/disagreements"): "case.supervise",
    ("GET", "/map"): "case.read",
    ("GET", "/charts/heat"): "stats.read",
    ("GET", "/charts/models"): "stats.read",
    ("GET", "/charts/load"): "stats.read",
    ("GET", "/cameras/{camera_id}/pictures"): "camera.read",
    ("GET", "/cameras/{camera_id}/setup"): "camera.read",
    ("GET", "/cameras/{camera_id}/setup/{version}"): "camera.read",
    ("PUT", "/cameras/{camera_id}/setup"): "device.manage",
    ("POST", "/cameras/{camera_id}/setup/try"): "camera.read",
    ("POST", "/cameras/{camera_id}/checks"): "device.manage",
    ("GET", "/cameras/{camera_id}/checks"): "device.manage",
    ("GET", "/cameras/{camera_id}/checks/{check_id}"): "device.manage",
    ("GET", "/cameras/{camera_id}/checks/{check_id}/picture"): "device.manage",
    ("POST", "/checks/{order_id}/report"): "device.ingest",
    ("GET", "/start"): "case.read",
    ("GET", "/events"): "case.read",
    ("GET", "/cameras"): "camera.read",
    ("GET", "/cases/{case_id}/steps"): "case.read",
    ("POST", "/cases/{case_id}/steps"): "case.supervise case.dispatch case.handle",
    ("POST", "/cases/{case_id}/split"): "case.review",
    ("GET", "/cases/{case_id}/suggestions"): "case.read",
    ("GET", "/cases/{case_id}/audit"): "audit.read",
    ("GET", "/cases/{case_id}/recurrence"): "case.read",
    ("GET", "/cases/{case_id}/terms"): "case.read",
    ("PUT", "/devices/self/key"): "device.ingest",
    ("GET", "/devices/{device_id}/chain"): "audit.read device.manage",
    ("GET", "/cases/{case_id}/custody"): "case.read",
    ("GET", "/cases/{case_id}/export.zip"): "export.read",
    ("POST", "/cases/{case_id}/original"): "evidence.unseal",
    ("PUT", "/cases/{case_id}/hold"): "case.supervise",
    ("DELETE", "/cases/{case_id}/hold"): "case.supervise",
    ("GET", "/exports/cases"): "export.read",
    ("GET", "/exports/labels"): "export.read",
    ("POST", "/users"): "user.manage",
    ("DELETE", "/users/{username}"): "user.manage",
    ("POST", "/devices"): "device.manage",
    ("DELETE", "/devices/{device_id}"): "device.manage",
    ("POST", "/keys"): "key.manage",
    ("DELETE", "/keys/{key_id}"): "key.manage",
    ("PUT", "/geo/{kind}"): "geo.write",
    ("GET", "/geo/{kind}"): "geo.read",
    ("GET", "/resolve"): "geo.read",
    ("GET", "/hooks"): "hook.manage",
    ("POST", "/hooks"): "hook.manage",
    ("DELETE", "/hooks/{hook_id}"): "hook.manage",
    ("GET", "/hooks/{hook_id}/deliveries"): "hook.manage",
    ("POST", "/hooks/{hook_id}/deliveries/{delivery_id}"): "hook.manage",
    ("GET", "/stats/indicators"): "stats.read",
    ("GET", "/stats/precision"): "stats.read",
    ("GET", "/stats/hours"): "stats.read",
    ("GET", "/stats/hotspots"): "stats.read",
    ("GET", "/stats/reviewers"): "stats.read",
    ("GET", "/stats/proposals"): "stats.read",
    ("GET", "/stats/inspections"): "stats.read",
    ("GET", "/stats/public"): PUBLIC,
    ("POST", "/reports"): "report.write",
    ("GET", "/reports"): "case.read",
    ("GET", "/reports/{report_id}"): "report.write case.read",
    ("POST", "/reports/{report_id}/link"): "case.supervise",
    ("GET", "/cases/{case_id}/inspections"): "case.read",
    ("POST", "/cases/{case_id}/inspections"): "case.supervise case.dispatch case.handle",
    ("POST", "/inspections/{order_id}/report"): "device.ingest",
    ("GET", "/cases/{case_id}/callouts"): "case.read",
    ("GET", "/cases/{case_id}/callouts/messages"): "case.read",
    ("POST", "/cases/{case_id}/callouts"): "callout",
    ("POST", "/callouts/{order_id}/report"): "device.ingest",
    ("GET", "/thresholds"): "stats.read threshold.write",
    ("POST", "/thresholds"): "threshold.write",
    ("DELETE", "/thresholds/{threshold_id}"): "threshold.write",
    ("GET", "/open311/discovery.{shape}"): PUBLIC,
    ("GET", "/open311/v2/services.{shape}"): PUBLIC,
    ("GET", "/open311/v2/services/{service_code}.{shape}"): PUBLIC,
    ("GET", "/cases/{case_id}/trace"): "case.read",
    ("GET", "/city/requests"): "case.dispatch hook.manage",
    ("POST", "/city/requests/{case_id}"): "case.dispatch hook.manage",
    ("POST", "/open311/v2/requests.{shape}"): "report.write",
    ("GET", "/open311/v2/requests.{shape}"): "report.write",
    ("GET", "/open311/v2/requests/{request_id}.{shape}"): "report.write",
    ("POST", "/fleet/codes"): "device.manage",
    ("POST", "/enrol"): PUBLIC,
    ("GET", "/fleet/boxes"): "device.manage audit.read",
    ("GET", "/fleet/boxes/{device_id}"): "device.manage audit.read",
    ("PUT", "/fleet/boxes/{device_id}"): "device.manage",
    ("PUT", "/fleet/boxes/{device_id}/config"): "device.manage",
    ("GET", "/fleet/boxes/{device_id}/configs"): "device.manage",
    ("POST", "/fleet/rollouts"): "device.manage",
    ("GET", "/fleet/rollouts"): "device.manage audit.read",
    ("GET", "/fleet/rollouts/{rollout_id}"): "device.manage audit.read",
    ("POST", "/fleet/rollouts/{rollout_id}/{act}"): "device.manage",
    ("GET", "/devices/self/config/{version}"): "device.ingest",
    ("GET", "/releases/{path}"): "device.ingest device.manage",
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/metrics"): "metrics.read",
}


def test_every_route_has_its_line(house: Centre) -> None:
    paths = house.app.openapi()["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert found == set(MATRIX)


def _call(client: object, method: str, path: str) -> int:
    url = path
    for name, value in (
        ("sha256", "0" * 64), ("case_id", new_id()), ("verdict_id", new_id()), ("username", "nobody"),
        ("kind", "grid"), ("threshold_id", new_id()), ("order_id", new_id()), ("report_id", new_id()), ("hook_id", new_id()), ("delivery_id", new_id()), ("device_id", "nobody"), ("key_id", new_id()),
        ("reading_id", new_id()), ("camera_id", "nobody"), ("request_id", new_id()), ("shape", "json"), ("service_code", "parking.motor"), ("version", "1"), ("path", "nothing"), ("rollout_id", new_id()), ("act", "pause"),
    ):  # fmt: skip
        url = url.replace(f"{{{name}}}", value)
    return int(
        client.request(
            method, url, json={} if method == "POST" or path == "/geo/{kind}" else None
        ).status_code
    )  # type: ignore[attr-defined]


def _allowed(need: str, permissions: frozenset[str], person: bool) -> bool:
    if need == PUBLIC:
        return True
    if need == "any person":
        return person or bool(permissions - {"device.ingest"})
    told = need.removesuffix(OF_A_PERSON)
    return bool(permissions & set(told.split())) and (person or told == need)


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)  # permissions know no store
@pytest.mark.parametrize("caller", ["nobody", "device", *ROLES, *(f"key:{k}" for k in KEYS)])
def test_the_matrix(house: Centre, caller: str) -> None:
    permissions: frozenset[str] = frozenset()
    if caller == "nobody":
        client = house.anonymous()
    elif caller == "device":
        client, permissions = house.box(), frozenset({"device.ingest"})
    elif caller.startswith("key:"):
        kind = caller[4:]
        permissions = KEYS[kind]
        made = house.person("root", "admin").post("/keys", json={"name": kind, "kind": kind})
        client = house.anonymous()
        client.headers["Authorization"] = f"Bearer {made.json()['secret']}"
    else:
        client, permissions = house.person("who", caller), ROLES[caller]
    for (method, path), need in MATRIX.items():
        if path == "/events" or (method, path) == ("DELETE", "/session"):
            continue  # the feed does not end; signing out would end the walk
        status = _call(client, method, path)
        refused = status in {401, 403}
        if need == PUBLIC:
            assert status != 403, (method, path)
        elif caller == "nobody":
            assert status == (403 if path.startswith("/open311/") else 401), (method, path, status)
        else:
            assert refused is not _allowed(need, permissions, caller in ROLES), (method, path, status)


def test_keys_are_for_admins_of_the_tenant(house: Centre) -> None:
    north = house.person("nora", "admin", "/north/")
    assert north.post("/users", json={"username": "x", "tenant": "/south/"}).status_code == 403
    made = north.post("/users", json={"username": "x", "tenant": "/north/"})
    assert made.status_code == 201
    login = {"username": "x", "password": made.json()["secret"]}
    client = house.anonymous()
    assert client.post("/session", json=login).status_code == 200
    assert north.post("/users", json={"username": "x", "tenant": "/north/"}).status_code == 409
    assert north.delete("/users/x").status_code == 204
    assert client.get("/cases").status_code == 401
    token = north.post("/devices", json={"id": "b1", "tenant": "/north/"}).json()["secret"]
    box = house.anonymous()
    box.headers["Authorization"] = f"Bearer {token}"
    assert box.head("/evidence/" + "0" * 64).status_code == 404
    assert north.delete("/devices/b1").status_code == 204
    assert box.head("/evidence/" + "0" * 64).status_code == 401
