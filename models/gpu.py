"""ONNX Runtime on a GPU: providers' options, TensorRT's engines kept by hash, inputs and outputs bound to fixed memory.

Written to ONNX Runtime's documentation. The binding runs on the CPU in the tests; none of it has run on a GPU yet.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from models.detections import Floats

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
GPU_MEMORY = 4 * 2**30
# Models whose engines are kept: the one at work, the one before, and a candidate on trial.
ENGINES_KEPT = 3


def provider_chain(
    runtime: str,
    path: Path,
    sha256: str,
    size: tuple[int, int],
    max_batch: int,
    engines: Path | None = None,
) -> list[Any]:
    """Return ONNX Runtime's providers with their options, the first choice first and the CPU last.

    Args:
        runtime: `tensorrt`, `cuda` or `cpu`.
        path: the ONNX file, whose input TensorRT must know in every batch size up to `max_batch`.
        sha256: the file's hash, by which TensorRT's engines are kept.
        size: width and height of the input in pixels: the file may leave them free, an engine here does not.
        max_batch: the largest batch.
        engines: folder of the engines, by default that of `engine_home`.
    """
    cpu = PROVIDERS["cpu"]
    # The arena grows by what is asked for, not by doubling: several processes may share one GPU. Every batch size is
    # run once at the start, so that cuDNN's exhaustive search is paid there. Copies go in the stream of the kernels.
    cuda = (
        PROVIDERS["cuda"],
        {
            "arena_extend_strategy": "kSameAsRequested",
            "gpu_mem_limit": str(GPU_MEMORY),
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "do_copy_in_default_stream": "1",
        },
    )
    if runtime == "cuda":
        return [cuda, cpu]
    if runtime != "tensorrt":
        return [cpu]
    options = {"trt_fp16_enable": "1", **_profile(path, size, max_batch)}
    folder = str(engine_folder(engines or engine_home(), sha256, options))
    cache = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }
    return [(PROVIDERS["tensorrt"], options | cache), cuda, cpu]


def engine_home() -> Path:
    """Return the folder of all engines: `CURBWATCH_ENGINES`, else the user's cache."""
    told = os.environ.get("CURBWATCH_ENGINES")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(told) if told else Path(cache) / "curbwatch" / "engines"


def engine_folder(home: Path, sha256: str, options: dict[str, str]) -> Path:
    """Return (and make) the folder of one model's engines; those of all but the latest `ENGINES_KEPT` models go.

    The name holds the model's hash, what TensorRT was asked for and the runtime's version: an engine is never taken
    for another model's. The GPU's architecture is in the name that ONNX Runtime gives the engine itself.
    """
    asked = json.dumps({**options, "onnxruntime": ort.__version__}, sort_keys=True)
    folder = home / f"{sha256[:32]}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    others = sorted(
        (f for f in home.iterdir() if f.is_dir() and f != folder), key=lambda f: f.stat().st_mtime
    )
    for old in others[: max(0, len(others) - ENGINES_KEPT + 1)]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _profile(path: Path, size: tuple[int, int], max_batch: int) -> dict[str, str]:
    session: Any = ort.InferenceSession(str(path), providers=[PROVIDERS["cpu"]])
    entry = session.get_inputs()[0]
    if all(isinstance(d, int) for d in entry.shape):
        return {}
    fixed = entry.shape[0] if isinstance(entry.shape[0], int) else None
    return {
        f"trt_profile_{what}_shapes": f"{entry.name}:{fixed or batch}x3x{size[1]}x{size[0]}"
        for what, batch in (("min", 1), ("opt", max_batch), ("max", max_batch))
    }


class Bound:
    """A session whose input and outputs of each batch size stay at one place, so that nothing is allocated in a run.

    The input lies in page-locked memory where the runtime offers it: the GPU fetches it by itself, without the copy to
    a locked page that pageable memory costs. The outputs are made on the device and copied back in one go.
    """

    def __init__(self, session: Any, device: str) -> None:
        """`session` is an `onnxruntime.InferenceSession`; `device` is `cuda`, or `cpu` in tests."""
        self._session, self._device = session, device
        self._name: str = session.get_inputs()[0].name
        self._outputs: list[str] = [o.name for o in session.get_outputs()]
        self._bound: dict[tuple[int, ...], tuple[Any, Any, Floats]] = {}

    def room(self, shape: tuple[int, ...]) -> Floats:
        """Return the float32 memory of the input of this shape: what `run` reads without copying it first."""
        return self._binding(shape)[2]

    def run(self, tensor: Floats) -> list[Floats]:
        """Return the outputs for float32 (B, 3, H, W), in the file's order; they are the caller's own."""
        binding, _, memory = self._binding(tensor.shape)
        if tensor is not memory:
            np.copyto(memory, tensor)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding)
        outputs: list[Floats] = binding.copy_outputs_to_cpu()
        return outputs

    def _binding(self, shape: tuple[int, ...]) -> tuple[Any, Any, Floats]:
        found = self._bound.get(shape)
        if found is None:
            value = host_value(shape, self._device)
            binding = self._session.io_binding()
            binding.bind_ortvalue_input(self._name, value)
            for name in self._outputs:
                binding.bind_output(name, self._device)
            found = self._bound[shape] = (binding, value, _view(value, shape))
        return found


def host_value(shape: tuple[int, ...], device: str) -> Any:
    """Return an OrtValue float32 of `shape` in host memory, page-locked for `device` where the runtime offers that."""
    for info in _locked(device):
        try:
            return ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, memory_info=info)
        except Exception:  # noqa: S112 - the runtime raises its own undocumented types; pageable memory does as well
            continue
    return ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32)


def _locked(device: str) -> list[Any]:
    if device == "cpu" or not hasattr(ort, "get_ep_devices"):
        return []
    mine = [d for d in ort.get_ep_devices() if d.ep_name in PROVIDERS.values()]
    kind = getattr(ort, "OrtDeviceMemoryType", None)
    return [i for d in mine if kind and (i := d.memory_info(kind.HOST_ACCESSIBLE)) is not None]


def _view(value: Any, shape: tuple[int, ...]) -> Floats:
    """Return the memory of a host OrtValue as an array, not as a copy; the value must outlive it."""
    memory = (ctypes.c_float * int(np.prod(shape))).from_address(value.data_ptr())
    return np.ctypeslib.as_array(memory).reshape(shape)
