"""Training samples in batches: pictures held in memory, classes balanced, one thread that works ahead."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.augment import AugmentConfig, Picture, Sample, augmented
from training.dataset_items import DatasetError, Item, to_corners

MAX_SIDE = 640


def read_picture(item: Item, side: int = MAX_SIDE) -> Picture:
    """RGB uint8 (H, W, 3), longest side at most `side` pixels. Raises DatasetError naming the file."""
    raw = cv2.imdecode(np.fromfile(item.path, np.uint8), cv2.IMREAD_COLOR)
    if raw is None:
        raise DatasetError(f"{item.path}: not a picture that OpenCV reads; leave it out with `ignore`")
    scale = side / max(raw.shape[:2])
    if scale < 1:
        raw = cv2.resize(raw, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(raw, cv2.COLOR_BGR2RGB), np.uint8)


def known_row(item: Item, names: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([n in item.known for n in names], bool)


def sample_of(item: Item, picture: Picture, names: Sequence[str], classes: Sequence[str]) -> Sample:
    """The sample of one picture in the numbering of `names`; boxes of other classes fall away."""
    height, width = picture.shape[:2]
    table = np.array([names.index(c) if c in names else -1 for c in classes], np.int32)
    ours = table[item.classes]
    corners = to_corners(item.boxes) * np.array([width, height, width, height], np.float32)
    return Sample(picture, ours[ours >= 0], corners[ours >= 0], known_row(item, names))


def sampling_weights(
    items: Sequence[Item], names: Sequence[str], classes: Sequence[str], repeat: dict[str, float]
) -> NDArray[np.float64]:
    """Weight of each picture: the square root of how rare its rarest class is, times its source's `repeat`.

    Repeat factor sampling (Gupta, Dollár, Girshick 2019, LVIS) with the threshold at the commonest class.
    """
    counts: Counter[str] = Counter()
    for item in items:
        counts.update({classes[c] for c in item.classes} & set(names))
    most = max(counts.values(), default=1)
    weights = []
    for item in items:
        present = {classes[c] for c in item.classes} & set(names)
        factor = max(((most / counts[c]) ** 0.5 for c in present), default=1.0)
        weights.append(min(factor, 4.0) * repeat.get(item.source, 1.0))
    total = np.array(weights, np.float64)
    return np.asarray(total / total.sum(), np.float64)


class Batches:
    """Batches made ahead by one thread. `next()` gives uint8 (B, size, size, 3), boxes (M, 6) and known (B, C).

    A row of boxes is picture number, class, cx cy w h normalised. The order depends on the seed alone.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        weights: NDArray[np.float64],
        size: int,
        batch: int,
        config: AugmentConfig,
        seed: int,
    ) -> None:
        self._samples, self._weights, self._size, self._batch = samples, weights, size, batch
        self._config, self._rng = config, np.random.default_rng(seed)
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=3)
        self._stop = threading.Event()
        self.mosaic = config.mosaic
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def _make(self) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        pictures, rows, known = [], [], []
        for number in range(self._batch):
            count = 4 if self._rng.random() < self.mosaic else 1
            chosen = self._rng.choice(len(self._samples), count, p=self._weights)
            made = augmented([self._samples[i] for i in chosen], self._size, self._config, self._rng)
            boxes = made.boxes / self._size
            centres = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
            head = np.stack([np.full(len(boxes), number), made.classes], axis=1)
            rows.append(np.concatenate([head, centres], axis=1).astype(np.float32))
            pictures.append(made.picture)
            known.append(made.known)
        return np.stack(pictures), np.concatenate(rows), np.stack(known)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._put(self._make())
        except BaseException as error:  # the trainer's thread raises it again
            self._put(error)

    def _put(self, thing: Any) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(thing, timeout=0.5)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        made = self._queue.get()
        if isinstance(made, BaseException):
            raise made
        return made  # type: ignore[no-any-return]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
