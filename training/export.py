"""A trained network becomes ONNX: YOLO form, float16 weights where that loses nothing that counts, metadata, checked.

Weights are stored as float16 and cast to float32 by the graph (runtimes fold the casts when they load the file), so
that only the rounding of the weights remains: arithmetic stays float32 on every provider.

The sides of the input stay free where the network can do that, so that `models.detector` looks at wide pictures without
padding them to a square.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.detector import wide_size


class ExportError(RuntimeError):
    """The exported file isn't what was trained."""


@dataclass(frozen=True)
class Parity:
    """Largest differences between two outputs in YOLO form: boxes in pixels, scores absolute."""

    boxes_px: float
    scores: float
    pictures: int


def export_onnx(
    net: Any, path: Path, size: int, names: Sequence[str], about: Mapping[str, str], opset: int = 17
) -> None:
    """Write `net` (float in, YOLO form out) as ONNX with a free batch and, where `net` takes them, free sides.

    `size` is the side of the square input in pixels; free sides must be multiples of 32.
    """
    import torch

    net.eval()
    for module in net.modules():
        if hasattr(module, "export"):
            module.export = True
            module.format = "onnx"
            module.dynamic = True  # the head then reckons its anchors from the maps' shapes, in the graph
    sides = {2: "height", 3: "width"} if takes_wide(net, size) else {}
    example = torch.zeros(1, 3, size, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        net(example)
        torch.onnx.export(
            net,
            (example,),
            str(path),
            input_names=["images"],
            output_names=["output0"],
            opset_version=opset,
            dynamic_axes={
                "images": {0: "batch", **sides},
                "output0": {0: "batch", **({2: "anchors"} if sides else {})},
            },
            dynamo=False,
        )
    model = onnx.load(path)
    model = _slimmed(model)
    describe(model, size, names, about)
    onnx.save(model, path)


def takes_wide(net: Any, size: int) -> bool:
    """Whether `net` takes the input of wide pictures beside the square one; a layer over all pixels does not."""
    import torch

    width, height = wide_size((size, size))
    try:
        with torch.no_grad():
            net(torch.zeros(1, 3, height, width))
    except (RuntimeError, ValueError):
        return False
    return True


def _slimmed(model: Any) -> Any:
    import onnxslim

    return onnxslim.slim(model)


def describe(model: Any, size: int, names: Sequence[str], about: Mapping[str, str]) -> None:
    """Put the metadata that ultralytics writes, and `about`, into the file. `args` says whether the sides are free."""
    del model.metadata_props[:]
    meta = {
        "task": "detect",
        "stride": "32",
        "imgsz": f"[{size}, {size}]",
        "batch": "1",
        "args": repr({"dynamic": sides_free(model)}),
        "channels": "3",
        "end2end": "False",
        "names": repr(dict(enumerate(names))),
        **about,
    }
    helper.set_model_props(model, meta)


def sides_free(model: Any) -> bool:
    """Whether an ONNX model's input leaves height and width free."""
    _, _, height, width = model.graph.input[0].type.tensor_type.shape.dim
    return not height.HasField("dim_value") and not width.HasField("dim_value")


def halve_weights(source: Path, target: Path, least: int = 64) -> int:
    """Store float32 initialisers of at least `least` values as float16 with a Cast behind; returns bytes saved.

    A weight outside float16's range keeps its float32.
    """
    model = onnx.load(source)
    casts, saved = [], 0
    kept = list(model.graph.initializer)
    del model.graph.initializer[:]
    for tensor in kept:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < least or np.abs(values).max() > 60000:
            model.graph.initializer.append(tensor)
            continue
        half = values.astype(np.float16)
        saved += values.nbytes - half.nbytes
        name = f"{tensor.name}_f16"
        model.graph.initializer.append(numpy_helper.from_array(half, name))
        casts.append(
            helper.make_node("Cast", [name], [tensor.name], name=f"{tensor.name}_cast", to=TensorProto.FLOAT)
        )
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
    onnx.save(model, target)
    return saved


def run_onnx(path: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Output of an ONNX file on the CPU, one picture at a time."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one[None]})[0] for one in inputs])


def parity(first: NDArray[np.float32], second: NDArray[np.float32], floor: float = 0.05) -> Parity:
    """Compare (B, 4 + C, N) outputs where either scores at least `floor`; below it nobody reads the boxes."""
    if first.shape != second.shape:
        raise ExportError(f"outputs differ in shape: {first.shape} and {second.shape}")
    seen = np.maximum(first[:, 4:], second[:, 4:]).max(1) >= floor
    boxes = np.abs(first[:, :4] - second[:, :4]).max(1)[seen]
    scores = np.abs(first[:, 4:] - second[:, 4:]).max(1)
    return Parity(float(boxes.max(initial=0.0)), float(scores.max(initial=0.0)), len(first))


def in_shapes(path: Path, inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """`inputs` (B, 3, side, side) in every shape that the edge gives the file: also their middle rows, if sides are free."""
    if not sides_free(onnx.load(path, load_external_data=False)):
        return [inputs]
    rows = wide_size((inputs.shape[3], inputs.shape[2]))[1]
    top = (inputs.shape[2] - rows) // 2
    return [inputs, np.ascontiguousarray(inputs[:, :, top : top + rows])]


def check_parity(
    net: Any, path: Path, inputs: NDArray[np.float32], boxes_px: float = 1.0, scores: float = 0.01
) -> list[Parity]:
    """Compare the file with the network on `inputs` (B, 3, side, side) in each of `in_shapes`; the square comes first.

    Raises:
        ExportError: they differ by more than the limits, or the file cannot take one of the shapes.
    """
    import torch

    seen = []
    for shaped in in_shapes(path, inputs):
        with torch.no_grad():
            wanted = net(torch.from_numpy(shaped)).numpy()
        try:
            found = parity(wanted, run_onnx(path, shaped))
        except Exception as exc:  # the runtime raises its own undocumented types
            raise ExportError(f"{path}: an input of {shaped.shape[1:]} fails: {exc}") from exc
        if found.boxes_px > boxes_px or found.scores > scores:
            raise ExportError(
                f"{path}: differs from the network by {found} on inputs of {shaped.shape[1:]}; "
                f"limits are {boxes_px} px and {scores}"
            )
        seen.append(found)
    return seen


def read_meta(path: Path) -> dict[str, str]:
    """The metadata of an ONNX file."""
    return {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}


def about_json(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as metadata strings."""
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in values.items()}
