"""Sources -> one street data set: read, fill by a teacher, move scenes that leak, save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from training.dataset import Dataset
from training.dataset_items import Item
from training.dataset_sources import SourcesFile, read_source
from training.split import SplitRule, split_items
from training.teacher import Teacher, TeacherRule, fill_all


@dataclass(frozen=True)
class Merged:
    """The data set, and the number of training pictures moved out since they show a held-out scene."""

    dataset: Dataset
    dropped: Counter[str]


def read_all(config: SourcesFile) -> list[Item]:
    """Pictures of all sources; those whose own split leaks are dealt anew by scene."""
    items: list[Item] = []
    for source in config.sources:
        mine = list(read_source(source, config.classes))
        if source.resplit is not None:
            mine = split_items(mine, SplitRule(val=source.resplit, test=0.0))
        items += mine
    return items


def drop_leaks(items: list[Item], rule: SplitRule | None = None) -> tuple[list[Item], Counter[str]]:
    """Leave out training pictures that show a held-out scene. The held-out parts stay as published, so that figures
    remain comparable with others'."""
    moved = split_items(items, rule or SplitRule(keep=True))
    kept, dropped = [], Counter[str]()
    for before, after in zip(items, moved, strict=True):
        if before.split == after.split:
            kept.append(before)
        else:
            dropped[before.source] += 1
    return kept, dropped


def merge(
    config: SourcesFile,
    teacher: Teacher | None = None,
    rule: TeacherRule | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Merged:
    """One data set of all sources; with a teacher, filled where the sets leave its classes unlabelled."""
    items, dropped = drop_leaks(read_all(config))
    if teacher is not None:
        items = fill_all(items, config.classes, teacher, rule, tick)
    sources = tuple(s.model_dump(mode="json", exclude={"path"}) for s in config.sources)
    return Merged(Dataset(config.classes, tuple(items), sources), dropped)
