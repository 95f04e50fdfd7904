"""Shows a share of the judged frames to a candidate in a process of its own, and counts where it differs.

The detector's thread only lays a frame into an empty place: while the candidate is at work, rests, or the box has too much to
do, the frame is left out and counted. The candidate rests three times as long as it worked, so that it takes a quarter of
its threads at most, whatever the share.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import psutil

from camera_adapters.frame import Frame
from contract.fleet import ShadowReport
from edge.shadow.compare import add_up, compare, seen_of
from edge.shadow.line import MAX_ANSWER, AnswerError, Hello, pack_picture, read_answer, read_hello
from edge.worker import picture_for
from models.bundle import Bundle
from models.detections import Detections, Floats, Picture

REST = 3.0
# A candidate that says nothing for so long is ended, and that is a failure. One that merely waits for a core is not silent:
# on a busy box the lowest priority gets none for minutes. It has these seconds of a core then.
ANSWER_S = 30.0
LOAD_S = 180.0
AGAIN_S = 2.0
# Frames in a row that fail, and ends of its process, after which the candidate is given up.
FAILS_IN_ROW = 8
ENDS = 3
ChildCommand = Callable[[int, "Running"], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Running:
    """The candidate, and how it is run. `timed`: on the champion's kind of hardware, so that the times compare."""

    bundle: Bundle
    provider: str
    threads: int
    memory_mib: int
    timed: bool


@dataclass(frozen=True, slots=True)
class _Job:
    frame: Frame
    regions: Floats | None
    champion: Detections
    picture: Picture
    ms: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question to the process: when (monotonic seconds), and how much of a core it had had by then."""

    at_s: float
    cpu_s: float

    def silent(self, pid: int, patience_s: float) -> bool:
        """Whether the process had time enough to answer, or sleeps over it."""
        if time.monotonic() - self.at_s < patience_s:
            return False
        try:
            waits_for_a_core = psutil.Process(pid).status() == psutil.STATUS_RUNNING
        except (psutil.Error, OSError):
            return False  # it is gone, and its pipe says so; or the box has no descriptor left to ask
        return not waits_for_a_core or _cpu_s(pid) - self.cpu_s > patience_s


def child_command(pipe: int, running: Running) -> list[str]:
    """Return the command of the candidate's process."""
    return [
        sys.executable, "-m", "edge.shadow.child", str(pipe), str(running.bundle.folder), running.provider,
        str(running.threads), str(running.memory_mib), str(os.getpid()),
    ]  # fmt: skip


class ShadowRunner:
    """One candidate at work. `offer` is called by the detector's thread, `report` and `stop` by any."""

    def __init__(
        self, running: Running, share: float, report: ShadowReport, overloaded: Callable[[], bool], log: Any,
        chance: Callable[[], float] = random.random, command: ChildCommand = child_command,
    ) -> None:  # fmt: skip
        """`report` holds the counts of before a restart; counting goes on from there."""
        self._running, self.share, self._log = running, share, log
        self._overloaded, self._chance, self._command = overloaded, chance, command
        self._report, self._counts = report, threading.Lock()
        self._place = threading.Condition()
        self._job: _Job | None = None
        self._open = False  # the place takes a frame
        self._asked: _Asked | None = None  # what the process has not answered yet
        self._silent = False  # and was ended for it
        self._process: subprocess.Popen[bytes] | None = None
        self._in_row = 0
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Start the candidate's process; this returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the candidate's process."""
        with self._place:
            self._stop = True
            self._place.notify()
        self._kill()
        self._thread.join(5)

    def report(self) -> ShadowReport:
        """Return the counts up to now."""
        self._end_the_silent()
        with self._counts:
            return self._report

    def offer(
        self, frame: Frame, regions: Floats | None, champion: Detections, picture: Picture, ms: float
    ) -> None:
        """Lay a judged frame before the candidate, by chance of the share, when it has time. Never waits.

        Args:
            regions: the parts looked at enlarged, see `models.detector.Detector.detect_regions`.
            picture: what the champion saw, RGB uint8 (H, W, 3).
            ms: what the champion needed for it.
        """
        if self._chance() >= self.share:
            return
        self._end_the_silent()
        if self._overloaded() or not self._lay(_Job(frame, regions, champion, picture, ms)):
            with self._counts:
                if not self._report.problem:
                    self._report = self._report.model_copy(update={"skipped": self._report.skipped + 1})

    def _lay(self, job: _Job) -> bool:
        # The shadow's thread holds this lock for a few instructions only.
        with self._place:
            if not self._open:
                return False
            self._job, self._open = job, False
            self._place.notify()
            return True

    def _end_the_silent(self) -> None:
        asked, process = self._asked, self._process
        if asked is not None and process is not None and asked.silent(process.pid, ANSWER_S):
            self._silent = True
            self._kill()

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()

    def _run(self) -> None:
        ends = 0
        while not self._stop and not self._report.problem:
            try:
                with self._child() as line:
                    self._serve(line, read_hello(self._receive(line, LOAD_S)))
            except AnswerError as exc:
                self._give_up(str(exc))
            except (EOFError, OSError, TimeoutError) as exc:
                if self._stop:
                    return
                ends += 1
                silent = self._silent or isinstance(exc, TimeoutError)
                why = "gave no answer" if silent else f"ended ({self._word()})"
                self._fail(f"its process {why}", again=False)
                if ends >= ENDS:
                    self._give_up(f"its process {why}, {ends} times")
                with self._place:
                    self._place.wait_for(lambda: self._stop, AGAIN_S)
            except Exception as exc:  # ours, not the candidate's: the shadow ends, the box goes on
                self._give_up(f"{type(exc).__name__}: {exc}")

    @contextmanager
    def _child(self) -> Iterator[Connection[bytes, bytes]]:
        ours, theirs = Pipe()
        self._silent = False
        try:
            with theirs:
                self._process = subprocess.Popen(
                    self._command(theirs.fileno(), self._running), pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                )  # fmt: skip
            if self._stop:
                raise EOFError
            yield ours
        finally:
            ours.close()
            self._asked = None
            if self._process is not None:
                try:
                    # It ends by itself when the pipe does; `_word` is true then.
                    self._process.wait(1.0)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()

    def _serve(self, line: Connection[bytes, bytes], hello: Hello) -> None:
        self._log.info("shadow.started", model=self._report.model, provider=hello.provider)
        rest_s = 0.0
        while (job := self._next(rest_s)) is not None:
            began = time.monotonic()
            self._asked = _Asked(began, self._spent_s())
            try:
                line.send_bytes(pack_picture(_fitting(job, (hello.width, hello.height)), job.regions))
                seen, took = read_answer(self._receive(line, ANSWER_S))
            except AnswerError as exc:
                self._fail(str(exc))
            else:
                height, width = job.picture.shape[:2]
                found = compare(seen_of(job.champion, width, height), seen)
                self._count(found, job.ms, took)
            self._asked = None
            if self._report.problem:
                return
            rest_s = REST * (time.monotonic() - began)

    def _receive(self, line: Connection[bytes, bytes], patience_s: float) -> bytes:
        asked, process = _Asked(time.monotonic(), self._spent_s()), self._process
        while not line.poll(min(1.0, patience_s)):
            if self._stop or process is None:
                raise EOFError
            if asked.silent(process.pid, patience_s):
                raise TimeoutError
        return line.recv_bytes(MAX_ANSWER)

    def _spent_s(self) -> float:
        return 0.0 if self._process is None else _cpu_s(self._process.pid)

    def _next(self, rest_s: float) -> _Job | None:
        """Rest, then wait for a frame; None at the end."""
        with self._place:
            self._place.wait_for(lambda: self._stop, rest_s)
            self._open = not self._stop
            while self._job is None and not self._stop:
                if (
                    not self._place.wait(1.0)
                    and self._process is not None
                    and self._process.poll() is not None
                ):
                    self._open = False
                    raise EOFError
            job, self._job = self._job, None
            return None if self._stop else job

    def _count(self, found: dict[str, tuple[int, int, int]], champion_ms: float, candidate_ms: float) -> None:
        self._in_row = 0
        both, champion, candidate = (sum(c[i] for c in found.values()) for i in range(3))
        with self._counts:
            was = self._report
            n, timed = was.frames + 1, self._running.timed
            self._report = was.model_copy(
                update={
                    "frames": n,
                    "both": was.both + both,
                    "champion_only": was.champion_only + champion,
                    "candidate_only": was.candidate_only + candidate,
                    "by_class": add_up(was.by_class, found),
                    "champion_ms": was.champion_ms + (champion_ms - was.champion_ms) / n if timed else 0.0,
                    "candidate_ms": was.candidate_ms + (candidate_ms - was.candidate_ms) / n
                    if timed
                    else 0.0,
                }
            )

    def _fail(self, reason: str, again: bool = True) -> None:
        with self._place:
            self._open = False
        self._in_row += 1
        with self._counts:
            self._report = self._report.model_copy(update={"failures": self._report.failures + 1})
        self._log.warning("shadow.failed", model=self._report.model, reason=reason)
        if again and self._in_row >= FAILS_IN_ROW:
            self._give_up(f"it failed on {self._in_row} frames in a row: {reason}")

    def _give_up(self, reason: str) -> None:
        with self._place:
            self._open = False
        with self._counts:
            self._report = self._report.model_copy(update={"problem": f"given up: {reason}"[:300]})
        self._log.error("shadow.given_up", model=self._report.model, reason=reason)

    def _word(self) -> str:
        code = None if self._process is None else self._process.returncode
        return "no exit status" if code is None else f"exit status {code}" if code >= 0 else f"signal {-code}"


def _cpu_s(pid: int) -> float:
    """Seconds of a core that a process has had; 0 where it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except (psutil.Error, OSError):
        return 0.0
    return float(times.user + times.system)


def _fitting(job: _Job, size: tuple[int, int]) -> Picture:
    """Return the frame as the candidate would get it if it were the champion."""
    return job.picture if job.regions is not None else picture_for(job.frame, size)
