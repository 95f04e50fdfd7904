from __future__ import annotations

from pathlib import Path

import pytest

from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import make_clip


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return small videos by name; an encoder that is missing leaves its clip out."""
    folder = tmp_path_factory.mktemp("clips")
    return {
        "h264": make_clip(folder / "h264.mp4"),
        "small": make_clip(folder / "small.mp4", size=(160, 120)),
        "bframes": make_clip(folder / "bframes.mp4", b_frames=2),
        "hevc": make_clip(folder / "hevc.mp4", codec="libx265"),
        "mpeg4": make_clip(folder / "old.avi", codec="mpeg4"),
    }


@pytest.fixture
def rtp(clips: dict[str, Path]) -> RtpClip:
    return RtpClip(clips["h264"])
