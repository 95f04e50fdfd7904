"""RTP packets as one sender numbered them: UDP brings some late, twice or never, and an encoder may begin to count anew."""

from __future__ import annotations

from collections.abc import Iterator

# What waits for a packet that is late: so many others, for so long. A lean sub stream has few, a key frame comes in a burst.
REORDERED, _PATIENCE_S = 16, 0.2
# RFC 3550, A.1: a number farther ahead is no gap, but another count.
_MAX_DROPOUT = 3000


class RtpOrder:
    """Puts packets in order by their sequence numbers."""

    def __init__(self, room: int = REORDERED) -> None:
        """`room`: how many packets are held for a late one; 0 over TCP, where none is late."""
        self._room = room
        # By number, with the time that each came; the oldest first.
        self._held: dict[int, tuple[bytes, float]] = {}
        self._next: int | None = None
        # Packets in a row that are late, repeated, or of another count.
        self._strange = 0

    def feed(self, packet: bytes, mono_s: float) -> Iterator[tuple[bytes, bool]]:
        """Take a packet of 12 bytes at least; yield those whose turn it is, and whether one before each is missing."""
        number = packet[2] << 8 | packet[3]
        if self._next is None:
            self._next = number
        if (number - self._next) & 0xFFFF < _MAX_DROPOUT:
            self._strange = 0
            self._held[number] = packet, mono_s
            yield from self._ready(self._room, mono_s - _PATIENCE_S)
            return
        self._strange += 1
        if self._strange > self._room:
            yield from self.release()
            self._strange, self._next = 0, (number + 1) & 0xFFFF
            yield packet, True

    def release(self) -> Iterator[tuple[bytes, bool]]:
        """Yield what is held, as `feed` does: nothing is waited for any longer."""
        return self._ready(0, 0.0)

    def _ready(self, room: int, since_s: float) -> Iterator[tuple[bytes, bool]]:
        while self._held and self._next is not None:
            gap = self._next not in self._held
            if gap:
                if len(self._held) <= room and next(iter(self._held.values()))[1] >= since_s:
                    return
                begin = self._next
                self._next = min(self._held, key=lambda n: (n - begin) & 0xFFFF)
            packet, _ = self._held.pop(self._next)
            self._next = (self._next + 1) & 0xFFFF
            yield packet, gap
