"""Jobs over recorded footage as Ray Data: a model over every clip, and pictures for a person to label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import yaml

from edge.privacy import blur, sensitive_of
from models.bundle import load_bundle
from models.detections import Detections, Picture
from models.detector import Detector

# A span is one task: short enough that a lost node costs little, long enough that seeking is cheap.
SPAN_S = 60.0
COLUMNS = ("clip", "at_s", "width", "height", "class", "score", "x1", "y1", "x2", "y2", "model", "picture")


@dataclass(frozen=True, slots=True)
class Job:
    """What is done with each clip.

    Attributes:
        bundle: a bundle's folder or name.
        every_s: seconds of footage between two pictures.
        least: detections below this score are not written.
        pictures: folder for pictures to label (blurred); None keeps none.
        doubt: a picture is kept when one of its scores lies in this range.
    """

    bundle: str = "default"
    provider: str = "auto"
    every_s: float = 2.0
    least: float = 0.25
    pictures: Path | None = None
    doubt: tuple[float, float] = (0.25, 0.6)


def spans(clips: Sequence[Path]) -> list[dict[str, Any]]:
    """Cut the clips into spans of a minute; one whose length is not known is one span."""
    out: list[dict[str, Any]] = []
    for clip in clips:
        with av.open(str(clip)) as source:
            length = float(source.duration / av.time_base) if source.duration else 0.0
        starts = np.arange(0.0, length, SPAN_S) if length else np.array([0.0])
        for start in starts:
            end = min(float(start) + SPAN_S, length) if length else float("inf")
            out.append({"clip": str(clip.resolve()), "from_s": float(start), "to_s": end})
    return out


def pictures(clip: str, from_s: float, to_s: float, every_s: float) -> Iterator[tuple[float, Picture]]:
    """Yield (seconds of the clip, RGB uint8 (H, W, 3)) every `every_s` seconds of [from_s, to_s).

    The times lie on one grid for the whole clip, so that spans neither repeat a picture nor leave one out.
    """
    with av.open(clip) as source:
        video = source.streams.video[0]
        video.thread_count = 1
        base = video.time_base or Fraction(1, 90000)
        begin = video.start_time or 0
        source.seek(begin + int(from_s / base), stream=video)
        due = np.ceil(from_s / every_s) * every_s
        for frame in source.decode(video):
            if frame.pts is None:
                continue
            at = float((frame.pts - begin) * base)
            if at >= to_s:
                return
            if at + 1e-6 >= due:
                yield at, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                due = (np.floor((at + 1e-6) / every_s) + 1) * every_s


class SpanJudge:
    """Runs one model over spans; Ray Data holds a pool of these, each with its own detector."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._detector = Detector(load_bundle(job.bundle), job.provider, 1, 4)
        self._detector.warm()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take columns clip, from_s, to_s; return one row a detection (columns `COLUMNS`, boxes in pixels)."""
        rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for clip, from_s, to_s in zip(batch["clip"], batch["from_s"], batch["to_s"], strict=True):
            waiting: list[tuple[float, Picture]] = []
            for look in pictures(str(clip), float(from_s), float(to_s), self._job.every_s):
                waiting.append(look)
                if len(waiting) == 4:
                    self._judge(str(clip), waiting, rows)
                    waiting = []
            if waiting:
                self._judge(str(clip), waiting, rows)
        return {k: np.array(v, dtype=_TYPES[k]) for k, v in rows.items()}

    def _judge(self, clip: str, looks: list[tuple[float, Picture]], rows: dict[str, list[Any]]) -> None:
        ref = self._detector.ref
        for (at, rgb), found in zip(looks, self._detector.detect([p for _, p in looks]), strict=True):
            kept = found.select(found.scores >= self._job.least)
            name = self._keep(clip, at, rgb, found)
            for i in range(len(kept)):
                box = [float(v) for v in kept.boxes[i]]
                values = (
                    clip,
                    at,
                    rgb.shape[1],
                    rgb.shape[0],
                    kept.name_of(i),
                    float(kept.scores[i]),
                    *box,
                    f"{ref.name}@{ref.version}",
                    name,
                )
                for column, value in zip(COLUMNS, values, strict=True):
                    rows[column].append(value)

    def _keep(self, clip: str, at: float, rgb: Picture, found: Detections) -> str:
        """Write a doubtful picture, blurred, with the model's own boxes as a first draft of its labels; return its name."""
        low, high = self._job.doubt
        folder = self._job.pictures
        if folder is None or not bool(((found.scores >= low) & (found.scores < high)).any()):
            return ""
        name = f"{Path(clip).stem}-{hashlib.sha256(clip.encode()).hexdigest()[:8]}-{at:09.2f}"
        height, width = rgb.shape[:2]
        shown = blur(rgb, sensitive_of(found, width, height, self._detector.bundle.roles))
        ok, data = cv2.imencode(
            ".jpg", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92]
        )
        if not ok:
            raise ValueError(f"{name}: the picture could not be written as JPEG")
        lines = []
        for i in range(len(found)):
            if found.scores[i] < low:
                continue
            x1, y1, x2, y2 = found.boxes[i] / [width, height, width, height]
            lines.append(
                f"{int(found.classes[i])} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}"
            )
        for part, content in (("images", bytes(data)), ("labels", "\n".join(lines).encode() + b"\n")):
            target = folder / part / (name + (".jpg" if part == "images" else ".txt"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_suffix(".part").write_bytes(content)
            target.with_suffix(".part").replace(target)
        return name


_TYPES: dict[str, Any] = {
    "clip": object, "at_s": np.float64, "width": np.int32, "height": np.int32, "class": object, "score": np.float32,
    "x1": np.float32, "y1": np.float32, "x2": np.float32, "y2": np.float32, "model": object, "picture": object,
}  # fmt: skip


def run(clips: Sequence[Path], out: Path, job: Job, workers: int) -> int:
    """Run `job` over `clips` on the cluster and write Parquet files into `out`; return the number of detections.

    Raises:
        ValueError: no clip, or one that cannot be read.
    """
    import ray

    if not clips:
        raise ValueError("clips: none were found")
    items = spans(clips)
    data = ray.data.from_items(items, override_num_blocks=len(items))
    found = data.map_batches(
        SpanJudge, fn_constructor_args=(job,), batch_size=1, concurrency=(1, workers), num_cpus=1
    ).materialize()
    out.mkdir(parents=True, exist_ok=True)
    found.write_parquet(str(out))
    if job.pictures is not None and job.pictures.exists():
        names = dict(enumerate(load_bundle(job.bundle).names))
        words = {"path": ".", "train": "images", "val": "images", "names": names}
        (job.pictures / "data.yaml").write_text(yaml.safe_dump(words, sort_keys=False, allow_unicode=True))
    return int(found.count())
