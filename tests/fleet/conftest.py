"""Fixtures of the fleet's tests: a real centre in uvicorn on loopback, with a clock that the test may move."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "api"))
sys.path.insert(0, str(Path(__file__).parents[1] / "edge_worker"))
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from fleet_parts import City, city
from release_parts import Box, served_box
from tuf_scene import Scene


@pytest.fixture
def town(tmp_path: Path) -> Iterator[City]:
    with city(tmp_path / "centre") as made:
        yield made


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with served_box(tmp_path) as made:
        yield made


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.client.close()
    made.line.server.shutdown()
