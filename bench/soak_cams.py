"""The cameras of the soak, in a process of their own: `python -m bench.soak_cams PLAN.json`, told what to break by lines of JSON.

{"cameras": ["cam3"], "faults": {"stall_s": 0}}     those paths, from now on; `{}` heals
{"cameras": ["cam3"], "clip": "FILE"}               from the next connection on
{"server": "stop"} and {"server": "start"}          the port closes with all connections, and opens again
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from camera_adapters.testing.loopcam import Camera, Faults, LoopCam
from camera_adapters.testing.rtp_clip import RtpClip


class Cameras:
    """The simulator and its clips, each file packetised once."""

    def __init__(self, plan: dict[str, dict[str, Any]], others: list[str]) -> None:
        files = {c["file"] for c in plan.values()} | set(others)
        self._clips = {file: RtpClip(Path(file)) for file in files}
        self._cameras = {
            name: Camera(self._clips[c["file"]], start_unit=c["start_unit"]) for name, c in plan.items()
        }
        self._server: LoopCam | None = None
        self._port = 0

    async def start(self) -> int:
        """Listen, on the same port as before, and return it."""
        self._server = await LoopCam(self._cameras, port=self._port).start()
        self._port = self._server.port
        return self._port

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def obey(self, order: dict[str, Any]) -> None:
        """Do what one line says."""
        if "server" in order:
            await (self.start() if order["server"] == "start" else self.stop())
        for name in order.get("cameras", ()):
            camera = self._cameras[name]
            if "faults" in order:
                camera.faults = Faults(**order["faults"])
            if "clip" in order:
                # Another size has other pictures to begin with.
                camera.clip, camera.start_unit = self._clips[order["clip"]], 0


async def serve(plan: Path) -> None:
    """Serve until SIGTERM or the end of the orders."""
    told = json.loads(plan.read_text())
    cameras = Cameras(told["cameras"], told["others"])
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print(await cameras.start(), flush=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, orders.feed_eof)
    while line := await orders.readline():
        await cameras.obey(json.loads(line))
    await cameras.stop()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
