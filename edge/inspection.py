"""Re-inspection: fresh looks at an alert's place, each after a check of the view, and what they say together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camera_adapters.view import ViewReference, read_view
from contract import InspectionLook, InspectionResult
from contract.base import UtcTime
from contract.orders import Found
from edge.geometry import Box, iou
from edge.scene import Thing
from edge.sites import OTHER_LOOK, SAME_LOOK, hidden, likeness, patch_of

Grey = NDArray[np.uint8]
LEAST = 3
# These looks say nothing of the place; another one is taken instead.
SILENT = frozenset({"bad_view", "hidden", "unsure"})
# A detector's box of the same standing object jitters; another one beside it overlaps less.
SAME_PLACE = 0.3


@dataclass(frozen=True, slots=True)
class Subject:
    """What the alert was about: its box in shares, the role of its object, and the picture of that moment."""

    box: Box
    role: str | None
    grey: Grey
    view: ViewReference

    @classmethod
    def of(cls, box: Box, role: str | None, grey: Grey) -> Subject:
        """Make a subject of the alert's own small grey picture, which is also the reference of the view."""
        return cls(box, role, grey, ViewReference.of([grey]))


def look(subject: Subject, grey: Grey, things: Sequence[Thing], at: UtcTime) -> InspectionLook:
    """Look once: first at the view, then for the object, then at the place's likeness to what it was.

    `grey` is of the reference's size. A missed detection alone never clears: the place must look different too.
    """
    view = read_view(grey, subject.view).verdict
    if view != "good":
        return InspectionLook(at=at, found="bad_view", view=view)
    mine = [t for t in things if _one_kind(t, subject.role)]
    there = max(mine, key=lambda t: iou(t.box, subject.box), default=None)
    if there is not None and iou(there.box, subject.box) < SAME_PLACE:
        there = None
    then = patch_of(subject.grey, subject.box)
    now = patch_of(grey, subject.box)
    like = likeness(then, now)
    score = there.score if there is not None else None
    others = [t.box for t in things if t is not there]
    return InspectionLook(
        at=at, found=_found(there, like, then, hidden(subject.box, others)), likeness=like, score=score
    )


def _one_kind(thing: Thing, role: str | None) -> bool:
    return role is None or thing.role == role


def _found(there: Thing | None, like: float | None, then: object, covered: bool) -> Found:
    if there is not None:
        return "other" if like is not None and like < OTHER_LOOK else "persists"
    if covered:
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
