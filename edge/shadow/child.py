"""The candidate's process: `python -m edge.shadow.child PIPE FOLDER PROVIDER THREADS MIB PARENT`.

It takes only what nobody else wants: SCHED_IDLE, the lowest niceness, the kernel's first choice when memory runs out, and a
bound on its own memory. What a bad model breaks here ends here.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from edge.allocator import lean_process
from edge.alone import end_with
from edge.shadow.compare import seen_of
from edge.shadow.line import read_picture
from edge.shadow.spent import Spent
from models.bundle import load_bundle
from models.detector import Detector


def _yield_to_all(memory_mib: int) -> None:
    lean_process()
    os.nice(19)
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mib * 2**20,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError, AttributeError) as exc:  # not Linux, or a sandbox: niceness alone
        print(f"shadow: runs without its bounds: {exc}", file=sys.stderr)


def main(told: list[str]) -> None:
    """Load the bundle, say so, answer frames until the pipe ends."""
    pipe, folder, provider, threads, mib, parent = told
    line: Connection[bytes, bytes] = Connection(int(pipe))
    end_with(int(parent))
    # A terminal's Ctrl-C is for the box.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _yield_to_all(int(mib))
    try:
        detector = Detector(load_bundle(Path(folder)), provider, int(threads), 1)
        detector.warm()
    except Exception as exc:
        line.send_bytes(json.dumps({"error": f"it cannot be loaded: {exc}"[:300]}).encode())
        return
    line.send_bytes(json.dumps({"input": detector.input_size, "provider": detector.provider}).encode())
    while True:
        try:
            message = line.recv_bytes()
        except EOFError:
            return
        line.send_bytes(json.dumps(_answer(detector, message)).encode())


def _answer(detector: Detector, message: bytes) -> dict[str, object]:
    picture, regions = read_picture(message)
    height, width = picture.shape[:2]
    try:
        with Spent() as spent:
            if regions is None:
                found = detector.detect([picture])[0]
            else:
                found = detector.detect_regions(picture, regions)
        seen = seen_of(found, width, height)
    except Exception as exc:
        return {"error": f"{type(exc).__name__}: {exc}"[:300]}
    return {"boxes": seen.boxes.tolist(), "names": seen.names, "ms": spent.ms}


if __name__ == "__main__":
    main(sys.argv[1:])
