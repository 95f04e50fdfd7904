"""The pipe between a box and the candidate's process: frames go, JSON comes back. Nothing of the candidate's is unpickled."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.shadow.compare import Seen
from models.detections import Floats, Picture

MAX_ANSWER = 2**20
MAX_OBJECTS = 3000
_HEAD = struct.Struct("<HHH")


class AnswerError(ValueError):
    """What the candidate's process answered is no answer."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The candidate is loaded: its input's size in pixels, and what runs it."""

    width: int
    height: int
    provider: str


def pack_picture(picture: Picture, regions: Floats | None) -> bytes:
    """Return RGB uint8 (H, W, 3) and regions float32 (N, 4) as one message."""
    height, width = picture.shape[:2]
    boxes = np.zeros((0, 4), np.float32) if regions is None else np.asarray(regions, np.float32)
    return _HEAD.pack(width, height, len(boxes)) + boxes.tobytes() + picture.tobytes()


def read_picture(message: bytes) -> tuple[Picture, Floats | None]:
    """Return picture and regions of a message."""
    width, height, count = _HEAD.unpack_from(message)
    at = _HEAD.size + count * 16
    boxes = np.frombuffer(message, np.float32, count * 4, _HEAD.size).reshape(count, 4)
    picture = np.frombuffer(message, np.uint8, offset=at).reshape(height, width, 3)
    return picture, boxes if count else None


def read_hello(message: bytes) -> Hello:
    """Return what the candidate's process says when it is ready.

    Raises:
        AnswerError: the model cannot be loaded, or this is no greeting.
    """
    told = _json(message)
    try:
        width, height = told["input"]
        return Hello(int(width), int(height), str(told["provider"])[:40])
    except (KeyError, TypeError, ValueError):
        raise AnswerError("the candidate's process gave no greeting") from None


def read_answer(message: bytes) -> tuple[Seen, float]:
    """Return what the candidate saw, and its milliseconds.

    Raises:
        AnswerError: the candidate failed on the frame, or this is no answer.
    """
    told = _json(message)
    try:
        names = tuple(str(n)[:64] for n in told["names"])
        boxes = np.asarray(told["boxes"], np.float32).reshape(-1, 4)
        took = float(told["ms"])
    except (KeyError, TypeError, ValueError):
        raise AnswerError("the candidate's answer has another shape") from None
    fits = len(names) == len(boxes) <= MAX_OBJECTS and np.isfinite(boxes).all() and 0 <= took < 1e7
    if not fits:
        raise AnswerError("the candidate's answer has numbers that are none")
    return Seen(boxes, names), took


def _json(message: bytes) -> dict[str, Any]:
    try:
        told = json.loads(message)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise AnswerError("the candidate's answer cannot be read")
    if "error" in told:
        raise AnswerError(str(told["error"])[:300])
    return told
