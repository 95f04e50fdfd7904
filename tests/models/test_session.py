"""OpenVINO answers as ONNX Runtime does, within what bfloat16 costs."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from model_parts import bundle_of, yolo_output

from models.bundle import Bundle, load_bundle
from models.detector import Detector
from models.session import OpenVinoSession, available, open_session


def test_the_cpu_is_always_there() -> None:
    assert available()[-1] == "cpu"


with_openvino = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="OpenVINO is installed on x86-64 Linux alone",
)


@with_openvino
@pytest.mark.parametrize(("bfloat16", "worst"), [(False, 1e-3), (True, 0.05)])
def test_openvino_agrees(bfloat16: bool, worst: float) -> None:
    whole = load_bundle()
    bundle = Bundle(whole.folder, whole.manifest.model_copy(update={"bfloat16": bfloat16}))
    picture = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    tensor = Detector(bundle, "cpu").tensor([picture])
    wanted = open_session(bundle, "cpu", 1).run(tensor)[0]
    got = open_session(bundle, "openvino", 1).run(tensor)[0]
    # Scores alone: boxes are in pixels, and bfloat16 moves those of doubtful anchors by several.
    assert np.abs(got - wanted)[:, 4:].max() < worst
    if not bfloat16:
        assert np.abs(got - wanted)[:, :4].max() < 0.1


@with_openvino
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("scale", [255.0, 1.0])
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (360, 640)])
def test_openvino_makes_the_same_input_of_a_picture(
    colour: str, scale: float, shape: tuple[int, int]
) -> None:
    whole = load_bundle()
    given = whole.manifest.input.model_copy(update={"colour": colour, "scale": scale})
    bundle = Bundle(whole.folder, whole.manifest.model_copy(update={"bfloat16": False, "input": given}))
    picture = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    picture[:, :, 0] //= 4
    detector = Detector(bundle, "openvino")
    wanted = open_session(bundle, "cpu", 1).run(detector.tensor([picture]))
    height, width = detector.tensor([picture]).shape[2:]
    room = detector._session.room(1, height, width)
    assert (room.shape, room.dtype) == ((1, height, width, 3), np.uint8)
    detector._fill(room[0], picture)
    for got, want in zip(detector._session.run(room), wanted, strict=True):
        assert np.abs(got - want).max() < 1e-3 * max(1.0, float(np.abs(want).max()))


@with_openvino
@pytest.mark.parametrize("count", [1, 3, 4])
def test_openvino_in_batches(tmp_path: Path, count: int) -> None:
    detector = Detector(bundle_of(tmp_path, [yolo_output([(32, 32, 20, 20)], [1], [0.9])]), "openvino")
    detector.warm()
    assert isinstance(detector._session, OpenVinoSession)
    assert set(detector._session._requests) == {(b, 64, 64, 3) for b in (1, 2, 4)}
    found = detector.detect([np.zeros((64, 64, 3), np.uint8)] * count)
    assert [len(f) for f in found] == [1] * count
    # The next call writes the session's outputs again, and nothing of what was found lies in them.
    size = min(s for s in (1, 2, 4) if s >= count)
    outputs = detector._session.run(np.zeros((size, 64, 64, 3), np.uint8))
    again = detector._session.run(np.zeros((size, 64, 64, 3), np.uint8))
    assert np.shares_memory(outputs[0], again[0])
    parts = [part for f in found for part in (f.boxes, f.scores, f.classes)]
    assert not any(np.shares_memory(part, outputs[0]) for part in parts)


@pytest.mark.parametrize(
    ("provider", "threads", "wide", "square"),
    [
        ("cpu", 1, {1}, {1}),
        ("cpu", 2, {1, 2, 4}, {1, 2, 4}),
        pytest.param("openvino", 1, {1, 2, 4}, {1, 2}, marks=with_openvino),
        pytest.param("openvino", 2, {1, 2, 4}, {1, 2, 4}, marks=with_openvino),
    ],
)
def test_one_thread_of_a_cpu_takes_no_batch_that_gains_nothing(
    tmp_path: Path, provider: str, threads: int, wide: set[int], square: set[int]
) -> None:
    boxes = [yolo_output([(320, 192, 64, 64)], [1], [0.9])]
    bundle = bundle_of(tmp_path, boxes, size=(640, 640), free=True)
    detector = Detector(bundle, provider, threads, max_batch=4)
    assert (set(detector.batches((640, 384))), set(detector.batches((640, 640)))) == (wide, square)
    pictures = [np.zeros((height, width, 3), np.uint8) for width, height in [(640, 360), (352, 288)] * 3]
    assert [len(found) for found in detector.detect(pictures)] == [1] * 6


@with_openvino
def test_openvino_comes_without_its_usage_statistics() -> None:
    code = (
        "import sys; from models.bundle import load_bundle; from models.session import open_session; "
        "open_session(load_bundle('centernet'), 'openvino', 1); "
        "print([m for m, loaded in sys.modules.items() if m.startswith('openvino_telemetry') and loaded])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
