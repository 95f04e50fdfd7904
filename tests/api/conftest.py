"""Fixtures of the API tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from api_parts import Centre, centre


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Centre]:
    with centre(tmp_path / "data") as made:
        yield made
