"""An evidence item: one file, named by its hash, with what a verifier needs to know of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from contract.base import Message, Sha256, UtcTime


class EvidenceKind(StrEnum):
    """What the file shows."""

    CONTEXT = "context"
    FIRST = "first"
    MIDDLE = "middle"
    CONFIRM = "confirm"
    CROP = "crop"
    CLIP = "clip"
    SEALED = "sealed"
    AFTER = "after"


class EvidenceItem(Message):
    """A picture or clip of an alert. The file is stored under its SHA-256."""

    kind: EvidenceKind
    sha256: Sha256
    media_type: Annotated[str, Field(pattern=r"^(image/jpeg|image/png|video/mp4|application/octet-stream)$")]
    size: Annotated[int, Field(gt=0, le=512 * 2**20, description="Bytes.")]
    captured_at: Annotated[
        UtcTime, Field(description="Capture time of the picture, or of a clip's first frame.")
    ]
    width: Annotated[int | None, Field(ge=1, le=16384, description="Pixels.")] = None
    height: Annotated[int | None, Field(ge=1, le=16384, description="Pixels.")] = None
    duration_s: Annotated[float | None, Field(gt=0, le=600, description="Length of a clip in seconds.")] = (
        None
    )
    stream: Annotated[
        Literal["main", "sub"], Field(description="Which stream of the camera it was taken from.")
    ] = "main"
    note: Annotated[
        str,
        Field(
            max_length=200,
            description="Why it is not of the main stream, or not of the moment that its kind names; never holds a password.",
        ),
    ] = ""
    blurred: Annotated[
        bool, Field(description="Faces and plates other than the subject's were made unreadable.")
    ] = False
