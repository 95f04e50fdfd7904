"""Train the new branch of a `BranchNet`: resumable, budgeted in minutes, the best so far always on disk."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.augment import Sample, letterbox
from training.branch import BranchNet
from training.fit_data import Batches
from training.metrics import Boxes, ap_by_class
from training.recipe import RecipeError
from training.torchvision_ops import ensure
from training.tracking import NoNotebook, Notebook

ensure()

import torch  # noqa: E402


@dataclass(frozen=True)
class BranchFit:
    """How to train. `minutes` bounds the run: the learning rate falls with time spent, so it ends low on any machine.
    With `steps` the steps bound it instead, so that two runs on a busy machine have done the same work."""

    size: int = 640
    batch: int = 16
    minutes: float = 60.0
    steps: int | None = None
    lr: float = 7e-4
    final_lr: float = 0.02
    weight_decay: float = 5e-4
    warmup_steps: int = 150
    ema: float = 0.999
    plain_share: float = 0.2
    validate_every: int = 150
    bf16: bool = True
    seed: int = 7


class _MaskedBce:
    """BCE that counts background only for classes which a picture's labels are complete for."""

    def __init__(self) -> None:
        self.known: Any = None
        self._bce = torch.nn.BCEWithLogitsLoss(reduction="none")

    def __call__(self, predicted: Any, target: Any) -> Any:
        return self._bce(predicted, target) * (self.known[:, None, :] | (target > 0))


def make_loss(net: BranchNet) -> tuple[Any, _MaskedBce]:
    """Ultralytics' detection loss for the new branch, with the masked BCE in it."""
    from types import SimpleNamespace

    from ultralytics.utils.loss import v8DetectionLoss

    hyper = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    stub = torch.nn.Module()
    stub.model = torch.nn.ModuleList([net.fresh[-1]])
    stub.args = hyper
    loss = v8DetectionLoss(stub)
    bce = _MaskedBce()
    loss.bce = bce
    return loss, bce


def to_input(pictures: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    """uint8 (B, H, W, 3) RGB -> float (B, 3, H, W) in 0–1, channels last in memory."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)


def predict(net: BranchNet, inputs: Any, conf: float = 0.01, iou: float = 0.6) -> list[Boxes]:
    """Boxes of the new branch in input pixels, class-aware NMS."""
    with torch.no_grad():
        raw = net.new_forward(inputs).float()
    result = []
    for one in raw:
        scores, classes = one[4:].max(0)
        keep = torch.nonzero(scores > conf).flatten()
        keep = keep[scores[keep].argsort(descending=True)[:1000]]
        centre, side = one[:2, keep].T, one[2:4, keep].T
        corners = torch.cat([centre - side / 2, centre + side / 2], 1)
        shifted = corners + classes[keep, None] * 4096.0
        kept = torch.ops.torchvision.nms(shifted, scores[keep], iou)[:300]
        result.append(
            Boxes(
                corners[kept].numpy(),
                scores[keep][kept].numpy(),
                classes[keep][kept].numpy().astype(np.int32),
            )
        )
    return result


def judged(sample: Sample, found: Boxes) -> tuple[Boxes, Boxes]:
    """Predicted and true boxes of the classes that the sample's labels are complete for: a reviewer's single
    confirmed box says neither that a further one is false nor that it had to be found."""
    keep = sample.known[found.classes]
    own = sample.known[sample.classes]
    predicted = Boxes(found.corners[keep], found.scores[keep], found.classes[keep])
    return predicted, Boxes(sample.boxes[own], np.ones(int(own.sum()), np.float32), sample.classes[own])


def evaluate(
    net: BranchNet, samples: Sequence[Sample], size: int, bf16: bool, batch: int = 8
) -> dict[str, float]:
    """mAP50 of each new class on letterboxed pictures. A class counts only in pictures that know it."""
    predicted: list[Boxes] = []
    truth: list[Boxes] = []
    for start in range(0, len(samples), batch):
        fitted = [letterbox(s, size) for s in samples[start : start + batch]]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            found = predict(net, to_input(np.stack([f.picture for f in fitted])))
        for sample, boxes in zip(fitted, found, strict=True):
            guess, labels = judged(sample, boxes)
            predicted.append(guess)
            truth.append(labels)
    values = ap_by_class(predicted, truth, range(len(net.new)))
    return {net.new[k]: round(v, 4) for k, v in values.items()}


@dataclass
class _Progress:
    step: int = 0
    spent_s: float = 0.0
    best: float = -1.0


class BranchTrainer:
    """One run in one folder: `last.pt`, `best.pt` (weights of the averaged model), `curve.jsonl`."""

    def __init__(
        self,
        net: BranchNet,
        config: BranchFit,
        folder: Path,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
        notes: Notebook | None = None,
        share: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.net, self.config, self.folder, self.say, self.clock = net, config, folder, say, clock
        self.notes, self.tell_share = notes or NoNotebook(), share
        folder.mkdir(parents=True, exist_ok=True)
        net.to(memory_format=torch.channels_last)
        self.params = [p for p in net.fresh.parameters() if p.requires_grad]
        decay = [p for p in self.params if p.ndim > 1]
        rest = [p for p in self.params if p.ndim <= 1]
        groups = [
            {"params": decay, "weight_decay": config.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.999))
        self.loss, self.bce = make_loss(net)
        self.average = net.trained_state()
        self.progress = _Progress()

    def resume(self) -> bool:
        """Go on from `last.pt`, if there is one. Raises RecipeError where it is of other classes or another split."""
        path = self.folder / "last.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        noted, mine = (state["new"], state["split"]), (list(self.net.new), self.net.split)
        if noted != mine:
            raise RecipeError(f"{path}: of new_classes, split {noted}, not {mine}; name a new run folder")
        self.net.load_trained(state["weights"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = _Progress(**state["progress"])
        return True

    def save(self, *, best: bool) -> None:
        state = {
            "weights": self.net.trained_state(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "new": list(self.net.new),
            "split": self.net.split,
        }
        _write(self.folder / "last.pt", state)
        if best:
            _write(self.folder / "best.pt", {k: state[k] for k in ("average", "progress", "new", "split")})

    @property
    def share(self) -> float:
        """How much of the run is done, 0–1."""
        if self.config.steps:
            return min(1.0, self.progress.step / self.config.steps)
        return min(1.0, self.progress.spent_s / (self.config.minutes * 60))

    def _rate(self) -> float:
        share = self.share
        low = self.config.final_lr
        rate = low + (1 - low) * (1 + math.cos(math.pi * share)) / 2
        return self.config.lr * rate * min(1.0, (self.progress.step + 1) / self.config.warmup_steps)

    def step(self, pictures: Any, rows: Any, known: Any) -> dict[str, float]:
        """One step on a batch; returns the loss parts."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.bce.known = torch.from_numpy(known)
        table = torch.from_numpy(rows)
        batch = {"batch_idx": table[:, 0], "cls": table[:, 1], "bboxes": table[:, 2:]}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.config.bf16):
            raw = self.net.train_forward(to_input(pictures))
        total, parts = self.loss(raw, batch)
        self.optimizer.zero_grad(set_to_none=True)
        (total.sum() / len(pictures) * 16).backward()
        torch.nn.utils.clip_grad_norm_(self.params, 10.0)
        self.optimizer.step()
        self.progress.step += 1
        decay = min(self.config.ema, (1 + self.progress.step) / (20 + self.progress.step))
        for key, value in self.net.fresh.state_dict().items():
            if value.dtype.is_floating_point:
                self.average[key].lerp_(value, 1 - decay)
        return {k: float(v) for k, v in parts.items()}

    def validate(self, samples: Sequence[Sample]) -> dict[str, float]:
        current = self.net.trained_state()
        self.net.load_trained(self.average)
        try:
            return evaluate(self.net, samples, self.config.size, self.config.bf16)
        finally:
            self.net.load_trained(current)

    def _steps(self, make: Callable[[bool], Batches]) -> Generator[dict[str, float], None, None]:
        """The loss parts of step after step. The batches are made anew for the plain share: their thread works ahead,
        and a switch in it would come at another batch each time."""
        while True:
            plain = self.share > 1 - self.config.plain_share
            batches = make(plain)
            try:
                while plain or self.share <= 1 - self.config.plain_share:
                    yield self.step(*next(batches))
            finally:
                batches.close()

    def fit(
        self,
        make: Callable[[bool], Batches],
        validation: Sequence[Sample],
        weights: dict[str, float],
        stop: Callable[[], bool],
    ) -> dict[str, float]:
        """Train until the minutes (or steps) are spent or `stop()`; `weights` say how much a class counts for "best".

        `make(plain)` gives batches from the present step on, `plain` those of the last share, with few mosaics.
        """
        losses: list[dict[str, float]] = []
        figures: dict[str, float] = {}
        begun, before = self.clock(), self.progress.spent_s
        with closing(self._steps(make)) as steps:
            for parts in steps:
                losses.append(parts)
                self.progress.spent_s = before + self.clock() - begun
                self.tell_share(self.share)
                done = self.share >= 1 or stop()
                if self.progress.step % self.config.validate_every == 0 or done:
                    figures = self.validate(validation)
                    self._note(figures, losses, weights)
                    losses = []
                    self.progress.spent_s = before + self.clock() - begun
                if done:
                    break
        return figures

    def _note(
        self, figures: dict[str, float], losses: list[dict[str, float]], weights: dict[str, float]
    ) -> None:
        pairs = [(weights.get(k, 1.0), v) for k, v in figures.items() if not math.isnan(v)]
        fitness = sum(w * v for w, v in pairs) / max(sum(w for w, _ in pairs), 1e-9)
        # Where no new class has a box to be measured on, no checkpoint is better than a later one.
        best = not pairs or fitness > self.progress.best
        self.progress.best = max(fitness, self.progress.best)
        mean = {k: round(sum(x[k] for x in losses) / len(losses), 4) for k in losses[0]} if losses else {}
        row = {
            "step": self.progress.step,
            "minutes": round(self.progress.spent_s / 60, 2),
            "images": self.progress.step * self.config.batch,
            "lr": self._rate(),
            "fitness": round(fitness, 4),
            "map50": {k: None if math.isnan(v) else v for k, v in figures.items()},
            "loss": mean,
        }
        with (self.folder / "curve.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.say(json.dumps(row))
        self.notes.figures(self.progress.step, {"fitness": fitness, **figures, **mean})
        self.save(best=best)


def _write(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def prepare_samples(items: Sequence[Any], names: Sequence[str], classes: Sequence[str]) -> list[Sample]:
    """Read the pictures of items into memory (about 0.7 MB each at 640 px)."""
    from training.fit_data import read_picture, sample_of

    return [sample_of(i, read_picture(i), names, classes) for i in items]
