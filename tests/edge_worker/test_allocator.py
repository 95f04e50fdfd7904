"""Memory is given back by the clock: what lies in cycles, and the heap's free pages."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest

from edge import allocator
from edge.allocator import Tidying, give_back


class Thing:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    told = [1000.0]
    monkeypatch.setattr(allocator, "time", SimpleNamespace(monotonic=lambda: told[0]))
    monkeypatch.setattr(allocator._Given, "at", float("-inf"))
    return told


def _thrown_away(generation: int) -> weakref.ref[Thing]:
    thing = Thing()
    for _ in range(generation):
        gc.collect(1)
    return weakref.ref(thing)


def test_the_collector_looks_by_the_clock_and_seldom_by_itself(now: list[float]) -> None:
    before = gc.get_threshold()
    gc.collect()
    with Tidying() as tidying:
        old = _thrown_away(2)
        young = _thrown_away(0)
        # A ring's worth of objects that stay.
        kept = [[n] for n in range(5_000)]
        tidying.turn()
        assert young() is not None, "it is not time yet"
        now[0] += 20
        tidying.turn()
        assert young() is None
        assert old() is not None
        now[0] += 600
        tidying.turn()
        assert old() is None
        assert len(kept) == 5_000
    assert gc.get_threshold() == before


def test_pages_are_given_back_some_seconds_apart(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[float] = []

    class Library:
        def malloc_trim(self, _pad: int) -> int:
            trimmed.append(now[0])
            return 1

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _name: Library())
    for at in (1000.0, 1001.0, 1019.9, 1020.0, 1030.0, 1041.0):
        now[0] = at
        give_back()
    assert trimmed == [1000.0, 1020.0, 1041.0]
