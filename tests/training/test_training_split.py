"""No scene on both sides of a split: by look, by camera and time, by group."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_parts import START, item, scene, write

from training.dataset_items import DatasetError, Item
from training.phash import NEAR, Groups, distance, near_pairs, phash
from training.split import SplitRule, leaks, split_items


@pytest.mark.parametrize("change", ["scale", "jpeg", "brighter", "noise"])
def test_the_hash_of_one_scene_stays_near(change: str) -> None:
    rng = np.random.default_rng(0)
    for seed in range(8):
        picture = scene(seed, (240, 320))
        if change == "scale":
            other = cv2.resize(picture, (200, 150), interpolation=cv2.INTER_AREA)
        elif change == "jpeg":
            other = cv2.imdecode(
                cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR
            )
        elif change == "brighter":
            other = np.clip(picture * 0.8 + 20, 0, 255).astype(np.uint8)
        else:
            other = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
        assert distance(phash(picture), phash(np.asarray(other, np.uint8))) <= NEAR


def test_the_hash_of_other_scenes_is_far() -> None:
    hashes = [phash(scene(seed, (240, 320))) for seed in range(40)]
    assert list(near_pairs(hashes)) == []


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 7))
def test_near_pairs_are_all_of_them(hashes: list[int], block: int) -> None:
    slow = {(i, j) for j in range(len(hashes)) for i in range(j) if distance(hashes[i], hashes[j]) <= 24}
    assert set(near_pairs(hashes, 24, block)) == slow


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_groups_are_a_partition(pairs: list[tuple[int, int]]) -> None:
    groups = Groups(20)
    for a, b in pairs:
        groups.join(a, b)
    members = groups.members()
    assert sorted(x for m in members for x in m) == list(range(20))
    assert all(groups.find(a) == groups.find(b) for a, b in pairs)


def shot(number: int, camera: str, minutes: float, hashed: int, group: str = "") -> Item:
    at = (START + timedelta(minutes=minutes)).isoformat()
    notes = {"camera_id": camera, "phash": f"{hashed:016x}"}
    return item(Path(f"{number}.png"), taken_at=at, group=group, notes=notes)


shots = st.lists(
    st.tuples(
        st.sampled_from(["gate", "market", "school", ""]),
        st.floats(0, 6000, allow_nan=False),
        st.sampled_from([*range(6), 2**40 - 1, 2**50 - 1, 2**60 - 1, 0x0F0F0F0F0F0F0F0F]),
        st.sampled_from(["", "", "site:1", "site:2"]),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(shots, st.booleans(), st.booleans())
def test_no_scene_leaks(rows: list[tuple[str, float, int, str]], by_camera: bool, keep: bool) -> None:
    """Whatever the cameras, times and looks are: a near-duplicate, a site, and a camera within the gap stay together."""
    rule = SplitRule(by_camera=by_camera, keep=keep)
    items = split_items([shot(i, c, m, h, g) for i, (c, m, h, g) in enumerate(rows)], rule)
    assert leaks(items, rule) == []
    for i, (camera, minutes, hashed, group) in enumerate(rows):
        for j in range(i):
            other = rows[j]
            alike = distance(hashed, other[2]) <= NEAR or (group and group == other[3])
            close = camera and camera == other[0] and (by_camera or abs(minutes - other[1]) <= 120)
            if alike or close:
                assert items[i].split == items[j].split


def test_within_a_camera_the_newest_is_tested() -> None:
    items = [shot(i, "gate", i * 24 * 60, (0xA5C3 << 3 * i) * 0x10001 % 2**64) for i in range(20)]
    rule = SplitRule(near=-1)
    made = split_items(items, rule)
    order = [i.split for i in made]
    assert order == ["train"] * 14 + ["val"] * 3 + ["test"] * 3


def test_leaks_are_found_and_a_kept_split_moves_to_the_strictest(tmp_path: Path) -> None:
    first = item(write(tmp_path / "a.png", scene(1)), split="train")
    second = item(write(tmp_path / "b.jpg", scene(1)), split="test")
    third = item(write(tmp_path / "c.png", scene(2)), split="train")
    found = leaks([first, second, third])
    assert [(Path(x.first).name, Path(x.second).name) for x in found] == [("a.png", "b.jpg")]
    moved = split_items([first, second, third], SplitRule(keep=True))
    assert [i.split for i in moved] == ["test", "test", "train"]
    assert leaks(moved) == []


def test_a_time_that_is_none_is_refused() -> None:
    wrong = item(Path("x.png"), taken_at="yesterday", notes={"camera_id": "gate", "phash": "0"})
    with pytest.raises(DatasetError, match="yesterday"):
        split_items([wrong])
