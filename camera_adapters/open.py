"""From an address to a stream: the scheme names the adapter. A new adapter is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from camera_adapters.clock import Clock
from camera_adapters.file import FileStream
from camera_adapters.folder import FolderStream
from camera_adapters.gateway import GatewayStream
from camera_adapters.gb import GbStream
from camera_adapters.http import HttpStream
from camera_adapters.onvif import open_onvif
from camera_adapters.redact import redact
from camera_adapters.rtsp import RtspStream
from camera_adapters.stream import CameraStream, FrameSink, StreamOptions

Factory = Callable[[str, str, FrameSink, StreamOptions, Clock], CameraStream]


def _open_path(
    camera_id: str, url: str, sink: FrameSink, options: StreamOptions, clock: Clock
) -> CameraStream:
    path = Path(unquote(urlsplit(url).path) if "://" in url else url)
    if path.is_dir():
        return FolderStream(camera_id, str(path), sink, options, clock)
    if not path.is_file():
        raise ValueError(
            f"url: {path} is no file and no folder; give a camera's address (rtsp://…) or the path of a video file"
        )
    return FileStream(camera_id, str(path), sink, options, clock)


ADAPTERS: dict[str, Factory] = {
    "rtsp": RtspStream,
    "rtsps": RtspStream,
    "http": HttpStream,
    "https": HttpStream,
    "onvif": open_onvif,
    "onvif+https": open_onvif,
    "gb28181": GbStream,
    "gb28181+http": GatewayStream,
    "gb28181+https": GatewayStream,
    "file": _open_path,
}


def open_stream(
    camera_id: str, url: str, sink: FrameSink, options: StreamOptions, clock: Clock
) -> CameraStream:
    """Return the stream of an address; nothing is connected before `start` or `run`.

    Raises:
        ValueError: no adapter knows the address's scheme, or the file does not exist.
    """
    scheme = urlsplit(url).scheme.lower() if "://" in url else "file"
    factory = ADAPTERS.get(scheme)
    if factory is None:
        known = ", ".join(ADAPTERS)
        raise ValueError(f"url: no adapter for {redact(scheme)}://; known are {known}, or a path")
    return factory(camera_id, url, sink, options, clock)
