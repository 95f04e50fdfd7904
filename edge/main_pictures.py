"""Evidence of the main stream for what was seen on the sub stream: decoded from the main stream's ring when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import av

from camera_adapters.frame import Frame, FrameMeta, Masks, Role
from camera_adapters.ring import NoPicturesError, PacketRing, RingPacket
from camera_adapters.still import decode_key, key_at, picture_at
from edge.privacy import Sensitive

# Two streams of one camera are this far apart at most, by their arrival and by the camera's clock.
STEP_S = 1.5


class EvidenceRings(Protocol):
    """The rings of one camera."""

    def __call__(self) -> PacketRing | None:
        """Return the main stream's ring."""
        ...

    @property
    def masks(self) -> Masks:
        """The camera's privacy masks as they are now."""
        ...

    def main_reason(self) -> str:
        """Return why the main stream gives nothing; empty while it is live."""
        ...

    def best(
        self, at: datetime, mono_s: float, pre_s: float, post_s: float
    ) -> tuple[PacketRing | None, Role]:
        """Return the ring that holds most of the time round a moment, and whose it is."""
        ...

    def newest_mono(self) -> float | None:
        """Return the monotonic time of the newest packet of either stream."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """The picture that stands for a moment.

    Attributes:
        frame: with its own time, size and stream; masked.
        found: people and vehicles that were looked for on this very picture.
        why: why it is not the main stream's; empty where it is.
    """

    frame: Frame
    found: Sensitive = field(default_factory=Sensitive)
    why: str = ""


class MainPictures:
    """Finds the main stream's picture of a moment. Used by the detector's thread alone, since it looks with the detector."""

    def __init__(self, rings: EvidenceRings, look: Callable[[Frame], Sensitive]) -> None:
        """`look` finds people and vehicles on a frame."""
        self._rings, self._look = rings, look

    def near(self, frame: Frame, key_within_s: float = 0.0) -> Shown:
        """Return the main stream's picture nearest to a frame; the frame itself, and why, where there is none.

        A key frame at most `key_within_s` seconds away will do.
        """
        if frame.meta.role == "main":
            return Shown(frame)
        try:
            at, video = picture_at(self._ring(frame.meta), frame.meta.captured_at, key_within_s=key_within_s)
            return self._shown(frame.meta, at, video)
        except (NoPicturesError, OSError, ValueError) as exc:
            return Shown(frame, why=self._why(exc))

    def key_near(self, frame: Frame) -> RingPacket | None:
        """Return the main stream's key frame nearest to a frame, compressed; None where there is none."""
        try:
            return (
                key_at(self._ring(frame.meta), frame.meta.captured_at) if frame.meta.role == "sub" else None
            )
        except NoPicturesError:
            return None

    def of_key(self, packet: RingPacket, meta: FrameMeta) -> Shown | None:
        """Return a key frame's picture in the place of a frame that was like `meta`; None where it does not decode whole."""
        try:
            video = decode_key(packet)
            return None if video is None else self._shown(meta, packet.at, video)
        except (OSError, ValueError):
            return None

    def ring(
        self, at: datetime, mono_s: float, pre_s: float, post_s: float
    ) -> tuple[PacketRing | None, Role]:
        """Return the ring for a clip round a moment, and whose it is."""
        return self._rings.best(at, mono_s, pre_s, post_s)

    def newest_mono(self) -> float | None:
        """Return the monotonic time of the newest packet of either stream."""
        return self._rings.newest_mono()

    def why(self) -> str:
        """Return why the main stream gives nothing."""
        return self._why(NoPicturesError("it has no picture of that time"))

    def _ring(self, meta: FrameMeta) -> PacketRing:
        ring = self._rings()
        if ring is None:
            raise NoPicturesError("there is no ring")
        newest, mono_s = ring.newest(), ring.newest_mono()
        if newest is None or mono_s is None:
            return ring
        # Both streams carry the camera's clock, which fits them together best; not when a clock was stepped.
        stepped = (newest - meta.captured_at).total_seconds() - (mono_s - meta.mono_s)
        return ring if abs(stepped) < STEP_S else ring.timed_by(meta.captured_at, meta.mono_s)

    def _shown(self, meta: FrameMeta, at: datetime, video: av.VideoFrame) -> Shown:
        meta = replace(
            meta, captured_at=at, width=video.width, height=video.height, role="main", key=bool(video.key_frame)
        )  # fmt: skip
        main = Frame(meta, video).masked(self._rings.masks)
        # Boxes of the sub stream's picture are of a moment beside this one, and of fewer pixels.
        return Shown(main, self._look(main))

    def _why(self, exc: Exception) -> str:
        return f"main stream: {self._rings.main_reason() or exc}"[:200]
