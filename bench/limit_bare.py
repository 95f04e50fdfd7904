"""The bare runtime: the shortest call of a network that a runtime offers, with the tensor at hand and nothing read twice."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import onnxruntime as ort

from models.bundle import Bundle
from models.detections import Floats
from models.gpu import provider_chain
from models.session import session_options


def bare_session(bundle: Bundle, runtime: str, tensor: Floats) -> Callable[[], object]:
    """Return a call that runs the network on `tensor`, float32 (B, 3, H, W), on one thread, and keeps no output.

    On a GPU the tensor lies there already and the outputs stay there.

    Raises:
        RuntimeError: the runtime cannot load the file.
    """
    if runtime == "openvino":
        return _openvino(bundle, tensor)
    size = bundle.manifest.input.size
    chain = provider_chain(runtime, bundle.onnx_path, bundle.sha256, size, len(tensor))
    session: Any = ort.InferenceSession(str(bundle.onnx_path), session_options(1), providers=chain)
    name = session.get_inputs()[0].name
    if runtime == "cpu":
        return lambda: session.run(None, {name: tensor})
    binding = session.io_binding()
    binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(tensor, "cuda", 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cuda", 0)

    def call() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return call


def _openvino(bundle: Bundle, tensor: Floats) -> Callable[[], object]:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    core: Any = openvino.Core()
    network: Any = core.read_model(bundle.onnx_path)
    network.reshape(list(tensor.shape))
    fast = bundle.manifest.bfloat16 and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if fast else "f32",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": 1,
    }
    request = core.compile_model(network, "CPU", options).create_infer_request()
    # Without the copies of input and outputs that the call makes by default: nothing is nearer to the limit.
    return lambda: request.infer([tensor], share_inputs=True, share_outputs=True)
