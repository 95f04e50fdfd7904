"""The bench of the view check on two made streets: quiet ways raise nothing, faults are told."""

from __future__ import annotations

import av
import cv2
import numpy as np

from bench import view
from bench.view import FAULTS, QUIET, run_all


def street(path, seed: int):  # type: ignore[no-untyped-def]
    """A made street of twelve seconds, with sensor noise and a walker."""
    rng = np.random.default_rng(seed)
    ground = np.full((180, 320), 120, np.uint8)
    for x, y, w, h in rng.integers((0, 0, 10, 8), (300, 165, 70, 50), (60, 4)):
        cv2.rectangle(ground, (int(x), int(y)), (int(x + w), int(y + h)), int(rng.integers(30, 220)), -1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=4, options={"preset": "ultrafast", "crf": "18", "g": "4"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for n in range(48):
            grey = np.clip(ground + rng.normal(0, 2, ground.shape), 0, 255).astype(np.uint8)
            cv2.rectangle(grey, (6 * n, 90), (6 * n + 14, 130), 40, -1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return path


def test_two_made_streets(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(view, "SECONDS", 80)
    rows = run_all([street(tmp_path / f"{n}.mp4", n) for n in (1, 2)])
    assert len(rows) == 2 * len(QUIET) + len(FAULTS) + len(view.BARE_FAULTS) + 3
    assert [r.name for r in rows if not r.want and r.told] == []
    assert [(r.name, r.referenced) for r in rows if r.want and r.told != 2] == []
    # What is told waits for its proof: a passing thing of 12 s must not be told.
    assert all(r.after_s is None or r.after_s > 12 for r in rows if r.want not in {"", "looped"})
