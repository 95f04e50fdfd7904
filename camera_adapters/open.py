"""From an address to a stream: the scheme names the adapter."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from camera_adapters.clock import Clock
from camera_adapters.file import FileStream
from camera_adapters.redact import redact
from camera_adapters.rtsp import RtspStream
from camera_adapters.stream import CameraStream, FrameSink, StreamOptions


def open_stream(
    camera_id: str, url: str, sink: FrameSink, options: StreamOptions, clock: Clock
) -> CameraStream:
    """Return the stream of an address; nothing is connected before `start` or `run`.

    Raises:
        ValueError: no adapter knows the address's scheme, or the file does not exist.
    """
    scheme = urlsplit(url).scheme.lower() if "://" in url else "file"
    if scheme in {"rtsp", "rtsps"}:
        return RtspStream(camera_id, url, sink, options, clock)
    if scheme == "file":
        path = Path(urlsplit(url).path if "://" in url else url)
        if not path.is_file():
            raise ValueError(f"url: {path} is no file; give an rtsp:// address or the path of a video file")
        return FileStream(camera_id, str(path), sink, options, clock)
    raise ValueError(f"url: no adapter for {redact(scheme)}://; known are rtsp, rtsps and file")
