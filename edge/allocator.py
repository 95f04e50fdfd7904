"""The C library's allocator and OpenCV, told that this process has many threads, large short-lived blocks and small pictures."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3


def give_back() -> None:
    """Return the heap's free pages to the kernel, wherever they lie; for after large work that is done now and then (glibc)."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


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
