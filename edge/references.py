"""The look of a place at the moment of its alert, kept for a later inspection: one small grey picture an alert."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
# 320 x 180 as PNG is about 35 KB.
MAX_REFERENCES = 2000


class ReferenceStore:
    """Grey pictures by alert id, on disk; the oldest goes when one more than `MAX_REFERENCES` comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._names = sorted(p.stem for p in folder.glob("*.png"))

    def put(self, alert_id: str, grey: Grey) -> None:
        """Keep the picture uint8 (h, w) of an alert; the first one stays."""
        path = self._folder / f"{alert_id}.png"
        if path.exists():
            return
        done, data = cv2.imencode(".png", grey)
        if not done:
            raise ValueError(f"a picture of {grey.shape} cannot be encoded")
        part = path.with_suffix(".part")
        part.write_bytes(data.tobytes())
        part.replace(path)
        # The ids are UUIDv7: their order is that of time.
        self._names.append(alert_id)
        while len(self._names) > MAX_REFERENCES:
            (self._folder / f"{self._names.pop(0)}.png").unlink(missing_ok=True)

    def get(self, alert_id: str) -> Grey | None:
        """Return the picture uint8 (h, w), or None where there is none that can be read."""
        picture = cv2.imread(str(self._folder / f"{alert_id}.png"), cv2.IMREAD_GRAYSCALE)
        return None if picture is None else np.asarray(picture, np.uint8)
