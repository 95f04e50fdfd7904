"""The score of an event benchmark: pure, so that a table can test it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.manifest import Clip, Expectation
from contract import IssueClass
from edge.geometry import Box, iou

GRACE_S = 2.0
FAMILIES = tuple(dict.fromkeys(i.family for i in IssueClass))


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
class Ran:
    """What a clip cost."""

    clip: Clip
    length_s: float
    wall_s: float
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Figures:
    """What one family, or all, came to.

    Attributes:
        false: alerts that match nothing, duplicates among them.
        early: found alerts that were confirmed before the earliest true beginning plus the confirm time.
        delay_s: median seconds from the allowed moment to the alert, the allowed moment being the latest labelled
            beginning plus the confirm time. The label is an interval, so a delay down to minus its length is no mistake;
            `early` counts those that are.
        longest_delay_s: the largest of these.
    """

    expected: int = 0
    found: int = 0
    false: int = 0
    duplicates: int = 0
    early: int = 0
    delay_s: float | None = None
    longest_delay_s: float | None = None
    false_per_hour: float | None = None

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
        """Harmonic mean of precision and recall, as 2 found / (2 found + false + missed)."""
        whole = 2 * self.found + self.false + (self.expected - self.found)
        return 2 * self.found / whole if whole else None

    def as_json(self) -> dict[str, object]:
        """Return the figures with those that follow from them."""
        return {**asdict(self), "precision": self.precision, "recall": self.recall, "f1": self.f1}


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
            # Two cars side by side: the nearer box is the one that was meant.
            alert.matched = max(free, key=lambda i: iou(alert.box, clip.expect[i].box))
            taken.add(alert.matched)
        elif hits:
            alert.duplicate = True


def wait_s(clip: Clip, expected: Expectation) -> float:
    """Return the time that a rule must wait before it may raise an event."""
    numbers = clip.numbers(expected)
    if expected.issue is IssueClass.DUMPING_ACT:
        return max(numbers.settle_s, numbers.owner_gone_s)
    return numbers.confirm_s


def delay_of(alert: Raised, clip: Clip) -> float:
    """Seconds from the allowed moment (latest true beginning + confirm time) to the alert."""
    if alert.matched is None:
        raise ValueError("only a matched alert has a delay")
    expected = clip.expect[alert.matched]
    return alert.confirmed_s - (expected.begins_s[1] + wait_s(clip, expected))


def is_early(alert: Raised, clip: Clip) -> bool:
    """True when the alert came before any labelled beginning allowed it; half a second is the labels' own error."""
    if alert.matched is None:
        return False
    expected = clip.expect[alert.matched]
    return alert.confirmed_s < expected.begins_s[0] + wait_s(clip, expected) - 0.5


def figures(ran: Sequence[Ran], alerts: Sequence[Raised], family: str | None = None) -> Figures:
    """Sum up the scored clips, of one family (`parking`, `dumping`, ...) or of all. Unscored clips count nowhere."""
    scored = {r.clip.id: r.clip for r in ran if not r.clip.unscored}
    hours = sum(r.length_s for r in ran if not r.clip.unscored) / 3600
    mine = [a for a in alerts if a.clip in scored and (family is None or _family(a, scored) == family)]
    expected = [e for c in scored.values() for e in c.expect if family is None or e.issue.family == family]
    found = [a for a in mine if a.matched is not None]
    delays = [delay_of(a, scored[a.clip]) for a in found]
    false = sum(a.matched is None for a in mine)
    return Figures(
        expected=len(expected),
        found=len(found),
        false=false,
        duplicates=sum(a.duplicate for a in mine),
        early=sum(is_early(a, scored[a.clip]) for a in found),
        delay_s=median(delays) if delays else None,
        longest_delay_s=max(delays) if delays else None,
        false_per_hour=false / hours if hours else None,
    )


def seconds_per_second(ran: Sequence[Ran]) -> tuple[float, float] | None:
    """Return seconds of work a second of scored clip, by the wall's clock and by the processor's."""
    mine = [r for r in ran if not r.clip.unscored]
    length = sum(r.length_s for r in mine)
    return (sum(r.wall_s for r in mine) / length, sum(r.cpu_s for r in mine) / length) if length else None


def _family(alert: Raised, scored: dict[str, Clip]) -> str:
    if alert.matched is not None:
        return scored[alert.clip].expect[alert.matched].issue.family
    return IssueClass(alert.issue).family
