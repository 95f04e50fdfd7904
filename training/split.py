"""Splits that don't leak: no scene on both sides.

Pictures are joined into scenes: near-duplicates by perceptual hash, and pictures of one camera whose capture times lie
within `gap_s` of each other (a site that stands for hours is one scene, whatever the number of pictures). A scene goes
to one split as a whole. With `by_camera` a whole camera does. Within a camera scenes are dealt in the order of time:
the oldest train, the newest test, as the model will meet them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from training.dataset_items import DatasetError, Item
from training.phash import NEAR, Groups, near_pairs


@dataclass(frozen=True)
class SplitRule:
    """Shares of train, val, test; `keep` leaves the splits that a source came with, but moves leaking scenes."""

    val: float = 0.15
    test: float = 0.15
    gap_s: float = 2 * 3600.0
    near: int = NEAR
    by_camera: bool = False
    keep: bool = False
    seed: str = "curbwatch"


@dataclass(frozen=True)
class Leak:
    """Two pictures of one scene in different splits."""

    first: str
    second: str
    why: str


def camera_of(item: Item) -> str:
    return str(item.notes.get("camera_id") or "")


def _time_of(item: Item) -> datetime | None:
    if not item.taken_at:
        return None
    try:
        return datetime.fromisoformat(item.taken_at)
    except ValueError as error:
        raise DatasetError(f"{item.path}: taken_at {item.taken_at!r} isn't an ISO time") from error


def _hash(item: Item) -> int:
    if known := item.notes.get("phash"):
        return int(known, 16)
    from training.dataset import hash_of

    return hash_of(item.path)


def scenes_of(items: Sequence[Item], rule: SplitRule) -> list[list[int]]:
    """Indices of the items by scene."""
    groups = Groups(len(items))
    groups.join_equal([i.group or None for i in items])
    if rule.by_camera:
        groups.join_equal([camera_of(i) or None for i in items])
    for first, second in near_pairs([_hash(i) for i in items], rule.near):
        groups.join(first, second)
    by_camera: dict[str, list[tuple[datetime, int]]] = {}
    for number, item in enumerate(items):
        moment = _time_of(item)
        if camera_of(item) and moment:
            by_camera.setdefault(camera_of(item), []).append((moment, number))
    for shots in by_camera.values():
        shots.sort()
        for (t0, a), (t1, b) in pairwise(shots):
            if t1 - t0 <= timedelta(seconds=rule.gap_s):
                groups.join(a, b)
    return groups.members()


def _deal(scenes: list[list[int]], items: Sequence[Item], rule: SplitRule) -> dict[int, str]:
    """Scene number -> split, by time inside a camera and by a hash of the scene where there is no time."""
    total = sum(len(s) for s in scenes)
    order = sorted(range(len(scenes)), key=lambda n: _rank(scenes[n], items, rule))
    result: dict[int, str] = {}
    done = 0
    for number in order:
        size = len(scenes[number])
        middle = (done + size / 2) / max(total, 1)
        result[number] = (
            "train" if middle < 1 - rule.val - rule.test else "val" if middle < 1 - rule.test else "test"
        )
        done += size
    return result


def _rank(scene: list[int], items: Sequence[Item], rule: SplitRule) -> float:
    """0–1: where in its camera's time the scene lies, or a stable hash."""
    mine = _time_of(items[scene[0]])
    camera = camera_of(items[scene[0]])
    if mine and camera and not rule.by_camera:
        times = sorted(t for i in items if camera_of(i) == camera and (t := _time_of(i)))
        if times[-1] > times[0]:
            return (mine - times[0]) / (times[-1] - times[0])
    key = min(items[i].group or f"{items[i].source}:{items[i].path.stem}" for i in scene)
    return int.from_bytes(hashlib.sha256(f"{rule.seed}:{key}".encode()).digest()[:8], "big") / 2**64


def split_items(items: Sequence[Item], rule: SplitRule | None = None) -> list[Item]:
    """Items with their split set. With `keep`, a scene that lies in several splits goes to the strictest of them:
    test before val before train, so that what was held out stays held out."""
    rule = rule or SplitRule()
    scenes = scenes_of(items, rule)
    dealt = {} if rule.keep else _deal(scenes, items, rule)
    result = list(items)
    for number, scene in enumerate(scenes):
        given = {items[i].split for i in scene}
        split = dealt.get(number) or next(s for s in ("test", "val", "train") if s in given)
        for i in scene:
            result[i] = replace(items[i], split=split)
    return result


def leaks(items: Sequence[Item], rule: SplitRule | None = None) -> list[Leak]:
    """Scenes on both sides of a split, one line for each further split that a scene reaches."""
    found = []
    for scene in scenes_of(items, rule or SplitRule()):
        seen: dict[str, Item] = {}
        for i in scene:
            seen.setdefault(items[i].split, items[i])
        first, *others = seen.values()
        why = "one scene by time, camera, group or look"
        found += [Leak(str(first.path), str(o.path), why) for o in others]
    return found
