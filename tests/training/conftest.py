"""Tests that need torch are skipped where it isn't installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("torch") and importlib.util.find_spec("ultralytics"):
        return
    for one in items:
        if Path(__file__).parent in one.path.parents and one.get_closest_marker("training"):
            one.add_marker(pytest.mark.skip(reason="torch is not installed; run make install-training"))
