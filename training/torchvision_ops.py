"""The two torchvision operators that ultralytics needs, where torchvision's own compiled ones are missing.

A torchvision wheel that was built for another torch (a CUDA build beside a CPU torch) fails on import with
"operator torchvision::nms does not exist", although ultralytics uses nothing compiled of it but NMS. Call
`ensure()` before the first import of ultralytics or torchvision. Where the operators exist it does nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any

_kept: list[Any] = []


def _nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Greedy NMS. `boxes` (N, 4) x1 y1 x2 y2, `scores` (N,) -> kept indices int64, best score first."""
    import torch

    order = torch.argsort(scores, descending=True, stable=True)
    left, top, right, bottom = boxes.float().unbind(1)
    areas = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    keep: list[Any] = []
    while order.numel():
        first, order = order[0], order[1:]
        keep.append(first)
        width = (torch.minimum(right[first], right[order]) - torch.maximum(left[first], left[order])).clamp(
            min=0
        )
        height = (torch.minimum(bottom[first], bottom[order]) - torch.maximum(top[first], top[order])).clamp(
            min=0
        )
        shared = width * height
        order = order[shared / (areas[first] + areas[order] - shared).clamp(min=1e-9) <= iou_threshold]
    return torch.stack(keep) if keep else torch.empty(0, dtype=torch.int64, device=boxes.device)


def _qnms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    return _nms(boxes.dequantize(), scores.dequantize(), iou_threshold)


def _missing(name: str) -> bool:
    import torch

    try:
        getattr(torch.ops.torchvision, name)
    except (AttributeError, RuntimeError):
        return True
    return False


def _load_compiled() -> None:
    """Load torchvision's compiled operators the way torchvision does, so that they are preferred to ours."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return
    from pathlib import Path

    for library in Path(next(iter(spec.submodule_search_locations))).glob("_C*.so"):
        with contextlib.suppress(OSError, RuntimeError):
            torch.ops.load_library(str(library))


def ensure() -> tuple[str, ...]:
    """Define what is missing of `torchvision::nms` and `torchvision::qnms`; return the names that were defined."""
    import torch

    if _missing("nms"):
        _load_compiled()
    made = []
    for name, function in (("nms", _nms), ("qnms", _qnms)):
        if not _missing(name):
            continue
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl(name, function, "QuantizedCPU" if name == "qnms" else "CPU")
        _kept.append(library)  # the registration lives as long as the library object
        made.append(name)
    if made:
        _vouch()
    return tuple(made)


def _vouch() -> None:
    """Tell torchvision that its operators are there: its Python side asks only whether its own library was loaded."""
    with contextlib.suppress(ImportError, RuntimeError):
        import torchvision.extension

        torchvision.extension._has_ops = lambda: True
