"""Arrays of boxes say what the plain functions say, and a frame of many is judged as box by box."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import IssueClass
from edge import boxes as many
from edge.geometry import Box, covered, iou
from edge.people import STEP, ShortTracks, _distance
from edge.site_store import _pack, _unpack
from edge.sites import Moment, Site

side = st.floats(0.01, 0.4)
box = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), side, side).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
several = st.lists(box, min_size=1, max_size=40)


@given(several, several)
@settings(max_examples=60)
def test_tables_hold_the_same_numbers(a: list[Box], b: list[Box]) -> None:
    overlap, under = (
        many.ious(many.array_of(a), many.array_of(b)),
        many.coverings(many.array_of(a), many.array_of(b)),
    )
    for n, one in enumerate(a):
        assert list(many.touching(one, many.array_of(b))) == [
            i for i, other in enumerate(b) if covered(one, other) > 0
        ]
        for i, other in enumerate(b):
            assert overlap[n, i] == iou(one, other)
            assert under[n, i] == covered(one, other)


@given(st.lists(st.tuples(box, st.integers(0, 2)), max_size=60))
@settings(max_examples=80)
def test_twins_are_those_of_a_plain_loop(told: list[tuple[Box, int]]) -> None:
    kept: list[int] = []
    for i, (one, group) in enumerate(told):
        if not any(told[k][1] == group and iou(one, told[k][0]) > 0.6 for k in kept):
            kept.append(i)
    assert many.without_twins([b for b, _ in told], [g for _, g in told], 0.6) == kept


@given(several, several)
@settings(max_examples=40)
def test_many_people_are_followed_as_a_plain_loop_follows_them(first: list[Box], second: list[Box]) -> None:
    tracks = ShortTracks()
    tracks.observe(first, 0.0, 1.5)
    before = {t.id: t.box for t in tracks.tracks}
    tracks.observe(second, 1.0, 1.5)
    free, left = set(range(len(second))), dict(before)
    pairs = [(_distance(b, second[i], 1.5), t, i) for t, b in before.items() for i in range(len(second))]
    expected = {}
    for distance, t, i in sorted(pairs, key=lambda p: p[0]):
        if t in left and i in free and distance <= STEP + 1.0:
            expected[t] = second[i]
            free.discard(i)
            del left[t]
    assert {t.id: t.box for t in tracks.tracks if t.id in before and t.last == 1.0} == expected
    assert len(tracks.tracks) == len(before) + len(free)


@pytest.mark.parametrize("others", [0, 20])
def test_a_long_box_that_moves_by_a_quarter_of_itself_is_the_same(others: int) -> None:
    """A tram: its middle moves by many of its heights, and it overlaps itself well."""
    tracks = ShortTracks()
    small = [(0.04 * i, 0.9, 0.04 * i + 0.01, 0.93) for i in range(others)]
    tracks.observe([(0.1, 0.5, 0.8, 0.55), *small], 0.0, 1.78)
    tracks.observe([(0.28, 0.5, 0.98, 0.55), *small], 0.5, 1.78)
    assert len(tracks.tracks) == 1 + others


def test_arrays_of_nothing_are_empty() -> None:
    nothing = many.array_of([])
    assert many.touching((0, 0, 1, 1), nothing).size == 0
    assert many.ious(nothing, many.array_of([(0, 0, 1, 1)])).shape == (0, 1)
    assert many.without_twins([], [], 0.6) == []
    assert np.isfinite(many.ious(many.array_of([(0, 0, 1, 1)]), many.array_of([(2, 2, 3, 3)]))).all()


def test_the_look_of_a_place_that_an_older_box_wrote_is_read() -> None:
    look = np.random.default_rng(2).normal(0, 0.05, (24, 24)).astype(np.float32)
    now = Moment(datetime(2026, 3, 1, 2, tzinfo=UTC), 10.0)
    site = Site(IssueClass.PARKING_MOTOR, "kerb", now, (0.1, 0.1, 0.2, 0.2), patch=look, last=now)
    told = json.loads(json.dumps(_pack(site)))
    again = _unpack(told, now, None).patch
    older = _unpack({**told, "patch": np.round(look.ravel(), 4).tolist()}, now, None).patch
    assert again is not None
    assert older is not None
    assert np.array_equal(again, look)
    assert np.allclose(older, look, atol=1e-4)
