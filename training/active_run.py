"""Build the labelling queue from bundles and a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from models.bundle import load_bundle
from training.active import QueueEntry, Seen, build_queue
from training.dataset import hash_of, load_dataset
from training.dataset_items import DatasetError, Item, empty_labels, pictures_in
from training.fit_data import read_picture
from training.judge_run import boxes_of
from training.promote import open_for_judging
from training.verdicts import Taken, VerdictRule, pictures_of, read_cases


def items_in(folder: Path) -> Sequence[Item]:
    """The pictures of a data set, of an export of cases (its `cases.jsonl`), or of a plain folder."""
    if (folder / "cases.jsonl").exists():
        return list(_items_of_cases(folder))
    if (folder / "dataset.json").exists():
        return load_dataset(folder).items
    classes, boxes = empty_labels()
    return [Item(p, classes, boxes, "", "train") for p in pictures_in(folder)]


def _items_of_cases(folder: Path) -> Iterator[Item]:
    """The best whole picture of each case's latest alert; ranking looks at it and copies nothing."""
    rule, classes, boxes = VerdictRule(blurred_only=False), *empty_labels()
    for case in read_cases(folder / "cases.jsonl"):
        if not case.alerts:
            continue
        alert = case.alerts[-1]
        for part, path in pictures_of(alert, folder / "evidence", rule, Taken()):
            notes = {"camera_id": alert.camera_id, "case_id": case.id, "sha256": part.sha256}
            taken_at = part.captured_at.isoformat()
            yield Item(path, classes, boxes, "cases", "train", taken_at=taken_at, notes=notes)


def _hour(item: Item) -> int:
    return datetime.fromisoformat(item.taken_at).hour if item.taken_at else 12


def queue_of(
    bundle: str,
    pictures: Path,
    second: str | None = None,
    labelled: Path | None = None,
    count: int = 100,
    tick: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
) -> list[QueueEntry]:
    """The queue over `pictures`; thresholds are the first bundle's own."""
    own = load_bundle(bundle)
    names = own.names
    first = open_for_judging(bundle)
    other = open_for_judging(second) if second else None
    seen = []
    for item in items_in(pictures):
        try:
            picture = read_picture(item)
        except DatasetError as error:
            say(f"left out: {error}")
            continue
        finally:
            tick()
        seen.append(
            Seen(
                key=str(item.notes.get("case_id") or item.path),
                camera_id=str(item.notes.get("camera_id", "")),
                hour=_hour(item),
                first=boxes_of(first.detect([picture])[0], names),
                second=boxes_of(other.detect([picture])[0], names) if other else None,
                phash=hash_of(item.path),
                case_id=item.notes.get("case_id"),
                sha256=item.notes.get("sha256"),
            )
        )
    done = load_dataset(labelled).items if labelled else ()
    have = [(str(i.notes.get("camera_id", "")), _hour(i)) for i in done]
    thresholds = {i: c.threshold for i, c in enumerate(own.manifest.classes)}
    return build_queue(seen, have, thresholds, count)
