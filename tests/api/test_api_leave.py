"""The store's threads and the end of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# The loop holds the store's thread in Python for 0.3 s after its result is there, with many looks at the interpreter.
ENDS_AT_ONCE = """
import asyncio, sys, time
from pathlib import Path
from api.evidence import EvidenceStore
from api.settings import Settings

class Slow(asyncio.SelectorEventLoop):
    def call_soon_threadsafe(self, *args, **kwargs):
        handle = super().call_soon_threadsafe(*args, **kwargs)
        for _ in range(600):
            time.sleep(0.0005)
        return handle

print(Slow().run_until_complete(EvidenceStore(Settings(data=Path(sys.argv[1]))).size("0" * 64)))
"""


def test_a_command_that_ends_right_after_the_store_answered_is_not_aborted(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS_AT_ONCE, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
