"""Convert a frozen TensorFlow.js graph model (NHWC) into an ONNX file (NCHW). Covers the operators of MobileNet-style detectors."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
_DTYPES: dict[str, Any] = {"float32": np.float32, "int32": np.int32, "bool": np.bool_, "uint8": np.uint8}
_NHWC_TO_NCHW_AXIS = {0: 0, 1: 2, 2: 3, 3: 1}
_ELEMENTWISE = {"Mul": "Mul", "Add": "Add", "AddV2": "Add", "Sub": "Sub", "RealDiv": "Div"}
_FOLD: dict[str, Any] = {"Mul": np.multiply, "Sub": np.subtract, "Div": np.divide, "Add": np.add}


class UnsupportedOperatorError(NotImplementedError):
    """The graph has an operator that this converter does not know."""


def convert(model_json: Path, target: Path, outputs: list[str], metadata: dict[str, str]) -> None:
    """Write `target` with the named outputs, a free batch size, float16 weights and the given metadata.

    Weights are cast back to float32 when the session starts, so the arithmetic stays float32 on every box.
    """
    spec = json.loads(model_json.read_text(encoding="utf-8"))
    graph = _Graph(spec, _read_weights(model_json, spec))
    model = graph.build(outputs)
    _halve(model)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def _read_weights(model_json: Path, spec: dict[str, Any]) -> dict[str, Array]:
    out: dict[str, Array] = {}
    for group in spec["weightsManifest"]:
        data = b"".join((model_json.parent / p).read_bytes() for p in group["paths"])
        at = 0
        for weight in group["weights"]:
            count = int(np.prod(weight["shape"], dtype=np.int64)) if weight["shape"] else 1
            packed = weight.get("quantization")
            stored = packed["dtype"] if packed else weight["dtype"]
            dtype = (
                {"float16": np.float16, "uint8": np.uint8, "uint16": np.uint16}.get(stored)
                if packed
                else _DTYPES[stored]
            )
            array: Array = np.frombuffer(data, dtype, count, at)
            at += array.nbytes
            if packed and stored != "float16":
                array = array.astype(np.float32) * packed["scale"] + packed["min"]
            out[weight["name"]] = array.astype(_DTYPES[weight["dtype"]]).reshape(weight["shape"])
    return out


def _text(attribute: dict[str, Any] | None) -> str:
    return base64.b64decode(attribute["s"]).decode() if attribute else ""


def _plain(name: str) -> str:
    return name.split(":")[0].lstrip("^")


def _spatial(attrs: dict[str, Any], key: str) -> list[int]:
    return [int(x) for x in attrs[key]["list"]["i"]][1:3] if key in attrs else [1, 1]


class _Graph:
    def __init__(self, spec: dict[str, Any], weights: dict[str, Array]) -> None:
        self._nodes = {n["name"]: n for n in spec["modelTopology"]["node"]}
        self._weights = weights
        self._consts: dict[str, Array] = {}
        self._inits: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._out: list[onnx.NodeProto] = []

    def build(self, outputs: list[str]) -> onnx.ModelProto:
        """Return the model of all that the outputs need."""
        for name in self._order(outputs):
            self._node(name)
        used = {x for n in self._out for x in n.input}
        values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        inits = [v for k, v in self._inits.items() if k in used]
        graph = helper.make_graph(self._out, "curbwatch", self._inputs, values, inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return onnx.shape_inference.infer_shapes(model)

    def _order(self, outputs: list[str]) -> list[str]:
        order: list[str] = []
        seen: set[str] = set()
        stack = [(o, False) for o in reversed(outputs)]
        while stack:
            name, done = stack.pop()
            if done:
                order.append(name)
            elif name not in seen:
                seen.add(name)
                stack.append((name, True))
                stack += [(_plain(i), False) for i in reversed(self._nodes[name].get("input", []))]
        return order

    def _init(self, name: str, array: Array) -> str:
        self._inits[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def _operand(self, name: str) -> str:
        if name not in self._consts:
            return name
        array = self._consts[name]
        if array.ndim == 1 and array.size > 1:
            array = array.reshape(1, -1, 1, 1)
        elif array.ndim == 4:
            array = array.transpose(0, 3, 1, 2)
        return self._init(f"{name}/nchw", array)

    def _node(self, name: str) -> None:
        node = self._nodes[name]
        op, attrs = node["op"], node.get("attr", {})
        inputs = [_plain(i) for i in node.get("input", []) if not i.startswith("^")]
        if op == "Const":
            self._consts[name] = self._weights[name]
        elif op == "Placeholder":
            dims = [int(d["size"]) for d in attrs["shape"]["shape"]["dim"]]
            self._inputs.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", dims[3], dims[1], dims[2]])
            )
        elif op in {"_FusedConv2D", "FusedDepthwiseConv2dNative", "DepthwiseConv2dNative", "Conv2D"}:
            self._conv(name, op, attrs, inputs)
        elif op in _ELEMENTWISE:
            self._elementwise(name, _ELEMENTWISE[op], inputs)
        elif op == "Relu6":
            self._clip6(inputs[0], name)
        elif op in {"Relu", "Sigmoid", "Identity"}:
            self._out.append(helper.make_node(op, [inputs[0]], [name]))
        elif op == "Mean":
            axes = [_NHWC_TO_NCHW_AXIS[int(a) % 4] for a in np.ravel(self._consts[inputs[1]])]
            self._out.append(
                helper.make_node(
                    "ReduceMean", [inputs[0]], [name], axes=axes, keepdims=int(attrs["keep_dims"]["b"])
                )
            )
        elif op == "ConcatV2":
            axis = _NHWC_TO_NCHW_AXIS[int(self._consts[inputs[-1]]) % 4]
            self._out.append(helper.make_node("Concat", inputs[:-1], [name], axis=axis))
        elif op == "ResizeBilinear":
            self._resize(name, attrs, inputs)
        else:
            raise UnsupportedOperatorError(f"{name}: operator {op}")

    def _clip6(self, source: str, target: str) -> None:
        bounds = [
            self._init("relu6/low", np.array(0, np.float32)),
            self._init("relu6/high", np.array(6, np.float32)),
        ]
        self._out.append(helper.make_node("Clip", [source, *bounds], [target]))

    def _conv(self, name: str, op: str, attrs: dict[str, Any], inputs: list[str]) -> None:
        kernel, groups = self._consts[inputs[1]], 1
        if "Depthwise" in op:
            groups = int(kernel.shape[2])
            kernel = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
        else:
            kernel = kernel.transpose(3, 2, 0, 1)
        names = [inputs[0], self._init(f"{inputs[1]}/w", kernel)]
        fused = [
            base64.b64decode(x).decode() for x in attrs.get("fused_ops", {}).get("list", {}).get("s", [])
        ]
        if "BiasAdd" in fused:
            names.append(self._init(f"{inputs[2]}/b", self._consts[inputs[2]].reshape(-1)))
        activation = [f for f in fused if f != "BiasAdd"]
        target = f"{name}/linear" if activation else name
        strides, dilations = (_spatial(attrs, key) for key in ("strides", "dilations"))
        pad = "SAME_UPPER" if _text(attrs["padding"]) == "SAME" else "VALID"
        self._out.append(
            helper.make_node(
                "Conv",
                names,
                [target],
                group=groups,
                kernel_shape=list(kernel.shape[2:]),
                auto_pad=pad,
                strides=strides,
                dilations=dilations,
            )
        )
        if activation == ["Relu"]:
            self._out.append(helper.make_node("Relu", [target], [name]))
        elif activation == ["Relu6"]:
            self._clip6(target, name)
        elif activation:
            raise UnsupportedOperatorError(f"{name}: activation {activation}")

    def _elementwise(self, name: str, op: str, inputs: list[str]) -> None:
        if all(i in self._consts for i in inputs):
            self._consts[name] = _FOLD[op](self._consts[inputs[0]], self._consts[inputs[1]])
        else:
            self._out.append(helper.make_node(op, [self._operand(i) for i in inputs], [name]))

    def _resize(self, name: str, attrs: dict[str, Any], inputs: list[str]) -> None:
        height, width = (int(v) for v in np.ravel(self._consts[inputs[1]]))
        half = attrs.get("half_pixel_centers", {}).get("b")
        mode = "align_corners" if attrs["align_corners"].get("b") else "half_pixel" if half else "asymmetric"
        head = [self._init("zero", np.array([0], np.int64)), self._init("two", np.array([2], np.int64))]
        size = self._init(f"{name}/hw", np.array([height, width], np.int64))
        self._out += [
            helper.make_node("Shape", [inputs[0]], [f"{name}/shape"]),
            helper.make_node("Slice", [f"{name}/shape", *head], [f"{name}/nc"]),
            helper.make_node("Concat", [f"{name}/nc", size], [f"{name}/sizes"], axis=0),
            helper.make_node(
                "Resize",
                [inputs[0], "", "", f"{name}/sizes"],
                [name],
                mode="linear",
                coordinate_transformation_mode=mode,
            ),
        ]


def _halve(model: onnx.ModelProto) -> None:
    """Store float32 weights of 64 values and more as float16 with a Cast before their use: half the file."""
    casts, kept = [], []
    for init in model.graph.initializer:
        array = numpy_helper.to_array(init)
        if array.dtype == np.float32 and array.size >= 64:
            kept.append(numpy_helper.from_array(array.astype(np.float16), f"{init.name}/half"))
            casts.append(helper.make_node("Cast", [f"{init.name}/half"], [init.name], to=TensorProto.FLOAT))
        else:
            kept.append(init)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
