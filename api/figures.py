"""Small pure figures of the statistics: shares, bounds, hidden counts, threshold proposals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SMALL = 5
# RULES: a precision of 0.85 is the aim; a proposal may cost at most a tenth of the true alerts.
TARGET, KEEP, LEAST = 0.85, 0.9, 20


def share(part: float, whole: float) -> float | None:
    """Return part / whole to four places, None where there is nothing to divide by."""
    return round(part / whole, 4) if whole else None


def wilson(yes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of a share, 95 % by default (E. B. Wilson, JASA 22, 1927); 0 to 1 for no sample."""
    if n == 0:
        return 0.0, 1.0
    p = yes / n
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + z * z / n)), min(1.0, (middle + spread) / (1 + z * z / n))


def wilson_low(yes: int, n: int, z: float = 1.96) -> float:
    """Return the lower end of `wilson`."""
    return wilson(yes, n, z)[0]


def hide_small(counts: Mapping[str, int], least: int = SMALL) -> dict[str, int | None]:
    """Return the counts with those below `least` as None.

    Where one alone is hidden, the smallest of the others is hidden with it: a total published elsewhere would
    give the one away. Zero counts are left out.
    """
    shown: dict[str, int | None] = {k: (n if n >= least else None) for k, n in counts.items() if n > 0}
    hidden = [k for k, n in shown.items() if n is None]
    left = [k for k, n in shown.items() if n is not None]
    if len(hidden) == 1 and left:
        shown[min(left, key=lambda k: (counts[k], k))] = None
    return shown


@dataclass(frozen=True)
class Proposal:
    """A least score and what it would have done to the alerts judged so far."""

    min_score: float
    judged: int
    precision_before: float
    precision_after: float
    true_kept: float
    false_dropped: int


def propose(scored: Sequence[tuple[float, bool]], target: float = TARGET) -> Proposal | None:
    """Propose a least score from (score, was true) of judged alerts.

    The lowest score that reaches `target` while at least `KEEP` of the true alerts stay; where none reaches it, the
    one with the best precision under the same promise. None with fewer than `LEAST` alerts, with a precision that is
    good already, or where a threshold gains less than two points.
    """
    n, good = len(scored), sum(ok for _, ok in scored)
    if n < LEAST or good / n >= target:
        return None
    best: Proposal | None = None
    for least in sorted({math.floor(s * 100) / 100 for s, _ in scored}):
        kept = [ok for s, ok in scored if s >= least]
        if not kept or (good and sum(kept) / good < KEEP):
            continue
        made = Proposal(
            least, n, round(good / n, 4), round(sum(kept) / len(kept), 4),
            round(sum(kept) / good, 4) if good else 0.0, (n - good) - (len(kept) - sum(kept)),
        )  # fmt: skip
        if best is None or made.precision_after > best.precision_after:
            best = made
        if made.precision_after >= target:
            break
    if best is None or best.precision_after < best.precision_before + 0.02:
        return None
    return best
