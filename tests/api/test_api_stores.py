"""The other stores: PostgreSQL with two replicas, S3, migrations forward and back, backup and restore."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from api_parts import JPEG, Centre, centre, event, evidence_item, sha
from sqlalchemy import func, inspect, select

from api.db import Database
from api.evidence import EvidenceStore
from api.export import write_labels
from api.migrate import current, heads, migrate
from api.outbox import send_due
from api.settings import Settings
from api.tables import Base, CaseRow, Hook
from api.tables_city import CityRequest
from api.tables_console import Reading
from api.tables_custody import Tombstone
from api.tables_fleet import FleetBox
from bench.servers import new_database, s3
from contract import Case, new_id
from contract.datum import from_datum


@pytest.fixture
def replicas(tmp_path: Path, pg_url: str) -> Iterator[tuple[Centre, Centre]]:
    url = new_database(pg_url, f"cw_{new_id()}")
    with ExitStack() as stack:
        both = [
            stack.enter_context(centre(tmp_path / name, database_url=url, pool_size=5))
            for name in ("one", "two")
        ]
        both[1].tokens, both[1].passwords, both[1].clock = both[0].tokens, both[0].passwords, both[0].clock
        yield both[0], both[1]


def _database(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> Database:
    if kind == "sqlite":
        return Database(Settings(data=tmp_path / "m"))
    url = new_database(request.getfixturevalue("pg_url"), f"cw_{new_id()}")
    return Database(Settings(data=tmp_path / "m", database_url=url))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_migrations_forward_and_back(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    db = _database(tmp_path, kind, request)
    for _ in range(2):
        migrate(db.engine)
        assert current(db.engine) == heads()
        assert {CityRequest.__tablename__, Reading.__tablename__, Tombstone.__tablename__} <= set(
            Base.metadata.tables
        )
        tables = set(inspect(db.engine).get_table_names()) - {"alembic_version"}
        assert tables == set(Base.metadata.tables) >= {FleetBox.__tablename__}
        for name, table in Base.metadata.tables.items():
            assert {c["name"] for c in inspect(db.engine).get_columns(name)} == set(table.columns.keys())
        migrate(db.engine, "base")
        assert set(inspect(db.engine).get_table_names()) <= {"alembic_version"}
    db.close()


def test_the_walk_on_postgresql(replicas: tuple[Centre, Centre]) -> None:
    one, two = replicas
    box = one.box()
    answer = box.post("/alerts", json=event(one.clock(), evidence=[evidence_item(JPEG)]))
    case = answer.json()["case_id"]
    assert box.put(f"/evidence/{sha(JPEG)}", content=JPEG).status_code == 201
    assert two.anonymous().get("/readyz").status_code == 200
    rita = one.person()
    omar = two.person("omar")
    assert rita.get("/queue/next").json()["id"] == case
    assert omar.get("/queue/next").status_code == 204, "the lease holds on the other replica"
    doubtful = two.box().post("/alerts", json=event(two.clock())).json()["case_id"]
    rita.post(f"/cases/{doubtful}/verdicts", json={"kind": "unsure"}).raise_for_status()
    assert rita.get("/queue/next").json()["id"] == case, "the second look is another's"
    assert omar.get("/queue/next").json()["id"] == doubtful
    told = rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    assert told.json()["state"] == "confirmed"
    assert Case.model_validate(omar.get(f"/cases/{case}").json()).version == told.json()["version"]
    sue = two.person("sue", "supervisor")
    assert sue.post(f"/cases/{case}/steps", json={"step": "file"}).json()["state"] == "filed"
    assert two.person("aud", "auditor").get(f"/cases/{case}/audit").json()["intact"]
    root = two.person("root", "admin")
    nul = root.post("/keys", json={"name": "a\u0000b", "kind": "city"})
    assert nul.status_code == 422, "PostgreSQL holds no NUL"
    hook = root.post("/hooks", json={"url": "https://127.0.0.1/x"})
    assert hook.status_code == 422
    with two.core.db.write() as session:
        session.add(
            Hook(
                id=new_id(),
                tenant="/",
                url="https://127.0.0.1/x",
                secret="whsec_eA==",
                active=True,
                created_at=one.clock(),
            )
        )
    one.case()
    with httpx.Client(timeout=60, trust_env=False) as client:
        assert send_due(two.core.db, client, two.clock, 3, False) == 1
        assert send_due(one.core.db, client, one.clock, 3, False) == 0
    ring = [[112.5, 37.8], [112.6, 37.8], [112.6, 37.9], [112.5, 37.8]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"code": "d1"},
    }
    root.put("/geo/district", json={"type": "FeatureCollection", "features": [feature]})
    at = {"lon": 112.58, "lat": 37.82}
    assert one.person("root").get("/resolve", params=at).json()["codes"] == {"district": "d1"}, (
        "replicas agree"
    )
    assert two.person("root", "admin").get("/stats/indicators").json()["groups"][0]["filed"] == 1


def test_two_replicas_make_one_case_of_one_place(replicas: tuple[Centre, Centre]) -> None:
    one, two = replicas
    site, boxes = new_id(), [one.box(), two.box()]

    def send(i: int) -> str:
        answer = boxes[i % 2].post("/alerts", json=event(one.clock(), key__site_id=site))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["case_id"])

    with ThreadPoolExecutor(8) as pool:
        cases = set(pool.map(send, range(24)))
    assert len(cases) == 1
    same = event(one.clock())
    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(lambda i: boxes[i % 2].post("/alerts", json=same).status_code, range(8)))
    assert codes == [200] * 7 + [201]
    with one.core.db.read() as session:
        assert session.scalar(select(func.count()).select_from(CaseRow)) == 2


def test_what_one_replica_revokes_the_other_refuses_at_once(replicas: tuple[Centre, Centre]) -> None:
    one, two = replicas
    two.core.__dict__["now"] = one.clock
    root, file = one.person("root", "admin"), f"/evidence/{'0' * 64}"
    old = two.box()
    fresh = two.anonymous()
    fresh.headers["Authorization"] = f"Bearer {root.post('/devices', json={'id': 'box-1'}).json()['secret']}"
    assert (old.head(file).status_code, fresh.head(file).status_code) == (404, 404), "both, for a day"
    one.clock.pass_s(24 * 3600 + 1)
    assert (old.head(file).status_code, fresh.head(file).status_code) == (401, 404)
    root = one.person("root")
    made = root.post("/keys", json={"name": "k", "kind": "statistics"}).json()
    key = two.anonymous()
    key.headers["Authorization"] = f"Bearer {made['secret']}"
    assert (key.get("/stats/hours").status_code, key.get("/cases").status_code) == (200, 403)
    assert root.delete(f"/keys/{made['id']}").status_code == 204
    assert root.delete("/devices/box-1").status_code == 204
    assert (key.get("/stats/hours").status_code, fresh.head(file).status_code) == (401, 401)
    rita = two.person()
    assert root.delete("/users/rita").status_code == 204
    assert rita.get("/session").status_code == 401


def test_tries_at_one_moment_all_count(replicas: tuple[Centre, Centre]) -> None:
    one, _ = replicas
    one.person()
    clients = [house.anonymous() for house in replicas]

    def wrong(i: int) -> int:
        return clients[i % 2].post("/session", json={"username": "rita", "password": "no"}).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(wrong, range(16)))
    assert codes == [401] * 5 + [429] * 11, "five guesses, however many replicas are asked at once"


def test_many_writers(house: Centre) -> None:
    box = house.box()
    with ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(lambda _: box.post("/alerts", json=event(house.clock())).status_code, range(40))
        )
    assert codes == [201] * 40
    numbers = [c["number"] for c in house.person().get("/cases", params={"limit": 100}).json()["items"]]
    assert sorted(numbers) == [f"2026-{n:06d}" for n in range(1, 41)]


def test_evidence_in_a_bucket(tmp_path: Path) -> None:
    pytest.importorskip("moto.server")
    with (
        s3() as endpoint,
        centre(
            tmp_path, evidence_url="s3://evidence/street", s3_endpoint=endpoint,
            s3_access_key="key", s3_secret_key="secret",
        ) as house,
    ):  # fmt: skip
        box = house.box()
        big = JPEG + bytes(6 * 2**20)
        box.post("/alerts", json=event(house.clock(), evidence=[evidence_item(big)]))
        assert box.put(f"/evidence/{sha(big)}", content=big).status_code == 201
        assert box.put(f"/evidence/{sha(big)}", content=big).status_code == 200
        assert box.put(f"/evidence/{'0' * 64}", content=big).status_code == 422
        assert box.head(f"/evidence/{'0' * 64}").status_code == 404
        picture = house.person().get(f"/evidence/{sha(big)}", headers={"Range": "bytes=100-199"})
        assert picture.content == big[100:200]
        assert house.anonymous().get("/readyz").status_code == 200


async def _labels(house: Centre, out: Path) -> tuple[int, int]:
    return await write_labels(house.core.settings, house.core.db, out, True)


def test_labels_for_training(house: Centre, tmp_path: Path) -> None:
    box, rita = house.box(), house.person()
    yes = house.case(evidence=[evidence_item(JPEG)])
    box.put(f"/evidence/{sha(JPEG)}", content=JPEG)
    no, _open = house.case(), house.case()
    rita.post(f"/cases/{yes}/verdicts", json={"kind": "confirm"})
    rita.post(f"/cases/{no}/verdicts", json={"kind": "reject", "reason": 3})
    root = house.person("root", "admin")
    lines = root.get("/exports/labels").text.splitlines()
    cases = [Case.model_validate_json(line) for line in lines]
    assert [c.id for c in cases] == [yes, no]
    assert [c.verdicts[-1].reason for c in cases] == [None, 3]
    assert asyncio.run(_labels(house, tmp_path / "out")) == (2, 1)
    assert (tmp_path / "out" / "evidence" / sha(JPEG)).read_bytes() == JPEG


def test_an_export_that_was_cut_is_made_good_by_the_next(
    sqlite_house: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, out, big = sqlite_house, tmp_path / "out", JPEG + bytes(2 * 2**20)
    box, rita = house.box(), house.person()
    for content in (JPEG, big):
        case = house.case(evidence=[evidence_item(content)])
        box.put(f"/evidence/{sha(content)}", content=content)
        rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
        if content is JPEG:
            assert asyncio.run(_labels(house, out)) == (1, 1)
    read = EvidenceStore.read

    async def breaks(store: EvidenceStore, sha256: str, start: int, end: int) -> bytes:
        if start:
            raise OSError("the line to the bucket broke")
        return await read(store, sha256, start, end)

    with monkeypatch.context() as patch:
        patch.setattr(EvidenceStore, "read", breaks)
        with pytest.raises(OSError, match="the line"):
            asyncio.run(_labels(house, out))
    assert {p.name for p in (out / "evidence").iterdir()} == {sha(JPEG)}
    assert len((out / "cases.jsonl").read_text().splitlines()) == 1, "the one before, whole"
    (out / "evidence" / sha(JPEG)).write_bytes(JPEG[:100])
    assert asyncio.run(_labels(house, out)) == (2, 2)
    assert [(out / "evidence" / sha(c)).read_bytes() == c for c in (JPEG, big)] == [True, True]
    assert sorted(p.name for p in out.iterdir()) == ["cases.jsonl", "evidence"]


def test_exports(house: Centre) -> None:
    house.case(camera_name="=cmd|x")
    root = house.person("root", "admin")
    table = root.get("/exports/cases", params={"format": "csv"}).text.splitlines()
    assert len(table) == 2
    assert "'=cmd|x" in table[1]
    geo = root.get("/exports/cases", params={"format": "geojson"}).json()
    assert geo["features"][0]["geometry"]["coordinates"] == [112.5489, 37.8706]
    shifted = root.get("/exports/cases", params={"format": "geojson", "datum": "gcj02"}).json()
    lon, lat = shifted["features"][0]["geometry"]["coordinates"]
    assert from_datum(lon, lat, "gcj02") == pytest.approx((112.5489, 37.8706), abs=1e-7)
    assert abs(lon - 112.5489) > 0.001
    assert root.get("/exports/cases", params={"since": "2026-03-04T08:00:00"}).status_code == 422
