"""One network, two branches: the pretrained detector as it is, and a branch for the classes it doesn't know.

The first `split` layers of a pretrained YOLO11 are shared and frozen. Behind them stand the pretrained layers,
untouched, which give people and vehicles exactly as the teacher does, and a trained copy of the same layers that
gives the new classes. Both outputs have the YOLO form (4 + classes, anchors) and are laid end to end along the
anchors, so the whole is read like any YOLOv8/11 model. Training one head for both instead pulls people and vehicles
towards the few thousand pictures of the new classes, and must be paid back with teacher labels.

Batch normalisation is folded into the convolutions before training: on a CPU that makes a training step about a third
cheaper, and what is exported is what was trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.torchvision_ops import ensure

ensure()

import torch  # noqa: E402
from torch import nn  # noqa: E402

from training.classes import TEACHER_CLASSES  # noqa: E402


def load_teacher(path: Path) -> tuple[nn.Module, list[str]]:
    """A YOLO11 checkpoint as a fused float model in evaluation mode, and its class names."""
    from ultralytics import YOLO

    model = YOLO(str(path)).model.float()
    names = [model.names[i] for i in range(len(model.names))]
    fused = model.fuse(verbose=False)
    return fused.eval(), names


def _apply(layers: Sequence[nn.Module], x: Any, kept: dict[int, Any], save: Sequence[int]) -> Any:
    """Run ultralytics layers, which carry their own number `i` and their inputs `f`."""
    for layer in layers:
        source: Any = layer.f
        if source != -1:
            x = kept[source] if isinstance(source, int) else [x if j == -1 else kept[j] for j in source]
        x = layer(x)
        if layer.i in save:
            kept[int(layer.i)] = x
    return x


class BranchNet(nn.Module):
    """Shared trunk, pretrained branch and new branch. Input float (B, 3, H, W) RGB in 0–1, H and W multiples of 32."""

    def __init__(
        self, teacher: nn.Module, teacher_names: Sequence[str], new: Sequence[str], split: int
    ) -> None:
        super().__init__()
        layers = list(teacher.model)
        self.save = sorted({*teacher.save, split - 1})
        self.split, self.new = split, tuple(new)
        self.trunk = nn.ModuleList(layers[:split])
        self.old = nn.ModuleList(layers[split:])
        self.fresh = nn.ModuleList(copy.deepcopy(layers[split:]))
        self._renew_head(self.fresh[-1], len(self.new))
        self.rows = [[list(teacher_names).index(n) for n in names] for names in TEACHER_CLASSES.values()]
        for part in (self.trunk, self.old):
            part.requires_grad_(requires_grad=False)
        self.fresh.requires_grad_(requires_grad=True)
        self.fresh[-1].dfl.requires_grad_(requires_grad=False)

    @staticmethod
    def _renew_head(head: Any, count: int) -> None:
        """Give the copied head rows for `count` new classes that start near a score of 0.01."""
        head.nc, head.no = count, count + 4 * head.reg_max
        for branch in head.cv3:
            old = branch[-1]
            fresh = nn.Conv2d(old.in_channels, count, 1)
            nn.init.normal_(fresh.weight, std=0.02)
            nn.init.constant_(fresh.bias, -4.6)
            branch[-1] = fresh

    def shared(self, x: Any) -> tuple[Any, dict[int, Any]]:
        kept: dict[int, Any] = {}
        with torch.no_grad():
            x = _apply(self.trunk, x, kept, self.save)
        return x, kept

    def train_forward(self, x: Any) -> dict[str, Any]:
        """Raw outputs of the new branch, as ultralytics' detection loss takes them."""
        x, kept = self.shared(x)
        self.fresh[-1].train()
        out = _apply(self.fresh, x, kept, self.save)
        return {"boxes": out["boxes"].float(), "scores": out["scores"].float(), "feats": out["feats"]}

    def new_forward(self, x: Any) -> Any:
        """(B, 4 + new, anchors): boxes cx cy w h in input pixels and scores of the new branch alone."""
        x, kept = self.shared(x)
        self.fresh[-1].eval()
        out = _apply(self.fresh, x, kept, self.save)
        return out[0] if isinstance(out, tuple) else out

    def forward(self, x: Any) -> Any:
        """(B, 4 + 10 + new, 2 * anchors) in the order of `STREET_CLASSES`."""
        kept: dict[int, Any] = {}
        x = _apply(self.trunk, x, kept, self.save)
        old = _apply(self.old, x, dict(kept), self.save)
        new = _apply(self.fresh, x, dict(kept), self.save)
        old, new = (o[0] if isinstance(o, tuple) else o for o in (old, new))
        scores = [old[:, [4 + r for r in rows]].amax(1, keepdim=True) for rows in self.rows]
        known = torch.cat([*scores, torch.zeros_like(old[:, : len(self.new)])], 1)
        unknown = torch.cat([torch.zeros_like(new[:, :1]).expand(-1, len(self.rows), -1), new[:, 4:]], 1)
        return torch.cat([torch.cat([old[:, :4], known], 1), torch.cat([new[:, :4], unknown], 1)], 2)

    def trained_state(self) -> dict[str, Any]:
        return {k: v.detach().clone() for k, v in self.fresh.state_dict().items()}

    def load_trained(self, state: Mapping[str, Any]) -> None:
        self.fresh.load_state_dict(state)
