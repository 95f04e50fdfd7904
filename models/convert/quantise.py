"""Smaller variants of a bundle: int8 (QDQ, calibrated on street frames) and float16. Each is judged before it ships.

Needs the package onnx (extras `training` and `dev`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from models.bundle import Bundle, BundleError, Provenance, load_bundle, write_manifest
from models.detections import Floats
from models.detector import Detector
from models.yolo_data import PICTURES, read_rgb


def quantise(
    bundle: Bundle, target: Path, kind: str, pictures: Path | None = None, most: int = 128
) -> Bundle:
    """Write the variant `kind` (`int8` or `float16`) of `bundle` into the new folder `target`.

    Args:
        bundle: what to shrink.
        target: folder of the variant, made where it is not there; must be empty.
        kind: `int8` or `float16`.
        pictures: folder of street frames for the calibration of int8, every size; searched with its sub-folders.
        most: number of frames to use, evenly spread over the sorted folder.

    Raises:
        BundleError: target not empty, or int8 without pictures.
    """
    if target.exists() and any(target.iterdir()):
        raise BundleError(f"{target}: not empty; name a new folder")
    frames = _spread(pictures, most) if kind == "int8" else []
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain.onnx"
        small = Path(scratch) / "model.onnx"
        _fold(bundle.onnx_path, plain)
        if kind == "int8":
            _int8(bundle, plain, small, frames)
        else:
            _float16(plain, small)
        _keep_metadata(bundle.onnx_path, small)
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(small, target / bundle.manifest.onnx)
    for name in bundle.manifest.files:
        if name != bundle.manifest.onnx:
            shutil.copyfile(bundle.folder / name, target / name)
    how = f"{kind}, calibrated on {len(frames)} pictures" if frames else kind
    old = bundle.manifest
    step = Provenance(
        what="conversion", source=f"{old.name} {old.version}, sha256 {bundle.sha256}: {how}", licence=""
    )
    # Figures of the original say nothing about the variant.
    changes = {"version": f"{old.version}-{kind}", "provenance": (*old.provenance, step), "metrics": {}}
    write_manifest(target, old.model_copy(update=changes))
    return load_bundle(target)


def _spread(folder: Path | None, most: int) -> list[Path]:
    if folder is None:
        raise BundleError("pictures: int8 needs street frames for its calibration (--pictures FOLDER)")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
    if not found:
        raise BundleError(f"pictures: none in {folder}")
    picked = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
    return [found[i] for i in picked]


def _fold(source: Path, target: Path) -> None:
    """Write the graph with constants folded: weights stored as float16 behind a Cast become plain float32."""
    options: Any = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(target))
    for number, node in enumerate(model.graph.node):  # nodes to leave out are told apart by their names
        node.name = f"n{number}"
    onnx.save(model, str(target))


def _int8(bundle: Bundle, source: Path, target: Path, frames: list[Path]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantize_static(
        str(source),
        str(target),
        _Reader(bundle, frames),
        quant_format=QuantFormat.QDQ,
        # Convolutions alone: they are nearly all of the work, and the box arithmetic behind them needs float32.
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=_last_convolutions(source),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"CalibMovingAverage": True},
    )


def _last_convolutions(source: Path) -> list[str]:
    """Names of convolutions after which no other follows: they make scores and box sides, where 8 bits are too coarse."""
    graph = onnx.load(str(source)).graph
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def leads_on(node: Any) -> bool:
        seen: set[str] = set()
        stack = [u for out in node.output for u in users.get(out, [])]
        while stack:
            user = stack.pop()
            if user.op_type == "Conv":
                return True
            if user.name not in seen:
                seen.add(user.name)
                stack += [u for out in user.output for u in users.get(out, [])]
        return False

    return [n.name for n in graph.node if n.op_type == "Conv" and not leads_on(n)]


class _Reader:
    """Calibration pictures, letterboxed by the detector itself."""

    def __init__(self, bundle: Bundle, frames: list[Path]) -> None:
        detector = Detector(bundle, "cpu", max_batch=1)
        self._name = bundle.manifest.input.name
        self._tensors: Iterator[Floats] = (detector.tensor([read_rgb(p)]) for p in frames)

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next input, None at the end."""
        tensor = next(self._tensors, None)
        return None if tensor is None else {self._name: tensor}


def _float16(source: Path, target: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Resize and the box arithmetic keep float32: pixel positions above 2048 are not exact in float16.
    model = convert_float_to_float16(
        onnx.load(str(source)), keep_io_types=True, op_block_list=["Resize", "Range"]
    )
    onnx.save(model, str(target))


def _keep_metadata(source: Path, target: Path) -> None:
    old, new = onnx.load(str(source)), onnx.load(str(target))
    del new.metadata_props[:]
    new.metadata_props.extend(old.metadata_props)
    onnx.save(new, str(target))
