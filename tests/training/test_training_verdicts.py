"""Verdicts become labels."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_parts import START, alert, case, picture_evidence

from contract import EvidenceKind, IssueClass, ModelRef
from models.roles import role_of
from training.classes import STREET_CLASSES
from training.dataset_items import DatasetError
from training.verdicts import (
    CLASS_OF_ISSUE,
    ROLES_OF_ISSUE,
    Taken,
    VerdictRule,
    final_verdict,
    read_cases,
    take_cases,
    write_export,
)

RULE = VerdictRule(classes=("overflow", "garbage_bin", "cart", "garbage"))


def take(tmp_path: Path, *verdicts: dict[str, Any], **more: Any) -> Taken:
    evidence = write_export([], tmp_path)
    part = picture_evidence(evidence, 5, blurred=more.pop("blurred", True))
    made = case((alert((part,), **more),), verdicts)
    write_export([made], tmp_path)
    return take_cases(read_cases(tmp_path / "cases.jsonl"), evidence, tmp_path / "work", RULE)


@pytest.mark.parametrize(
    ("verdict", "boxes", "name", "left_out"),
    [
        ({"kind": "confirm"}, 1, None, None),
        ({"kind": "reject", "reason": 1}, 0, "bin_not_overflowing", None),
        ({"kind": "reject", "reason": 4}, 0, "inside_shop:dumping.bin_overflow", None),
        ({"kind": "reject", "reason": 2}, 1, "permitted:dumping.bin_overflow", None),
        ({"kind": "reject", "reason": 6}, 1, "duplicate:dumping.bin_overflow", None),
        ({"kind": "reject", "reason": 7}, None, None, "camera_health"),
        ({"kind": "reject", "reason": 9, "text": "snow"}, None, None, "people"),
        ({"kind": "unsure"}, None, None, "no agreed verdict"),
    ],
)
def test_a_verdict(
    tmp_path: Path, verdict: dict[str, Any], boxes: int | None, name: str | None, left_out: str | None
) -> None:
    taken = take(tmp_path, verdict)
    if boxes is None:
        assert not taken.items
        assert left_out is not None
        assert left_out in next(iter(taken.left_out))
        return
    (found,) = taken.items
    assert len(found.boxes) == boxes
    assert found.notes.get("reason") == name
    assert found.group.startswith("site:")
    if boxes:
        np.testing.assert_allclose(found.boxes, [[0.375, 0.5, 0.25, 0.5]], atol=1e-6)
        assert found.known == frozenset(), "one reviewed box says nothing about the rest of the street"
    else:
        assert found.notes["negative"] is True
        assert found.known == {"overflow"}


@pytest.mark.parametrize(
    ("issue", "seen", "corrected", "label"),
    [
        ("dumping.bin_overflow", "overflow", "dumping.exposed", "garbage"),
        ("dumping.exposed", "garbage", "dumping.bin_overflow", "overflow"),
        ("dumping.act", "left object", "dumping.exposed", "garbage"),
        ("parking.motor", "truck", "parking.fire_lane", "truck"),
        ("parking.fire_lane", "motorcycle", "parking.non_motor", "motorcycle"),
        ("parking.fire_lane", "bicycle", "parking.motor", "car"),
        ("vendor.unlicensed", "tent", "street_occupation.shopfront", "tent"),
        ("vendor.unlicensed", None, "street_occupation.shopfront", "table"),
    ],
)
def test_a_corrected_issue_changes_the_class_only_of_what_cannot_raise_it(
    tmp_path: Path, issue: str, seen: str | None, corrected: str, label: str
) -> None:
    evidence = write_export([], tmp_path)
    model = ModelRef(name="street", version="1", sha256="0" * 64, class_name=seen, score=0.7)
    made = alert((picture_evidence(evidence, 5),), issue=IssueClass(issue), model=model)
    cases = [case((made,), ({"kind": "confirm", "issue": corrected},))]
    (found,) = take_cases(cases, evidence, tmp_path / "work", VerdictRule(classes=STREET_CLASSES)).items
    assert [STREET_CLASSES[c] for c in found.classes] == [label]


def test_every_issue_has_its_roles_and_a_class_of_one_of_them() -> None:
    assert set(ROLES_OF_ISSUE) == set(CLASS_OF_ISSUE) == set(IssueClass)
    assert all(role_of(CLASS_OF_ISSUE[i]) in roles for i, roles in ROLES_OF_ISSUE.items())


def test_the_second_person_confirms_the_class_that_the_first_named(tmp_path: Path) -> None:
    first = {"kind": "confirm", "issue": "dumping.exposed"}
    taken = take(tmp_path, first, {"kind": "confirm", "reviewer": "bo"})
    assert RULE.classes[taken.items[0].classes[0]] == "garbage"
    other = {"kind": "confirm", "issue": "vendor.unlicensed", "reviewer": "bo"}
    assert take(tmp_path / "other", first, other).left_out == {"no agreed verdict": 1}


def test_a_box_drawn_anew_replaces_the_detectors(tmp_path: Path) -> None:
    taken = take(tmp_path, {"kind": "confirm", "box": [0.2, 0.2, 0.4, 0.6]})
    np.testing.assert_allclose(taken.items[0].boxes, [[0.3, 0.4, 0.2, 0.4]], atol=1e-6)


@pytest.mark.parametrize("named", [True, False], ids=["named", "by time"])
def test_a_box_drawn_anew_is_of_the_alert_that_was_shown(tmp_path: Path, named: bool) -> None:
    """The case had two alerts when the box was drawn; a third joined a day later."""
    evidence = write_export([], tmp_path)
    alerts = tuple(
        alert((picture_evidence(evidence, n),), at=START + after)
        for n, after in enumerate((timedelta(0), timedelta(minutes=20), timedelta(days=1)))
    )
    told: dict[str, Any] = {"kind": "confirm", "box": [0.2, 0.2, 0.4, 0.6]}
    if named:
        told["box_of"] = alerts[1].id
    taken = take_cases([case(alerts, (told,))], evidence, tmp_path / "work", RULE)
    widths = {i.notes["alert_id"]: round(float(i.boxes[0][2]), 3) for i in taken.items}
    assert [widths[a.id] for a in alerts] == [0.25, 0.2, 0.25]


@pytest.mark.parametrize(
    ("verdict", "boxes"),
    [
        ({"kind": "confirm"}, []),
        ({"kind": "reject", "reason": 1}, []),
        ({"kind": "reject", "reason": 2}, []),
        ({"kind": "confirm", "box": [0.2, 0.2, 0.4, 0.6]}, [[0.3, 0.4, 0.2, 0.4]]),
        ({"kind": "reject", "reason": 1, "box": [0.2, 0.2, 0.4, 0.6]}, []),
    ],
)
def test_the_box_round_a_group_is_no_label(
    tmp_path: Path, verdict: dict[str, Any], boxes: list[list[float]]
) -> None:
    taken = take(tmp_path, verdict, count=5)
    found = [b for i in taken.items for b in i.boxes]
    np.testing.assert_allclose(np.array(found).reshape(-1, 4), np.array(boxes).reshape(-1, 4), atol=1e-6)
    assert len(taken.items) == len(boxes)
    assert taken.left_out == ({} if boxes else {"group of objects under one box": 1})


@pytest.mark.parametrize(("beside", "items"), [((0.5, 0.3, 0.9, 0.8), 0), ((0.9, 0.9, 0.99, 0.99), 1)])
def test_the_place_of_a_rejected_box_shows_no_group_as_background(
    tmp_path: Path, beside: tuple[float, float, float, float], items: int
) -> None:
    evidence = write_export([], tmp_path)
    part = picture_evidence(evidence, 1)
    heap = case((alert((part,), count=4, box=beside),), ({"kind": "confirm"},))
    single = case((alert((part,), box=(0.3, 0.4, 0.4, 0.5)),), ({"kind": "reject", "reason": 1},))
    taken = take_cases([heap, single], evidence, tmp_path / "work", RULE)
    assert len(taken.items) == items


def test_pictures_with_readable_faces_stay_out(tmp_path: Path) -> None:
    taken = take(tmp_path, {"kind": "confirm"}, blurred=False)
    assert not taken.items
    assert taken.left_out["not blurred"] == 1


def test_a_changed_file_is_left_out(tmp_path: Path) -> None:
    evidence = write_export([], tmp_path)
    part = picture_evidence(evidence, 5, EvidenceKind.CONTEXT)
    made = case((alert((part,)),), ({"kind": "confirm"},))
    (evidence / part.sha256).write_bytes(b"other")
    taken = take_cases([made], evidence, tmp_path / "work", RULE)
    assert taken.left_out["file doesn't match its hash"] == 1


@pytest.mark.parametrize(
    ("verdicts", "kind"),
    [
        ([{"kind": "confirm"}, {"kind": "reject", "reason": 1}], "reject"),  # one reviewer changed their mind
        ([{"kind": "confirm"}, {"kind": "reject", "reason": 1, "reviewer": "bo"}], None),
        (
            [{"kind": "confirm"}, {"kind": "reject", "reason": 1, "reviewer": "bo", "on_appeal": True}],
            "reject",
        ),
        (
            [
                {"kind": "reject", "reason": 1},
                {"kind": "confirm", "reviewer": "bo", "on_appeal": True},
                {"kind": "reject", "reason": 1, "reviewer": "cy"},
            ],
            None,
        ),
        ([{"kind": "confirm"}, {"kind": "unsure", "reviewer": "bo"}], "confirm"),
        (
            [
                {"kind": "reject", "reason": 1},
                {"kind": "confirm", "reviewer": "bo", "issue": "parking.fire_lane"},
                {"kind": "reject", "reason": 1, "reviewer": "bo"},
            ],
            "reject",
        ),
        (
            [
                {"kind": "confirm", "issue": "parking.motor"},
                {"kind": "confirm", "reviewer": "bo", "issue": "parking.fire_lane"},
            ],
            None,
        ),
        ([{"kind": "merge"}], None),
        ([], None),
    ],
)
def test_the_verdict_that_counts(tmp_path: Path, verdicts: list[dict[str, Any]], kind: str | None) -> None:
    evidence = write_export([], tmp_path)
    made = case((alert((picture_evidence(evidence, 1),)),), tuple(verdicts))
    found = final_verdict(made.verdicts)
    assert (found.kind if found else None) == kind


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("\n{}\n")
    with pytest.raises(DatasetError, match=r"cases\.jsonl:2"):
        list(read_cases(tmp_path / "cases.jsonl"))
