"""What nobody may count: hours in which nothing forbids it, time in which nobody looked, another car in the same place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scripts_of_streets import CAR, NAMES, SHORT, H, W, judge, zone

from edge.judge import Judge, Observation
from edge.site_store import SiteStore
from models.detections import Detections

# 19:58 in Shanghai.
EVENING = datetime(2026, 5, 6, 11, 58, tzinfo=UTC)
POLICY = {"parking.motor": {"candidate_s": 60, "confirm_s": 300}}


def street(car: int | None, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A grey road with some car on it, known by its number, and the sensor's noise."""
    picture = np.full((180, 320), 100, np.int16)
    if car is not None:
        look = np.random.default_rng(car).integers(0, 255, (10, 14)).astype(np.uint8)
        picture[90:126, 128:176] = cv2.resize(look, (48, 36))
    return np.clip(picture + rng.integers(-3, 4, picture.shape), 0, 255).astype(np.uint8)


def play(
    subject: Judge,
    seconds: float,
    car: Callable[[float], int | None] = lambda _t: 7,
    begin: float = 0.0,
    view_ok: Callable[[float], bool] = lambda _t: True,
    start: datetime = EVENING,
) -> list[tuple[float, str, float]]:
    """Look every two seconds; returns (second, change, dwell)."""
    rng, out = np.random.default_rng(1), []
    for t in np.arange(begin, begin + seconds, 2.0).tolist():
        which = car(t)
        boxes = np.asarray([CAR] if which is not None else [], np.float32).reshape(-1, 4) * [W, H, W, H]
        n = len(boxes)
        found = Detections(
            boxes.astype(np.float32),
            np.full(n, 0.6, np.float32),
            np.full(n, NAMES.index("car"), np.int32),
            NAMES,
        )
        look = Observation(
            start + timedelta(seconds=t), 5000 + t, W, H, found,
            interval_s=2.0, grey=street(which, rng), view_ok=view_ok(t),
        )  # fmt: skip
        out += [(t, c.kind, c.site.dwell_s) for c in subject.observe(look)]
        subject.save()
    return out


@pytest.mark.parametrize(
    "zones",
    [
        [zone(schedule=[{"begin": "08:00", "end": "20:00"}])],
        [zone(), zone("parking_bay", schedule=[{"begin": "20:00", "end": "08:00"}])],
    ],
    ids=["the zone's hours end", "a bay opens over it"],
)
def test_what_is_forbidden_no_more_is_not_confirmed_and_its_dwell_does_not_wait_for_the_morning(
    zones: list[Any],
) -> None:
    subject = judge(zones, POLICY)
    changes = play(subject, 900)
    assert [kind for _, kind, _ in changes] == ["seen", "candidate", "dropped"]
    morning = play(subject, 400, begin=12 * 3600 + 120)
    assert [kind for _, kind, _ in morning] == ["seen", "candidate", "confirmed"]
    assert morning[-1][2] == pytest.approx(300, abs=2)


def test_a_rule_that_is_switched_off_confirms_nothing(tmp_path: Path) -> None:
    store = SiteStore(tmp_path / "sites.db", "box")
    play(judge([zone()], POLICY, store=store), 120)
    off = judge([zone()], {"parking.motor": {"enabled": False}}, store=store)
    assert "confirmed" not in [kind for _, kind, _ in play(off, 600, begin=120)]


def test_a_case_stays_one_when_its_zones_hours_are_over() -> None:
    subject = judge([zone(schedule=[{"begin": "08:00", "end": "20:00"}])], {"parking.motor": SHORT})
    assert [kind for _, kind, _ in play(subject, 1200)] == ["seen", "candidate", "confirmed"]


@pytest.mark.parametrize("after", [7, 9], ids=["the same car", "another car"])
def test_time_in_which_the_view_was_lost_does_not_count(after: int) -> None:
    subject = judge([zone()], POLICY)
    changes = play(subject, 1200, car=lambda t: 7 if t < 60 else after, view_ok=lambda t: not 60 <= t < 700)
    (confirmed,) = [(t, dwell) for t, kind, dwell in changes if kind == "confirmed"]
    assert confirmed[1] == pytest.approx(300, abs=2)
    # Of the same car the minute before counts, of another nothing.
    assert confirmed[0] == pytest.approx(700 + (240 if after == 7 else 304), abs=6)


@pytest.mark.parametrize("every", [2, 4, 10])
def test_single_pictures_that_are_not_fit_cost_no_dwell(every: int) -> None:
    changes = play(judge([zone()], POLICY), 400, view_ok=lambda t: int(t / 2) % every != every - 1)
    (at,) = [t for t, kind, _ in changes if kind == "confirmed"]
    assert at == pytest.approx(300, abs=4)


def test_the_times_of_an_alert_fit_its_dwell_after_a_lost_view() -> None:
    subject, told = judge([zone()], POLICY), list[Any]()
    real = subject.observe
    subject.observe = lambda obs: [told.append(c) or c for c in real(obs)]  # type: ignore[method-assign, func-returns-value]
    play(subject, 1300, view_ok=lambda t: not 100 <= t < 1000)
    (site,) = [c.site for c in told if c.kind == "confirmed"]
    assert site.confirmed_at is not None
    assert (site.confirmed_at - site.first_seen_at).total_seconds() == pytest.approx(site.dwell_s, abs=1)
    assert site.first_seen_at <= site.candidate_at <= site.confirmed_at


def test_zones_that_are_drawn_anew_while_the_view_is_lost_count_none_of_it(tmp_path: Path) -> None:
    store = SiteStore(tmp_path / "sites.db", "box")
    before = judge([zone()], POLICY, store=store)
    play(before, 400, view_ok=lambda t: t < 70)
    after = judge([zone()], POLICY, store=store)
    after.blind_since = before.blind_since
    changes = play(after, 800, begin=400, view_ok=lambda t: t >= 700)
    (confirmed,) = [(t, dwell) for t, kind, dwell in changes if kind == "confirmed"]
    assert confirmed == (pytest.approx(932, abs=6), pytest.approx(300, abs=2))


def test_one_strange_look_holds_nothing_for_long() -> None:
    """Headlights for one look, and then a picture in which no look can be told from another."""
    subject, rng, flat = judge([zone()], POLICY), np.random.default_rng(1), np.full((180, 320), 100, np.uint8)
    confirmed = []
    for t in np.arange(0.0, 600.0, 2.0).tolist():
        grey = street(7, rng) if t < 200 else street(8, rng) if t < 202 else flat
        found = Detections(
            np.asarray([CAR], np.float32) * np.asarray([W, H, W, H], np.float32),
            np.full(1, 0.6, np.float32), np.full(1, NAMES.index("car"), np.int32), NAMES,
        )  # fmt: skip
        look = Observation(EVENING + timedelta(seconds=t), 5000 + t, W, H, found, interval_s=2.0, grey=grey)
        confirmed += [t for c in subject.observe(look) if c.kind == "confirmed"]
        assert subject.next_end > 5000 + t or t > 298, "no look is asked for out of turn"
    assert confirmed == [pytest.approx(300, abs=4)]


def test_another_car_in_the_place_is_not_confirmed_by_the_first_look(tmp_path: Path) -> None:
    store = SiteStore(tmp_path / "sites.db", "box")
    play(judge([zone()], POLICY, store=store), 290)
    changes = play(judge([zone()], POLICY, store=store), 400, car=lambda _t: 9, begin=600)
    (confirmed,) = [(t, dwell) for t, kind, dwell in changes if kind == "confirmed"]
    assert confirmed[0] > 890
    assert confirmed[1] == pytest.approx(300, abs=2)


@pytest.mark.parametrize("failures", [1, 99])
def test_a_read_that_fails_costs_no_dwell_and_a_disk_that_does_not_read_no_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    store = SiteStore(tmp_path / "sites.db", "box")
    play(judge([zone()], POLICY, store=store), 240)
    real, left = store.load, [failures]

    def load(*given: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise sqlite3.OperationalError("disk I/O error")
        return real(*given)

    monkeypatch.setattr(store, "load", load)
    subject, begin = judge([zone()], POLICY, store=store), 240.0
    for _ in range(5):
        try:
            play(subject, 2, begin=begin)
        except sqlite3.OperationalError:
            begin += 2
    changes = play(subject, 400, begin=begin + 2)
    (at,) = [t for t, kind, _ in changes if kind == "confirmed"]
    assert at == pytest.approx(300 if failures == 1 else 548, abs=4)
