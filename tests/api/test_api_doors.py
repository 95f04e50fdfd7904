"""The doors: sign-in, tokens, foreign sites, limits, headers, evidence, health."""

from __future__ import annotations

import pytest
from api_parts import JPEG, Centre, body, event, evidence_item, sha

PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 200
MP4 = b"\x00\x00\x00\x18ftypisom" + b"m" * 4000


def test_five_wrong_passwords_lock_the_name_for_a_while(house: Centre) -> None:
    house.person()
    client = house.anonymous()
    for _ in range(5):
        assert client.post("/session", json={"username": "rita", "password": "no"}).status_code == 401
    right = {"username": "rita", "password": house.passwords["rita"]}
    locked = client.post("/session", json=right)
    assert locked.status_code == 429
    assert int(locked.headers["Retry-After"]) <= 30
    house.clock.pass_s(31)
    assert client.post("/session", json=right).status_code == 200


def test_one_address_and_many_names(house: Centre) -> None:
    client, other = house.anonymous(), house.anonymous()
    other._transport.client = ("203.0.113.10", 5)  # type: ignore[attr-defined]
    codes = [
        client.post("/session", json={"username": f"name-{i}", "password": "no"}).status_code
        for i in range(31)
    ]
    assert codes == [401] * 30 + [429]
    told = {"username": "rita", "password": "no"}
    assert client.post("/session", json=told).headers["Retry-After"] == "60"
    assert other.post("/session", json=told).status_code == 401, "nobody else waits"
    house.clock.pass_s(61)
    assert house.person().get("/session").status_code == 200


def test_an_address_with_old_failures_is_not_locked_by_right_passwords(house: Centre) -> None:
    house.person(), house.person("omar")
    client = house.anonymous()

    def wrong(name: str) -> int:
        return client.post("/session", json={"username": name, "password": "no"}).status_code

    def right(name: str) -> int:
        told = {"username": name, "password": house.passwords[name]}
        return client.post("/session", json=told).status_code

    assert [wrong(f"name-{i}") for i in range(30)] == [401] * 30
    house.clock.pass_s(61)
    assert (right("rita"), right("omar")) == (200, 200), "nobody has failed since"
    assert (wrong("eve"), right("rita")) == (401, 429)
    house.clock.pass_s(3601)
    assert (wrong("eve"), right("rita")) == (401, 200), "what is over for an hour is forgotten"


def test_a_session_ends(house: Centre) -> None:
    rita = house.person()
    cookie = rita.cookies["curbwatch_session"]
    assert rita.get("/session").json()["role"] == "reviewer"
    assert rita.delete("/session").status_code == 204
    rita.cookies.set("curbwatch_session", cookie, domain="centre.local")
    assert rita.get("/session").status_code == 401
    omar = house.person("omar")
    house.clock.pass_s(12 * 3600 + 1)
    assert omar.get("/session").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://centre"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_another_site_changes_nothing(house: Centre, headers: dict[str, str], status: int) -> None:
    case, rita = house.case(), house.person()
    assert (
        rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}, headers=headers).status_code == status
    )


def test_the_cookie_is_shut(house: Centre) -> None:
    house.person()
    answer = house.anonymous().post(
        "/session", json={"username": "rita", "password": house.passwords["rita"]}
    )
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_every_answer_has_the_security_headers(house: Centre) -> None:
    for path in ("/healthz", "/cases", "/nothing", "/"):
        headers = house.anonymous().get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_bodies_are_bounded(house: Centre) -> None:
    box = house.box()
    assert box.post("/alerts", content=b"x" * (2 * 2**20 + 1)).status_code == 413

    def endless() -> object:
        for _ in range(100):
            yield b"x" * 2**16

    assert box.post("/alerts", content=endless()).status_code == 413


@pytest.mark.parametrize(
    ("data", "declared", "status"),
    [
        (JPEG, "image/jpeg", 201),
        (PNG, "image/png", 201),
        (MP4, "video/mp4", 201),
        (JPEG, None, 201),
        (b"sealed", "application/octet-stream", 201),
        (b"<script>", "image/jpeg", 415),
        (PNG, "image/jpeg", 415),
        (JPEG, "text/html", 415),
        (b"", None, 422),
    ],
)
def test_types_follow_the_bytes(house: Centre, data: bytes, declared: str | None, status: int) -> None:
    headers = {"Content-Type": declared} if declared else {}
    assert house.box().put(f"/evidence/{sha(data)}", content=data, headers=headers).status_code == status


def test_a_wrong_hash_stores_nothing(house: Centre) -> None:
    box = house.box()
    assert box.put(f"/evidence/{sha(b'other')}", content=JPEG).status_code == 422
    assert box.head(f"/evidence/{sha(b'other')}").status_code == 404
    assert box.put("/evidence/nohash", content=JPEG).status_code == 422


def test_an_upload_goes_on_where_it_broke(house: Centre) -> None:
    box, name = house.box(), sha(MP4)
    total = len(MP4)
    first = box.put(
        f"/evidence/{name}", content=MP4[:1000], headers={"Content-Range": f"bytes 0-999/{total}"}
    )
    assert first.status_code == 202
    head = box.head(f"/evidence/{name}")
    assert (head.headers["Upload-Offset"], head.headers["Upload-Complete"]) == ("1000", "?0")
    gap = box.put(
        f"/evidence/{name}", content=MP4[2000:], headers={"Content-Range": f"bytes 2000-{total - 1}/{total}"}
    )
    assert gap.status_code == 409
    rest = box.put(
        f"/evidence/{name}",
        content=body(MP4[1000:]),
        headers={"Content-Range": f"bytes 1000-{total - 1}/{total}"},
    )
    assert rest.status_code == 201
    assert box.head(f"/evidence/{name}").headers["Upload-Complete"] == "?1"


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-3", 206, JPEG[:4]),
        ("bytes=10-", 206, JPEG[10:]),
        ("bytes=-5", 206, JPEG[-5:]),
        ("bytes=0-999999", 206, JPEG),
        ("bytes=999999-", 416, None),
        ("lines=1-2", 200, JPEG),
    ],
)
def test_ranges(house: Centre, asked: str, status: int, expected: bytes | None) -> None:
    box = house.box()
    box.put(f"/evidence/{sha(JPEG)}", content=JPEG)
    box.post("/alerts", json=event(house.clock(), evidence=[evidence_item(JPEG)]))
    answer = house.person().get(f"/evidence/{sha(JPEG)}", headers={"Range": asked})
    assert answer.status_code == status
    if expected is not None:
        assert answer.content == expected


def test_a_sealed_original_opens_with_a_reason_and_is_recorded(house: Centre) -> None:
    box = house.box()
    box.put(f"/evidence/{sha(b'sealed')}", content=b"sealed")
    item = evidence_item(b"sealed", "sealed", "application/octet-stream")
    box.post("/alerts", json=event(house.clock(), evidence=[item]))
    path = f"/evidence/{sha(b'sealed')}"
    assert house.person().get(path).status_code == 403
    sue = house.person("sue", "supervisor")
    assert sue.get(path).status_code == 403
    opened = sue.get(path, params={"reason": "appeal 12"})
    assert opened.content == b"sealed"
    assert opened.headers["content-disposition"].startswith("attachment")


def test_tenants_see_their_own(house: Centre) -> None:
    north = house.box("box-n", "/north/")
    case = house.case(north, device_id="box-n", evidence=[evidence_item(JPEG)])
    north.put(f"/evidence/{sha(JPEG)}", content=JPEG)
    south = house.person("sol", tenant="/south/")
    assert south.get(f"/cases/{case}").status_code == 404
    assert south.get("/cases").json()["items"] == []
    assert south.get("/queue/next").status_code == 204
    assert south.get(f"/evidence/{sha(JPEG)}").status_code == 404
    assert south.get("/cameras").json() == []
    assert house.person("nora", tenant="/north/").get(f"/cases/{case}").status_code == 200


def test_a_renewed_token_keeps_the_old_one_for_a_day(house: Centre) -> None:
    old = house.box()
    del house.tokens["box-1"]
    new = house.box()
    assert old.head(f"/evidence/{sha(JPEG)}").status_code == 404
    assert new.head(f"/evidence/{sha(JPEG)}").status_code == 404
    house.clock.pass_s(25 * 3600)
    assert old.head(f"/evidence/{sha(JPEG)}").status_code == 401
    assert new.head(f"/evidence/{sha(JPEG)}").status_code == 404


def test_health_tells_the_truth(house: Centre) -> None:
    client = house.anonymous()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.get("/metrics").status_code == 401
    assert "curbwatch_queue_cases 0.0" in house.person("ada", "admin").get("/metrics").text
    from api.migrate import migrate

    migrate(house.core.db.engine, "base")
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
