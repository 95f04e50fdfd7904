"""Least scores that people applied at the centre: by camera, class and hour, kept over a restart."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from contract import IssueClass, ScoreThreshold
from edge.zones import local_time

_LIST = TypeAdapter(tuple[ScoreThreshold, ...])


class ScoreFloor:
    """What the centre said last. `held_back` counts the alerts that stayed below it."""

    def __init__(self, path: Path, timezone: str) -> None:
        self._path, self._timezone, self.held_back = path, timezone, 0
        try:
            self._all = _LIST.validate_json(path.read_bytes())
        except (OSError, ValidationError):
            self._all = ()

    def set(self, thresholds: Iterable[ScoreThreshold]) -> bool:
        """Take the centre's list; True when it has changed."""
        told = tuple(thresholds)
        if told == self._all:
            return False
        part = self._path.with_suffix(".part")
        part.write_bytes(_LIST.dump_json(told))
        part.replace(self._path)
        self._all = told
        return True

    def least(self, camera_id: str, issue: IssueClass, at: datetime) -> float:
        """Return the least score of an alert at `at` (UTC); 0 where none is set."""
        hour = local_time(at, self._timezone).hour
        fits = [
            t.min_score
            for t in self._all
            if t.camera_id == camera_id and t.issue is issue and t.from_hour <= hour < t.to_hour
        ]
        return max(fits, default=0.0)
