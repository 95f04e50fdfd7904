"""The pictures of one camera's places: first and middle kept on disk, blurred, until an alert takes them or none comes."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.ring import RingPacket
from edge import pictures
from edge.geometry import Box
from edge.main_pictures import MainPictures, Shown
from edge.privacy import Sensitive, blur
from edge.site_view import SiteView
from edge.stills import Still, StillStore

# Compressed key frames of the main stream that wait to be worth decoding; each is some 100 KB.
MAX_KEYS = 32
# Said of what is made of an older picture, in the place of the confirmation's.
STANDS_IN = "the {} picture of the dwell: the box was stopped before it could keep that of the confirmation"
AFTER = "taken after the dwell: no picture of it was left when the box came up again"
LATER = "main stream: its picture was no longer at hand when the place became a candidate"
# What has stood for so many times longer is shown as well by a key frame that is so far from the moment, at most.
KEY_SHARE, KEY_MOST_S = 15.0, 2.0


@dataclass(frozen=True, slots=True)
class Kept:
    """The picture of a confirmation: what it shows, as it may leave the box (RGB uint8 (H, W, 3)), and its JPEG."""

    shown: Shown
    picture: pictures.Picture
    still: Still


class Album:
    """Takes, blurs and keeps the pictures of places."""

    def __init__(
        self, stills: StillStore, main: MainPictures | None, blurred: bool, subject_plate: bool, log: Any
    ) -> None:
        """`main` is None where the frames are the main stream's; `subject_plate`: blur that plate too."""
        self._stills, self._main = stills, main
        self._blurred, self._subject_plate, self._log = blurred, subject_plate, log
        self._keys: OrderedDict[str, tuple[RingPacket, FrameMeta, Sensitive]] = OrderedDict()

    def shown(self, frame: Frame, stood_s: float = 0.0) -> Shown:
        """Return the best picture of a frame's moment; `stood_s` is how long its subject has stood there, in seconds.

        Of an act it is the nearest that is at hand (the main stream's thread may rest 0.4 s behind), of what has stood for
        long a key frame's beside it.
        """
        if self._main is None:
            return Shown(frame)
        return self._main.near(frame, min(KEY_MOST_S, stood_s / KEY_SHARE))

    def clean(self, shown: Shown, found: Sensitive, subject: Box) -> pictures.Picture:
        """Return the picture as it may leave the box: what was found on either stream's picture is blurred."""
        picture = shown.frame.rgb()
        if not self._blurred:
            return picture
        return blur(picture, found | shown.found, subject, subject_plate=self._subject_plate)

    def still(self, shown: Shown, picture: pictures.Picture) -> Still:
        """Return a picture with what is known of it."""
        meta = shown.frame.meta
        return Still(
            pictures.jpeg(picture), meta.captured_at, picture.shape[1], picture.shape[0], meta.role, shown.why
        )

    def first(self, site: SiteView, frame: Frame, found: Sensitive) -> None:
        """Keep a place's first picture. Most places come to nothing: the main stream's is kept compressed for now."""
        if self._stills.has(site.site_id, "first"):
            return
        packet = None if self._main is None else self._main.key_near(frame)
        why = "" if self._main is None else self._main.why() if packet is None else LATER
        self._keep(site, "first", Shown(frame, why=why if frame.meta.role == "sub" else ""), found)
        if packet is not None:
            self._keys[site.site_id] = (packet, frame.meta, found)
            while len(self._keys) > MAX_KEYS:
                self._keys.popitem(last=False)

    def candidate(self, site: SiteView, frame: Frame, found: Sensitive) -> None:
        """Keep the first picture of a place that may become an alert, of the main stream now, and synced."""
        self.first(site, frame, found)
        held = self._keys.pop(site.site_id, None)
        if held is not None and self._main is not None:
            packet, then, seen = held
            shown = self._main.of_key(packet, then)
            if shown is not None:
                self._keep(site, "first", shown, seen)
        try:
            self._stills.settle(site.site_id, "first")
        except OSError as exc:
            self._missing(site, "first", exc)

    def middle(self, site: SiteView, frame: Frame, found: Sensitive) -> None:
        """Keep the middle picture of a dwell."""
        if not self._stills.has(site.site_id, "middle"):
            self._keep(site, "middle", self.shown(frame, site.dwell_s), found, durable=True)

    def confirmed(self, site: SiteView, frame: Frame, found: Sensitive) -> Kept:
        """Keep the picture of a confirmation until its alert is written, and return it.

        Synced, as the middle one is, and the first of a candidate; most places come to nothing before.
        """
        return self._keep(site, "confirm", self.shown(frame, site.dwell_s), found, durable=True)

    def earlier(self, site: SiteView, frame: Frame, shown: Shown) -> Still | None:
        """Return the kept picture that stands for a confirmation before the last start: the place may be empty by now.

        None where `frame` is the one that confirmed it, or nothing was kept.
        """
        kept = self.get(site.site_id, "confirm")
        if kept is not None:
            return kept if kept.at != shown.frame.meta.captured_at else None
        # Its picture is at hand, though the disk had no room for it.
        if frame.meta.captured_at == site.confirmed_at:
            return None
        for name in ("middle", "first"):
            still = self.get(site.site_id, name)
            if still is not None:
                self._log.warning("still.stands_in", site=site.site_id, name=name)
                return replace(still, note=f"{STANDS_IN.format(name)} {still.note}"[:200].strip())
        return None

    def now(self, site: SiteView, frame: Frame, shown: Shown) -> Shown:
        """Return what the present shows; where it is not the confirmation's own frame, and nothing older is left, it says so."""
        if site.confirmed_at in (None, frame.meta.captured_at):
            return shown
        return replace(shown, why=f"{AFTER}; {shown.why}"[:200] if shown.why else AFTER)

    def get(self, site_id: str, name: str) -> Still | None:
        """Return a kept picture, or None."""
        return self._stills.get(site_id, name)

    def forget(self, site_id: str) -> None:
        """Let a place's pictures go."""
        self._keys.pop(site_id, None)
        with contextlib.suppress(OSError):
            self._stills.forget(site_id)

    def _keep(self, site: SiteView, name: str, shown: Shown, found: Sensitive, durable: bool = False) -> Kept:
        picture = self.clean(shown, found, site.box)
        kept = Kept(shown, picture, self.still(shown, picture))
        try:
            self._stills.put(site.site_id, name, kept.still, durable)
        except OSError as exc:
            self._missing(site, name, exc)
        return kept

    def _missing(self, site: SiteView, name: str, exc: OSError) -> None:
        """A picture less; what else this frame changes must be recorded all the same."""
        reason = f"{type(exc).__name__}: {exc}"
        self._log.warning("still.missing", site=site.site_id, name=name, reason=reason)
