"""The distance to the limit: both sides do the same work, and the parts add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import limit
from bench.growth import made_clip
from bench.limit import decoded, decoding, detecting, libav_decoded, ours_decoded, side_by_side
from bench.limit_rest import feed, still_frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # So large that what decoding takes is many times what two starts of ffmpeg differ by.
    return made_clip(tmp_path_factory.mktemp("clip") / "c.mp4", 1920, 1080, 25, 200)


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    ours, bare = iter([9.0, 2.0, 4.0, 30.0]), iter([9.0, 2.0, 2.0, 3.0])
    pair = side_by_side("x", "y", lambda: next(ours), lambda: next(bare), 3, 1.5)
    assert (pair.ratio, pair.ours_ms, pair.bare_ms, pair.met) == (2.0, 4.0, 2.0, False)


@pytest.mark.parametrize(("mode", "pictures"), [("key", 8), ("all", 200)])
def test_both_decode_the_same_pictures(clip: Path, mode: limit.Mode, pictures: int) -> None:
    assert ours_decoded(clip, mode)[1] == libav_decoded(clip, mode)[1] == pictures
    assert all(p.ratio > 0 and p.ours_ms > 0 for p in decoding(clip, mode, 1))


def test_a_clip_that_we_decode_otherwise_is_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "libav_decoded", lambda _clip, _mode: (1.0, 7))
    with pytest.raises(ValueError, match="8 pictures, libav 7"):
        decoding(clip, "key", 1)


def test_the_bare_call_runs_the_same_network(clip: Path) -> None:
    frames = still_frames(decoded(clip, 2))
    for pair in detecting("centernet", "cpu", frames, (2,), 1):
        assert pair.bare_ms > 0
        assert pair.ratio > 0


def test_every_picture_goes_through_the_whole_box(clip: Path, tmp_path: Path) -> None:
    told = feed(tmp_path, [decoded(clip, 8), decoded(clip, 5)], 2, 10, "centernet", "cpu", 2.0)
    assert told.frames == 2 * 9
    # The pictures roll by, so that each of them moves in the zones.
    assert told.judged == 2 * 10
    assert told.stage_ms["decode"] == 0
    assert all(told.stage_ms[name] > 0 for name in ("gate", "detect", "left", "rules"))
    parts = sum(told.stage_ms[name] for name in ("gate", "left", "rules", "other"))
    assert told.rest_ms == pytest.approx(parts, abs=0.01)
