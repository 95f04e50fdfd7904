"""Shortcuts over grey pictures give what the long way gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import Colorspace, VideoReformatter
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from camera_adapters.frame import _SCALERS, MAX_SCALERS, Frame, FrameMeta
from camera_adapters.levels import level_at


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)),
    st.sampled_from((0.0, 0.25, 0.5, 0.99, 1.0)),
)
def test_a_level_is_numpys_quantile(picture: np.ndarray, share: float) -> None:
    assert level_at(picture, share) == pytest.approx(float(np.quantile(picture, share)), abs=1e-9)


@pytest.mark.parametrize(
    "size", [(1920, 1080), (1920, 1072), (1280, 720), (704, 576), (642, 362), (200, 100)]
)
def test_a_small_grey_picture_shows_things_where_they_are(size: tuple[int, int]) -> None:
    width, height = size
    ramp = np.linspace(16, 235, width, dtype=np.float32)[None] + np.linspace(0, 20, height)[:, None]
    grey = np.ascontiguousarray(np.clip(ramp, 16, 235).astype(np.uint8))
    video = av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")
    meta = FrameMeta("c", 0, datetime.now(UTC), 0.0, "file", None, True, False, 1, width, height)
    wanted = (320, max(2, round(height * 320 / width)))
    got = Frame(meta, video).luma(*wanted)
    assert got.shape == wanted[::-1]
    source = Frame(meta, video).luma()
    exact = cv2.resize(source, wanted, interpolation=cv2.INTER_AREA).astype(int)
    # A grey level here is 1.5 pixels of the small picture.
    assert np.abs(got.astype(int) - exact).max() <= 1


@pytest.mark.parametrize("size", [(1920, 1080), (3840, 2160), (1280, 720), (640, 360)])
def test_a_pixel_of_a_small_grey_picture_is_the_mean_of_its_block(size: tuple[int, int]) -> None:
    width, height = size
    grey = np.random.default_rng(3).integers(0, 256, (height, width), np.uint8)
    meta = FrameMeta("c", 0, datetime.now(UTC), 0.0, "file", None, True, False, 1, width, height)
    got = Frame(meta, av.VideoFrame.from_ndarray(grey, format="gray")).luma(320, 180)
    block = width // 320
    means = grey.reshape(180, block, 320, block).mean(axis=(1, 3))
    # Rounded once a step.
    assert np.abs(got - means).max() <= 1.5


@pytest.mark.parametrize("threads", [1, 4])
def test_scalers_that_are_kept_scale_as_new_ones_do(threads: int) -> None:
    """More shapes, ranges and colour spaces by turns than are kept, in several threads at once."""
    frames = []
    for n, (width, height) in enumerate([(1920, 1080), (1280, 720), (704, 576), (352, 288), (640, 360)]):
        rgb = np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8)
        for kind in ("yuv420p", "yuvj420p", "yuv422p"):
            for space in (Colorspace.ITU601, Colorspace.ITU709):
                source = av.VideoFrame.from_ndarray(cv2.blur(rgb, (9, 9)), format="rgb24")
                video = source.reformat(format=kind)
                video.colorspace = space
                meta = FrameMeta("c", n, datetime.now(UTC), 0.0, "file", None, True, False, 1, width, height)
                wanted = VideoReformatter().reformat(
                    video, width=320, height=180, format="rgb24", interpolation="FAST_BILINEAR", threads=1
                )
                frames.append((Frame(meta, video), wanted.to_ndarray().copy()))

    def check(seed: int) -> int:
        order = np.random.default_rng(seed).permutation(len(frames) * 3) % len(frames)
        for i in order.tolist():
            frame, wanted = frames[i]
            np.testing.assert_array_equal(frame.rgb(320, 180), wanted)
        return len(order)

    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(check, range(threads))) == 90 * threads
    assert len(_SCALERS._by) <= MAX_SCALERS
