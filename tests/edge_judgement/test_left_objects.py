"""What lies still and was not there before; and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.left_objects import GRID, LeftObject, LeftObjectDetector
from edge.medians import Cells, median

W, H = 320, 180


def street(seed: int = 5) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return np.asarray(
        cv2.resize(rng.uniform(80, 140, (24, 40)).astype(np.float32), (W, H), interpolation=cv2.INTER_CUBIC)
    )


def run(
    paint: Callable[[NDArray[np.float32], float], list[tuple[float, float, float, float]]],
    seconds: float,
    step: float = 0.5,
) -> list[LeftObject]:
    """Play a made street; `paint` draws on it and returns the boxes that a detector would call persons."""
    detector, rng = LeftObjectDetector(W, H), np.random.default_rng(1)
    found: list[LeftObject] = []
    for n in range(int(seconds / step)):
        picture = street()
        occupied = paint(picture, n * step)
        noisy = np.clip(picture + rng.normal(0, 2.0, picture.shape), 0, 255).astype(np.uint8)
        found = detector.observe(noisy, 100 + n * step, occupied)
    return found


def bag(picture: NDArray[np.float32], x: int = 150, y: int = 120, w: int = 20, h: int = 16) -> None:
    picture[y : y + h, x : x + w] = 30
    picture[y + 4 : y + 7, x + 3 : x + w - 3] = 60


@pytest.mark.parametrize("step", [0.2, 0.5, 1.0])
def test_a_bag_is_found_and_keeps_its_key(step: float) -> None:
    def paint(p: NDArray[np.float32], t: float) -> list[tuple[float, float, float, float]]:
        if t >= 10:
            bag(p)
        return []

    found = run(paint, 25, step)
    assert len(found) == 1
    assert found[0].born_mono_s == pytest.approx(111, abs=2.5 + step)
    assert found[0].box == pytest.approx((150 / W, 120 / H, 170 / W, 136 / H), abs=0.03)


def test_a_bag_that_falls_over_is_the_same_bag() -> None:
    keys = set()

    def paint(p: NDArray[np.float32], t: float) -> list[tuple[float, float, float, float]]:
        if 10 <= t < 20:
            bag(p, 150, 112, 14, 24)
        elif t >= 20:
            bag(p, 148, 122, 24, 14)
        return []

    for end in (19, 30):
        found = run(paint, end)
        keys.add(tuple(f.key for f in found))
    assert keys == {(1,)}


@pytest.mark.parametrize(
    ("what", "paint"),
    [
        ("nothing happens", lambda _p, _t: []),
        ("the light fades by a third", lambda p, t: p.__imul__(1 - min(t, 30) / 90) is None or []),
        ("a night switch", lambda p, t: (p.__imul__(0.4 if t > 15 else 1.0), [])[1]),
        ("a cloud's soft shadow", lambda p, t: (p.__imul__(cloud(t)), [])[1]),
        (
            "a nudge by two pixels",
            lambda p, t: (p.__setitem__(slice(None), np.roll(p, 2 if t > 15 else 0, axis=1)), [])[1],
        ),
        ("a walker", lambda p, t: walker(p, t)),
    ],
)
def test_what_is_none(what: str, paint: Callable[..., list[tuple[float, float, float, float]]]) -> None:
    assert run(paint, 40) == [], what


def cloud(t: float) -> NDArray[np.float32]:
    x = np.linspace(-1, 1, W)[None, :] - (t / 10 - 2)
    return np.asarray(1 - 0.25 * np.exp(-(x**2) / 0.5), np.float32).repeat(H, 0)


def nudge(p: NDArray[np.float32], by: int) -> list[tuple[float, float, float, float]]:
    p[:] = np.roll(p, by, axis=1)
    return []


def walker(p: NDArray[np.float32], t: float) -> list[tuple[float, float, float, float]]:
    x = int(t * 12) - 20
    p[60:120, max(0, x) : max(0, x + 18)] = 40
    return [(max(0, x) / W, 60 / H, max(1, x + 18) / W, 120 / H)] if -18 < x < W else []


def test_what_was_there_at_the_start_and_left_is_no_object() -> None:
    def paint(p: NDArray[np.float32], t: float) -> list[tuple[float, float, float, float]]:
        if t < 12:
            p[60:120, 100:120] = 40
            return [(100 / W, 60 / H, 120 / W, 120 / H)]
        return []

    assert run(paint, 30) == []


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(3, 40),
    cols=st.integers(3, 70),
    open_share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_the_light_of_each_cell_is_the_median_of_its_open_pixels(
    rows: int, cols: int, open_share: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values, open_ = random.random((rows, cols), np.float32), random.random((rows, cols)) < open_share
    got = Cells(GRID, rows, cols).medians(values, open_)
    if not open_.any():
        assert got is None
        return
    assert got is not None
    for i in range(GRID):
        for j in range(GRID):
            part = (
                slice(rows * i // GRID, rows * (i + 1) // GRID),
                slice(cols * j // GRID, cols * (j + 1) // GRID),
            )
            mine = values[part][open_[part]]
            some = np.sort(mine if 2 * mine.size > open_[part].size else values[open_])
            assert got[i, j] == some[some.size // 2]


@pytest.mark.parametrize("size", [1, 2, 7, 400])
def test_the_middle_is_the_median(size: int) -> None:
    values = np.random.default_rng(size).random(size, np.float32)
    assert median(values) == pytest.approx(float(np.median(values)), abs=1e-6)


def test_a_thing_in_a_part_of_the_view_is_found_whole_and_the_same() -> None:
    whole, part = LeftObjectDetector(W, H), LeftObjectDetector(W, H, (0.4, 0.65, 0.6, 0.8))
    rng = np.random.default_rng(1)
    looks = []
    for n in range(50):
        picture = street()
        if n >= 20:
            bag(picture)
            # Where nobody asked for things.
            bag(picture, x=20, y=20)
        noisy = np.clip(picture + rng.normal(0, 2.0, picture.shape), 0, 255).astype(np.uint8)
        looks.append([d.observe(noisy, 100 + n * 0.5, []) for d in (whole, part)])
    of_whole, of_part = looks[-1]
    assert len(of_whole) == 2
    assert [o.box for o in of_part] == [o.box for o in of_whole if o.box[1] > 0.5]
    assert [o.born_mono_s for o in of_part] == [o.born_mono_s for o in of_whole if o.box[1] > 0.5]


@pytest.mark.parametrize(
    ("within", "found"),
    [((0.4, 0.6, 0.6, 0.8), True), ((0.45, 0.7, 0.5, 0.8), True), ((0.4, 0.6, 0.9, 0.8), False)],
)
def test_a_detector_finds_what_lies_in_its_own_part(
    within: tuple[float, float, float, float], found: bool
) -> None:
    detector = LeftObjectDetector(W, H, (0.4, 0.6, 0.6, 0.8))
    assert detector.finds((H, W), within) is found
    assert not detector.finds((H, W - 8), within)
    assert LeftObjectDetector(W, H).finds((H, W), within)


def test_what_fills_the_part_is_a_thing_and_no_change_of_light_and_the_light_of_the_whole_is() -> None:
    within = (0.4, 0.6, 0.5, 0.7)
    detector, rng = LeftObjectDetector(W, H, within), np.random.default_rng(1)

    def look(n: int, *, box: bool, night: bool) -> list[LeftObject]:
        picture = street()
        if box:
            # Half of what is looked at, a twentieth of the view.
            bag(picture, x=120, y=80, w=56, h=48)
        if night:
            picture *= 0.4
            picture[:, :160] *= 1.6
        noisy = np.clip(picture + rng.normal(0, 2.0, picture.shape), 0, 255).astype(np.uint8)
        return detector.observe(noisy, 100 + n * 0.5, [])

    for n in range(20):
        assert look(n, box=False, night=False) == []
    seen = [look(n, box=True, night=False) for n in range(20, 40)]
    assert len(seen[-1]) == 1
    born = seen[-1][0].key
    night = [look(n, box=True, night=True) for n in range(40, 60)]
    assert all(o.key != born for o in night[-1])


def test_a_thing_in_whose_place_only_the_ground_shows_again_is_forgotten() -> None:
    """A known thing is not asked at every look whether it is one; what failed is asked until it is gone."""
    detector, rng = LeftObjectDetector(W, H), np.random.default_rng(1)
    ground = street() + np.random.default_rng(9).uniform(-25, 25, (H, W)).astype(np.float32)
    shifted = np.roll(ground, 4, axis=1)
    found = []
    for n in range(100):
        picture = ground.copy()
        if 20 <= n < 50:
            bag(picture)
        elif n >= 50:
            # A mat of the same stones, pushed aside by a hand.
            picture[118:138, 148:172] = shifted[118:138, 148:172]
        noisy = np.clip(picture + rng.normal(0, 2.0, picture.shape), 0, 255).astype(np.uint8)
        found.append(len(detector.observe(noisy, 100 + n * 0.5, [])))
    assert found[49] == 1
    assert found[70:] == [0] * 30


def still_look(
    detector: LeftObjectDetector, rng: np.random.Generator, n: int, *things: tuple[int, int, int, int]
) -> list[LeftObject]:
    picture = street()
    for x, y, w, h in things:
        bag(picture, x, y, w, h)
    noisy = np.clip(picture + rng.normal(0, 2.0, picture.shape), 0, 255).astype(np.uint8)
    return detector.observe(noisy, 100 + n * 0.5, [])


def test_a_part_of_what_is_too_large_to_be_a_thing_is_none() -> None:
    """What the looked-at part of the view cuts off is smaller there, and its foot is elsewhere."""
    # It reaches from within the part to far beside it.
    large = (150, 100, 160, 40)
    for within in ((0.0, 0.0, 1.0, 1.0), (0.4, 0.6, 0.6, 0.85)):
        detector, rng = LeftObjectDetector(W, H, within), np.random.default_rng(1)
        for n in range(60):
            found = still_look(detector, rng, n, *([large] if n >= 20 else []))
        assert found == []


@pytest.mark.parametrize(
    "other", [(0.38, 0.55, 0.6, 0.8), (0.1, 0.1, 0.9, 0.9), (0.45, 0.6, 0.95, 0.98), (0.5, 0.3, 1.0, 0.8)]
)
def test_a_thing_stays_one_when_zones_are_drawn_anew(other: tuple[float, float, float, float]) -> None:
    detector, rng = LeftObjectDetector(W, H, (0.4, 0.55, 0.6, 0.8)), np.random.default_rng(1)
    mine, elsewhere = (170, 110, 20, 16), (40, 30, 20, 16)
    for n in range(60):
        before = still_look(detector, rng, n, *([mine, elsewhere] if n >= 20 else []))
    assert len(before) == 1
    wider = detector.widened(other)
    for n in range(60, 100):
        after = still_look(wider, rng, n, mine, elsewhere)
        # What lay beside the zones when they were drawn is the ground there.
        assert [o.key for o in after] == [before[0].key]
    assert after[0].born_mono_s == before[0].born_mono_s
    found = [still_look(wider, rng, n, mine, elsewhere, (190, 140, 16, 12)) for n in range(100, 120)][-1]
    assert len(found) == 2


def test_many_things_at_once_are_light_in_a_part_of_the_view_too() -> None:
    patches = [(20 + 70 * i, 30 + 45 * j, 18, 14) for i in range(4) for j in range(3)]
    near = [(130 + 24 * i, 104 + 22 * j, 14, 12) for i in range(2) for j in range(2)]
    for within, lights in (((0.0, 0.0, 1.0, 1.0), patches), ((0.4, 0.6, 0.6, 0.8), near)):
        detector, rng = LeftObjectDetector(W, H, within), np.random.default_rng(1)
        for n in range(60):
            found = still_look(detector, rng, n, *(lights if n >= 20 else []))
        assert found == []
