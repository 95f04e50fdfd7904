"""The loudspeakers beside the cameras and what they can say, as the engineer writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from edge.keeping_config import Address, Section


class SpeakerConfig(Section):
    """The loudspeaker beside a camera."""

    kind: Annotated[
        Literal["http", "onvif"],
        Field(description="`http`: a column; `onvif`: the camera's own audio output."),
    ]
    url: Annotated[
        Address,
        Field(
            description="http(s):// that takes the message, or the camera's rtsp://; never printed with its password."
        ),
    ]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wanted = {"http": {"http", "https"}, "onvif": {"rtsp"}}[self.kind]
        if urlsplit(self.url.get_secret_value()).scheme not in wanted:
            raise ValueError(f"url: a loudspeaker of kind {self.kind} needs {' or '.join(sorted(wanted))}://")
        return self


class MessageConfig(Section):
    """What a loudspeaker says. The same words for everybody: it names no person and no plate."""

    file: Annotated[Path | None, Field(description="Recorded audio: WAV, MP3 or what FFmpeg reads.")] = None
    text: Annotated[str, Field(max_length=300, description="Words, for a column that speaks by itself.")] = ""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.file is None and not self.text.strip():
            raise ValueError("file: name a recording, or write text")
        return self
