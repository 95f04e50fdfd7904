"""A data folder belongs to one process at a time, and a worker ends with its supervisor."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # prctl(2)


def hold(data_dir: Path, patience_s: float = 15.0) -> IO[bytes]:
    """Lock the data folder until the returned file is closed, or the process ends in whatever way.

    Raises:
        ValueError: another process holds it still after `patience_s` seconds.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    handle = (data_dir / "lock").open("ab")
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                handle.close()
                raise ValueError(
                    f"data_dir: {data_dir} is held by another process; give each box file a folder of its own"
                ) from None
            time.sleep(0.1)
        else:
            return handle


def end_with(parent: int) -> None:
    """Let the kernel end this process when its parent does (Linux); end now where the parent is gone already.

    SIGKILL, since whoever ended the supervisor so wants the box dead, and nothing acknowledged is lost by it.
    """
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # not Linux: the supervisor ends its workers itself when it can
        return
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
