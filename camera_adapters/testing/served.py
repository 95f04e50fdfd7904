"""A simulator in a thread of its own, for tests and benchmarks that are not asynchronous."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import av
import numpy as np

from camera_adapters.testing.loopcam import Camera, LoopCam

T = TypeVar("T")


class ServedLoopCam:
    """`LoopCam` with `with`. `stop` and `restart` play a server that goes down and comes back on the same port."""

    def __init__(
        self,
        cameras: dict[str, Camera],
        auth: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.cameras, self._auth, self._tls = cameras, auth, tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loopcam", daemon=True)
        self._server: LoopCam | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._call(_settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._call(self._server.stop())
            self._server = None

    def restart(self) -> None:
        """Listen again on the same port."""
        self._server = self._call(LoopCam(self.cameras, self._auth, port=self.port, tls=self._tls).start())
        self.port = self._server.port

    def url(self, name: str, login: str | None = None) -> str:
        """Return the address of a camera; `login` ("user:password") replaces the right one."""
        user = login if login is not None else ":".join(self._auth or ())
        return f"rtsp{'s' if self._tls else ''}://{user}{'@' if user else ''}127.0.0.1:{self.port}/{name}"

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


async def _settle() -> None:
    """Let the sessions of cut connections end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, pending = await asyncio.wait(others, timeout=2)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (320, 240),
    fps: int = 10,
    seconds: float = 2.0,
    gop_s: float = 1.0,
    b_frames: int = 0,
    more: Mapping[str, str] | None = None,
) -> Path:
    """Write a small video: a textured picture with a bright square that moves one step a frame; `more` are the encoder's options."""
    width, height = size
    noise = np.random.default_rng(7).integers(60, 120, (height // 8, width // 8), np.uint8)
    ground = np.kron(noise, np.ones((8, 8), np.uint8))
    options = {"g": str(round(fps * gop_s)), "bf": str(b_frames)}
    if codec.startswith("libx26"):
        options |= {"preset": "ultrafast" if not b_frames else "veryfast", "tune": "zerolatency"}
        options |= {"x265-params": "log-level=none"} if codec == "libx265" else {"sc_threshold": "0"}
        if b_frames:
            del options["tune"]
    options |= more or {}
    with av.open(str(path), "w") as out:
        stream = cast(av.VideoStream, out.add_stream(codec, rate=fps, options=options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(round(fps * seconds)):
            picture = np.repeat(ground[:, :, None], 3, axis=2)
            x = 8 + (n * 4) % (width - 48)
            picture[height // 2 : height // 2 + 32, x : x + 32] = 240
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path
