from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from camera_adapters.view import Grey, ViewReference, bare_verdict, read_bare, read_best, read_view
from camera_adapters.view_watch import LoopWatch, ViewWatch


def street(seed: int = 1) -> Grey:
    rng = np.random.default_rng(seed)
    picture = np.full((360, 640), 120, np.uint8)
    for _ in range(60):
        x, y, w, h = rng.integers(0, 600), rng.integers(0, 330), rng.integers(10, 120), rng.integers(10, 80)
        cv2.rectangle(picture, (int(x), int(y)), (int(x + w), int(y + h)), int(rng.integers(30, 220)), -1)
    return noisy(picture, seed)


def noisy(picture: Grey, seed: int) -> Grey:
    noise = np.random.default_rng(seed).normal(0, 3, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def passing_bus(picture: Grey) -> Grey:
    out = picture.copy()
    out[120:330, 150:520] = 90
    return out


CHANGES: list[tuple[str, Callable[[Grey], Grey], str]] = [
    ("same", lambda p: p, "good"),
    ("cloud", lambda p: (p * 0.5).astype(np.uint8), "good"),
    ("sun", lambda p: np.clip(p * 1.3, 0, 255).astype(np.uint8), "good"),
    ("bus", passing_bus, "good"),
    ("shaken by the wind", lambda p: np.roll(p, 2, 1), "good"),
    ("turned", lambda p: np.roll(p, 90, 1), "moved"),
    ("another street", lambda _: street(5), "moved"),
    ("hand", lambda p: noisy(np.full_like(p, 70), 3), "covered"),
    ("out of focus", lambda p: cv2.GaussianBlur(p, (0, 0), 9).astype(np.uint8), "blurred"),
    ("sun in the lens", lambda p: np.where(np.arange(640)[None] < 400, 255, p).astype(np.uint8), "dazzled"),
    ("lights out", lambda p: (p * 0.08).astype(np.uint8), "dark"),
]


@pytest.mark.parametrize(("change", "verdict"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_one_picture(change: Callable[[Grey], Grey], verdict: str) -> None:
    scene = street()
    reference = ViewReference.of([noisy(scene, s) for s in range(5)])
    reading = read_view(change(noisy(scene, 9)), reference)
    assert reading.verdict == verdict, reading


def test_a_passing_thing_raises_nothing_but_a_lasting_one_does() -> None:
    scene = street()
    watch = ViewWatch([ViewReference.of([scene])])
    for t in range(60):
        away = 20 <= t < 32
        picture = street(5) if away else scene
        assert watch.observe(noisy(picture, t), float(t)) in {"unknown", "good"}
    seen = [watch.observe(noisy(np.roll(scene, 90, 1), t), float(t)) for t in range(60, 120)]
    assert seen[-1] == "moved"
    assert 20 <= seen.index("moved") <= 30
    back = [watch.observe(noisy(scene, t), float(t)) for t in range(120, 180)]
    assert back[-1] == "good"


BARE = {"hand": "covered", "sun in the lens": "dazzled", "lights out": "dark"}


@pytest.mark.parametrize(("name", "change"), [c[:2] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_one_picture_of_a_camera_that_nobody_commissioned(name: str, change: Callable[[Grey], Grey]) -> None:
    assert read_bare(change(noisy(street(), 9))).verdict == BARE.get(name, "unknown")


@pytest.mark.parametrize("change", [c[1] for c in CHANGES], ids=[c[0] for c in CHANGES])
@pytest.mark.parametrize("light", [0.1, 0.25, 0.35, 0.5, 0.8, 1.0, 1.6])
def test_the_short_way_to_a_verdict_comes_to_the_long_ways(
    change: Callable[[Grey], Grey], light: float
) -> None:
    flat = np.full((180, 320), 120, np.uint8)
    for scene in (street(), flat, noisy(flat, 4), np.tile(np.array([[90], [150]], np.uint8), (180, 640))):
        wide = cv2.resize(change(cv2.resize(scene, (640, 360))), (320, 180))
        picture = np.clip(wide * light, 0, 255).astype(np.uint8)
        assert bare_verdict(picture) == read_bare(picture).verdict


def test_a_reference_that_cannot_win_changes_nothing() -> None:
    scene = street()
    day = ViewReference.of([noisy(scene, s) for s in range(5)])
    night = ViewReference.of([lamps(scene, s) for s in range(5)])
    for picture in (
        noisy(scene, 9),
        lamps(scene, 9),
        street(5),
        passing_bus(scene),
        (scene * 0.5).astype(np.uint8),
    ):
        level = float(picture.mean())
        price = [0.2 * np.log(r.light_ratio(level)) for r in (day, night)]
        both = [read_view(picture, r) for r in (day, night)]
        wanted = max(zip(both, price, strict=True), key=lambda x: x[0].match - x[1])[0]
        assert read_best(picture, [night, day]).verdict == wanted.verdict


def lamps(scene: Grey, seed: int) -> Grey:
    """The same street by night: dim, and lit from two lamps, whose pools of light draw edges of their own."""
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]]
    pools = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 9000) for a, b in ((140, 200), (500, 120)))
    return noisy((scene * (0.08 + 0.5 * pools)).clip(0, 255).astype(np.uint8), seed)


def test_night_has_a_reference_of_its_own() -> None:
    scene = street()
    day, night = ViewReference.of([scene]), ViewReference.of([lamps(scene, s) for s in range(5)])
    dusk = lamps(scene, 9)
    assert read_best(dusk, [day, night]).verdict == "good"
    assert read_best(np.roll(dusk, 90, 1), [day, night]).verdict == "moved"
    assert read_best(noisy(scene, 3), [day, night]).verdict == "good"
    # Without it the day's reference says nothing of the night, and suspends nothing.
    assert read_best(lamps(street(5), 9), [day]).verdict == "unknown"


def test_a_camera_that_is_looked_at_once_a_minute() -> None:
    scene = street()
    watch = ViewWatch([ViewReference.of([scene])])
    assert [watch.observe(noisy(scene, t), t * 60.0) for t in range(4)][-1] == "good"
    turned = [watch.observe(noisy(np.roll(scene, 90, 1), t), t * 60.0) for t in range(4, 8)]
    assert turned == ["good", "good", "moved", "moved"]
    assert [watch.observe(noisy(scene, t), t * 60.0) for t in range(8, 12)][-1] == "good"


@pytest.mark.parametrize("fps", [2, 10, 25, 60])
def test_a_verdict_settles_at_any_rate(fps: int) -> None:
    watch, covered = ViewWatch(), np.zeros((108, 192), np.uint8)
    verdicts = [watch.observe(noisy(covered, t), t / fps) for t in range(26 * fps)]
    assert (verdicts[0], verdicts[-1]) == ("unknown", "dark")


def test_frozen() -> None:
    scene = street()
    watch = ViewWatch([ViewReference.of([scene])])
    assert [watch.observe(scene, float(t)) for t in range(0, 90, 5)][-1] == "frozen"
    assert watch.observe(noisy(scene, 1), 95.0) != "frozen"


def test_frozen_without_a_reference() -> None:
    watch, scene = ViewWatch(), street()
    assert [watch.observe(scene, float(t)) for t in range(0, 90, 5)][-1] == "frozen"
    assert not watch.fit
    assert watch.observe(noisy(scene, 1), 95.0) == "unknown"


@pytest.mark.parametrize(
    ("length_s", "step_s", "looped"),
    [(6.0, 0.5, True), (12.0, 2.0, True), (30.0, 2.0, True), (500.0, 2.0, False)],
)
def test_a_recording_that_comes_again(length_s: float, step_s: float, looped: bool) -> None:
    watch, scene = ViewWatch(), street()
    verdicts = [
        watch.observe(noisy(scene, round((n * step_s % length_s) * 10)), n * step_s)
        for n in range(round(120 / step_s))
    ]
    assert verdicts[-1] == ("looped" if looped else "unknown")
    if looped:
        # A true picture again: the recording is over once nothing has recurred for a while.
        assert [watch.observe(noisy(scene, 9000 + n), 120.0 + n * 2) for n in range(100)][-1] == "unknown"


def test_what_stands_still_or_blinks_is_no_loop() -> None:
    still, lights, scene = LoopWatch(), LoopWatch(), street()
    for t in range(300):
        assert not still.observe(scene, float(t))
        # A made street without noise, where a traffic light shows one of three colours for ten seconds each.
        assert not lights.observe(noisy(scene, (t // 10) % 3), float(t))


def test_a_clock_in_the_picture_tells_a_cycle_from_a_loop() -> None:
    """Bit for bit the same but for a traffic light and small figures, wherever those stand."""
    for row in range(4, 9):
        watch, scene = LoopWatch(), street()
        for t in range(300):
            picture = scene.copy()
            picture[80:92, 200:204] = (t // 15) % 4 * 60
            picture[row : row + 3, 10:60] = np.random.default_rng(t).integers(0, 255, (3, 50))
            assert not watch.observe(picture, float(t))


def test_a_loop_may_be_wanted() -> None:
    watch, scene = ViewWatch(loops=False), street()
    assert {watch.observe(noisy(scene, t % 10), float(t)) for t in range(100)} == {"unknown"}


def test_a_reference_is_kept() -> None:
    reference = ViewReference.of([street()])
    again = ViewReference.from_bytes(reference.to_bytes())
    assert read_view(street(), again).match == pytest.approx(read_view(street(), reference).match, abs=0.02)
    with pytest.raises(ValueError, match="pictures"):
        ViewReference.of([])


WHOLE = ViewReference.of([street()]).to_bytes()
ARRAY = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (0,), }".ljust(127) + b"\n"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"nothing", WHOLE[:9], WHOLE[: len(WHOLE) // 2], WHOLE[:-1], WHOLE[:2000] + bytes(len(WHOLE) - 2000),
        WHOLE[:9000] + bytes(500) + WHOLE[9500:],
        WHOLE.replace(b"PK\x01\x02\x2d\x03\x2d", b"PK\x01\x02\x2d\x03\xff"), ARRAY,
    ],
    ids=["empty", "words", "9 bytes", "half", "a byte less", "rest empty", "hole", "another version", "one array"],
)  # fmt: skip
def test_a_torn_reference_says_to_commission_again(data: bytes) -> None:
    with pytest.raises(ValueError, match="commission"):
        ViewReference.from_bytes(data)
