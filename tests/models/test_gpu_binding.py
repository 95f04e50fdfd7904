"""What a GPU is asked for, and that bound memory gives the same answers: the binding itself runs on the CPU here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from model_parts import bundle_of, yolo_output

from models.bundle import load_bundle
from models.gpu import ENGINES_KEPT, Bound, engine_folder, provider_chain


def bound(name: str = "centernet") -> tuple[Bound, ort.InferenceSession]:
    session = ort.InferenceSession(str(load_bundle(name).onnx_path), providers=["CPUExecutionProvider"])
    return Bound(session, "cpu"), session


def test_bound_memory_gives_what_a_plain_run_gives() -> None:
    binding, session = bound()
    rng = np.random.default_rng(0)
    for batch in (1, 2, 1):
        tensor = rng.random((batch, 3, 512, 512), np.float32)
        room = binding.room(tensor.shape)
        room[:] = tensor
        wanted = session.run(None, {session.get_inputs()[0].name: tensor})
        for got in (binding.run(room), binding.run(tensor)):
            assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_a_room_stays_where_it_is_and_answers_are_the_callers_own() -> None:
    binding, _ = bound()
    room = binding.room((1, 3, 512, 512))
    room[:] = 0.5
    first = binding.run(room)
    kept = [a.copy() for a in first]
    assert binding.room((1, 3, 512, 512)) is room
    room[:] = np.random.default_rng(1).random(room.shape, np.float32)
    again = binding.run(room)
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True))
    assert not np.array_equal(again[0], kept[0])


@pytest.mark.parametrize("free", [True, False])
def test_tensorrt_keeps_its_engines_by_hash_and_knows_every_batch(tmp_path: Path, free: bool) -> None:
    bundle = bundle_of(tmp_path / "model", [yolo_output([(32, 32, 20, 20)], [1], [0.9])], free=free)
    chain = provider_chain("tensorrt", bundle.onnx_path, bundle.sha256, (64, 64), 8, tmp_path / "engines")
    names = [c if isinstance(c, str) else c[0] for c in chain]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    options = chain[0][1]
    assert options["trt_profile_min_shapes"] == "images:1x3x64x64"
    assert options["trt_profile_max_shapes"] == "images:8x3x64x64"
    folder = Path(options["trt_engine_cache_path"])
    assert folder.is_dir()
    assert folder.name.startswith(bundle.sha256[:32])
    assert options["trt_timing_cache_path"] == str(folder)
    # The bundle's own folder may be read-only, and is verified by its files.
    assert bundle.folder not in folder.parents


@pytest.mark.parametrize(
    ("sha256", "options", "same"),
    [("a" * 64, {"x": "1"}, True), ("b" * 64, {"x": "1"}, False), ("a" * 64, {"x": "2"}, False)],
)
def test_an_engine_is_for_one_model_and_one_wish(
    tmp_path: Path, sha256: str, options: dict[str, str], same: bool
) -> None:
    first = engine_folder(tmp_path, "a" * 64, {"x": "1"})
    assert (engine_folder(tmp_path, sha256, options) == first) is same


def test_old_engines_go(tmp_path: Path) -> None:
    for i in range(ENGINES_KEPT + 3):
        folder = engine_folder(tmp_path, f"{i:x}" * 64, {})
        os.utime(folder, (1e9 + i, 1e9 + i))
    left = sorted(f.name[0] for f in tmp_path.iterdir())
    assert left == ["3", "4", "5"]


def test_cuda_has_the_cpu_behind_it_and_a_bound_memory(tmp_path: Path) -> None:
    cuda, cpu = provider_chain("cuda", tmp_path / "none.onnx", "0" * 64, (64, 64), 4)
    assert cuda[0] == "CUDAExecutionProvider"
    assert cuda[1]["arena_extend_strategy"] == "kSameAsRequested"
    assert int(cuda[1]["gpu_mem_limit"]) == 4 * 2**30
    assert cpu == "CPUExecutionProvider"
