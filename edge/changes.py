"""What a new configuration changes for a box that runs: which cameras come, go, start again, or are only drawn anew."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from camera_adapters.clock import SystemClock
from camera_adapters.frame import Frame
from camera_adapters.open import open_stream
from camera_adapters.redact import redact, secrets_of
from camera_adapters.stream import StreamEvent, StreamOptions
from edge.config import BoxConfig, CameraConfig

# A running box can change these; everything else of the box is fixed at its start.
_LIVE = frozenset({"cameras", "messages", "supervise"})


class RefusedConfigError(ValueError):
    """A configuration that a running box cannot take; `problems` has one line a field, with the mend."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids of cameras, in the order of the new configuration (those that go: of the old one).

    Attributes:
        removed: no longer there, or disabled.
        added: new, or enabled.
        restarted: their stream is another one, so that it is closed and opened.
        redrawn: zones, masks, policy, sampling, place or name changed; the stream and its ring go on.
        kept: not touched at all.
    """

    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    redrawn: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """True when a camera is touched."""
        return bool(self.removed or self.added or self.restarted or self.redrawn)


def compare(old: BoxConfig, new: BoxConfig) -> Changes:
    """Return what `new` changes.

    Raises:
        RefusedConfigError: it changes what a running box cannot change.
    """
    fixed = [f for f in BoxConfig.model_fields if f not in _LIVE and getattr(old, f) != getattr(new, f)]
    if fixed:
        raise RefusedConfigError(
            [
                f"{f}: a running box cannot change it; put the old value back, or restart the box"
                for f in fixed
            ]
        )
    was = {c.id: c for c in old.cameras if c.enabled}
    now = {c.id: c for c in new.cameras if c.enabled}
    both = [c for c in now.values() if c.id in was]
    restarted = {c.id for c in both if _stream(c) != _stream(was[c.id])}
    redrawn = {c.id for c in both if c != was[c.id]} - restarted
    return Changes(
        removed=tuple(i for i in was if i not in now),
        added=tuple(i for i in now if i not in was),
        restarted=tuple(i for i in now if i in restarted),
        redrawn=tuple(i for i in now if i in redrawn),
        kept=tuple(c.id for c in both if c.id not in restarted | redrawn),
    )


def check_addresses(config: BoxConfig, cameras: Collection[str]) -> None:
    """Look whether the streams of some cameras could be opened; nothing is connected.

    Raises:
        RefusedConfigError: one could not, by field.
    """
    problems = []
    for i, camera in enumerate(config.cameras):
        for field in ("url", "sub_url"):
            url = getattr(camera, field)
            if camera.id not in cameras or url is None:
                continue
            try:
                open_stream(camera.id, url.get_secret_value(), _Nobody(), StreamOptions(), SystemClock())
            except ValueError as exc:
                words = redact(str(exc), secrets_of(url.get_secret_value())).removeprefix("url: ")
                problems.append(f"cameras[{i}].{field}: camera {camera.id}: {words}")
    if problems:
        raise RefusedConfigError(problems)


class _Nobody:
    def on_frame(self, frame: Frame) -> None:
        """Not called."""

    def on_event(self, event: StreamEvent) -> None:
        """Not called."""


def _stream(camera: CameraConfig) -> tuple[object, ...]:
    """Return what the stream is opened with."""
    clip = camera.clip
    return (
        camera.url,
        camera.sub_url,
        camera.sub_stretched,
        camera.transport,
        camera.hardware,
        clip.pre_s + clip.post_s,
        clip.ring_mib,
    )
