"""Run the gate on two bundles and a frozen data set."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle, load_bundle
from models.detector import Detector
from training.augment import Picture
from training.dataset import check_frozen, load_dataset
from training.dataset_items import DatasetError, Item, empty_labels
from training.fit_data import MAX_SIDE, read_picture
from training.gate import GateReport, GateRule, compare_events, decide
from training.gate_report import HEAD, table_rows, write_report
from training.judge_run import look, lost_classes

JUDGING_SCORE = 0.02
"""Average precision needs the whole curve: bundles are judged from this score on, not from their own thresholds."""


def open_for_judging(name: str | Path | Bundle, provider: str = "auto") -> Detector:
    """A bundle's detector with all thresholds at `JUDGING_SCORE`."""
    bundle = name if isinstance(name, Bundle) else load_bundle(name)
    classes = tuple(c.model_copy(update={"threshold": JUDGING_SCORE}) for c in bundle.manifest.classes)
    manifest = bundle.manifest.model_copy(update={"classes": classes})
    return Detector(Bundle(bundle.folder, manifest), provider, threads=0, max_batch=1)


def promote(
    candidate: str,
    champion: str,
    folder: Path,
    split: str,
    events: tuple[Path, Path] | None,
    rule: GateRule,
    out: Path,
    tick: Callable[[], None] = lambda: None,
) -> GateReport:
    """Judge both on `split` of the data set in `folder`; write the report to `out`. `events` are of candidate and champion.

    Raises DatasetError where the split is empty, or the data set is not what its version says: a test set is frozen;
    ValueError where the events are of other bundles, or a clip could not be judged.
    """
    dataset = load_dataset(folder)
    check_frozen(folder)
    if not dataset.of(split):
        raise DatasetError(f"{folder}: no pictures in the split {split!r}; name another with --split")
    first, second = open_for_judging(candidate), open_for_judging(champion)
    happened = []
    if events:
        now, before = (
            _events_of(path, detector, who)
            for path, detector, who in zip(events, (first, second), ("candidate", "champion"), strict=True)
        )
        happened = compare_events(before, now)
    side = max(MAX_SIDE, *first.input_size, *second.input_size)
    pictures = look(dataset, split, first, second, tick, side)
    about = {
        "candidate": first.ref.model_dump(mode="json"),
        "champion": second.ref.model_dump(mode="json"),
        "data_version": dataset.version,
        "split": split,
    }
    lost = lost_classes(second.bundle, first.bundle)
    report = decide(pictures, dataset.classes, rule, happened, about, lost)

    def open_picture(name: str) -> Picture:
        classes, boxes = empty_labels()
        return read_picture(Item(Path(name), classes, boxes, "", split), side)

    write_report(report, pictures, dataset.classes, out, open_picture)
    return report


def _events_of(path: Path, detector: Detector, who: str) -> dict[str, Any]:
    """What `bench events --json` wrote of this bundle. Raises ValueError where it is of another."""
    told = json.loads(path.read_text("utf-8"))
    found = told.get("model_sha256") if isinstance(told, dict) else None
    if found != detector.bundle.sha256:
        raise ValueError(
            f"{path}: is not of the {who}, whose sha256 begins with {detector.bundle.sha256[:12]}, but of "
            f"{str(found)[:12] if found else 'a bundle that it does not name'}; give --events CANDIDATE CHAMPION, as `bench events --json` wrote them"
        )
    return dict(told)


def show(report: GateReport) -> None:
    """The table on the screen."""
    console = Console() if sys.stdout.isatty() else Console(width=120)
    table = Table(*HEAD, box=rich.box.SIMPLE)
    colours = {"worse": "red", "better": "green", "not_enough": "yellow"}
    for row, result in zip(table_rows(report), report.slices, strict=True):
        # Why a slice is not enough stands in the report; here the counts say it.
        table.add_row(*row[:-1], row[-1].partition(":")[0], style=colours.get(result.verdict, ""))
    console.print(table)
    console.print(f"[bold]{report.decision.replace('_', ' ')}[/bold]")
    for reason in report.reasons:
        console.print(f"  {reason}", markup=False)
    if report.not_judged:
        console.print(f"{len(report.not_judged)} slices have too little evidence to judge (see the report)")
