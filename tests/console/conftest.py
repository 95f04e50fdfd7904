"""Fixtures of the console's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).parent))
from console_parts import Town, chromium, town


@pytest.fixture(
    scope="module"
)  # a running Playwright keeps an event loop, which other files' asyncio.run would meet
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Town]:
    with town(tmp_path, second_share=0.0) as running:
        yield running
