"""Verdicts become labels: cases with their evidence -> confirmed boxes, named hard negatives, and what is left out.

An export is a folder with `cases.jsonl` (one `contract.Case` a line) and `evidence/` (files named by SHA-256).
A reject reason says who learns from it (`RejectReason.goes_to`): only reasons 1 and 4 say that the detector was wrong.
A permitted cart is still a cart: reasons 2, 3, 5 and 6 keep the box as a positive and give it the reason's name, so
that a rule can be tested on it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import ValidationError

from contract import Alert, Case, EvidenceItem, EvidenceKind, IssueClass, RejectReason, Verdict, VerdictKind
from contract.base import Box
from models.roles import Role, role_of
from training.dataset import file_sha256
from training.dataset_items import DatasetError, Item, read_pixels, to_centres
from training.verdict_pictures import join_pictures

PICTURES = (EvidenceKind.CONFIRM, EvidenceKind.CONTEXT, EvidenceKind.MIDDLE, EvidenceKind.FIRST)
"""Whole-frame pictures, the best first. A crop has lost the place, a sealed original is not ours to read."""

CLASS_OF_ISSUE: Mapping[IssueClass, str] = {
    IssueClass("dumping.exposed"): "garbage",
    IssueClass("dumping.bin_overflow"): "overflow",
    IssueClass("dumping.act"): "garbage",
    IssueClass("parking.motor"): "car",
    IssueClass("parking.fire_lane"): "car",
    IssueClass("parking.non_motor"): "bicycle",
    IssueClass("vendor.unlicensed"): "cart",
    IssueClass("vendor.out_of_permit"): "cart",
    IssueClass("street_occupation.roadside"): "cart",
    IssueClass("street_occupation.shopfront"): "table",
}
"""Class of an issue whose alert names no class, or one that can't raise it."""

_STALL: frozenset[Role] = frozenset({"stall", "stall_part", "goods"})

ROLES_OF_ISSUE: Mapping[IssueClass, frozenset[Role]] = {
    IssueClass("dumping.exposed"): frozenset({"garbage"}),
    IssueClass("dumping.bin_overflow"): frozenset({"bin_overflow"}),
    IssueClass("dumping.act"): frozenset({"garbage", "bag"}),
    IssueClass("parking.motor"): frozenset({"vehicle"}),
    IssueClass("parking.fire_lane"): frozenset({"vehicle", "non_motor"}),
    IssueClass("parking.non_motor"): frozenset({"non_motor"}),
    IssueClass("vendor.unlicensed"): _STALL,
    IssueClass("vendor.out_of_permit"): _STALL,
    IssueClass("street_occupation.roadside"): _STALL,
    IssueClass("street_occupation.shopfront"): _STALL,
}
"""Roles of the objects that an issue is about, as the rules on the box have them."""

_STILL_TRUE = (
    RejectReason.PERMITTED,
    RejectReason.MOVING_OR_TEMPORARY,
    RejectReason.AUTHORISED_OR_WORKS,
    RejectReason.DUPLICATE,
)
_DETECTOR_WRONG = (RejectReason.NOT_THIS_CLASS, RejectReason.INSIDE_SHOP)

_NAMES = {
    (RejectReason.NOT_THIS_CLASS, "dumping.bin_overflow"): "bin_not_overflowing",
    (RejectReason.NOT_THIS_CLASS, "vendor.unlicensed"): "abandoned_stall",
    (RejectReason.PERMITTED, "vendor.unlicensed"): "permitted_breakfast_cart",
    (RejectReason.PERMITTED, "vendor.out_of_permit"): "permitted_breakfast_cart",
    (RejectReason.MOVING_OR_TEMPORARY, "vendor.unlicensed"): "moving_vendor",
    (RejectReason.MOVING_OR_TEMPORARY, "parking.non_motor"): "rider_passing",
    (RejectReason.INSIDE_SHOP, "street_occupation.shopfront"): "trading_inside_the_shop",
    (RejectReason.AUTHORISED_OR_WORKS, "parking.motor"): "works_vehicle",
}


def reason_name(reason: RejectReason, issue: str) -> str:
    """The name of a hard case, such as `bin_not_overflowing`."""
    return _NAMES.get((reason, issue), f"{reason.name.lower()}:{issue}")


@dataclass
class Taken:
    """What an export gave: items, and a count of what was left out and why. `groups` holds by picture the boxes round
    groups whose members nobody boxed."""

    items: list[Item] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    groups: dict[str, list[Box]] = field(default_factory=dict)


@dataclass(frozen=True)
class VerdictRule:
    """`blurred_only` keeps pictures whose faces and plates can be read out of the data set. A hard negative is cut to
    `margin` times its box, since the reviewer judged that place and not the whole street."""

    blurred_only: bool = True
    pictures_per_alert: int = 1
    margin: float = 2.5
    classes: tuple[str, ...] = ()


def read_cases(path: Path) -> Iterator[Case]:
    """Cases of a `cases.jsonl`. Raises DatasetError naming the line."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield Case.model_validate_json(line)
            except ValidationError as error:
                raise DatasetError(f"{path}:{number}: {error}") from error


def final_verdict(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The verdict that counts, or None while reviewers disagree or nobody was sure.

    Each reviewer's last word counts; of those before the decision of an appeal, none. A merge says nothing about the
    picture. A verdict that names no class is about the one that a confirmation before it has named.
    """
    last: dict[str, Verdict] = {}
    held: IssueClass | None = None
    for verdict in sorted(verdicts, key=lambda v: v.at):
        if verdict.kind is VerdictKind.MERGE:
            continue
        if verdict.kind is VerdictKind.CONFIRM:
            held = verdict.issue or held
        if verdict.on_appeal:
            last.clear()
        last[verdict.reviewer] = verdict.model_copy(update={"issue": verdict.issue or held})
    decided = [v for v in last.values() if v.kind is not VerdictKind.UNSURE]
    # Which class it is not, two who reject it need not agree on.
    if (
        not decided
        or len({(v.kind, v.issue if v.kind is VerdictKind.CONFIRM else None) for v in decided}) > 1
    ):
        return None
    return max(decided, key=lambda v: v.at)


def find_file(evidence: Path, sha256: str) -> Path | None:
    """The file of a hash in `evidence/`, flat or in folders by the first characters, with or without a suffix."""
    for base in (evidence, evidence / sha256[:2], evidence / sha256[:2] / sha256[2:4]):
        if base.is_dir():
            for path in (base / sha256, *sorted(base.glob(f"{sha256}.*"))):
                if path.is_file():
                    return path
    return None


def pictures_of(
    alert: Alert, evidence: Path, rule: VerdictRule, taken: Taken
) -> Iterator[tuple[EvidenceItem, Path]]:
    """Whole pictures of an alert that are there and are what their hash says, the best first; why others are left out
    is counted in `taken`."""
    count = 0
    for kind in PICTURES:
        for part in alert.evidence:
            if part.kind is not kind or not part.media_type.startswith("image/"):
                continue
            if rule.blurred_only and not part.blurred:
                taken.left_out["not blurred"] += 1
                continue
            path = find_file(evidence, part.sha256)
            if path is None or file_sha256(path) != part.sha256:
                taken.left_out["file missing" if path is None else "file doesn't match its hash"] += 1
                continue
            yield part, path
            count += 1
            if count >= rule.pictures_per_alert:
                return


def _class_of(alert: Alert, verdict: Verdict) -> str:
    seen = alert.model.class_name
    issue = verdict.issue or alert.issue
    # Another kind of case is another object only where the object seen can't raise it: a truck in a fire lane stays one.
    if seen and (issue == alert.issue or role_of(seen) in ROLES_OF_ISSUE[issue]):
        return seen
    return CLASS_OF_ISSUE[issue]


def _notes(case: Case, alert: Alert, part: EvidenceItem) -> dict[str, Any]:
    hour = part.captured_at.hour
    return {
        "camera_id": alert.camera_id,
        "case_id": case.id,
        "alert_id": alert.id,
        "issue": str(alert.issue),
        "sha256": part.sha256,
        "blurred": part.blurred,
        "hour_utc": hour,
        "model": f"{alert.model.name}@{alert.model.version}",
        "score": alert.model.score,
    }


def _drawn_box(case: Case, alert: Alert, verdict: Verdict) -> Box | None:
    """The reviewer's own box, on the alert that they drew it on."""
    if verdict.box is None:
        return None
    # A centre that did not say which alert showed the latest: of those it had then, which came in this order.
    had = [a.id for a in case.alerts if a.dwell.confirmed_at <= verdict.at]
    drawn_on = verdict.box_of or next(reversed(had), None)
    return verdict.box if alert.id == drawn_on else None


def _positive(
    case: Case, alert: Alert, part: EvidenceItem, path: Path, name: str, classes: Sequence[str], box: Box
) -> Item:
    corners = np.array([box], np.float32)
    return Item(
        path=path,
        classes=np.array([classes.index(name)], np.int32),
        boxes=to_centres(corners),
        source="verdicts",
        split="train",
        known=frozenset(),  # the reviewer saw one box; the rest of the street is unjudged
        group=f"site:{alert.key.site_id}",
        taken_at=part.captured_at.isoformat(),
        notes=_notes(case, alert, part),
    )


def _cut_negative(path: Path, box: Sequence[float], margin: float, folder: Path) -> tuple[Path, Box]:
    """Cut the place of a box out of its picture; the file, and the cut x1 y1 x2 y2 normalised to the picture."""
    picture = read_pixels(path, cv2.IMREAD_COLOR)
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (v * s for v, s in zip(box, (width, height, width, height), strict=True))
    half = max(x2 - x1, y2 - y1, 32.0) * margin / 2
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = int(max(cx - half, 0)), int(max(cy - half, 0))
    right, bottom = int(min(cx + half, width)), int(min(cy + half, height))
    cut = picture[top:bottom, left:right]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.stem[:16]}_{left}_{top}_{right}_{bottom}.jpg"
    done, encoded = cv2.imencode(".jpg", cut, [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise DatasetError(f"{path}: the cut picture could not be written")
    encoded.tofile(target)
    return target, (left / width, top / height, right / width, bottom / height)


def take_case(case: Case, evidence: Path, work: Path, rule: VerdictRule, taken: Taken) -> None:
    """Add one case to `taken`; pictures of hard negatives are cut into `work`."""
    verdict = final_verdict(case.verdicts)
    if verdict is None:
        taken.left_out["no agreed verdict"] += 1
        return
    reason = verdict.reason
    if reason is not None and reason not in (*_STILL_TRUE, *_DETECTOR_WRONG):
        taken.left_out[f"rejected: {reason.name.lower()} (for {reason.goes_to})"] += 1
        return
    for alert in case.alerts:
        drawn = _drawn_box(case, alert, verdict)
        # The box of a group goes round all its members, and its class is one member's: it is no object's label.
        if alert.count > 1 and (drawn is None or reason in _DETECTOR_WRONG):
            taken.left_out["group of objects under one box"] += 1
            if reason not in _DETECTOR_WRONG:
                for part in alert.evidence:
                    taken.groups.setdefault(part.sha256, []).append(alert.box)
            continue
        name = _class_of(alert, verdict)
        if name not in rule.classes:
            taken.left_out[f"class {name} isn't trained"] += 1
            continue
        for part, path in pictures_of(alert, evidence, rule, taken):
            item = _positive(case, alert, part, path, name, rule.classes, drawn or alert.box)
            if reason is not None:
                item.notes["reason"] = reason_name(reason, str(alert.issue))
            if reason in _DETECTOR_WRONG:
                item = _negative(item, alert, name, work, rule)
            taken.items.append(item)


def _negative(item: Item, alert: Alert, name: str, work: Path, rule: VerdictRule) -> Item:
    cut, place = _cut_negative(item.path, alert.box, rule.margin, work)
    notes = {k: v for k, v in item.notes.items() if k != "sha256"} | {
        "negative": True,
        "wrong_class": name,
        "class_numbers": [rule.classes.index(name)],
        "cut": list(place),
        "cut_of": item.notes["sha256"],
        "rejected": list(alert.box),
    }
    return Item(
        path=cut,
        classes=np.zeros(0, np.int32),
        boxes=np.zeros((0, 4), np.float32),
        source="verdicts",
        split="train",
        known=frozenset({name}),
        group=item.group,
        taken_at=item.taken_at,
        notes=notes,
    )


def _shows_group(item: Item, groups: Mapping[str, Sequence[Box]]) -> bool:
    """True for a cut that reaches into a group: its members, which have no boxes, would be background."""
    x1, y1, x2, y2 = item.notes.get("cut", (0, 0, 0, 0))
    return any(
        g[0] < x2 and g[2] > x1 and g[1] < y2 and g[3] > y1
        for g in groups.get(str(item.notes.get("cut_of")), ())
    )


def take_cases(cases: Iterable[Case], evidence: Path, work: Path, rule: VerdictRule) -> Taken:
    """Items of all cases, one a picture. `work` receives the cut pictures of hard negatives."""
    taken = Taken()
    for case in cases:
        take_case(case, evidence, work, rule, taken)
    clear = [i for i in taken.items if not _shows_group(i, taken.groups)]
    if len(clear) < len(taken.items):
        taken.left_out["rejected, but beside a group under one box"] = len(taken.items) - len(clear)
        taken.items = clear
    rejected = sum(bool(i.notes.get("negative")) for i in taken.items)
    taken.items = join_pictures(taken.items)
    kept = sum(bool(i.notes.get("negative")) for i in taken.items)
    if kept < rejected:
        taken.left_out["rejected, but confirmed or rejected at the same place before"] = rejected - kept
    return taken


def write_export(cases: Iterable[Case], folder: Path) -> Path:
    """Write `cases.jsonl`; returns the folder's `evidence`, where the files belong."""
    (folder / "evidence").mkdir(parents=True, exist_ok=True)
    with (folder / "cases.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(c.model_dump(mode="json"), ensure_ascii=False) + "\n" for c in cases)
    return folder / "evidence"
