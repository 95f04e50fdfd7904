"""The view references of a box's cameras, on its disk: made at commissioning by day and by night, used by the view check."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from camera_adapters.view import ViewReference
from edge.fleet.state import write_bytes

Light = Literal["day", "night"]


class ViewStore:
    """One folder a camera: `day.npz` and `night.npz`, each with its report (`.json`) and its picture (`.jpg`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, ...]] = {}

    def get(self, camera_id: str) -> list[ViewReference]:
        """Return a camera's references, day first; none where it was never commissioned.

        Raises:
            ValueError: a file cannot be read as one.
        """
        self._known[camera_id] = self._stamp(camera_id)
        paths = [self.path(camera_id, light) for light in get_args(Light)]
        return [ViewReference.from_bytes(p.read_bytes()) for p in paths if p.is_file()]

    def put(self, camera_id: str, reference: ViewReference, light: Light = "day", report: Any = None) -> Path:
        """Keep a reference, and its report, in place of the one before, on the disk when this returns its file."""
        path = self.path(camera_id, light)
        if report is not None:
            text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
            write_bytes(path.with_suffix(".json"), text.encode(), 0o644)
        write_bytes(path, reference.to_bytes(), 0o644)
        return path

    def path(self, camera_id: str, light: Light) -> Path:
        """Return where a reference lies, or would lie."""
        return self._folder / camera_id / f"{light}.npz"

    def kept(self, camera_id: str) -> dict[Light, datetime]:
        """Return when each reference was made."""
        paths: dict[Light, Path] = {light: self.path(camera_id, light) for light in get_args(Light)}
        return {k: datetime.fromtimestamp(p.stat().st_mtime, UTC) for k, p in paths.items() if p.is_file()}

    def changed(self, camera_id: str) -> bool:
        """Whether the references are others than at the last `get`; never, for a camera that was not asked for."""
        known = self._known.get(camera_id)
        return known is not None and self._stamp(camera_id) != known

    def _stamp(self, camera_id: str) -> tuple[int, ...]:
        paths = [self.path(camera_id, light) for light in get_args(Light)]
        return tuple(p.stat().st_mtime_ns if p.is_file() else 0 for p in paths)
