"""Other formats become bundles; a file that nobody vouched for is not opened."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from model_parts import bundle_of, constant_onnx, yolo_output
from onnx import TensorProto, helper, numpy_helper

from curbwatch.commands.models import _inside_loss, cli
from models.bundle import BundleError, ClassSpec, Family, InputSpec, Manifest, load_bundle, write_manifest
from models.convert.from_onnx import Origin, bundle_from_onnx
from models.convert.pull import PINS, PullError, pull
from models.convert.quantise import quantise
from models.convert.tfjs import UnsupportedOperatorError, convert
from models.detector import Detector

NAMES = {"names": "{0: 'person', 1: 'car', 2: 'zebra'}"}
ORIGIN = Origin("mine", "1", "MIT", "a test")


def _onnx(path: Path, metadata: dict[str, str] | None = None) -> Path:
    return constant_onnx(path, [yolo_output([(32, 32, 20, 20)], [1], [0.9])], metadata=metadata)


@pytest.mark.parametrize(
    ("everything", "names"), [(False, ("person", "car")), (True, ("person", "car", "zebra"))]
)
def test_an_onnx_file_becomes_a_bundle(tmp_path: Path, everything: bool, names: tuple[str, ...]) -> None:
    bundle = bundle_from_onnx(_onnx(tmp_path / "m.onnx", NAMES), tmp_path / "b", ORIGIN, keep_all=everything)
    assert bundle.names == names
    assert bundle.manifest.family is Family.YOLO
    assert [c.role for c in bundle.manifest.classes][:2] == ["person", "vehicle"]
    assert Detector(bundle, "cpu").detect([np.zeros((64, 64, 3), np.uint8)])[0].name_of(0) == "car"


@pytest.mark.parametrize(
    ("metadata", "names", "words"),
    [
        ({}, (), "no names"),
        ({}, ("a", "b"), "2 names for 3 channels"),
        ({"names": "['a', 'b']"}, (), "fits? none of|names 2"),
        ({"names": "{0: 'x', 1: 'y', 2: 'z'}"}, (), "no class has a role"),
    ],
)
def test_an_onnx_file_without_sense(
    tmp_path: Path, metadata: dict[str, str], names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        bundle_from_onnx(_onnx(tmp_path / "m.onnx", metadata), tmp_path / "b", ORIGIN, names=names)


def test_verify_and_convert_from_the_command_line(tmp_path: Path) -> None:
    source = _onnx(tmp_path / "m.onnx", NAMES)
    args = ["convert", "onnx", str(source), str(tmp_path / "b"), "--name", "mine", "--licence", "MIT"]
    run = CliRunner().invoke(cli, [*args, "--origin", "a test"])
    assert run.exit_code == 0, run.output
    assert CliRunner().invoke(cli, ["verify", str(tmp_path / "b"), "--provider", "cpu"]).exit_code == 0
    (tmp_path / "b" / "card.md").write_text("changed")
    run = CliRunner().invoke(cli, ["verify", str(tmp_path / "b")])
    assert run.exit_code == 1
    assert "SHA-256" in run.output


def test_pull_checks_before_it_opens(tmp_path: Path) -> None:
    opened: list[Path] = []

    def export(weights: Path) -> Path:
        opened.append(weights)
        return _onnx(weights.with_suffix(".onnx"), NAMES)

    def fetch(name: str, target: Path) -> None:
        target.write_bytes(b"weights of " + name.encode())

    with pytest.raises(PullError, match="was not opened"):
        pull("yolo11n", tmp_path / "a", lambda _: None, fetch=fetch, export=export)
    assert not opened
    digest = hashlib.sha256(b"weights of yolo99.pt").hexdigest()
    with pytest.raises(PullError, match="no pinned"):
        pull("yolo99", tmp_path / "a", lambda _: None, fetch=fetch, export=export)
    bundle = pull("yolo99", tmp_path / "a", lambda _: None, sha256=digest, fetch=fetch, export=export)
    assert bundle.folder == tmp_path / "a" / "yolo99"
    assert digest in bundle.manifest.provenance[0].source
    given = tmp_path / "given.pt"
    given.write_bytes(b"weights of yolo99.pt")
    pull("yolo99", tmp_path / "c", lambda _: None, file=given, sha256=digest, export=export)


def test_pins_are_whole() -> None:
    assert all(len(p) == 64 and int(p, 16) for p in PINS.values())


def _convolutions(folder: Path) -> Path:
    """A bundle with three convolutions in a row, the YOLO form behind them, weights as float16 behind a Cast."""
    rng = np.random.default_rng(0)
    inits, nodes, before = [], [], "images"
    for i, (wide, narrow, stride) in enumerate([(16, 3, 4), (16, 16, 2), (7, 16, 1)]):
        weight = (rng.normal(size=(wide, narrow, 3, 3)) * 0.2).astype(np.float16)
        inits.append(numpy_helper.from_array(weight, f"w{i}h"))
        nodes.append(helper.make_node("Cast", [f"w{i}h"], [f"w{i}"], to=TensorProto.FLOAT))
        nodes.append(
            helper.make_node(
                "Conv", [before, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1], strides=[stride, stride]
            )
        )
        nodes.append(helper.make_node("Sigmoid", [f"c{i}"], [f"s{i}"]))
        before = f"s{i}"
    inits.append(numpy_helper.from_array(np.array([0, 7, -1], np.int64), "shape"))
    nodes.append(helper.make_node("Reshape", [before, "shape"], ["out"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 64, 64])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 7, 64])],
        inits,
    )
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model.metadata_props.add(key="names", value="['a', 'b', 'c']")
    onnx.save(model, str(folder / "model.onnx"))
    manifest = Manifest(
        name="small",
        version="1",
        family=Family.YOLO,
        input=InputSpec(name="images", width=64, height=64),
        classes=(ClassSpec(name="a", index=0, role="other", threshold=0.2),),
        provenance=(),
        metrics={"map50": 0.5},
        files={"model.onnx": "0" * 64},
    )
    write_manifest(folder, manifest)
    return folder


@pytest.mark.parametrize(("kind", "worst"), [("int8", 0.06), ("float16", 0.005)])
def test_variants_answer_nearly_the_same(tmp_path: Path, kind: str, worst: float) -> None:
    whole = load_bundle(_convolutions(tmp_path / "whole"))
    rng = np.random.default_rng(1)
    (tmp_path / "frames").mkdir()
    for i in range(4):
        frame = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (64, 64))
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), frame)
    small = quantise(whole, tmp_path / "small", kind, tmp_path / "frames", 4)
    assert small.manifest.version == f"1-{kind}"
    assert small.manifest.metrics == {}
    assert whole.sha256 in small.manifest.provenance[-1].source
    tensor = Detector(whole, "cpu").tensor([np.full((64, 64, 3), 120, np.uint8)])
    answers = [
        ort.InferenceSession(str(b.onnx_path), providers=["CPUExecutionProvider"]).run(
            None, {"images": tensor}
        )[0]
        for b in (whole, small)
    ]
    assert np.abs(answers[0] - answers[1]).max() < worst
    stored = {p.key for p in onnx.load(str(small.onnx_path)).metadata_props}
    assert "names" in stored
    quantised = [n for n in onnx.load(str(small.onnx_path)).graph.node if n.op_type == "QuantizeLinear"]
    assert bool(quantised) is (kind == "int8")


def test_int8_needs_frames(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="street frames"):
        quantise(load_bundle(_convolutions(tmp_path / "whole")), tmp_path / "small", "int8")


@pytest.mark.parametrize(
    ("worse", "loss", "inside"), [(False, 0.01, True), (True, 0.01, False), (True, 1.0, True)]
)
def test_a_variant_ships_inside_a_stated_loss(tmp_path: Path, worse: bool, loss: float, inside: bool) -> None:
    seen = yolo_output([(32, 32, 20, 20)], [1], [0.9])
    before = bundle_of(tmp_path / "a", [seen])
    after = bundle_of(tmp_path / "b", [np.zeros_like(seen) if worse else seen])
    for sub in ("images", "labels"):
        (tmp_path / "d" / sub).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "d/images/1.png"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "d/labels/1.txt").write_text("0 0.5 0.5 0.3125 0.3125")
    (tmp_path / "data.yaml").write_text("path: d\nval: images\nnames: [car]\n")
    assert _inside_loss(before, after, tmp_path / "data.yaml", loss, "cpu") is inside
    # Without labels nothing is lost, and nothing is shown.
    (tmp_path / "d/labels/1.txt").unlink()
    with pytest.raises(ValueError, match=r"data\.yaml: nothing in it can judge map50"):
        _inside_loss(before, after, tmp_path / "data.yaml", loss, "cpu")


def _text(value: str) -> dict[str, Any]:
    return {"s": base64.b64encode(value.encode()).decode()}


def _tfjs(folder: Path, last: str) -> tuple[Path, np.ndarray, np.ndarray]:
    """Convolution 3 x 3 with bias and ReLU6 (NHWC) and one more operator, weights quantised to uint8 and float16."""
    rng = np.random.default_rng(0)
    kernel = rng.integers(0, 255, (3, 3, 3, 2)).astype(np.uint8)
    bias = rng.normal(size=2).astype(np.float16)
    (folder / "w.bin").write_bytes(kernel.tobytes() + bias.tobytes())
    sizes = [{"size": str(d)} for d in (1, 8, 8, 3)]
    nodes = [
        {"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": sizes}}}},
        {"name": "k", "op": "Const"},
        {"name": "b", "op": "Const"},
        {
            "name": "conv",
            "op": "_FusedConv2D",
            "input": ["x", "k", "b"],
            "attr": {
                "strides": {"list": {"i": ["1", "2", "2", "1"]}},
                "padding": _text("SAME"),
                "fused_ops": {"list": {"s": [_text("BiasAdd")["s"], _text("Relu6")["s"]]}},
            },
        },
        {"name": "out", "op": last, "input": ["conv"]},
    ]
    weights = [
        {
            "name": "k",
            "shape": [3, 3, 3, 2],
            "dtype": "float32",
            "quantization": {"dtype": "uint8", "scale": 0.01, "min": -1.2},
        },
        {"name": "b", "shape": [2], "dtype": "float32", "quantization": {"dtype": "float16"}},
    ]
    manifest = [{"paths": ["w.bin"], "weights": weights}]
    path = folder / "m.json"
    path.write_text(json.dumps({"modelTopology": {"node": nodes}, "weightsManifest": manifest}))
    return path, kernel.astype(np.float32) * 0.01 - 1.2, bias.astype(np.float32)


def test_tensorflow_js_becomes_onnx(tmp_path: Path) -> None:
    path, kernel, bias = _tfjs(tmp_path, "Sigmoid")
    convert(path, tmp_path / "m.onnx", ["out"], {"origin": "test"})
    picture = np.random.default_rng(2).random((1, 8, 8, 3)).astype(np.float32)
    session: Any = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    got = session.run(None, {"x": picture.transpose(0, 3, 1, 2)})[0]
    # SAME with stride 2 on 8: one row and column of zeros, below and to the right.
    padded = np.pad(picture[0], ((0, 1), (0, 1), (0, 0)))
    wanted = np.zeros((2, 4, 4), np.float32)
    for y in range(4):
        for x in range(4):
            patch = padded[2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            wanted[:, y, x] = np.tensordot(patch, kernel, 3) + bias
    wanted = 1 / (1 + np.exp(-np.clip(wanted, 0, 6)))
    assert np.allclose(got[0], wanted, atol=2e-3)  # weights are stored as float16
    assert session.get_modelmeta().custom_metadata_map == {"origin": "test"}


def test_an_operator_that_is_not_known(tmp_path: Path) -> None:
    path, _, _ = _tfjs(tmp_path, "Softplus")
    with pytest.raises(UnsupportedOperatorError, match="out: operator Softplus"):
        convert(path, tmp_path / "m.onnx", ["out"], {})
