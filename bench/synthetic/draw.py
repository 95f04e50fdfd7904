"""Where a script's numbers come from: a seeded generator in a benchmark, Hypothesis in a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class Draw(Protocol):
    """Chooses numbers."""

    def real(self, low: float, high: float) -> float:
        """Return a number of an interval."""

    def whole(self, low: int, high: int) -> int:
        """Return a whole number, both ends included."""

    def pick(self, options: Sequence[T]) -> T:
        """Return one of some options."""


class SeededDraw:
    """Even draws of a seeded generator: their rates are the rates of the street that the makers describe."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def real(self, low: float, high: float) -> float:
        """Return a number of an interval."""
        return float(self._rng.uniform(low, high))

    def whole(self, low: int, high: int) -> int:
        """Return a whole number, both ends included."""
        return int(self._rng.integers(low, high + 1))

    def pick(self, options: Sequence[T]) -> T:
        """Return one of some options."""
        return options[self.whole(0, len(options) - 1)]


def chance(draw: Draw, share: float) -> bool:
    """Return True in a share of the draws."""
    return draw.real(0.0, 1.0) < share
