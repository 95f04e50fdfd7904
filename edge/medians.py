"""Medians of a few hundred values, for which `numpy.median` takes several times as long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_INFINITE = np.float32(np.inf)


def median(values: NDArray[np.floating]) -> float:
    """Return the median of a vector that is not empty."""
    low, high = (values.size - 1) // 2, values.size // 2
    ordered = np.partition(values, (low, high))
    return (float(ordered[low]) + float(ordered[high])) / 2


class Cells:
    """A grid of `side` x `side` cells over a picture of `rows` x `cols` pixels."""

    def __init__(self, side: int, rows: int, cols: int) -> None:
        self._side = side
        numbers = np.arange(rows * cols).reshape(rows, cols)
        parts = [
            part.ravel()
            for band in np.array_split(numbers, [rows * i // side for i in range(1, side)])
            for part in np.array_split(band, [cols * i // side for i in range(1, side)], axis=1)
        ]
        self._sizes = [p.size for p in parts]
        # The pixel behind the last one is infinite and fills the shorter cells.
        self._where = np.full((len(parts), max(self._sizes)), rows * cols)
        for row, part in zip(self._where, parts, strict=True):
            row[: part.size] = part
        self._values = np.full(rows * cols + 1, np.inf, np.float32)

    def medians(self, values: Floats, open_: NDArray[np.bool_]) -> Floats | None:
        """Return the upper median of each cell's open pixels, of all of them where less than half are open; None without any."""
        flat, open_flat = self._values[:-1], open_.ravel()
        flat[:] = values.ravel()
        flat[~open_flat] = np.inf
        cells = self._values.take(self._where)
        cells.sort(axis=1)
        out: list[float] = []
        usual: float | None = None
        for cell, size in zip(cells, self._sizes, strict=True):
            count = int(cell.searchsorted(_INFINITE))
            if 2 * count <= size:
                if usual is None:
                    some = flat[open_flat]
                    if not some.size:
                        return None
                    some.partition(some.size // 2)
                    usual = float(some[some.size // 2])
                out.append(usual)
            else:
                out.append(float(cell[count // 2]))
        return np.asarray(out, np.float32).reshape(self._side, self._side)
