"""A folder of timed stills as a camera: an archive on a virtual clock, or a folder that a camera uploads to."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from pathlib import Path

from camera_adapters.clock import Clock, VirtualClock
from camera_adapters.hosts import SHARED_GATE, HostGate
from camera_adapters.pictures import PictureStream
from camera_adapters.reasons import StreamFaultError
from camera_adapters.stream import FrameSink, StreamOptions, StreamState

_CODECS = {".jpg": "mjpeg", ".jpeg": "mjpeg", ".png": "png"}
_TIME = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)[T_ -]?(\d\d)[-:.]?(\d\d)[-:.]?(\d\d)(?:[.,](\d{1,6}))?(?=\D|$)")


def time_of(path: Path) -> datetime:
    """Return when a still was taken: the time in its name as UTC (`2026-03-01T08-00-00.5Z.jpg`), else its file time."""
    found = _TIME.search(path.name)
    if found:
        year, month, day, hour, minute, second = (int(x) for x in found.groups()[:6])
        micro = int((found[7] or "0").ljust(6, "0"))
        try:
            return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
        except ValueError:
            pass
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


class FolderStream(PictureStream):
    """Plays what lies in a folder in the order of its times, then ends (virtual clock) or waits for more."""

    def __init__(
        self,
        camera_id: str,
        folder: str,
        sink: FrameSink,
        options: StreamOptions,
        clock: Clock,
        gate: HostGate = SHARED_GATE,
    ) -> None:
        super().__init__(camera_id, folder, "", sink, options, clock, gate=gate)
        self._folder = Path(folder)
        self._after: tuple[datetime, str] | None = None

    def run(self, stop: threading.Event) -> None:
        """Play the folder; see the class."""
        if not isinstance(self._clock, VirtualClock):
            super().run(stop)
            return
        self._epoch = 1
        start: datetime | None = None
        for at, path in self._stills():
            if stop.is_set():
                return
            start = start or at
            mono_s = 1000.0 + (at - start).total_seconds()
            self._clock.advance_to(mono_s)
            self._take(path.read_bytes(), _CODECS[path.suffix.lower()], at, mono_s, "file")
        self._go(StreamState.FAILED, "eof: the folder has ended")

    def _session(self, stop: threading.Event) -> None:
        if not self._folder.is_dir():
            raise StreamFaultError("not_found", f"{self._folder.name} is no folder")
        self._epoch += 1
        while not stop.is_set():
            for at, path in self._stills():
                if self._after is not None and (at, path.name) <= self._after:
                    continue
                # Half a second old: a file that is still being written is left for the next look.
                if self._clock.now().timestamp() - path.stat().st_mtime < 0.5 or stop.is_set():
                    break
                self._after = (at, path.name)
                self._take(
                    path.read_bytes(), _CODECS[path.suffix.lower()], at, self._clock.monotonic(), "file"
                )
            stop.wait(self._options.snapshot_s)

    def _stills(self) -> list[tuple[datetime, Path]]:
        stills = [p for p in self._folder.iterdir() if p.suffix.lower() in _CODECS and p.is_file()]
        return sorted((time_of(p), p) for p in stills)
