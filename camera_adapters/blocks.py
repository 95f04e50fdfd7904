"""Memory for a camera's packets: blocks that are used again, or go back to the system whole."""

from __future__ import annotations

import mmap
from collections import deque

# Mapped one by one and given back whole. On the C library's heap the packets of 64 threads lay so mixed that a third of it was
# holes: 53 MB for 33 MB of packets. Of a sub stream's ring half a megabyte lies idle at most.
BLOCK = 512 * 1024
# FFmpeg's readers look this far past a picture's last byte, and PyAV hands them the bytes where they lie: a picture that ended with its
# block ended the process where nothing could be read behind it (AV_INPUT_BUFFER_PADDING_SIZE).
PADDING = 64


class Blocks:
    """Lays bytes side by side into blocks of memory. A block to which nothing refers is written again, or goes."""

    def __init__(self) -> None:
        self._block = memoryview(b"")
        self._used = 0
        self._full: deque[mmap.mmap] = deque()

    def keep(self, data: bytes | memoryview) -> memoryview:
        """Return a read-only copy."""
        size = len(data)
        if self._used + size + PADDING > len(self._block):
            self._block = memoryview(b"")
            block = self._free(size + PADDING) or _mapped(max(BLOCK, size + PADDING))
            self._full.append(block)
            self._block, self._used = memoryview(block), 0
        kept = self._block[self._used : self._used + size]
        kept[:] = data
        self._used += size
        return kept.toreadonly()

    def _free(self, size: int) -> mmap.mmap | None:
        """Return a block that is free; where several are, the others go back to the system.

        They come free in the order of their writing, but for those that a clip still refers to: asking all of them each time took 2 %
        of a core with 200 cameras.
        """
        found: mmap.mmap | None = None
        for _ in range(len(self._full)):
            block = self._full.popleft()
            if not _is_free(block):
                if found is not None:
                    self._full.appendleft(block)
                    break
                self._full.append(block)
            elif found is None and len(block) == BLOCK >= size:
                found = block
        return found


def _is_free(block: mmap.mmap) -> bool:
    try:
        # To the size that it has: refused while anything refers to it.
        block.resize(len(block))
    except BufferError:
        return False
    return True


def _mapped(size: int) -> mmap.mmap:
    # Private, so that the kernel joins neighbours into one mapping; its pages at once, not one fault for each.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
    return mmap.mmap(-1, size, flags=flags)
