"""What one camera more costs a box: real RTSP on loopback, the whole box, CPU and memory of its process.

The pictures are small and stand still, so that the detector sees heartbeats alone and is never short of time: what grows
is what every camera brings, its thread, its packets, its key frames, its state.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from bench.growth import Series
from bench.street_video import GOP
from bench.throughput import run_box

SIZES = (1, 2, 4, 8, 16, 32, 64)
MODEL = "centernet"


def still_clip(path: Path, seconds: int = 20) -> Path:
    """Write CIF H.264 at 25 pictures a second: a street that stands still under a sensor's noise."""
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 190, (36, 44, 3)).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = 352, 288, "yuv420p"
        stream.gop_size, stream.time_base = GOP, Fraction(1, 25)
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0", "crf": "30"}
        for _ in range(seconds * 25):
            picture = np.clip(ground + rng.normal(0, 2, ground.shape), 0, 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def cameras(
    folder: Path,
    sizes: tuple[int, ...] = SIZES,
    seconds: float = 36.0,
    warm_s: float = 12.0,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Series, Series]:
    """Return CPU milliseconds a second and resident MB of a box, by cameras.

    Raises:
        RuntimeError: a camera gave no picture, so that the box did less than it was asked.
    """
    clip = still_clip(folder / "still.mp4")
    cpu, memory = [], []
    for n in sizes:
        plan = {f"cam{i}": {"file": str(clip.resolve()), "start_unit": i % 10 * GOP} for i in range(n)}
        told, _ = run_box(folder / f"box{n}", plan, n, "main", seconds, MODEL, 4, "cpu", warm_s)
        silent = [name for name, lane in told["lanes"].items() if not lane["offered"]]
        if silent:
            raise RuntimeError(f"{len(silent)} of {n} cameras gave no picture: {', '.join(silent[:5])}")
        cpu.append(told["cpu_s"] / told["seconds"] * 1e3)
        memory.append(told["rss_peak"] / 1e6)
        say(f"{n} cameras: {cpu[-1]:.0f} ms a second, {memory[-1]:.0f} MB")
    x = tuple(float(n) for n in sizes)
    return (
        Series("cameras", "cameras of a box, CPU ms a second", x, tuple(cpu)),
        Series("memory", "cameras of a box, resident MB", x, tuple(memory)),
    )
