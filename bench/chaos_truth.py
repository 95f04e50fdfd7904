"""What must have become of the cars of the chaos bench, by what the cameras showed and when the box was looking."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[float, float]
# A place is found empty in less time than a car is found standing: nothing has to cool down for it.
EMPTY_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Stay:
    """A car that stood at a place of a camera; monotonic seconds."""

    camera: str
    zone: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert, and when it was first found in the box's chain."""

    alert_id: str
    camera: str
    zone: str
    at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`expected` stays had to have an alert; `lost` of them have none."""

    stays: int = 0
    expected: int = 0
    lost: tuple[Stay, ...] = ()
    doubled: tuple[Raised, ...] = ()
    invented: tuple[Raised, ...] = ()


def verdict(
    stays: Sequence[Stay],
    seeing: dict[str, list[Span]],
    raised: Sequence[Raised],
    confirm_s: float,
    sure_s: float,
) -> Verdict:
    """Compare alerts with stays.

    A stay must have its alert when the box looked at it for `sure_s` without a break, and had seen its place empty for
    most of that long before. Stays between which the box did not see the place empty are one to it. An alert more than there
    are such stays is doubled; one before the first is invented.
    """
    alerts: dict[tuple[str, str], list[Raised]] = defaultdict(list)
    for one in raised:
        alerts[one.camera, one.zone].append(one)
    places: dict[tuple[str, str], list[Stay]] = defaultdict(list)
    for stay in stays:
        places[stay.camera, stay.zone].append(stay)
    told = [
        _place(
            sorted(there, key=lambda s: s.begin),
            seeing.get(camera, []),
            alerts.pop((camera, zone), []),
            confirm_s,
            sure_s,
        )
        for (camera, zone), there in places.items()
    ]
    strangers = tuple(a for rest in alerts.values() for a in rest)
    return Verdict(
        sum(v.stays for v in told),
        sum(v.expected for v in told),
        tuple(s for v in told for s in v.lost),
        tuple(a for v in told for a in v.doubled),
        (*strangers, *(a for v in told for a in v.invented)),
    )


def _place(
    stays: list[Stay], seeing: list[Span], raised: list[Raised], confirm_s: float, sure_s: float
) -> Verdict:
    groups: list[list[Stay]] = []
    for stay in stays:
        if groups and longest(seeing, groups[-1][-1].end, stay.begin) < EMPTY_SHARE * sure_s:
            groups[-1].append(stay)
        else:
            groups.append([stay])
    of: list[list[Raised]] = [[] for _ in groups]
    invented: list[Raised] = []
    for alert in sorted(raised, key=lambda a: a.at):
        # It may be written late, after a full disk or a restart, but not before its car stood for the confirm time.
        mine = [i for i, group in enumerate(groups) if group[0].begin + confirm_s / 2 <= alert.at]
        (of[mine[-1]] if mine else invented).append(alert)
    expected, lost, doubled = 0, [], []
    for group, mine_of in zip(groups, of, strict=True):
        sure = [s for s in group if longest(seeing, s.begin, s.end) >= sure_s]
        expected += bool(sure)
        if sure and not mine_of:
            lost.append(sure[0])
        doubled += mine_of[len(group) :]
    return Verdict(len(stays), expected, tuple(lost), tuple(doubled), tuple(invented))


def longest(spans: Sequence[Span], begin: float, end: float) -> float:
    """Return the longest unbroken part of `begin` to `end` that a span covers, seconds."""
    return max((min(b, end) - max(a, begin) for a, b in spans), default=0.0)
