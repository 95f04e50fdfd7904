"""The event benchmark itself: what it refuses, how it counts, and that odd clips do not end it."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "edge_worker"))
from street_clip import HEIGHT, WIDTH, ColourDetector, draw

from bench.changes import CHANGES, changed_clip, starved_copy
from bench.events import run_clip
from bench.manifest import Clip, load_manifest
from bench.score import Raised, Ran, figures, match, seconds_per_second
from edge.gate import MotionGate
from edge.yaml_source import ConfigError

ZONE: dict[str, Any] = {
    "id": "kerb",
    "kind": "no_parking",
    "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]],
}
BOX = [0.375, 0.458, 0.594, 0.667]
EVENT: dict[str, Any] = {"issue": "parking.motor", "zone": "kerb", "begins_s": [0, 1], "box": BOX}


def clip(**more: Any) -> Clip:
    policy = {"parking.motor": {"candidate_s": 1, "confirm_s": 3}}
    return Clip.model_validate(
        {"id": "c", "file": "c.mp4", "zones": [ZONE], "policy": policy, "expect": [EVENT], **more}
    )


def raised(
    issue: str = "parking.motor",
    zone: str = "kerb",
    box: Any = tuple(BOX),
    at: float = 4.0,
    clip_id: str = "c",
) -> Raised:
    return Raised(clip_id, issue, zone, box, 0.0, at)


@pytest.mark.parametrize(
    ("what", "alerts", "expected"),
    [
        ("found", [raised()], (1, 0, 0)),
        ("nothing", [], (0, 0, 0)),
        ("a second one for the same object", [raised(), raised(at=6.0)], (1, 1, 1)),
        ("a class that counts as well", [raised("parking.fire_lane")], (1, 0, 0)),
        ("another class", [raised("dumping.act")], (0, 1, 0)),
        ("another zone", [raised(zone="road")], (0, 1, 0)),
        ("another place", [raised(box=(0.0, 0.0, 0.1, 0.1))], (0, 1, 0)),
        ("one box in the other", [raised(box=(0.45, 0.55, 0.5, 0.6))], (1, 0, 0)),
        ("before it began", [raised(at=0.5)], (0, 1, 0)),
        ("within two seconds of its end", [raised(at=11.9)], (1, 0, 0)),
        ("long after its end", [raised(at=12.1)], (0, 1, 0)),
    ],
)
def test_counts(what: str, alerts: list[Raised], expected: tuple[int, int, int]) -> None:
    event = {**EVENT, "also": ["parking.fire_lane"], "begins_s": [1, 2], "ends_s": 10}
    subject = clip(expect=[event])
    alerts = [Raised(a.clip, a.issue, a.zone, a.box, a.first_seen_s, a.confirmed_s) for a in alerts]
    match(subject, alerts, 20.0)
    f = figures([Ran(subject, 20.0, 5.0)], alerts)
    assert (f.found, f.false, f.duplicates) == expected, what
    assert f.expected == 1


def test_figures_by_family_and_what_follows_from_them() -> None:
    bags = {"id": "floor", "kind": "no_dumping", "polygon": ZONE["polygon"]}
    act = {"issue": "dumping.act", "zone": "floor", "begins_s": [2, 4], "box": BOX}
    subject = clip(
        zones=[ZONE, bags], expect=[EVENT, act], policy={"dumping.act": {"settle_s": 4, "owner_gone_s": 3}}
    )
    alerts = [raised("dumping.act", "floor", at=9.0), raised("vendor.unlicensed", at=9.0)]
    match(subject, alerts, 20.0)
    ran = [Ran(subject, 20.0, 5.0)]
    whole, dumping, vendor = (figures(ran, alerts, f) for f in (None, "dumping", "vendor"))
    assert (whole.expected, whole.found, whole.false) == (2, 1, 1)
    assert (whole.precision, whole.recall, whole.f1) == (0.5, 0.5, 0.5)
    assert (dumping.precision, dumping.recall, dumping.delay_s, dumping.early) == (
        1.0,
        1.0,
        pytest.approx(1.0),
        0,
    )
    assert (vendor.expected, vendor.false, vendor.recall, vendor.f1) == (0, 1, None, 0.0)
    assert whole.false_per_hour == pytest.approx(180)
    assert seconds_per_second(ran) == (0.25, 0.0)


def test_an_unscored_clip_counts_nowhere() -> None:
    scored, other = clip(), clip(id="u", unscored=True)
    alerts = [raised(), raised(clip_id="u", box=(0.0, 0.0, 0.1, 0.1))]
    match(scored, alerts[:1], 10.0)
    ran = [Ran(scored, 10.0, 1.0), Ran(other, 1000.0, 900.0)]
    f = figures(ran, alerts)
    assert (f.expected, f.found, f.false, f.false_per_hour) == (1, 1, 0, 0.0)
    assert seconds_per_second(ran) == pytest.approx((0.1, 0.0))


@pytest.mark.parametrize(("at", "early"), [(3.2, 0), (2.4, 1)])
def test_an_alert_before_any_beginning_allowed_it_is_early(at: float, early: int) -> None:
    subject, alerts = clip(), [raised(at=at)]
    match(subject, alerts, 20.0)
    assert figures([Ran(subject, 20.0, 5.0)], alerts).early == early


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"issue": "parking.cars"}, r"clips\[0\]\.expect\[0\]\.issue"),
        ({"also": ["noise"]}, r"also\[0\]"),
        ({"zone": "yard"}, "no zone yard; its zones are kerb"),
        ({"box": [0.5, 0.5, 0.2, 0.9]}, "x1 < x2"),
        ({"begins_s": [5, 3]}, "earliest"),
        ({"ends_s": -1}, "ends_s"),
    ],
)
def test_a_wrong_event_is_refused_by_field(tmp_path: Path, change: dict[str, Any], error: str) -> None:
    import json

    path = tmp_path / "m.yaml"
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "clips": [{"id": "c", "file": "f", "zones": [ZONE], "expect": [{**EVENT, **change}]}],
            }
        )
    )
    with pytest.raises(ConfigError, match=error):
        load_manifest(path)


def test_what_a_later_version_knows_is_left_out_with_a_word(tmp_path: Path) -> None:
    import json

    zones = [
        ZONE,
        {**ZONE, "id": "sky", "kind": "drone_pad"},
        {**ZONE, "id": "a b", "polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]},
    ]
    body = {
        "id": "c",
        "file": "f",
        "zones": zones,
        "weather": "rain",
        "policy": {"parking.motor": {"confirm_s": 3, "mood": 1}, "x.y": {}},
    }
    path = tmp_path / "m.yaml"
    path.write_text(json.dumps({"version": 1, "clips": [body]}))
    plan = load_manifest(path)
    assert plan.unknown_fields() == ["clip c: the field weather is not known and left out"]
    warn: list[str] = []
    assert list(plan.clips[0].known_zones(warn)) == ["kerb"]
    assert len(plan.clips[0].known_policy(warn).root) == 1
    assert [w.split(": left out")[0] for w in warn[:2]] == ["clip c: zone sky", "clip c: zone a b"]
    assert "self-intersection" in warn[1]
    assert any("mood" in w for w in warn)
    assert any("x.y" in w for w in warn)


class Colours(ColourDetector):
    bundle = SimpleNamespace(roles={})


def write(path: Path, codec: str, fps: int, seconds: float, portrait: bool = False) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height = WIDTH, HEIGHT + (400 if portrait else 0)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for n in range(round(seconds * fps)):
            picture = draw(n / fps, 0, 1e9)
            if portrait:
                picture = np.ascontiguousarray(np.pad(picture, ((200, 200), (0, 0), (0, 0))))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "fps", "seconds", "portrait"),
    [
        ("slow.mp4", "libx264", 5, 8.0, False),
        ("new.mp4", "libx265", 10, 8.0, False),
        ("old.avi", "mjpeg", 10, 8.0, False),
        ("phone.mp4", "libx264", 10, 8.0, True),
    ],
)
def test_clips_of_any_make(
    tmp_path: Path, name: str, codec: str, fps: int, seconds: float, portrait: bool
) -> None:
    write(tmp_path / name, codec, fps, seconds, portrait)
    kerb = ZONE
    if portrait:
        kerb = {**ZONE, "polygon": [[x, (y * 240 + 200) / 640] for x, y in ZONE["polygon"]]}
    subject = clip(file=name, zones=[kerb, {**kerb, "id": "the same again"}], expect=[])
    run = run_clip(subject, tmp_path, Colours(), warn=[])  # type: ignore[arg-type]
    assert [a.issue for a in run.alerts] == ["parking.motor"]
    assert run.length_s == pytest.approx(seconds, abs=0.6)
    assert not run.error


@pytest.mark.parametrize(
    ("name", "content"), [("gone.mp4", None), ("text.mp4", b"no video"), ("short.mp4", 0.1)]
)
def test_a_clip_that_cannot_be_judged_ends_nothing(
    tmp_path: Path, name: str, content: bytes | float | None
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        write(tmp_path / name, "libx264", 10, content)
    warn: list[str] = []
    run = run_clip(clip(file=name, zones=[], expect=[]), tmp_path, Colours(), warn=warn)  # type: ignore[arg-type]
    assert not run.alerts
    assert bool(run.error) is bool(warn) is not isinstance(content, float)


@pytest.mark.parametrize("name", ["mirror", "cropped", "half size", "noise", "5 frames/s"])
def test_a_change_of_the_clip_changes_no_score(tmp_path: Path, name: str) -> None:
    write(tmp_path / "c.mp4", "libx264", 10, 7.0)
    subject = changed_clip(clip(), CHANGES[name])
    run = run_clip(subject, tmp_path, Colours(), change=CHANGES[name])  # type: ignore[arg-type]
    match(subject, run.alerts, run.length_s)
    assert [a.matched for a in run.alerts] == [0]


def test_a_starved_copy_keeps_its_times(tmp_path: Path) -> None:
    write(tmp_path / "c.mp4", "libx264", 10, 2.0)
    starved_copy(tmp_path / "c.mp4", tmp_path / "d.mp4", 45)
    with av.open(str(tmp_path / "d.mp4")) as made:
        times = [float(f.time or 0) for f in made.decode(video=0)]
    assert times == pytest.approx([n / 10 for n in range(20)], abs=0.002)


@pytest.mark.parametrize(
    ("what", "second", "moves"),
    [
        ("nothing", lambda p: p, False),
        ("somebody in the zone", lambda p: square(p, 60, 90), True),
        ("somebody far from it", lambda p: square(p, 250, 10), False),
        ("the light", lambda p: p + 30, False),
        ("noise", lambda p: p + np.random.default_rng(1).normal(0, 3, p.shape), False),
    ],
)
def test_the_gate_opens_for_motion_in_its_zones(what: str, second: Any, moves: bool) -> None:
    gate = MotionGate([np.array([[0.1, 0.4], [0.4, 0.4], [0.4, 0.9], [0.1, 0.9]], np.float32)])
    street = np.random.default_rng(0).integers(60, 120, (180, 320)).astype(np.float32)
    assert gate.observe(street.astype(np.uint8), 0.0), "the first picture is worth a look"
    assert gate.observe(np.clip(second(street.copy()), 0, 255).astype(np.uint8), 0.5) is moves, what


def square(p: Any, x: int, y: int) -> Any:
    p[y : y + 30, x : x + 16] = 220
    return p


def test_the_gate_takes_another_size() -> None:
    gate = MotionGate([])
    assert gate.observe(np.zeros((180, 320), np.uint8), 0.0)
    assert gate.observe(np.zeros((320, 180), np.uint8), 1.0), "a new size begins anew"
    assert not gate.observe(np.zeros((320, 180), np.uint8), 2.0)
