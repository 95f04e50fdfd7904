"""Hardware decode where the machine has it, software otherwise; what was chosen is said in the stream's state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import av
from av.codec.hwaccel import HWAccel

Hardware = Literal["auto", "none", "cuda", "vaapi", "qsv"]
_NODES: dict[str, str] = {
    "cuda": "/dev/nvidia0",
    "qsv": "/dev/dri/renderD128",
    "vaapi": "/dev/dri/renderD128",
}
_AUTO = ("cuda", "vaapi")


def candidates(
    wanted: Hardware, exists: Callable[[str], bool] = lambda p: Path(p).exists()
) -> tuple[str, ...]:
    """Return the device types to try, the best first; a type whose device node is missing is left out."""
    if wanted == "none":
        return ()
    kinds = _AUTO if wanted == "auto" else (wanted,)
    return tuple(kind for kind in kinds if exists(_NODES[kind]))


class Accelerator:
    """Chooses for one stream. A device that cannot be opened is not tried again."""

    def __init__(self, wanted: Hardware, exists: Callable[[str], bool] = lambda p: Path(p).exists()) -> None:
        self._wanted, self._left = wanted, list(candidates(wanted, exists))
        self.note = ""

    def take(self) -> HWAccel | None:
        """Return the accelerator for the next connection; None means software."""
        while self._left:
            try:
                return HWAccel(self._left[0], allow_software_fallback=True)
            except (ValueError, RuntimeError, OSError, av.error.FFmpegError):
                self._left.pop(0)
        return None

    def report(self, codec: av.VideoCodecContext) -> None:
        """Note what really decodes, as a suffix of the state's reason."""
        if codec.is_hwaccel and self._left:
            self.note = f", decoded by {self._left[0]}"
        elif self._wanted not in {"none", "auto"}:
            self.note = f", decoded in software ({self._wanted} is not available)"
