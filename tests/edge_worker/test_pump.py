"""The slots in front of the detector: newest frame, fair turns, nothing unbounded."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from edge.admission import LINE
from edge.pump import COMING_S, LatestSlots


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


def test_what_may_end_a_dwell_goes_first_and_so_does_what_takes_its_place() -> None:
    slots: LatestSlots[int] = LatestSlots(iter(range(10_000)).__next__)
    for camera in "abc":
        slots.offer(camera, 1)
        slots.take(1, 0)
    slots.offer("a", 2)
    slots.offer("b", 2)
    slots.offer("c", 2, urgent=True)
    slots.offer("c", 3)
    assert slots.take(2, 0) == [("c", 3), ("a", 2)]
    slots.offer("c", 4)
    assert slots.take(2, 0) == [("b", 2), ("c", 4)], "once"
    slots.offer("c", 5, urgent=True)
    slots.forget("c")
    slots.offer("c", 6)
    slots.offer("b", 6)
    assert slots.take(1, 0) == [("c", 6)], "a camera that came anew has had no turn"


def test_a_long_line_keeps_pictures_in_their_streams_and_then_those_of_the_latest_camera_come_first() -> None:
    slots: LatestSlots[int] = LatestSlots(lambda: 0.0)
    for n in range(LINE):
        assert slots.has_room(str(n), 0.0)
        slots.arrived(str(n))
        slots.offer(str(n), n)
    assert not slots.has_room("in time", 0.0)
    assert not slots.has_room("late", 5.0)
    assert slots.left_out == 2
    slots.take(LINE, 0)
    for n in range(LINE - 1):
        slots.offer(str(n), n)
    # The pace of eight in the last four seconds lets in four more until they ask again.
    assert slots.has_room("late", 5.0)
    assert slots.left_out == 2


def test_a_box_whose_cameras_are_all_late_decodes_no_more_than_it_will_judge() -> None:
    """After a slow minute all had the right to be let in, two hundred decoded beside the detector, and it never caught up."""
    now = [100.0]
    slots: LatestSlots[int] = LatestSlots(lambda: now[0])
    let_in = [slots.has_room(str(n), 60.0) for n in range(200)]
    assert sum(let_in) == LINE
    # Decoding takes far longer than it should, and they ask again.
    now[0] += 4.0
    let_in = [slots.has_room(str(n), 64.0) for n in range(LINE, 200)]
    assert sum(let_in) == 0


def test_dense_pictures_that_never_ask_leave_no_camera_out() -> None:
    """Sixty dense cameras are enough for this detector alone. The quiet ones, of which nothing is decoded meanwhile, could not become dense."""
    now = [0.0]
    slots: LatestSlots[float] = LatestSlots(lambda: now[0])
    looks = dict.fromkeys([*(f"dense {n}" for n in range(60)), *(f"quiet {n}" for n in range(40))], 0)
    last = dict.fromkeys(looks, 0.0)
    for step in range(1200):
        now[0] = step / 10
        for n in range(60):
            if step % 35 == n * 7 % 35:
                slots.offer(f"dense {n}", now[0])
        for n in range(40):
            camera = f"quiet {n}"
            due = last[camera] + 11.4
            if step % 20 == n % 20 and now[0] >= due and slots.has_room(camera, now[0] - due):
                slots.arrived(camera)
                slots.offer(camera, now[0])
                last[camera] = now[0]
        for camera, _ in slots.take(1, 0):
            looks[camera] += 1
    assert min(looks.values()) >= 4


def test_a_camera_that_reconnects_again_and_again_comes_no_earlier_for_it() -> None:
    now = [100.0]
    slots: LatestSlots[int] = LatestSlots(lambda: now[0])
    for camera in ("flapping", *(str(n) for n in range(LINE)), "steady"):
        slots.offer(camera, 0)
    assert len(slots.take(99, 0)) == LINE + 2
    now[0] = 120.0
    for n in range(LINE):
        assert slots.has_room(str(n), 0.0)
    slots.offer("flapping", 1, urgent=True)
    slots.take(1, 0)
    assert not slots.has_room("steady", 8.0)
    # A new decoder has seen nothing yet.
    assert not slots.has_room("flapping", float("inf"))
    slots.forget("0")
    now[0] = 122.0
    assert not slots.has_room("flapping", float("inf"))
    assert slots.has_room("steady", 10.0)


def test_a_camera_that_is_away_is_not_waited_for() -> None:
    slots: LatestSlots[int] = LatestSlots(lambda: 0.0)
    for n in range(LINE - 1):
        slots.offer(str(n), n)
    assert slots.has_room("away", 9.0)
    assert not slots.has_room("here", 1.0)
    slots.away("away")
    assert slots.has_room("here", 1.0)


def test_a_camera_that_was_removed_is_not_waited_for() -> None:
    slots: LatestSlots[int] = LatestSlots(lambda: 0.0)
    for n in range(LINE):
        slots.offer(str(n), n)
    assert not slots.has_room("removed", 9.0)
    slots.forget("removed")
    slots.forget("0")
    assert slots.has_room("stays", 0.0)


def test_pictures_that_are_being_decoded_have_their_places_in_the_line() -> None:
    now = [0.0]
    slots: LatestSlots[int] = LatestSlots(lambda: now[0])
    assert [slots.has_room(f"camera {n}", 0.0) for n in range(LINE + 2)] == [True] * LINE + [False] * 2
    # Decoded, and not worth the detector.
    slots.arrived("camera 0")
    assert slots.has_room("camera 8", 0.0)
    slots.forget("camera 8")
    assert slots.has_room("camera 9", 0.0)
    assert not slots.has_room("camera 10", 0.0)
    # What never came out of its decoder holds no place for ever.
    now[0] = COMING_S
    assert slots.has_room("camera 10", 0.0)


def test_cameras_whose_pictures_never_decode_hold_no_places_against_the_others() -> None:
    now = [0.0]
    slots: LatestSlots[int] = LatestSlots(lambda: now[0])
    broken = [f"broken {n}" for n in range(5 * LINE)]
    for now[0] in (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0):
        let_in = [slots.has_room(camera, float("inf")) for camera in broken]
    assert all(let_in), "each may show that it is well again"
    assert slots.has_room("healthy", 0.0)
    slots.arrived("healthy")
    # One that decodes again has its place again.
    for camera in broken[:LINE]:
        slots.arrived(camera)
        assert slots.has_room(camera, 0.0)
    assert not slots.has_room("healthy", 0.0)


def test_a_camera_that_waits_and_decodes_the_next_picture_has_one_place() -> None:
    slots: LatestSlots[int] = LatestSlots()
    for n in range(LINE - 1):
        slots.offer(f"camera {n}", n)
    assert slots.has_room("camera 0", 0.0)
    assert slots.has_room("one more", 0.0)
    assert not slots.has_room("too many", 0.0)


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
