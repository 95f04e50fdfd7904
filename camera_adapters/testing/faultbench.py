"""The fault suite: sixteen cameras over real RTSP servers on loopback, one of them in trouble at a time."""

from __future__ import annotations

import gc
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import psutil

from camera_adapters.clock import SystemClock
from camera_adapters.demand import Demand
from camera_adapters.frame import Frame
from camera_adapters.rtsp import RtspStream
from camera_adapters.stream import StreamEvent, StreamOptions, StreamState
from camera_adapters.testing.loopcam import Camera, Faults
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam, make_clip

FPS = 10
# A wrong password waits 5 minutes in service, so that the camera does not lock the box out; here 3 s.
OPTIONS = StreamOptions(auth_backoff_s=3.0, ring_seconds=20.0)


@dataclass(frozen=True)
class Row:
    """One fault. Times in seconds, None where the fault has no such moment; memory in bytes."""

    fault: str
    noticed_as: str
    notice_s: float | None
    recover_s: float | None
    lost_by_victim: int
    lost_by_others: int
    threads: tuple[int, int]
    fds: tuple[int, int]
    rss: tuple[int, int]


class Watch:
    """One stream's frames and states, by the machine's monotonic clock."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, float]] = []
        self.sizes: set[int] = set()
        self.tainted = 0
        self.events: list[tuple[float, StreamState, str]] = []
        self._lock = threading.Lock()

    def on_frame(self, frame: Frame) -> None:
        """Note when the frame came and when it was taken."""
        with self._lock:
            self.frames.append((time.monotonic(), frame.meta.mono_s))
            self.sizes.add(frame.meta.width)
            self.tainted += frame.meta.tainted

    def on_event(self, event: StreamEvent) -> None:
        """Note a change of state."""
        with self._lock:
            self.events.append((time.monotonic(), event.state, event.reason))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.frames, self.events, self.sizes, self.tainted = [], [], set(), 0

    def lost(self) -> int:
        """Frames missing between the first and the last one, by the cameras' own time line."""
        with self._lock:
            taken = sorted(t for _, t in self.frames)
        return sum(max(0, round((b - a) * FPS) - 1) for a, b in pairwise(taken))

    def first(self, states: set[StreamState], after: float) -> tuple[float, str] | None:
        """Return when one of `states` was first entered after a moment, and why."""
        with self._lock:
            return next(((t, r) for t, s, r in self.events if s in states and t >= after), None)

    def reasons(self, states: set[StreamState], after: float) -> list[str]:
        """Return why each of `states` was entered after a moment, in order."""
        with self._lock:
            return [r for t, s, r in self.events if s in states and t >= after]

    def frame_after(self, moment: float) -> float | None:
        """Return when the first frame after a moment came."""
        with self._lock:
            return next((came for came, _ in self.frames if came > moment), None)


class FaultBench:
    """Sets up the cameras and runs the faults. Use as `with FaultBench() as bench: rows = bench.run()`."""

    def __init__(self, cameras: int = 16, reconnects: int = 200) -> None:
        self._count, self._reconnects = cameras, reconnects
        self._stack = ExitStack()
        self._folder = Path()
        self.victim_watch = Watch()
        self.watches: list[Watch] = []

    def __enter__(self) -> FaultBench:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._main = make_clip(self._folder / "main.mp4", fps=FPS, seconds=4)
        self._clip = RtpClip(self._main)
        self._small = RtpClip(make_clip(self._folder / "small.mp4", fps=FPS, seconds=4, size=(160, 120)))
        self._hevc = RtpClip(make_clip(self._folder / "hevc.mp4", fps=FPS, seconds=4, codec="libx265"))
        self.victim = Camera(self._clip)
        self._served = self._stack.enter_context(ServedLoopCam({"victim": self.victim}))
        others = {f"c{i}": Camera(self._clip) for i in range(self._count - 1)}
        crowd = self._stack.enter_context(ServedLoopCam(others))
        for name in others:
            watch = Watch()
            self.watches.append(watch)
            self._open(crowd.url(name), watch)
        self.stream = self._open(self._served.url("victim"), self.victim_watch)
        _until(lambda: all(w.frames for w in [*self.watches, self.victim_watch]), 30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, url: str, watch: Watch, options: StreamOptions = OPTIONS) -> RtspStream:
        stream = RtspStream(f"cam-{len(self.watches)}", url, watch, options, SystemClock())
        stream.demand = Demand("all")
        stream.start()
        self._stack.callback(stream.close, 15)
        return stream

    def run(self, progress: Callable[[str], None] = lambda _: None, only: str = "") -> list[Row]:
        """Run all faults, one after another, or those whose name holds `only`."""
        steps: list[tuple[str, Callable[[], Row]]] = [
            (
                "server stops, restarts with other timestamps",
                lambda: self._row("stop", self._served.stop, 4, self._served.restart),
            ),
            ("connection cut", lambda: self._fault("cut", Faults(close_s=0), 2)),
            ("stall (packets stop)", lambda: self._fault("stall", Faults(stall_s=0), 10)),
            ("401", lambda: self._refuse("401 Unauthorized")),
            ("404", lambda: self._refuse("404 Not Found")),
            ("never a key frame", lambda: self._fault("no key", Faults(no_key=True), 24)),
            ("2 % of packets lost", lambda: self._fault("loss", Faults(loss=0.02), 10)),
            ("a tenth of packets corrupt", lambda: self._fault("corrupt", Faults(corrupt=0.1), 10)),
            ("new resolution", lambda: self._fault("size", Faults(switch_to=self._small), 6)),
            ("new codec", self._new_codec),
            ("disk full under a clip", self._disk_full),
            ("server frozen (SIGSTOP)", self._frozen_process),
            (f"{self._reconnects} reconnects", self._many),
        ]
        rows = []
        for name, work in [s for s in steps if only in s[0]]:
            progress(name)
            row = work()
            rows.append(Row(name, *[getattr(row, f) for f in list(Row.__dataclass_fields__)[1:]]))
            self._calm()
        return rows

    def _calm(self) -> None:
        """Wait until the victim plays its own clip again."""
        self.victim.faults, self.victim.clip = Faults(), self._clip
        self._served.stop()
        self._served.restart()
        epoch = self.stream.health().connects
        _until(lambda: self.stream.health().connects > epoch and self.stream.state is StreamState.LIVE, 40)
        time.sleep(1.5)

    def _fault(self, name: str, faults: Faults, seconds: float) -> Row:
        def begin() -> None:
            self.victim.faults = faults

        def heal() -> None:
            self.victim.faults = Faults()

        return self._row(name, begin, seconds, heal)

    def _refuse(self, status: str) -> Row:
        def begin() -> None:
            self.victim.faults = Faults(status=status)
            self._served.stop()
            self._served.restart()

        def heal() -> None:
            self.victim.faults = Faults()

        return self._row(status, begin, 4, heal)

    def _new_codec(self) -> Row:
        def begin() -> None:
            self.victim.faults = Faults(switch_to=self._hevc)
            self.victim.clip = self._hevc

        return self._row("codec", begin, 30, None)

    def _row(
        self, name: str, begin: Callable[[], None], seconds: float, heal: Callable[[], None] | None
    ) -> Row:
        """Run one fault. Without `heal` the camera stays as it is, and recovery counts from when the fault was noticed."""
        before = _usage()
        for watch in [*self.watches, self.victim_watch]:
            watch.clear()
        time.sleep(1)
        t0 = time.monotonic()
        begin()
        time.sleep(seconds)
        healed = time.monotonic()
        found = self.victim_watch.first({StreamState.STALLED, StreamState.BACKING_OFF}, t0)
        if heal is not None:
            heal()
        elif found is not None:
            healed = found[0]
        with suppress(TimeoutError):
            _until(lambda: self.victim_watch.frame_after(healed + 0.05) is not None, 40)
        back = self.victim_watch.frame_after(healed + 0.05)
        time.sleep(1)
        found = found or self.victim_watch.first({StreamState.STALLED, StreamState.BACKING_OFF}, t0)
        noticed = self._words(t0) if found else self._seen()
        return Row(
            fault=name,
            noticed_as=noticed,
            notice_s=round(found[0] - t0, 2) if found else None,
            recover_s=None if back is None else round(back - healed, 2),
            lost_by_victim=self.victim_watch.lost(),
            lost_by_others=sum(w.lost() for w in self.watches),
            **_pairs(before),
        )

    def _words(self, t0: float) -> str:
        """The first reason given, and the codes of those that came after it."""
        said = self.victim_watch.reasons({StreamState.STALLED, StreamState.BACKING_OFF}, t0)
        first = said[0].split("; next")[0][:60]
        later = [r.partition(":")[0] for r in said[1:] if ":" in r]
        codes = [c for c in dict.fromkeys(later) if c != first.partition(":")[0]]
        return ", then ".join([first, *codes])

    def _seen(self) -> str:
        if len(self.victim_watch.sizes) > 1:
            return "new size in the frames"
        return (
            f"{self.victim_watch.tainted} frames marked tainted" if self.victim_watch.tainted else "no effect"
        )

    def _disk_full(self) -> Row:
        said: list[str] = []

        def begin() -> None:
            ring = self.stream.ring
            now = SystemClock().now()
            old = resource.getrlimit(resource.RLIMIT_FSIZE)
            handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
            try:
                if ring is not None:
                    ring.clip(now - timedelta(seconds=8), now, self._folder / "full.mp4")
                said.append("the clip was written whole")
            except OSError as exc:
                said.append(f"{type(exc).__name__} to the caller, no file left")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, old)
                signal.signal(signal.SIGXFSZ, handler)
            if list(self._folder.glob("full.mp4*")):
                said.append("a half file was left")

        row = self._row("disk", begin, 1, lambda: None)
        return Row(row.fault, "; ".join(said), *[getattr(row, f) for f in list(Row.__dataclass_fields__)[2:]])

    def _frozen_process(self) -> Row:
        args = [sys.executable, "-m", "camera_adapters.testing.loopcam", "0", f"v={self._main}"]
        server = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
        kept, stream = (self.victim_watch, self.stream), None
        try:
            line = server.stdout.readline() if server.stdout else ""
            self.victim_watch = Watch()
            stream = self._open(f"rtsp://127.0.0.1:{line.split()[1]}/v", self.victim_watch)
            _until(lambda: bool(self.victim_watch.frames), 20)
            time.sleep(1)
            return self._row(
                "sigstop",
                lambda: os.kill(server.pid, signal.SIGSTOP),
                12,
                lambda: os.kill(server.pid, signal.SIGCONT),
            )
        finally:
            if stream is not None:
                stream.close(15)
            os.kill(server.pid, signal.SIGCONT)
            server.terminate()
            server.wait(5)
            if server.stdout:
                server.stdout.close()
            self.victim_watch, self.stream = kept

    def _many(self) -> Row:
        quick = StreamOptions(backoff_base_s=0.01, quick_cap_s=0.02, ring_seconds=20.0)
        watch, camera = Watch(), Camera(self._clip, Faults(close_s=0.05))
        for other in self.watches:
            other.clear()
        with ServedLoopCam({"x": camera}) as served:
            stream = self._open(served.url("x"), watch, quick)
            _until(lambda: camera.plays >= 20, 60)
            before = _usage()
            _until(lambda: camera.plays >= 20 + self._reconnects, 300)
            pairs = _pairs(before)
            stream.close(15)
        return Row(
            "many", f"{camera.plays} connections", None, None, 0, sum(w.lost() for w in self.watches), **pairs
        )


def summary(rows: list[Row]) -> dict[str, float | int | bool]:
    """Return the figures that the targets are about."""
    stalls = [
        r.notice_s for r in rows if r.notice_s is not None and ("stall" in r.fault or "SIGSTOP" in r.fault)
    ]
    back = [r.recover_s for r in rows if r.recover_s is not None]
    last = rows[-1]
    return {
        "stall_noticed_s_max": max(stalls, default=float("nan")),
        "recover_s_median": round(statistics.median(back), 2) if back else float("nan"),
        "recover_s_max": max(back, default=float("nan")),
        "lost_by_others": sum(r.lost_by_others for r in rows),
        "reconnects_threads_growth": last.threads[1] - last.threads[0],
        "reconnects_fds_growth": last.fds[1] - last.fds[0],
        "reconnects_rss_growth_mib": round((last.rss[1] - last.rss[0]) / 2**20, 1),
    }


def _usage() -> tuple[int, int, int]:
    gc.collect()
    process = psutil.Process()
    return threading.active_count(), process.num_fds(), process.memory_info().rss


def _pairs(before: tuple[int, int, int]) -> dict[str, tuple[int, int]]:
    after = _usage()
    return {n: (before[i], after[i]) for i, n in enumerate(("threads", "fds", "rss"))}


def _until(met: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.02)
