"""The cameras of the speed benchmarks, in a process of their own: `python -m bench.throughput_cams PLAN.json`.

The plan lists cameras with their files, the picture they begin with, and for how many pictures the empty street is shown
before. SIGTERM writes when each of them was played to `played.json` beside the plan, so that the harness knows when each van
stopped.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from functools import cache
from pathlib import Path

from bench.street_video import FPS, VAN_FROM_S
from camera_adapters.testing.loopcam import Camera, LoopCam
from camera_adapters.testing.rtp_clip import RtpClip


async def serve(plan: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    told = json.loads(plan.read_text())

    @cache
    def clip(file: str, lead_units: int) -> RtpClip:
        return clip(file, 0).led_in(lead_units, VAN_FROM_S * FPS) if lead_units else RtpClip(Path(file))

    cameras = {
        name: Camera(clip(c["file"], c.get("lead_units", 0)), start_unit=c["start_unit"])
        for name, c in told["cameras"].items()
    }
    server = await LoopCam(cameras, port=told.get("port", 0)).start()
    print(server.port, flush=True)
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    await done.wait()
    played = {name: camera.played_at for name, camera in cameras.items()}
    (plan.parent / "played.json").write_text(json.dumps(played))
    await server.stop()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
