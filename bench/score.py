"""The score of an event benchmark: pure, so that a table can test it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.manifest import Clip, Expectation
from edge.geometry import Box, iou

GRACE_S = 2.0


@dataclass
class Raised:
    """One alert of one clip; times are seconds of the clip."""

    clip: str
    issue: str
    zone: str
    box: Box
    first_seen_s: float
    confirmed_s: float
    matched: int | None = None
    duplicate: bool = False


@dataclass(frozen=True)
class Figures:
    """What one family, or all, came to."""

    expected: int = 0
    found: int = 0
    false: int = 0
    duplicates: int = 0
    delay_s: float | None = None

    @property
    def precision(self) -> float | None:
        """Found over all alerts."""
        raised = self.found + self.false
        return self.found / raised if raised else None

    @property
    def recall(self) -> float | None:
        """Found over expected."""
        return self.found / self.expected if self.expected else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        p, r = self.precision, self.recall
        return None if p is None or r is None or p + r == 0 else 2 * p * r / (p + r)


def same_box(a: Box, b: Box) -> bool:
    """True for IoU >= 0.3, or when the centre of one lies in the other."""
    return iou(a, b) >= 0.3 or _centre_in(a, b) or _centre_in(b, a)


def _centre_in(a: Box, b: Box) -> bool:
    x, y = (a[0] + a[2]) / 2, (a[1] + a[3]) / 2
    return b[0] <= x <= b[2] and b[1] <= y <= b[3]


def fits(alert: Raised, expected: Expectation, length_s: float) -> bool:
    """True when the alert is the expected event."""
    end = (expected.ends_s if expected.ends_s is not None else length_s) + GRACE_S
    return (
        alert.issue in {expected.issue, *expected.also}
        and alert.zone == expected.zone
        and same_box(alert.box, expected.box)
        and expected.begins_s[0] <= alert.confirmed_s <= end
    )


def match(clip: Clip, alerts: Sequence[Raised], length_s: float) -> None:
    """Mark each alert with the expectation that it meets, or as a duplicate of one that was met. First come, first matched."""
    taken: set[int] = set()
    for alert in sorted(alerts, key=lambda a: a.confirmed_s):
        hits = [i for i, e in enumerate(clip.expect) if fits(alert, e, length_s)]
        free = [i for i in hits if i not in taken]
        if free:
            alert.matched = free[0]
            taken.add(free[0])
        elif hits:
            alert.duplicate = True


def delay_of(alert: Raised, clip: Clip) -> float:
    """Seconds from the allowed moment (latest true beginning + confirm time) to the alert."""
    if alert.matched is None:
        raise ValueError("only a matched alert has a delay")
    expected = clip.expect[alert.matched]
    own = next((r for i, r in clip.policy.root.items() if i.value == expected.issue), None)
    wait = max(own.settle_s or 0, own.owner_gone_s or 0, own.confirm_s or 0) if own else 0.0
    return alert.confirmed_s - (expected.begins_s[1] + wait)


def figures(clips: Sequence[Clip], alerts: Sequence[Raised], family: str | None = None) -> Figures:
    """Sum up scored clips, of one family (`parking`, `dumping`, ...) or of all."""
    scored = {c.id: c for c in clips if not c.unscored}
    mine = [a for a in alerts if a.clip in scored and (family is None or _family(a, scored) == family)]
    expected = [
        e for c in scored.values() for e in c.expect if family is None or e.issue.split(".")[0] == family
    ]
    found = [a for a in mine if a.matched is not None]
    delays = sorted(delay_of(a, scored[a.clip]) for a in found)
    return Figures(
        expected=len(expected),
        found=len(found),
        false=sum(a.matched is None for a in mine),
        duplicates=sum(a.duplicate for a in mine),
        delay_s=delays[len(delays) // 2] if delays else None,
    )


def _family(alert: Raised, scored: dict[str, Clip]) -> str:
    issue = scored[alert.clip].expect[alert.matched].issue if alert.matched is not None else alert.issue
    return issue.split(".")[0]
