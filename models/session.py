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
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.bundle import Bundle, BundleError, Manifest
from models.detections import Floats
from models.gpu import PROVIDERS, Bound, provider_chain

RUNTIMES = ("tensorrt", "cuda", "openvino", "cpu")
_BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})

Shape = list[int | str | None]
Pictures = NDArray[np.uint8]
Value = TypeVar("Value", bound=np.generic)


class Session(Protocol):
    """A loaded network."""

    inputs: dict[str, Shape]
    outputs: list[Shape]
    metadata: dict[str, str]

    def room(self, count: int, height: int, width: int) -> Floats | Pictures:
        """Return memory for so many pictures, the same at every call: filled and given to `run`.

        It is the network's input, float32 (B, 3, H, W), or, of a runtime that takes pictures, uint8 (B, H, W, 3) in RGB from
        0 to 255, from which the runtime makes that input.
        """

    def run(self, tensor: Floats | Pictures) -> list[Floats]:
        """Return the outputs for an input float32 (B, 3, H, W) or for what `room` gives, in the file's order; they hold until the next call."""


def available() -> tuple[str, ...]:
    """Return the runtimes of this machine, best first."""
    there = ort.get_available_providers()
    found = [name for name, provider in PROVIDERS.items() if provider in there]
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


def open_session(
    bundle: Bundle, runtime: str, threads: int, max_batch: int = 16, engines: Path | None = None
) -> Session:
    """Load the bundle's network. `threads` 0 takes every core; `engines` keeps what TensorRT built.

    Raises:
        BundleError: the runtime cannot load the file.
    """
    path = bundle.onnx_path
    size = bundle.manifest.input.size
    try:
        chain = provider_chain(
            "cpu" if runtime == "openvino" else runtime, path, bundle.sha256, size, max_batch, engines
        )
        plain = OrtSession(path, chain, threads)
        if runtime == "openvino":
            return OpenVinoSession(plain, path, threads, bundle.manifest)
    except Exception as exc:  # the runtimes raise their own undocumented types
        raise BundleError(f"{path}: {runtime} cannot load it: {exc}") from None
    return plain


def session_options(threads: int) -> Any:
    """Return ONNX Runtime's options; `threads` 0 takes every core."""
    options: Any = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning thread burns the core that the decoders need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Planned from a shape's second run on, beside what the first run took: twice the memory, no faster (docs/models.md).
    options.enable_mem_pattern = False
    return options


class _Rooms(Generic[Value]):
    """The input's memory of each shape, so that none is allocated and mapped anew in every run."""

    def __init__(self, kind: type[Value]) -> None:
        self._kind, self._rooms = kind, dict[tuple[int, ...], NDArray[Value]]()

    def __call__(self, shape: tuple[int, ...]) -> NDArray[Value]:
        room = self._rooms.get(shape)
        if room is None:
            room = self._rooms[shape] = np.empty(shape, self._kind)
        return room


class OrtSession:
    """ONNX Runtime with a chain of providers (`models.gpu.provider_chain`), by default the CPU's alone."""

    def __init__(self, path: Path, chain: Sequence[Any] = (PROVIDERS["cpu"],), threads: int = 1) -> None:
        self._session: Any = ort.InferenceSession(str(path), session_options(threads), providers=list(chain))
        self.inputs: dict[str, Shape] = {i.name: list(i.shape) for i in self._session.get_inputs()}
        self.outputs: list[Shape] = [list(o.shape) for o in self._session.get_outputs()]
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._name, self._rooms = next(iter(self.inputs)), _Rooms(np.float32)
        self._bound = Bound(self._session, "cuda") if len(chain) > 1 else None

    def room(self, count: int, height: int, width: int) -> Floats:
        """Return float32 memory for the input (B, 3, H, W), the same at every call."""
        shape = count, 3, height, width
        return self._bound.room(shape) if self._bound is not None else self._rooms(shape)

    def run(self, tensor: Floats | Pictures) -> list[Floats]:
        """Return the outputs for float32 (B, 3, H, W), in the file's order."""
        if self._bound is not None:
            return self._bound.run(np.asarray(tensor, np.float32))
        outputs: list[Floats] = self._session.run(None, {self._name: tensor})
        return outputs


class OpenVinoSession:
    """OpenVINO's own runtime: one compiled network a batch size, so that every shape is static.

    It takes pictures as they are: a quarter of the memory of their numbers, which were written, read and rounded once more for nothing.
    """

    def __init__(self, plain: OrtSession, path: Path, threads: int, manifest: Manifest) -> None:
        # Importing OpenVINO would import Intel's usage statistics with it; without that package it goes on alone.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        self.inputs, self.outputs, self.metadata = plain.inputs, plain.outputs, plain.metadata
        self._core: Any = openvino.Core()
        self._path = path
        self._spec = manifest.input
        fast = manifest.bfloat16 and "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if fast else "f32"
        self._options = {"INFERENCE_PRECISION_HINT": self.precision, "NUM_STREAMS": 1}
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._requests: dict[tuple[int, ...], Any] = {}
        self._rooms = _Rooms(np.uint8)

    def room(self, count: int, height: int, width: int) -> Pictures:
        """Return uint8 memory for so many RGB pictures (B, H, W, 3), the same at every call."""
        return self._rooms((count, height, width, 3))

    def run(self, tensor: Floats | Pictures) -> list[Floats]:
        """Return the outputs for uint8 (B, H, W, 3) or float32 (B, 3, H, W), in the file's order; the next call of the same shape writes them again."""
        request = self._requests.get(tensor.shape)
        if request is None:
            network = self._network(tensor)
            request = self._core.compile_model(network, "CPU", self._options).create_infer_request()
            self._requests[tensor.shape] = request
        # Read where it lies; the call ends before the caller fills it again.
        # Nor are the outputs copied: 1.7 MB of YOLO11n a picture, twice, into memory that is mapped anew for each run.
        request.infer([tensor], share_inputs=True, share_outputs=True)
        return [np.asarray(request.get_output_tensor(i).data, np.float32) for i in range(len(self.outputs))]

    def _network(self, tensor: Floats | Pictures) -> Any:
        network: Any = self._core.read_model(self._path)
        if tensor.dtype != np.uint8:
            network.reshape(list(tensor.shape))
            return network
        from openvino import Layout, Type
        from openvino.preprocess import ColorFormat, PrePostProcessor

        count, height, width, colours = tensor.shape
        network.reshape([count, colours, height, width])
        steps: Any = PrePostProcessor(network)
        given = steps.input()
        given.tensor().set_element_type(Type.u8).set_layout(Layout("NHWC")).set_color_format(ColorFormat.RGB)
        given.model().set_layout(Layout("NCHW"))
        made = given.preprocess().convert_element_type(Type.f32)
        if self._spec.colour == "bgr":
            made = made.convert_color(ColorFormat.BGR)
        if self._spec.scale != 1:
            made.scale(self._spec.scale)
        return steps.build()
