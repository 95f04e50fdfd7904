"""Which loudspeaker stands beside which camera."""

from __future__ import annotations

from camera_adapters.speaker import HttpSpeaker, Message, OnvifSpeaker, Speaker
from edge.config import BoxConfig


def speakers_of(config: BoxConfig) -> dict[str, Speaker]:
    """Return the loudspeaker of each camera that has one."""
    messages = {name: Message(m.file, m.text) for name, m in config.messages.items()}
    out: dict[str, Speaker] = {}
    for camera in config.cameras:
        if camera.enabled and camera.speaker is not None:
            url = camera.speaker.url.get_secret_value()
            kind = HttpSpeaker if camera.speaker.kind == "http" else OnvifSpeaker
            out[camera.id] = kind(url, messages)
    return out
