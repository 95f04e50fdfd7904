"""The C library's allocator, OpenCV and Python's collector, told what suits a process of many threads, cameras and small pictures."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import time
from typing import Self

# Python's collector looks at whatever outlives a moment, and goes through all of it again for each quarter more. A camera's ring alone
# holds 1 250 packets of two objects each, none of which is ever in a cycle, and it holds the interpreter's lock: of 190 cameras on one
# core 120 were in time, and 188 without it. So it looks for itself only after so many objects, and else with a heartbeat.
_OBJECTS = (50_000, 20, 1_000)
_YOUNG_EVERY_S, _ALL_EVERY_S = 20.0, 600.0
GIVE_BACK_EVERY_S = 20.0
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3


class _Given:
    """When pages were given back last, monotonic seconds."""

    at = float("-inf")


def give_back() -> None:
    """Return the heap's free pages to the kernel, wherever they lie, twenty seconds apart at least; for after large work (glibc)."""
    # What is given back is zeroed again page by page when it is needed: clips one after another need it.
    if sys.platform.startswith("linux") and time.monotonic() - _Given.at >= GIVE_BACK_EVERY_S:
        _Given.at = time.monotonic()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


class Tidying:
    """Gives memory back now and then: what lies in cycles, and the heap's free pages. A context manager, for one thread of a box."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._young = self._all = time.monotonic()

    def __enter__(self) -> Self:
        gc.set_threshold(*_OBJECTS)
        return self

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._before)

    def turn(self) -> None:
        """Tidy up if it is time; for calls more often than that."""
        now = time.monotonic()
        if now - self._young < _YOUNG_EVERY_S:
            return
        self._young = now
        if now - self._all >= _ALL_EVERY_S:
            self._all = now
            gc.collect()
        else:
            # What came since the last time, of which a fault's pictures may be a part.
            gc.collect(1)
        give_back()


def few_arenas(arenas: int = 2) -> bool:
    """Keep freed pictures from staying in an arena per camera thread; True where the C library took it (glibc).

    Measured with 16 cameras of 1080p: 55 MB a camera instead of 67.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_ARENA_MAX, arenas)) and bool(mallopt(_M_MMAP_THRESHOLD, 1 << 20))


def lean_process() -> None:
    """Tell the libraries what suits a box; once, at the start of its process.

    OpenCV works on the thread that asks. Its helpers wait actively for the next small picture: 0.5 ms of CPU a judged frame
    of a no-dumping zone, for nothing gained where the cameras share the cores.
    """
    import cv2

    few_arenas()
    cv2.setNumThreads(1)
