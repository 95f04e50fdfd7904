"""How far people agree: Cohen's kappa and precision, pure functions of pairs of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

Pair = tuple[Hashable, Hashable]


def cohen_kappa(pairs: Sequence[Pair]) -> float | None:
    """Return Cohen's kappa of (first, second) answers: 1 for perfect agreement, 0 for that of chance.

    (p_o - p_e) / (1 - p_e), J. Cohen, "A coefficient of agreement for nominal scales", 1960. None without pairs,
    and where both people gave one and the same answer throughout, since chance then explains everything.
    """
    if not pairs:
        return None
    n = len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = sum(a == b for a, b in pairs) / n
    by_chance = sum(first[k] * second[k] for k in first) / (n * n)
    if by_chance >= 1.0:
        return None
    return (observed - by_chance) / (1.0 - by_chance)


def upheld(pairs: Sequence[Pair], answer: Hashable) -> float | None:
    """Return the share of the first person's `answer`s that the second gave too; None when there are none."""
    of_first = [b for a, b in pairs if a == answer]
    return sum(b == answer for b in of_first) / len(of_first) if of_first else None
