"""The slots in front of the detector: newest frame, fair turns, nothing unbounded."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from edge.pump import LatestSlots


def test_newest_frame_wins_and_the_loss_is_counted() -> None:
    slots: LatestSlots[int] = LatestSlots()
    assert slots.offer("a", 1)
    assert not slots.offer("a", 2)
    assert slots.take(4, 0) == [("a", 2)]
    assert slots.dropped("a") == 1
    assert slots.take(4, 0) == []


def test_a_fast_camera_does_not_push_a_slow_one_back() -> None:
    slots: LatestSlots[int] = LatestSlots()
    slots.offer("fast", 1)
    slots.offer("slow", 1)
    slots.offer("fast", 2)
    assert [c for c, _ in slots.take(1, 0)] == ["fast"]
    slots.offer("fast", 3)
    assert [c for c, _ in slots.take(1, 0)] == ["slow"]


def test_whose_turn_is_longest_ago_is_next_whoever_came_first() -> None:
    slots: LatestSlots[int] = LatestSlots(iter(range(10_000)).__next__)
    for camera in "ab":
        slots.offer(camera, 1)
    assert [slots.take(1, 0)[0][0] for _ in range(2)] == ["a", "b"]
    for camera in "bca":
        slots.offer(camera, 2)
    assert [slots.take(1, 0)[0][0] for _ in range(3)] == ["c", "a", "b"]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=200))
def test_every_frame_is_taken_or_counted_as_dropped(steps: list[tuple[str, bool]]) -> None:
    slots: LatestSlots[int] = LatestSlots()
    taken: list[tuple[str, int]] = []
    for n, (camera, take) in enumerate(steps):
        slots.offer(camera, n)
        if take:
            taken += slots.take(2, 0)
    taken += slots.take(100, 0)
    assert len(taken) + sum(slots.dropped(c) for c in "abcde") == len(steps)
    for camera in "abcde":
        mine = [n for c, n in taken if c == camera]
        assert mine == sorted(mine)


def test_close_wakes_the_taker() -> None:
    slots: LatestSlots[int] = LatestSlots()
    got: list[list[tuple[str, int]]] = []
    taker = threading.Thread(target=lambda: got.append(slots.take(1, 60)))
    taker.start()
    slots.close()
    taker.join(60)
    assert not taker.is_alive()
    assert got == [[]]
