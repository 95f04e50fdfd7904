"""Small ONNX networks and bundles made in the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.bundle import (
    Bundle,
    ClassSpec,
    Family,
    InputSpec,
    Manifest,
    Provenance,
    load_bundle,
    write_manifest,
)


def constant_onnx(
    path: Path,
    outputs: list[NDArray[np.float32]],
    size: tuple[int, int] = (64, 64),
    batch: int | str = "N",
    metadata: dict[str, str] | None = None,
    free: bool = False,
) -> Path:
    """A network that answers every picture with the same `outputs` (each (1, ...)), once a picture of the batch.

    `free` leaves the sides of its input open, as ultralytics' dynamic export does.
    """
    width, height = ("width", "height") if free else size
    entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, height, width])
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing4"]),
    ]
    inits = [numpy_helper.from_array(np.zeros(1, np.float32), "zero")]
    infos = []
    for i, values in enumerate(outputs):
        inits.append(numpy_helper.from_array(values, f"value{i}"))
        source = "nothing4"
        if values.ndim == 3:
            inits.append(numpy_helper.from_array(np.array([-1, 1, 1], np.int64), f"shape{i}"))
            nodes.append(helper.make_node("Reshape", ["nothing4", f"shape{i}"], [f"nothing{i}"]))
            source = f"nothing{i}"
        nodes.append(helper.make_node("Add", [source, f"value{i}"], [f"out{i}"]))
        infos.append(helper.make_tensor_value_info(f"out{i}", TensorProto.FLOAT, [batch, *values.shape[1:]]))
    graph = helper.make_graph(nodes, "constant", [entry], infos, inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))
    return path


def yolo_output(
    boxes: list[tuple[float, float, float, float]], classes: list[int], scores: list[float], names: int = 3
) -> NDArray[np.float32]:
    """(1, 4 + names, 84): the anchors of a 64 x 64 input, the given boxes (centre and size) first."""
    out = np.zeros((1, 4 + names, 84), np.float32)
    for i, (box, kind, score) in enumerate(zip(boxes, classes, scores, strict=True)):
        out[0, :4, i] = box
        out[0, 4 + kind, i] = score
    return out


def bundle_of(
    folder: Path,
    outputs: list[NDArray[np.float32]],
    family: Family = Family.YOLO,
    names: tuple[str, ...] = ("person", "car", "truck"),
    size: tuple[int, int] = (64, 64),
    batch: int | str = "N",
    threshold: float = 0.25,
    one_per_place: tuple[str, ...] = (),
    free: bool = False,
    metadata: dict[str, str] | None = None,
    **spec: object,
) -> Bundle:
    """A verified bundle of `constant_onnx`."""
    from models.roles import role_of

    folder.mkdir(parents=True, exist_ok=True)
    constant_onnx(folder / "model.onnx", outputs, size, batch, metadata, free=free)
    write_manifest(
        folder,
        Manifest(
            name="test",
            version="1",
            family=family,
            input=InputSpec.model_validate({"name": "images", "width": size[0], "height": size[1], **spec}),
            classes=tuple(
                ClassSpec(name=n, index=i, role=role_of(n), threshold=threshold) for i, n in enumerate(names)
            ),
            one_per_place=one_per_place,
            provenance=(Provenance(what="weights", source="test", licence="none"),),
            files={"model.onnx": "0" * 64},
        ),
    )
    return load_bundle(folder)
