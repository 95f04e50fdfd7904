"""A bundle is refused with the reason where anything of it is not what the manifest says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from model_parts import bundle_of, constant_onnx, yolo_output

from models.bundle import BundleError, Family, Manifest, embedded, load_bundle
from models.detector import Detector
from models.read_onnx import about, class_names
from models.session import OrtSession, choose, has_bfloat16

ONE = yolo_output([(32, 32, 20, 20)], [1], [0.9])


def _edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "manifest.json"
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return apply


def _flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_flip_a_byte, "SHA-256"),
        (lambda f: (f / "model.onnx").unlink(), "incomplete"),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json: cannot be read"),
        (lambda f: (f / "manifest.json").write_text("{"), "JSON"),
        (_edit(lambda d: d.update(family="ssd")), "family"),
        (_edit(lambda d: d.update(format=2)), "format"),
        (_edit(lambda d: d.update(surprise=1)), "surprise"),
        (_edit(lambda d: d["classes"][0].update(threshold=1.5)), "classes.0.threshold"),
        (_edit(lambda d: d["classes"].append(d["classes"][0])), "twice"),
        (_edit(lambda d: d["files"].update({"../evil": "0" * 64})), "no plain file name"),
        (_edit(lambda d: d.update(files={})), "no SHA-256"),
    ],
)
def test_refused_with_the_reason(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    bundle_of(tmp_path, [ONE])
    damage(tmp_path)
    with pytest.raises(BundleError, match=words):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["input"].update(name="pixels"), "input.name"),
        (lambda d: d["input"].update(width=96), "the model takes"),
        (lambda d: d.update(family="yolox"), "family"),
        (lambda d: d.update(family="yolo_end2end"), "family"),
        (lambda d: d.update(family="centernet"), "family"),
        (lambda d: d["classes"][0].update(index=3), "channel 3"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    bundle_of(tmp_path, [ONE])
    _edit(change)(tmp_path)
    with pytest.raises(BundleError, match=words):
        Detector(load_bundle(tmp_path), "cpu")


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, [ONE])
    bundle.onnx_path.write_bytes(b"no network")
    with pytest.raises(BundleError, match="cannot load"):
        Detector(bundle, "cpu")


def test_the_embedded_default_is_whole_and_small() -> None:
    bundle = load_bundle()
    assert bundle.onnx_path.stat().st_size <= 12_000_000
    assert {"person", "vehicle"} <= {c.role for c in bundle.manifest.classes}
    assert all(p.licence for p in bundle.manifest.provenance)
    assert (embedded() / "card.md").exists() or (embedded() / "CARD.md").exists()


def test_the_published_schema_is_the_manifests_and_the_default_fits_it() -> None:
    published = json.loads((Path(__file__).parents[2] / "docs/schema/bundle.json").read_text("utf-8"))
    assert published == Manifest.model_json_schema(), "run: make schema"
    jsonschema.validate(json.loads((embedded() / "manifest.json").read_text("utf-8")), published)


def test_the_manifest_has_a_json_schema() -> None:
    schema = Manifest.model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) >= {"name", "version", "family", "input", "classes", "files"}


@pytest.mark.parametrize(
    ("outputs", "metadata", "family", "channels"),
    [
        (
            [np.zeros((1, 84, 84), np.float32)],
            {"names": repr(dict.fromkeys(range(80), "x"))},
            Family.YOLO,
            80,
        ),
        ([np.zeros((1, 7, 84), np.float32)], {}, Family.YOLO, 3),
        ([np.zeros((1, 300, 6), np.float32)], {"end2end": "True"}, Family.YOLO_END2END, None),
        ([np.zeros((1, 84, 85), np.float32)], {}, Family.YOLOX, 80),
        (
            [np.zeros((1, 80, 16, 16), np.float32), np.zeros((1, 4, 16, 16), np.float32)],
            {},
            Family.CENTERNET,
            80,
        ),
        (
            [np.zeros((1, 4, 16, 16), np.float32), np.zeros((1, 9, 16, 16), np.float32)],
            {},
            Family.CENTERNET,
            9,
        ),
    ],
)
def test_the_family_is_read_from_the_file(
    tmp_path: Path,
    outputs: list[Any],
    metadata: dict[str, str],
    family: Family,
    channels: int | None,
) -> None:
    read = about(OrtSession(constant_onnx(tmp_path / "m.onnx", outputs, metadata=metadata), "cpu", 1))
    assert (read.family, read.channels, read.size, read.input_name) == (family, channels, (64, 64), "images")


@pytest.mark.parametrize(
    ("outputs", "metadata", "words"),
    [
        ([np.zeros((1, 300, 6), np.float32)], {}, "fit none of"),
        ([np.zeros((1, 300, 7), np.float32)], {"end2end": "True"}, "fit none of"),
        ([np.zeros((1, 7, 84), np.float32)], {"names": "{0: 'a'"}, "metadata names"),
    ],
)
def test_an_unknown_family_is_not_guessed(
    tmp_path: Path, outputs: list[Any], metadata: dict[str, str], words: str
) -> None:
    session = OrtSession(constant_onnx(tmp_path / "m.onnx", outputs, metadata=metadata), "cpu", 1)
    with pytest.raises(BundleError, match=words):
        about(session)


@pytest.mark.parametrize(
    ("text", "names"),
    [("{0: 'a', 1: 'b'}", {0: "a", 1: "b"}), ("['a']", {0: "a"}), ("", {})],
)
def test_class_names(text: str, names: dict[int, str]) -> None:
    assert class_names({"names": text}) == names


@pytest.mark.parametrize(
    ("wish", "there", "fast", "got"),
    [
        ("auto", ("cuda", "openvino", "cpu"), True, "cuda"),
        ("auto", ("tensorrt", "openvino", "cpu"), True, "openvino"),
        ("auto", ("openvino", "cpu"), False, "cpu"),
        ("openvino", ("openvino", "cpu"), False, "openvino"),
        ("auto", ("cpu",), True, "cpu"),
        ("cpu", ("cuda", "cpu"), True, "cpu"),
    ],
)
def test_the_runtime_that_is_chosen(wish: str, there: tuple[str, ...], fast: bool, got: str) -> None:
    assert choose(wish, there, fast) == got


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("processor : 0\nflags\t\t: fpu avx512_bf16 sse\n", True),
        ("flags : fpu amx_bf16\n", True),
        ("flags : fpu avx512f\nmodel name : amx_bf16\n", False),
        ("", False),
    ],
)
def test_a_processor_with_bfloat16_is_known_by_its_flags(tmp_path: Path, text: str, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bfloat16(tmp_path / "cpuinfo") is has
    assert not has_bfloat16(tmp_path / "nowhere")


@pytest.mark.parametrize(("wish", "words"), [("coreml", "unknown"), ("cuda", "not on this machine")])
def test_a_runtime_that_is_not_there(wish: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choose(wish, ("cpu",), False)
