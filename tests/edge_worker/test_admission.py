"""Whose key frame is decoded next: those that have waited longest, as many as the detector will take."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.admission import GONE_S, IDLE, LINE, LONGEST_GOP_S, PACE_S, USUAL_GOP_S, Admission


def put_off(admission: Admission, camera: str, due: float, now: float) -> bool:
    """Let a camera ask beside a line that is much too long; True where it has to wait."""
    return not admission.ask(camera, due, 10 * LINE, now)


def test_with_room_in_the_line_whoever_asks_comes_in() -> None:
    admission = Admission()
    assert all(admission.ask(f"camera {n}", 0.0, line, 0.0) for n, line in enumerate(range(LINE)))
    assert not admission.ask("one more", 0.0, LINE, 0.0)


def test_those_that_have_waited_longest_come_first_and_as_many_as_there_is_room_for() -> None:
    admission = Admission()
    cameras = [f"camera {n}" for n in range(20)]
    for n, camera in enumerate(cameras):
        assert put_off(admission, camera, float(n), 30.0)
    # Three places: for the three that are latest, in whatever order they ask, and though each of the others asks before them.
    let_in = [c for c in reversed(cameras) if admission.ask(c, 32.0, LINE - 3, 32.0)]
    assert let_in == ["camera 2", "camera 1", "camera 0"]


def test_a_detector_with_nothing_to_do_takes_whoever_asks() -> None:
    admission = Admission()
    for n in range(50):
        assert put_off(admission, f"camera {n}", 0.0, 10.0)
    assert admission.ask("the last of all", 10.0, IDLE - 1, 10.0)


def test_the_detectors_pace_is_how_many_are_let_in_until_they_ask_again() -> None:
    admission = Admission()
    cameras = [f"camera {n}" for n in range(60)]
    for n, camera in enumerate(cameras):
        assert put_off(admission, camera, n / 10, 8.0)
    # Ten a second, and key frames every two seconds.
    for n in range(40):
        admission.served([f"other {n}"], 8.0 + n / 10)
    let_in = [c for c in cameras[::-1] if admission.ask(c, 12.0, LINE, 12.0)]
    # They were put off at 8.0 and ask at 12.0: 4 s between two key frames.
    assert let_in == cameras[39::-1]


def test_a_camera_that_was_looked_at_otherwise_has_its_place_behind_the_others() -> None:
    admission = Admission()
    for camera, due in (("first", 0.0), ("second", 1.0)):
        assert put_off(admission, camera, due, 5.0)
    # At the end of a dwell a picture is decoded and judged without asking.
    admission.served(["first"], 6.0)
    assert not admission.ask("first", 7.0, LINE, 7.0)
    assert admission.ask("second", 7.0, LINE - 1, 7.0)


@pytest.mark.parametrize("how", ["forgotten", "asks no more"])
def test_a_camera_that_has_gone_is_waited_for_no_longer(how: str) -> None:
    admission = Admission()
    assert put_off(admission, "gone", 0.0, 0.0)
    if how == "forgotten":
        admission.forget("gone")
        now = 1.0
    else:
        now = GONE_S + 1.0
    assert admission.ask("camera", now, LINE - 1, now)


def test_a_camera_of_a_long_gop_is_let_in_earlier_since_it_cannot_ask_again_soon() -> None:
    admission = Admission()
    assert put_off(admission, "smart", 0.0, 0.0)
    for n in range(30):
        assert put_off(admission, f"other {n}", -1.0, 9.0)
    for n in range(12):
        admission.served([f"served {n}"], 9.0)
    # Three a second: thirty are served until it asks again, six until another does.
    assert not admission.ask("plain", 0.0, LINE, 10.0)
    assert admission.ask("smart", 0.0, LINE - 1, 10.0)
    assert LONGEST_GOP_S > 10.0 > USUAL_GOP_S


def test_looks_that_nobody_asked_for_are_not_remembered_for_ever() -> None:
    """A box of HTTP cameras alone, whose streams never ask."""
    admission = Admission()
    for n in range(10_000):
        admission.served([f"camera {n % 10}"], n / 10)
    assert len(admission._served) <= 10 * PACE_S + 1


@settings(max_examples=30, deadline=None)
@given(
    cameras=st.integers(30, 150),
    pace=st.integers(3, 15),
    phases=st.randoms(use_true_random=False),
    gop=st.sampled_from([1.0, 2.0, 4.0]),
)
def test_nobody_waits_for_luck(cameras: int, pace: int, phases: object, gop: float) -> None:
    """However the key frames fall, all are looked at in turn, and no picture waits for long."""
    admission, line = Admission(), deque[tuple[int, float]]()
    last, looks = [0.0] * cameras, [0] * cameras
    begins = [phases.uniform(0, gop) for _ in range(cameras)]  # type: ignore[attr-defined]
    asks = sorted((begins[c] + gop * k, c) for c in range(cameras) for k in range(int(120 / gop)))
    free, worst, oldest = 0.0, 0.0, 0.0
    for now, camera in asks:
        while line and free <= now:
            looked, taken = line.popleft()
            free = max(free, taken) + 1 / pace
            admission.served([f"{looked}"], now)
            oldest = max(oldest, now - taken)
        if any(c == camera for c, _ in line):
            continue
        if admission.ask(f"{camera}", last[camera], len(line), now):
            line.append((camera, now))
            if now > 60:
                worst = max(worst, now - last[camera])
            last[camera], looks[camera] = now, looks[camera] + 1
    turn = cameras / pace
    assert worst <= turn + 4 * gop + LINE / pace + 2.0
    assert oldest <= (LINE + 2) / pace + 2 * gop + 1.0
    assert max(looks) - min(looks) <= 3 + max(looks) * 4 * gop / turn
