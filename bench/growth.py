"""How cost grows: one thing at a time is doubled, the rest stays, and CPU is read on the thread's own clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
import numpy as np

from camera_adapters.decoder import OnDemandDecoder, Stamp
from camera_adapters.demand import Demand
from contract.geo import ErrorEllipse, GeoPoint
from edge.judge import Judge, Observation
from edge.zones import PolicyConfig, ZoneConfig
from models.detections import Detections

T0 = datetime(2026, 3, 1, 2, tzinfo=UTC)
PLACE = GeoPoint(
    lon=0.0, lat=0.0, error=ErrorEllipse(semi_major_m=40.0, semi_minor_m=40.0), source="camera_point"
)
NAMES = ("car",)


@dataclass(frozen=True, slots=True)
class Series:
    """CPU milliseconds by the thing that grew."""

    name: str
    unit: str
    x: tuple[float, ...]
    ms: tuple[float, ...]

    @property
    def power(self) -> float:
        """Slope in a log-log plot over the upper half: 1 is linear, below is better."""
        half = len(self.x) // 2
        x, y = np.log(self.x[half:]), np.log(np.maximum(self.ms[half:], 1e-6))
        return float(np.polyfit(x, y, 1)[0])


def _grid(n: int, size: float) -> Iterator[tuple[float, float]]:
    side = int(np.ceil(np.sqrt(n)))
    step = 1.0 / side
    for i in range(n):
        yield (i % side) * step + step * (1 - size) / 2, (i // side) * step + step * (1 - size) / 2


def _judge(zones: list[ZoneConfig]) -> Judge:
    return Judge("bench", tuple(zones), PolicyConfig(), PLACE)


def _zones(n: int) -> list[ZoneConfig]:
    step = 1.0 / int(np.ceil(np.sqrt(n)))
    return [
        ZoneConfig.model_validate(
            {
                "id": f"z{i}",
                "kind": "no_parking",
                "polygon": [
                    [x, y],
                    [x + step * 0.9, y],
                    [x + step * 0.9, y + step * 0.9],
                    [x, y + step * 0.9],
                ],
            }
        )
        for i, (x, y) in enumerate(_grid(n, 0.9))
    ]


def _cars(n: int) -> Detections:
    step = 1.0 / int(np.ceil(np.sqrt(n)))
    corners = np.array(list(_grid(n, 0.6)), np.float32)
    boxes = np.concatenate([corners, corners + step * 0.6], 1) * 1000
    return Detections(boxes.astype(np.float32), np.full(n, 0.9, np.float32), np.zeros(n, np.int32), NAMES)


def one_zone_judge() -> Judge:
    """Return the judge of a camera with one zone over the whole picture."""
    return _judge(_zones(1))


def some_cars(count: int) -> Detections:
    """Return cars that stand in a grid."""
    return _cars(count)


def _per_frame(judge: Judge, cars: Detections, frames: int = 30) -> float:
    spent = []
    for i in range(frames):
        at = T0 + timedelta(seconds=2 * i)
        seen = Observation(
            captured_at=at,
            mono_s=2.0 * i,
            width=1000,
            height=1000,
            detections=cars,
            left=(),
            view_ok=True,
            interval_s=2.0,
        )
        began = time.thread_time()
        judge.observe(seen)
        spent.append(time.thread_time() - began)
    return median(spent[5:]) * 1e3


def zones(sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)) -> Series:
    """Rules on a frame with 16 cars, by zones of the camera."""
    ms = tuple(_per_frame(_judge(_zones(n)), _cars(16)) for n in sizes)
    return Series("zones", "zones of one camera, 16 cars", tuple(map(float, sizes)), ms)


def sites(sizes: tuple[int, ...] = (1, 10, 50, 100, 200, 500, 1000)) -> Series:
    """Rules on a frame, by cars that stand in one zone."""
    ms = tuple(_per_frame(_judge(_zones(1)), _cars(n), 12) for n in sizes)
    return Series("sites", "places of one camera", tuple(map(float, sizes)), ms)


def made_clip(path: Path, width: int, height: int, gop: int, frames: int = 200) -> Path:
    """Write H.264 at 25 pictures a second, coarse noise that rolls by, a key frame every `gop` pictures."""
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 190, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = gop
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0", "crf": "28"}
        for i in range(frames):
            picture = np.roll(ground, i * 2, 1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        out.mux(stream.encode(None))
    return path


def _decode_ms(path: Path, demand: Demand) -> float:
    """CPU milliseconds a second of video."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        decoder = OnDemandDecoder(video.codec_context)
        base, last = video.time_base or Fraction(1, 25), 0.0
        began = time.thread_time()
        for packet in container.demux(video):
            if packet.size and packet.pts is not None:
                last = float(packet.pts * base)
                for _ in decoder.feed(packet, Stamp(T0, last), demand):
                    pass
        return (time.thread_time() - began) * 1e3 / max(last, 1e-3)


def pixels(folder: Path) -> Series:
    """Key-frame decoding by resolution, a GOP of 2 s."""
    shapes = ((352, 288), (704, 576), (1280, 720), (1920, 1080), (2560, 1440))
    ms = tuple(
        _decode_ms(made_clip(folder / f"{w}.mp4", w // 16 * 16, h // 16 * 16, 50), Demand("key"))
        for w, h in shapes
    )
    return Series("pixels", "megapixels, key frames every 2 s", tuple(w * h / 1e6 for w, h in shapes), ms)


def gops(folder: Path) -> Series:
    """Key-frame decoding of 720p by the number of key frames a minute."""
    sizes = (200, 100, 50, 25, 12)
    ms = tuple(_decode_ms(made_clip(folder / f"g{g}.mp4", 1280, 720, g), Demand("key")) for g in sizes)
    return Series("key frames", "key frames a minute, 720p", tuple(1500 / g for g in sizes), ms)


def everything(folder: Path, say: Callable[[str], None]) -> list[Series]:
    """Return every series."""
    out: list[Series] = []
    runs: tuple[Callable[[], Series], ...] = (zones, sites, lambda: pixels(folder), lambda: gops(folder))
    for run in runs:
        out.append(run())
        say(f"{out[-1].name}: power {out[-1].power:.2f}")
    return out


def plot(series: list[Series], path: Path) -> None:
    """Draw the series beside each other, log-log, with a linear guide."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 3.2 * rows), constrained_layout=True, squeeze=False
    )
    for axis in axes.flat[len(series) :]:
        axis.set_visible(False)
    for axis, s in zip(axes.flat, series, strict=False):
        axis.loglog(s.x, s.ms, "o-", label=f"measured, power {s.power:.2f}")
        axis.loglog(s.x, [s.ms[-1] * x / s.x[-1] for x in s.x], ":", color="grey", label="linear")
        axis.set_xlabel(s.unit)
        axis.set_ylabel("MB" if s.name == "memory" else "CPU ms")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
