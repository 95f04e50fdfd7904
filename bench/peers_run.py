"""The same streams and the same weights, through Curbwatch and through its peers, one after another in one run.

Peers live in a Python of their own (`bench/peers/requirements.txt`), since they bring torch and more with them.
Each gets one core, as the box does; the cameras play on another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.street_video import ZONE, StreetClip
from bench.throughput import CONFIRM_S, PROMISE_S, WARM_S, Profile, cameras_at, split_cores, stood_at, streets

PEERS = ("ultralytics_stream", "inference_pipeline", "supervision_loop")


@dataclass
class PeerTrial:
    """One peer on `cameras` streams, looking at every `stride`-th frame."""

    peer: str
    cameras: int
    stride: int
    kept: int
    cores: float
    looks_per_camera_s: float
    rss_mib: float
    error: str = ""

    @property
    def good(self) -> bool:
        """True when every van was found in time."""
        return self.kept == self.cameras


def peer_trial(
    python: Path,
    peer: str,
    model: Path,
    folder: Path,
    clips: tuple[StreetClip, StreetClip],
    cameras: int,
    stride: int,
    seconds: float = 110.0,
    profile: Profile = "main",
    settle_s: float = 0.0,
) -> PeerTrial:
    """Run one peer. A peer that fails or does not end counts as having kept nothing, with its last words.

    With the profile `sub` it reads the sub streams alone, as it has no use for a second one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cores, cam_core = split_cores()
    plan, out = streets(clips, cameras, profile, settle_s), folder / "peer.json"
    names = [f"cam{i}-sub" if profile == "sub" else f"cam{i}" for i in range(cameras)]
    error = ""
    with cameras_at(folder, plan, cam_core) as port:
        told = {
            "urls": [f"rtsp://127.0.0.1:{port}/{name}" for name in names],
            "seconds": settle_s + seconds,
            "warm_s": settle_s + WARM_S,
            "stride": stride,
            "model": str(model.resolve()),
            "zone": ZONE,
            "confirm_s": CONFIRM_S,
            "out": str(out),
        }
        (folder / "peer_plan.json").write_text(json.dumps(told))
        here = Path(__file__).parent / "peers"
        command = ["taskset", "-c", ",".join(map(str, cores))] if cores else []
        try:
            done = subprocess.run(
                [*command, str(python), str(here / f"{peer}.py"), str(folder / "peer_plan.json")],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "YOLO_OFFLINE": "true",
                    "YOLO_AUTOINSTALL": "false",
                    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_transport;tcp",
                },
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=settle_s + seconds + 90,
                check=False,
            )
            error = "" if out.is_file() else (done.stderr.strip().splitlines() or ["no words"])[-1][:200]
        except subprocess.TimeoutExpired:
            error = "did not end in time"
    result: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    played = json.loads((folder / "played.json").read_text())
    kept = 0
    for i, name in enumerate(names):
        found = result.get("found", {}).get(f"cam{i}")
        kept += found is not None and found <= stood_at(plan[name], played[name]) + PROMISE_S
    seconds_run = result.get("seconds", 1.0)
    return PeerTrial(
        peer,
        cameras,
        stride,
        kept,
        round(result.get("cpu_s", 0.0) / seconds_run, 3),
        round(result.get("looks", 0) / cameras / seconds_run, 2),
        round(result.get("rss_peak", 0) / 2**20, 1),
        error,
    )


def largest(run: Callable[[int, int], PeerTrial], climbs: dict[int, tuple[int, ...]]) -> list[PeerTrial]:
    """At each stride climb its numbers of cameras until a trial fails; returns every trial."""
    trials = []
    for stride, sizes in climbs.items():
        for size in sizes:
            trials.append(run(size, stride))
            if not trials[-1].good:
                break
    return trials


def main_python() -> Path:
    """Return this process' Python, for a peer installed beside Curbwatch."""
    return Path(sys.executable)
