"""How long a thread worked: wall time less the time in which it waited for a core."""

from __future__ import annotations

import time
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")  # proc(5): ns on a core, ns waited for one, turns


def _waited_ns() -> int:
    try:
        return int(_SCHEDSTAT.read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return 0


class Spent:
    """Measures one block on the thread that runs it.

    The candidate has the lowest priority: on a busy box its wall time says how busy the box is, and not what it costs.
    """

    ms: float = 0.0

    def __enter__(self) -> Spent:
        self._waited, self._began = _waited_ns(), time.perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        wall = time.perf_counter_ns() - self._began
        self.ms = max(0, wall - (_waited_ns() - self._waited)) / 1e6
