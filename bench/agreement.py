"""How far a bundle agrees with the network that taught it, on frames of real clips.

The teacher looks twice: on a square input, and on the rectangle that ultralytics takes by itself. What the teacher
disagrees with itself between the two is what the input's shape changes, and the yardstick of the rest. A bundle whose
sides are free looks at wide frames on a rectangle too: there the teacher's rectangle is the same input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from models.boxes import iou
from models.bundle import load_bundle
from models.detector import Detector

GROUPS: Mapping[str, tuple[str, ...]] = {
    "person": ("person",),
    "vehicle": ("bicycle", "motorcycle", "car", "bus", "truck"),
}
SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".ts", ".webm"})
Boxes = Mapping[str, NDArray[np.float32]]
"""Corner boxes float32 (N, 4) in pixels, by class name."""


@dataclass(frozen=True)
class Agreement:
    """Boxes of two that stand for each other, and those that only one has."""

    both: int = 0
    only_first: int = 0
    only_second: int = 0

    @property
    def f1(self) -> float:
        """2 both / (2 both + only first + only second); 1 where neither has a box."""
        total = 2 * self.both + self.only_first + self.only_second
        return 2 * self.both / total if total else 1.0

    def plus(self, other: Agreement) -> Agreement:
        return Agreement(
            self.both + other.both,
            self.only_first + other.only_first,
            self.only_second + other.only_second,
        )


def agree(first: NDArray[np.float32], second: NDArray[np.float32], least: float = 0.5) -> Agreement:
    """Pair boxes of one class, best overlap first, each once, from IoU `least`."""
    overlaps = iou(first, second)
    both = 0
    while overlaps.size and overlaps.max() >= least:
        row, column = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        overlaps[row] = overlaps[:, column] = -1
        both += 1
    return Agreement(both, len(first) - both, len(second) - both)


def by_group(first: Sequence[Boxes], second: Sequence[Boxes]) -> dict[str, Agreement]:
    """Agreement over frames, class by class, summed in each group."""
    none = np.zeros((0, 4), np.float32)
    result = {}
    for group, names in GROUPS.items():
        total = Agreement()
        for mine, theirs in zip(first, second, strict=True):
            for name in names:
                total = total.plus(agree(mine.get(name, none), theirs.get(name, none)))
        result[group] = total
    return result


def frames_of(folder: Path, each: int) -> list[NDArray[np.uint8]]:
    """`each` frames, evenly spread, of every clip in `folder`: RGB uint8 (H, W, 3)."""
    frames: list[NDArray[np.uint8]] = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        with av.open(str(path)) as clip:
            step = max(1, int((clip.streams.video[0].frames or 600) // each))
            taken = 0
            for number, frame in enumerate(clip.decode(video=0)):
                if number % step == step // 2 and taken < each:
                    frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
                    taken += 1
    return frames


def _grouped(names: Sequence[str], boxes: NDArray[np.float32]) -> Boxes:
    wanted = {n for group in GROUPS.values() for n in group}
    listed = np.array(names, dtype=object)
    return {n: boxes[listed == n] for n in set(names) & wanted}


def seen_by_bundle(
    model: str, provider: str, frames: Sequence[NDArray[np.uint8]], threshold: float
) -> tuple[list[Boxes], list[bool]]:
    """What a bundle sees from `threshold` on, and of which frames on a square."""
    detector = Detector(load_bundle(model), provider, threads=1, max_batch=1)
    result, square = [], []
    for frame in frames:
        across, down = detector.tensor([frame]).shape[3:1:-1]
        square.append(across == down)
        found = detector.detect([frame])[0]
        kept = found.select(found.scores >= threshold)
        result.append(_grouped([kept.names[c] for c in kept.classes], kept.boxes))
    return result, square


def seen_by_teacher(
    weights: Path, frames: Sequence[NDArray[np.uint8]], threshold: float, *, square: bool, size: int = 640
) -> list[Boxes]:
    """What an ultralytics checkpoint sees from `threshold` on, NMS at IoU 0.5 as the bundle has it."""
    from training.torchvision_ops import ensure

    ensure()
    from ultralytics import YOLO

    network: Any = YOLO(str(weights))
    result = []
    for frame in frames:
        told = network.predict(
            np.ascontiguousarray(frame[..., ::-1]), imgsz=size, rect=not square, conf=threshold, iou=0.5, verbose=False
        )[0].boxes  # fmt: skip
        names = [str(network.names[int(c)]) for c in told.cls]
        result.append(_grouped(names, told.xyxy.numpy().astype(np.float32)))
    return result


def compare(
    model: str,
    provider: str,
    weights: Path,
    folder: Path,
    each: int = 6,
    threshold: float = 0.3,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[int, dict[str, dict[str, Agreement]]]:
    """Number of frames, and the three comparisons by name."""
    frames = frames_of(folder, each)
    say(f"{len(frames)} frames")
    ours, own = seen_by_bundle(model, provider, frames, threshold)
    square = seen_by_teacher(weights, frames, threshold, square=True)
    wide = seen_by_teacher(weights, frames, threshold, square=False)
    same = [s if is_square else w for s, w, is_square in zip(square, wide, own, strict=True)]
    return len(frames), {
        f"bundle with teacher on the bundle's input ({sum(own)} squares)": by_group(ours, same),
        "bundle with teacher on the rectangle": by_group(ours, wide),
        "teacher on the square with itself on the rectangle": by_group(square, wide),
    }
