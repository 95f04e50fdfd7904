"""Re-inspection: fresh looks at an alert's place, each after a check of the view, and what they say together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from camera_adapters.view import ViewReference, read_view
from contract import InspectionLook, InspectionResult, IssueClass
from contract.base import UtcTime
from contract.orders import Found
from edge.geometry import Box, covered, iou
from edge.scene import Thing
from edge.sites import OTHER_LOOK, SAME_LOOK, hidden, likeness, patch_of
from models.roles import Role

Grey = NDArray[np.uint8]
LEAST = 3
# These looks say nothing of the place; another one is taken instead.
SILENT = frozenset({"bad_view", "hidden", "unsure"})
# A detector's box of the same standing object jitters; another one beside it overlaps less.
SAME_PLACE = 0.3
PART = 0.6
_STALL: frozenset[Role] = frozenset({"stall", "stall_part", "goods"})
_WASTE: frozenset[Role] = frozenset({"bag", "garbage", "bin_overflow"})
KINDS: Mapping[IssueClass, frozenset[Role]] = MappingProxyType(
    {
        IssueClass.SHOPFRONT: _STALL,
        IssueClass.ROADSIDE: _STALL,
        IssueClass.VENDOR_UNLICENSED: _STALL,
        IssueClass.VENDOR_OUT_OF_PERMIT: _STALL,
        IssueClass.DUMPING_ACT: _WASTE,
        IssueClass.DUMPING_EXPOSED: _WASTE,
        IssueClass.BIN_OVERFLOW: frozenset({"bin_overflow"}),
        IssueClass.PARKING_MOTOR: frozenset({"vehicle"}),
        IssueClass.PARKING_NON_MOTOR: frozenset({"non_motor"}),
        IssueClass.FIRE_LANE: frozenset({"vehicle", "non_motor"}),
    }
)
GROUPS = frozenset({i for i, kinds in KINDS.items() if kinds is _STALL} | {IssueClass.PARKING_NON_MOTOR})


@dataclass(frozen=True, slots=True)
class Subject:
    """What the alert was about: its box in shares, its class, and the picture of that moment."""

    box: Box
    issue: IssueClass
    grey: Grey
    view: ViewReference

    @classmethod
    def of(cls, box: Box, issue: IssueClass, grey: Grey) -> Subject:
        """Make a subject of the alert's own small grey picture, which is also the reference of the view."""
        return cls(box, issue, grey, ViewReference.of([grey]))

    def shows(self, thing: Thing) -> bool:
        """True when a detection is of the subject's kind and at its place."""
        if thing.role not in KINDS[self.issue]:
            return False
        # A stall or a row of bicycles is one box round several objects.
        part = self.issue in GROUPS and covered(thing.box, self.box) >= PART
        return part or iou(thing.box, self.box) >= SAME_PLACE


def look(subject: Subject, grey: Grey, things: Sequence[Thing], at: UtcTime) -> InspectionLook:
    """Look once: first at the view, then for the object, then at the place's likeness to what it was.

    `grey` is of the reference's size. A missed detection alone never clears: the place must look different too.
    """
    view = read_view(grey, subject.view).verdict
    if view != "good":
        return InspectionLook(at=at, found="bad_view", view=view)
    there = max((t for t in things if subject.shows(t)), key=lambda t: t.score, default=None)
    then = patch_of(subject.grey, subject.box)
    now = patch_of(grey, subject.box)
    like = likeness(then, now)
    score = there.score if there is not None else None
    in_front = hidden(subject.box, [t.box for t in things if _hides(subject, t)])
    return InspectionLook(at=at, found=_found(there, like, then, in_front), likeness=like, score=score)


def _hides(subject: Subject, thing: Thing) -> bool:
    """True for what may stand in front: it meets the ground nearer to the camera than the subject did.

    The car in the next bay behind overlaps an emptied place in the picture for as long as it stands there.
    """
    # A bin that overflows no more stands where it stood; it hides nothing.
    emptied = subject.issue is IssueClass.BIN_OVERFLOW and thing.role == "bin"
    height = subject.box[3] - subject.box[1]
    return not subject.shows(thing) and not emptied and thing.box[3] >= subject.box[3] - 0.05 * height


def _found(there: Thing | None, like: float | None, then: object, in_front: bool) -> Found:
    if there is not None:
        return "other" if like is not None and like < OTHER_LOOK else "persists"
    if in_front:
        return "hidden"
    if then is None:
        return "unsure"
    # The place has become flat, such as bare asphalt: it had a look before, so it is another one now.
    if like is None or like < OTHER_LOOK:
        return "clear"
    return "persists" if like >= SAME_LOOK else "unsure"


def conclude(looks: Sequence[InspectionLook]) -> tuple[InspectionResult, str]:
    """Say what the looks mean, with the reason in words. One contradiction is enough for INCONCLUSIVE."""
    said = Counter(x.found for x in looks)
    usable = sum(x.found not in SILENT for x in looks)
    told = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in sorted(said.items()))
    if usable < LEAST:
        views = Counter(x.view for x in looks if x.found == "bad_view")
        why = f"; the view is {views.most_common(1)[0][0]}" if views else ""
        return InspectionResult.INCONCLUSIVE, f"{usable} of {len(looks)} looks could be used{why}"
    if said["unsure"] > usable:
        return InspectionResult.INCONCLUSIVE, f"most looks say nothing: {told}"
    if said["clear"] == usable:
        return InspectionResult.CLEARED, told
    if said["persists"] >= LEAST and said["clear"] == 0 and 3 * said["persists"] >= 2 * usable:
        return InspectionResult.PERSISTS, told
    return InspectionResult.INCONCLUSIVE, f"the looks disagree: {told}"
