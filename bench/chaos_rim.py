"""Faults between a process and its kernel: a full disk, a power cut, a stepped clock. See `chaos_rim.c`."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
_PAGE = struct.Struct("<qqqq")


class RimUnavailableError(RuntimeError):
    """The faults' library cannot be built here; the message says what is missing."""


def build(folder: Path) -> Path:
    """Compile the library into `folder` and return its path.

    Raises:
        RimUnavailableError: there is no C compiler, or it fails.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise RimUnavailableError("the faults of disk and clock need a C compiler; Debian: gcc and libc6-dev")
    library = folder / "chaos_rim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RimUnavailableError(
            f"{SOURCE.name} does not compile (Linux and glibc are needed): {done.stderr[-500:]}"
        )
    return library


class Rim:
    """The faults of one process; set at any time, felt at its next system call."""

    def __init__(self, library: Path, page: Path, root: Path) -> None:
        """`root` is the folder on the disk that fills up and loses power."""
        page.write_bytes(bytes(_PAGE.size))
        self.env = {"LD_PRELOAD": str(library), "CHAOS_PAGE": str(page), "CHAOS_ROOT": str(root.resolve())}
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _PAGE.size)

    def full(self, is_full: bool) -> None:
        """Let each write below the root fail with ENOSPC, or no longer."""
        struct.pack_into("<q", self._page, 0, int(is_full))

    def power(self, chance: float) -> None:
        """Let each sync below the root be the last thing that the process does, with this chance."""
        struct.pack_into("<q", self._page, 8, round(chance * 1_000_000))

    def clock(self, offset_s: float) -> None:
        """Put the wall clock off by so many seconds; the monotonic clock goes on."""
        struct.pack_into("<q", self._page, 16, round(offset_s * 1e9))

    @property
    def struck(self) -> int:
        """How many power cuts happened."""
        return int(struct.unpack_from("<q", self._page, 24)[0])
