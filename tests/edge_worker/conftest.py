"""Fixtures of the box's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "api"))

from api_parts import Centre, centre


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Centre]:
    with centre(tmp_path / "centre") as made:
        yield made
