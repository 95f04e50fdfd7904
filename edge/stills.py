"""Pictures of a dwell that wait for their alert: first, middle, confirm; on disk, so that a restart keeps them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from camera_adapters.frame import Role
from contract.durable import sync
from edge import pictures

MAX_SITES = 400
NAMES = ("first", "middle", "confirm")


@dataclass(frozen=True, slots=True)
class Still:
    """A JPEG and what is known of it: which stream it is of, and why not of the main one."""

    jpeg: bytes
    at: datetime
    width: int
    height: int
    stream: Role = "main"
    note: str = ""

    def showing(self, picture: pictures.Picture) -> Still:
        """Return another picture made of this one."""
        return replace(self, jpeg=pictures.jpeg(picture), width=picture.shape[1], height=picture.shape[0])


class StillStore:
    """At most three pictures a site, at most `MAX_SITES` sites; the oldest site goes when one more comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob("*.part"):
            torn.unlink()
        self._sites = sorted({p.name.split(".")[0] for p in folder.glob("*.jpg")})

    def put(self, site_id: str, name: str, still: Still, durable: bool = False) -> None:
        """Keep a picture under a name; `durable`: it is there after a power cut, once this returns."""
        if site_id not in self._sites:
            self._sites.append(site_id)
            while len(self._sites) > MAX_SITES:
                self.forget(self._sites[0])
        meta = json.dumps(
            {
                "at": still.at.isoformat(),
                "width": still.width,
                "height": still.height,
                "stream": still.stream,
                "note": still.note,
            }
        )
        for suffix, data in (("json", meta.encode()), ("jpg", still.jpeg)):
            path = self._folder / f"{site_id}.{name}.{suffix}"
            part = path.with_suffix(".part")
            part.write_bytes(data)
            if durable:
                sync(part)
            part.replace(path)
        if durable:
            sync(self._folder)

    def settle(self, site_id: str, name: str) -> None:
        """Let a picture that is there outlive a power cut from now on."""
        for suffix in ("json", "jpg"):
            path = self._folder / f"{site_id}.{name}.{suffix}"
            if path.exists():
                sync(path)
        sync(self._folder)

    def get(self, site_id: str, name: str) -> Still | None:
        """Return a picture, or None."""
        path = self._folder / f"{site_id}.{name}.jpg"
        try:
            meta = json.loads(path.with_suffix(".json").read_text())
            jpeg = path.read_bytes()
            if not (jpeg.startswith(b"\xff\xd8") and jpeg.endswith(b"\xff\xd9")):
                return None  # torn by a power cut: these pictures are not synced one by one
            at, stream = datetime.fromisoformat(meta["at"]), meta.get("stream", "main")
            return Still(jpeg, at, meta["width"], meta["height"], stream, str(meta.get("note", "")))
        except (OSError, ValueError, KeyError):
            return None

    def has(self, site_id: str, name: str) -> bool:
        """True when the picture is there."""
        return (self._folder / f"{site_id}.{name}.jpg").exists()

    def expire(self, before: datetime) -> int:
        """Delete the pictures of sites whose newest one is older; return how many sites."""
        gone = 0
        for site_id in list(self._sites):
            times = [still.at for name in NAMES if (still := self.get(site_id, name)) is not None]
            if not times or max(times) < before:
                self.forget(site_id)
                gone += 1
        return gone

    def forget(self, site_id: str) -> None:
        """Delete a site's pictures."""
        if site_id in self._sites:
            self._sites.remove(site_id)
        for name in NAMES:
            for suffix in ("json", "jpg"):
                path = self._folder / f"{site_id}.{name}.{suffix}"
                if path.exists():
                    path.unlink()
