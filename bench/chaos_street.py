"""The street of the chaos bench: looping clips over RTSP, a box's file for them, and a net that knows their cars.

Each camera sees two places; a car stands in each for half of the loop. All cameras play as live ones do: who connects
again later has missed what was shown meanwhile. So it is known which car stood where at which moment.
"""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.chaos_truth import Stay
from camera_adapters.testing.loopcam import Camera
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam
from models.bundle import ClassSpec, Family, InputSpec, Manifest, Provenance, write_manifest

WIDTH, HEIGHT, FPS = 320, 240, 10
CAR_W, CAR_H, STEP = 72, 48, 8
# Centres of the places on the net's grid, and when a car stands there: shares of the loop. Zones are the picture's halves.
PLACES = {"left": (96, 120, 0.10, 0.60), "right": (232, 160, 0.50, 1.00)}
ZONES = {
    "left": [[0.1, 0.3], [0.48, 0.3], [0.48, 0.8], [0.1, 0.8]],
    "right": [[0.52, 0.4], [0.95, 0.4], [0.95, 0.95], [0.52, 0.95]],
}


class Street:
    """Cameras that are live from `start` on, with a made street of `cameras` views and loops of `loop_s`."""

    def __init__(self, folder: Path, cameras: int, loop_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._loop_s = loop_s
        self._empty = RtpClip(street_clip(folder / "empty.mp4", 6.0, empty=True))
        # Each camera is at another point of the loop, so that something happens all the time.
        began = time.monotonic()
        self._since = {f"cam{i}": began - i * loop_s / cameras for i in range(cameras)}
        self._cameras = {
            name: Camera(RtpClip(street_clip(folder / f"{name}.mp4", loop_s, seed=i)), live_since=since)
            for i, (name, since) in enumerate(self._since.items())
        }
        self._server = ServedLoopCam(self._cameras)
        self._server.__enter__()

    def urls(self) -> dict[str, str]:
        """Return the address of each camera."""
        return {name: self._server.url(name) for name in self._cameras}

    def clear(self) -> None:
        """From the next connection on, nothing stands anywhere."""
        for camera in self._cameras.values():
            camera.clip, camera.live_since = self._empty, None

    def stays(self, until: float) -> list[Stay]:
        """Return which cars stood where up to a monotonic moment, in order for each place."""
        out = []
        for camera, since in self._since.items():
            for zone, (_, _, come, go) in PLACES.items():
                begin = since
                while begin < until:
                    stay = Stay(camera, zone, begin + come * self._loop_s, begin + go * self._loop_s)
                    if stay.begin < until:
                        out.append(stay)
                    begin += self._loop_s
        return out

    def close(self) -> None:
        """End the cameras."""
        self._server.__exit__(None, None, None)


def box_file(
    path: Path,
    data: Path,
    bundle: Path,
    api: tuple[str, Path],
    cameras: dict[str, str],
    seal_to: str,
    confirm_s: float,
) -> Path:
    """Write the YAML of a box on these cameras; `api` is address and token file."""
    policy = {"candidate_s": 1, "confirm_s": confirm_s, "cooldown_s": 5}
    entries: list[dict[str, Any]] = [
        {
            "id": name,
            "url": url,
            "lens_preset": "wide",
            # A kilometre apart: no two are one case.
            "place": {"lon": 100 + i * 0.01, "lat": 20.0},
            "zones": [
                {"id": zone, "kind": "no_parking", "street_class": "control", "polygon": polygon}
                for zone, polygon in ZONES.items()
            ],
            "policy": {"parking.motor": policy},
            # A made street has no sensor noise and comes again: rightly, the check would call it frozen or looped.
            "view_check": {"enabled": False},
            "sampling": {
                "quiet_interval_s": 1,
                "dense_interval_s": 0.4,
                "hold_s": 3,
                "heartbeat_s": 2,
                "promise_s": 6,
            },
            "clip": {"pre_s": 2, "post_s": 2, "ring_mib": 4},
        }
        for i, (name, url) in enumerate(cameras.items())
    ]
    box = {
        "device": "chaos-box",
        "data_dir": str(data),
        "api": {"url": api[0], "token_file": str(api[1]), "heartbeat_s": 5},
        "model": {"bundle": str(bundle)},
        "privacy": {"seal_to": seal_to},
        "cameras": entries,
    }
    path.write_text(yaml.safe_dump(box, sort_keys=False), encoding="utf-8")
    path.chmod(0o600)
    return path


def make_bundle(folder: Path) -> Path:
    """Write a bundle whose net finds red cars of one size on grey ground, and return its folder.

    Redness averaged over a car's size is the heat, a peak's sides are a car's halves. It stands in for a detector, whose
    quality is not in question here, at a hundredth of its cost; everything round it is the box's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        "red": np.array([1.5, -0.75, -0.75], np.float32).reshape(1, 3, 1, 1),
        "none": np.zeros(1, np.float32),
        "sides": np.array([CAR_W / 2, CAR_H / 2] * 2, np.float32).reshape(1, 4, 1, 1),
        "low": np.float32(0.0),
        "high": np.float32(1.0),
    }
    rest_w = STEP * (WIDTH // STEP - 1) + CAR_W - WIDTH - CAR_W // 2
    rest_h = STEP * (HEIGHT // STEP - 1) + CAR_H - HEIGHT - CAR_H // 2
    nodes = [
        helper.make_node("Conv", ["images", "red"], ["redness"]),
        helper.make_node("Relu", ["redness"], ["positive"]),
        helper.make_node(
            "AveragePool", ["positive"], ["mean"], kernel_shape=[CAR_H, CAR_W], strides=[STEP, STEP],
            pads=[CAR_H // 2, CAR_W // 2, rest_h, rest_w], count_include_pad=1,
        ),
        helper.make_node("Clip", ["mean", "low", "high"], ["heat"]),
        helper.make_node("Mul", ["heat", "none"], ["zero"]),
        helper.make_node("Add", ["zero", "sides"], ["box"]),
    ]  # fmt: skip
    cells = (HEIGHT // STEP, WIDTH // STEP)
    graph = helper.make_graph(
        nodes,
        "red-cars",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, HEIGHT, WIDTH])],
        [
            helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["n", 1, *cells]),
            helper.make_tensor_value_info("box", TensorProto.FLOAT, ["n", 4, *cells]),
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))
    manifest = Manifest(
        name="red-cars",
        version="1",
        family=Family.CENTERNET,
        input=InputSpec(name="images", width=WIDTH, height=HEIGHT),
        classes=(ClassSpec(name="car", index=0, role="vehicle", threshold=0.45),),
        provenance=(Provenance(what="weights", source="written by hand", licence="AGPL-3.0-or-later"),),
        files={"model.onnx": "0" * 64},
    )
    write_manifest(folder, manifest)
    return folder


def picture_of(share: float, noise: NDArray[np.integer[Any]], empty: bool = False) -> NDArray[np.uint8]:
    """Return the street at a share of the loop: RGB uint8 (HEIGHT, WIDTH, 3)."""
    coarse = np.random.default_rng(7).integers(70, 130, (HEIGHT // 8, WIDTH // 8))
    ground = np.kron(coarse, np.ones((8, 8), np.int64)) + noise
    picture = np.repeat(np.clip(ground, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    for x, y, come, go in PLACES.values():
        if come <= share < go and not empty:
            x1, y1 = x - CAR_W // 2, y - CAR_H // 2
            picture[y1 : y1 + CAR_H, x1 : x1 + CAR_W] = (205, 30, 30)
            picture[y1 + 6 : y1 + 18, x1 + 12 : x1 + CAR_W - 12] = (60, 60, 70)
            picture[y1 + CAR_H - 8 : y1 + CAR_H, x1 + 8 : x1 + 20] = (20, 20, 20)
            picture[y1 + CAR_H - 8 : y1 + CAR_H, x1 + CAR_W - 20 : x1 + CAR_W - 8] = (20, 20, 20)
    return picture


def street_clip(path: Path, seconds: float, empty: bool = False, seed: int = 11) -> Path:
    """Write the street of one loop of `seconds`, or an empty one, and return its path."""
    rng, total = np.random.default_rng(seed), round(seconds * FPS)
    with av.open(str(path), "w") as out:
        options = {
            "preset": "veryfast",
            "tune": "zerolatency",
            "crf": "23",
            "g": str(FPS),
            "sc_threshold": "0",
        }
        stream = out.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for n in range(total):
            # Noise that differs from picture to picture: two alerts share a picture only if it is the same one of a loop.
            picture = picture_of(n / total, rng.integers(-6, 7, (HEIGHT, WIDTH)), empty)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
