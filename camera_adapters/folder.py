"""A folder of timed stills as a camera: an archive on a virtual clock, or a folder that a camera uploads to."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from camera_adapters.clock import Clock, VirtualClock
from camera_adapters.frame import ClockSource
from camera_adapters.hosts import SHARED_GATE, HostGate
from camera_adapters.pictures import PictureStream
from camera_adapters.reasons import StreamFaultError
from camera_adapters.stream import FrameSink, StreamOptions, StreamState

_CODECS = {".jpg": "mjpeg", ".jpeg": "mjpeg", ".png": "png"}
# A time further off than any upload takes is a wrong clock's, or local time.
TRUST = timedelta(minutes=5)
_TIME = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)[T_ -]?(\d\d)[-:.]?(\d\d)[-:.]?(\d\d)(?:[.,](\d{1,6}))?(?=\D|$)")

# A still that has lain for so long is as it will be: some makers leave out the marker of its end.
LAIN_S = 60.0

# Modification time (ns) and size of a file.
_Mark = tuple[int, int]
_Arrived = tuple[datetime, ClockSource, Path, _Mark]


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
    """Plays what lies in a folder in the order of its times, then ends (virtual clock) or waits for more.

    While it waits, a name's time counts that agrees with the file's or with the clock; else the arrival does.
    """

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
        # What was looked at, by name; no more than lies in the folder.
        self._seen: dict[str, _Mark] = {}

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
            for at, source, path, mark in self._arrived(self._clock.now()):
                if stop.is_set():
                    return
                lain = abs(self._clock.now().timestamp() - mark[0] / 1e9) > LAIN_S
                with suppress(FileNotFoundError):
                    data, codec = path.read_bytes(), _CODECS[path.suffix.lower()]
                    # One whose upload pauses is looked at again until nothing is to be expected any more.
                    if self._take(data, codec, at, self._clock.monotonic(), source, lain) or lain:
                        self._seen[path.name] = mark
            stop.wait(self._options.snapshot_s)

    def _arrived(self, now: datetime) -> list[_Arrived]:
        """Return the stills that are new or have changed: one whose upload paused comes again when it goes on."""
        stills, marks = list[_Arrived](), dict[str, _Mark]()
        for path in self._paths():
            with suppress(FileNotFoundError):
                stat = path.stat()
                marks[path.name] = mark = (stat.st_mtime_ns, stat.st_size)
                # Half a second old: a file that is still being written is left for the next look.
                if self._seen.get(path.name) == mark or abs(now.timestamp() - stat.st_mtime) < 0.5:
                    continue
                written = datetime.fromtimestamp(stat.st_mtime, UTC)
                stills.append((*_believed(path, written, now), path, mark))
        # An empty folder may be one that is not mounted for now.
        if marks:
            self._seen = {name: mark for name, mark in self._seen.items() if name in marks}
        return sorted(stills)

    def _paths(self) -> list[Path]:
        return [p for p in self._folder.iterdir() if p.suffix.lower() in _CODECS and p.is_file()]

    def _stills(self) -> list[tuple[datetime, Path]]:
        return sorted((time_of(p), p) for p in self._paths())


def _believed(path: Path, written: datetime, now: datetime) -> tuple[datetime, ClockSource]:
    """Return a still's time, from its name or file, and whether that is no more than when it arrived."""
    at = time_of(path)
    if at <= now + TRUST and min(abs(at - written), abs(at - now)) <= TRUST:
        return at, "file"
    return min(written, now), "arrival"
