"""Runtimes behind one verb: ONNX Runtime's providers, and OpenVINO's own runtime where that package is installed.

Names of runtimes, best first: `tensorrt` (on wish only: it builds engines for minutes), `cuda`, `openvino`, `cpu`.
OpenVINO runs in bfloat16 where the processor has it and the bundle says that its figures hold in it
(`Manifest.bfloat16`); measured in docs/models.md.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from models.bundle import Bundle, BundleError
from models.detections import Floats

RUNTIMES = ("tensorrt", "cuda", "openvino", "cpu")
_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_GPU_MEMORY = 4 * 2**30
_BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})

Shape = list[int | str | None]


class Session(Protocol):
    """A loaded network."""

    inputs: dict[str, Shape]
    outputs: list[Shape]
    metadata: dict[str, str]

    def run(self, tensor: Floats) -> list[Floats]:
        """Return the outputs for float32 (B, 3, H, W), in the file's order."""


def available() -> tuple[str, ...]:
    """Return the runtimes of this machine, best first."""
    there = ort.get_available_providers()
    found = [name for name, provider in _PROVIDERS.items() if provider in there]
    if importlib.util.find_spec("openvino"):
        found.append("openvino")
    return tuple(name for name in RUNTIMES if name in found)


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies in bfloat16 (x86 on Linux; elsewhere nobody has measured it)."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text("ascii", "replace"), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and not _BFLOAT16_FLAGS.isdisjoint(flags.group(1).split())


def choose(wish: str, there: Sequence[str], fast: bool) -> str:
    """Return the runtime for a wish; `auto` takes the first of `cuda`, `openvino`, `cpu` that is there.

    Args:
        wish: `auto` or a name of `RUNTIMES`.
        there: what this machine has.
        fast: that the model may run in bfloat16 and the processor can. Without it OpenVINO is hardly faster than ONNX
            Runtime and takes more memory (docs/models.md), so that `auto` leaves it.

    Raises:
        ValueError: the wish is unknown, or not there.
    """
    if wish == "auto":
        best = ("cuda", "openvino", "cpu") if fast else ("cuda", "cpu")
        return next(name for name in best if name in there)
    if wish not in RUNTIMES:
        raise ValueError(f"model.provider: {wish!r} is unknown; use auto, {', '.join(RUNTIMES)}")
    if wish not in there:
        raise ValueError(f"model.provider: {wish} is not on this machine ({', '.join(there)} are); use auto")
    return wish


def open_session(bundle: Bundle, runtime: str, threads: int, max_batch: int = 16) -> Session:
    """Load the bundle's network. `threads` 0 takes every core.

    Raises:
        BundleError: the runtime cannot load the file.
    """
    path = bundle.onnx_path
    try:
        plain = OrtSession(path, "cpu" if runtime == "openvino" else runtime, threads, max_batch)
        if runtime == "openvino":
            return OpenVinoSession(plain, path, threads, bundle.manifest.bfloat16)
    except Exception as exc:  # the runtimes raise their own undocumented types
        raise BundleError(f"{path}: {runtime} cannot load it: {exc}") from None
    return plain


class OrtSession:
    """ONNX Runtime with one provider and the CPU behind it."""

    def __init__(self, path: Path, runtime: str, threads: int, max_batch: int = 16) -> None:
        options: Any = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning thread burns the core that the decoders need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Planned from a shape's second run on, beside what the first run took: twice the memory, no faster (docs/models.md).
        options.enable_mem_pattern = False
        self._session: Any = ort.InferenceSession(
            str(path), options, providers=_chain(runtime, path, max_batch)
        )
        self.inputs: dict[str, Shape] = {i.name: list(i.shape) for i in self._session.get_inputs()}
        self.outputs: list[Shape] = [list(o.shape) for o in self._session.get_outputs()]
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._name = next(iter(self.inputs))

    def run(self, tensor: Floats) -> list[Floats]:
        """Return the outputs for float32 (B, 3, H, W), in the file's order."""
        outputs: list[Floats] = self._session.run(None, {self._name: tensor})
        return outputs


def _chain(runtime: str, path: Path, max_batch: int) -> list[Any]:
    cpu = "CPUExecutionProvider"
    # The arena grows by what is asked for, not by doubling: several processes may share one GPU.
    cuda = (
        "CUDAExecutionProvider",
        {"arena_extend_strategy": "kSameAsRequested", "gpu_mem_limit": str(_GPU_MEMORY)},
    )
    if runtime == "cuda":
        return [cuda, cpu]
    if runtime == "tensorrt":
        engines = {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(path.parent),
            "trt_fp16_enable": "1",
        }
        return [("TensorrtExecutionProvider", engines | _trt_profile(path, max_batch)), cuda, cpu]
    return [cpu]


def _trt_profile(path: Path, max_batch: int) -> dict[str, str]:
    session: Any = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    if isinstance(entry.shape[0], int):
        return {}
    sizes = "x".join(str(d) for d in entry.shape[1:])
    return {
        f"trt_profile_{what}_shapes": f"{entry.name}:{batch}x{sizes}"
        for what, batch in (("min", 1), ("opt", max_batch), ("max", max_batch))
    }


class OpenVinoSession:
    """OpenVINO's own runtime: one compiled network a batch size, so that every shape is static."""

    def __init__(self, plain: OrtSession, path: Path, threads: int, bfloat16: bool) -> None:
        # Importing OpenVINO would import Intel's usage statistics with it; without that package it goes on alone.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        self.inputs, self.outputs, self.metadata = plain.inputs, plain.outputs, plain.metadata
        self._core: Any = openvino.Core()
        self._path = path
        fast = bfloat16 and "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if fast else "f32"
        self._options = {"INFERENCE_PRECISION_HINT": self.precision, "NUM_STREAMS": 1}
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._requests: dict[tuple[int, ...], Any] = {}

    def run(self, tensor: Floats) -> list[Floats]:
        """Return the outputs for float32 (B, 3, H, W), in the file's order."""
        request = self._requests.get(tensor.shape)
        if request is None:
            network: Any = self._core.read_model(self._path)
            network.reshape(list(tensor.shape))
            request = self._core.compile_model(network, "CPU", self._options).create_infer_request()
            self._requests[tensor.shape] = request
        request.infer([tensor])
        # Copied: the request's own buffers are written again by the next call.
        return [np.array(request.get_output_tensor(i).data, np.float32) for i in range(len(self.outputs))]
