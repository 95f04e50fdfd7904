"""The gate stops what is worse, says "not enough" where it can't know, and passes the rest; AP; the labelling queue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from training_parts import item, scene, write

from training.active import Seen, build_queue, disagreement, uncertainty, write_queue
from training.dataset import Dataset, check_frozen, save_dataset
from training.dataset_items import DatasetError
from training.gate import GateRule, Judged, compare_events, decide
from training.gate_report import markdown, write_report
from training.make_bundle import best_threshold
from training.metrics import Boxes, average_precision


def boxes(*rows: tuple[float, float, int]) -> Boxes:
    """(x, score, class): boxes of 10 px side at x."""
    corners = np.array([[x, 10, x + 10, 20] for x, _, _ in rows], np.float32).reshape(-1, 4)
    return Boxes(
        corners, np.array([s for _, s, _ in rows], np.float32), np.array([c for _, _, c in rows], np.int32)
    )


def pictures(
    count: int, candidate_hits: float, champion_hits: float, scenes: int | None = None
) -> list[Judged]:
    """Each picture has one box; a model finds a share of them, spread evenly."""

    def seen(i: int, share: float) -> Boxes:
        return boxes((10 if int((i + 1) * share) > int(i * share) else 60, 0.9, 0))

    return [
        Judged(
            truth=boxes((10, 1, 0)),
            candidate=seen(i, candidate_hits),
            champion=seen(i, champion_hits),
            scene=f"s{i % (scenes or count)}",
            known=frozenset({0}),
            slices=frozenset({"night" if i % 4 == 0 else "day"}),
            name=f"p{i}",
        )
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("made", "rule", "decision"),
    [
        (pictures(80, 0.9, 0.5), GateRule(), "passed"),
        (pictures(80, 0.5, 0.9), GateRule(), "stopped"),
        (pictures(80, 0.9, 0.9), GateRule(), "passed"),
        (pictures(20, 0.9, 0.5), GateRule(), "not_enough"),  # too few boxes, however good
        (pictures(80, 0.9, 0.5, scenes=5), GateRule(), "not_enough"),  # many pictures of five scenes
        (pictures(80, 0.9, 0.5), GateRule(required=("overflow", "cart")), "not_enough"),
        ([], GateRule(), "not_enough"),
    ],
)
def test_the_decision(made: list[Judged], rule: GateRule, decision: str) -> None:
    report = decide(made, ("overflow", "cart"), rule)
    assert report.decision == decision
    assert bool(report.reasons) == (decision != "passed")


def test_a_class_that_the_labels_do_not_know_is_not_judged() -> None:
    made = [Judged(p.truth, p.candidate, p.champion, p.scene, frozenset()) for p in pictures(80, 0.1, 0.9)]
    assert decide(made, ("overflow",)).decision == "not_enough"


def test_a_worse_night_stops_a_better_day() -> None:
    made = [
        Judged(
            p.truth,
            p.champion if "night" in p.slices else p.candidate,
            p.candidate if "night" in p.slices else p.champion,
            p.scene,
            p.known,
            p.slices,
        )
        for p in pictures(240, 1.0, 0.6)
    ]
    report = decide(made, ("overflow",))
    assert report.decision == "stopped"
    assert {(r.slice, r.verdict) for r in report.slices} >= {("night", "worse"), ("day", "better")}


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ({"found": 5, "false": 1}, "no_worse"),
        ({"found": 6, "false": 1}, "better"),
        ({"found": 4, "false": 0}, "worse"),
        ({"found": 9, "false": 2}, "worse"),
    ],
)
def test_events(now: dict[str, int], verdict: str) -> None:
    before = {"families": {"dumping": {"expected": 9, "found": 5, "false": 1}}}
    (found,) = compare_events(before, {"families": {"dumping": {"expected": 9, **now}}})
    assert found.verdict == verdict
    report = decide(pictures(80, 0.9, 0.5), ("overflow",), events=[found])
    assert report.decision == ("stopped" if verdict == "worse" else "passed")


def test_nothing_passes_that_the_event_benchmark_has_not_seen() -> None:
    good, rule = pictures(80, 0.9, 0.5), GateRule(needs_events=True)
    unseen = decide(good, ("overflow",), rule)
    assert unseen.decision == "not_enough"
    assert "--no-events" in unseen.reasons[0]
    quiet = {"families": {"vendor": {"expected": 0, "found": 0, "false": 0}}}
    dumping = {"expected": 3, "found": 3, "false": 0}
    assert decide(good, ("overflow",), rule, compare_events(quiet, quiet)).decision == "not_enough"
    busy = {"families": quiet["families"] | {"dumping": dumping}}
    passed = decide(good, ("overflow",), rule, compare_events(busy, busy))
    assert passed.decision == "passed"
    assert "events vendor: nothing expected" in passed.not_judged
    assert "- events vendor: nothing expected" in markdown(passed)


def test_a_passed_report_says_what_it_could_not_judge() -> None:
    made = [
        replace(p, slices=frozenset({"night" if i < 6 else "day"}))
        for i, p in enumerate(pictures(80, 0.9, 0.9))
    ]
    report = decide(made, ("overflow",))
    assert report.decision == "passed"
    assert [line for line in report.not_judged if "night" in line] == [
        "overflow (night): 6 boxes in 6 scenes; 30 in 15 are needed"
    ]


@pytest.mark.parametrize(
    "other", [{}, {"families": {}}, {"families": {"dumping": {"expected": 3, "found": 1, "false": 0}}}]
)
def test_events_of_another_manifest_are_refused(other: dict[str, object]) -> None:
    before = {"families": {"dumping": {"expected": 9, "found": 5, "false": 1}}}
    with pytest.raises(ValueError, match="events:"):
        compare_events(before, other)


def test_the_report_shows_what_got_worse(tmp_path: Path) -> None:
    made = pictures(80, 0.5, 0.9)
    report = decide(made, ("overflow",))
    written = write_report(report, made, ("overflow",), tmp_path, lambda name: scene(len(name)))
    assert [p.name for p in written] == ["gate.json", "gate.md", "worse_overflow.jpg"]
    assert all(p.stat().st_size for p in written)
    assert "| overflow | all |" in markdown(report)


def test_the_pictures_are_of_the_slice_that_got_worse(tmp_path: Path) -> None:
    night = [replace(p, slices=frozenset({"night"})) for p in pictures(80, 0.0, 1.0)]
    day = [replace(p, slices=frozenset({"day"}), name="day") for p in pictures(240, 1.0, 0.9)]
    report = decide(night + day, ("overflow",))
    assert {r.slice: r.verdict for r in report.slices} == {"all": "worse", "night": "worse", "day": "better"}
    only = replace(report, slices=tuple(r for r in report.slices if r.slice != "all"))
    opened: list[str] = []

    def look(name: str) -> NDArray[np.uint8]:
        opened.append(name)
        return scene(1)

    write_report(only, day + night, ("overflow",), tmp_path, look)
    assert opened
    assert "day" not in opened


def test_a_changed_test_set_is_refused(tmp_path: Path) -> None:
    items = [
        item(write(tmp_path / f"{i}.png", scene(i)), [(0, 0.5, 0.5, 0.2, 0.2)], split="test")
        for i in range(3)
    ]
    save_dataset(Dataset(("a", "b"), tuple(items)), tmp_path / "set")
    check_frozen(tmp_path / "set")
    labels = next((tmp_path / "set" / "labels").rglob("*.txt"))
    kept = labels.read_text()
    labels.write_text("")
    with pytest.raises(DatasetError, match="changed since"):
        check_frozen(tmp_path / "set")
    labels.write_text(kept)
    check_frozen(tmp_path / "set")
    write(next((tmp_path / "set" / "images").rglob("*.png")), scene(99))
    with pytest.raises(DatasetError, match="changed since"):
        check_frozen(tmp_path / "set")


def test_the_command_judges_two_bundles_and_exits_by_the_decision(tmp_path: Path) -> None:
    from curbwatch.__main__ import cli

    items = [
        item(
            write(tmp_path / f"{i}.png", scene(i)),
            [(0, 0.5, 0.5, 0.2, 0.2)],
            split="test",
            known=frozenset({"person"}),
        )
        for i in range(4)
    ]
    save_dataset(Dataset(("person",), tuple(items)), tmp_path / "set")
    command = [
        "train",
        "promote",
        "street",
        "centernet",
        str(tmp_path / "set"),
        "--out",
        str(tmp_path / "gate"),
    ]
    told = CliRunner().invoke(cli, command)
    assert told.exit_code == 2, told.output
    assert "not enough" in told.output
    assert "4 boxes in 4 scenes; 30 in 15 are needed" in (tmp_path / "gate" / "gate.md").read_text()
    assert "--no-events" in (tmp_path / "gate" / "gate.md").read_text()


@pytest.mark.parametrize(
    ("scores", "hit", "total", "wanted"),
    [
        ([0.9, 0.8], [True, True], 2, 1.0),
        ([0.9, 0.8, 0.7], [True, False, True], 2, 0.5 + 0.5 * 2 / 3),
        ([0.9], [False], 1, 0.0),
        ([], [], 3, 0.0),
        ([0.9], [False], 0, float("nan")),
    ],
)
def test_average_precision(scores: list[float], hit: list[bool], total: int, wanted: float) -> None:
    found = average_precision(np.array(scores, np.float32), np.array(hit, bool), total)
    assert found == pytest.approx(wanted, nan_ok=True)


def test_uncertainty_and_disagreement() -> None:
    limits = {0: 0.5}
    assert uncertainty(boxes((0, 0.5, 0)), limits, 0.2) == pytest.approx(1)
    assert uncertainty(boxes((0, 0.9, 0)), limits, 0.2) == 0
    assert uncertainty(boxes(), limits, 0.2) == 0
    assert disagreement(boxes((0, 0.9, 0)), boxes((0, 0.8, 0)), limits) == 0
    assert disagreement(boxes((0, 0.9, 0)), boxes((50, 0.8, 0)), limits) == 1
    assert disagreement(boxes((0, 0.9, 0)), boxes(), limits) == 1
    assert disagreement(boxes(), boxes(), limits) == 0


def test_the_queue_prefers_doubt_and_rare_places_and_does_not_repeat_itself(tmp_path: Path) -> None:
    doubt, sure = boxes((0, 0.5, 0)), boxes((0, 0.95, 0))
    seen = [Seen(f"gate{i}", "gate", 12, doubt) for i in range(3)]
    seen += [Seen("sure", "gate", 12, sure), Seen("rare", "school", 3, doubt)]
    queue = build_queue(seen, [("gate", 12)] * 20, {0: 0.5}, count=4)
    assert [e.key for e in queue][:2] == ["rare", "gate0"]
    assert [e.score for e in queue] == sorted((e.score for e in queue), reverse=True)
    assert "near a rule's threshold" in queue[0].why
    write_queue(queue, tmp_path / "q.json")
    assert '"version": 1' in (tmp_path / "q.json").read_text()


@pytest.mark.parametrize(
    "scores",
    [(0.3095, 0.3005), (0.97, 0.93), (0.03, 0.02), (0.8, 0.2)],
    ids=["one hundredth", "high", "low", "usual"],
)
def test_a_cards_precision_and_recall_are_those_at_the_threshold_that_is_written(
    scores: tuple[float, float],
) -> None:
    truth = [boxes((10, 1, 0))] * 20
    seen = [boxes((10, scores[0], 0), (60, scores[1], 0))] * 20
    threshold, precision, recall = best_threshold(seen, truth, 0, 0.8)
    kept = [s for s in scores if np.float32(s) >= np.float32(threshold)]
    assert recall == float(scores[0] in kept)
    assert precision == pytest.approx(1 / len(kept)) if kept else np.isnan(precision)
