"""What an ONNX detector says about itself: family, size and classes from its shapes and metadata, nothing guessed."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.bundle import BundleError, Family
from models.session import Session, Shape


@dataclass(frozen=True, slots=True)
class About:
    """A detector's own description.

    Attributes:
        family: how the output is read.
        input_name: name of the one input.
        size: width and height in pixels, None where the file leaves them free.
        channels: number of class channels, None where the family does not show it (end-to-end).
        names: class names by channel, empty where the file has none.
    """

    family: Family
    input_name: str
    size: tuple[int, int] | None
    channels: int | None
    names: dict[int, str]


def about(session: Session) -> About:
    """Read a loaded network.

    Raises:
        BundleError: more than one input, an input that is no picture, or outputs of no known family.
    """
    if len(session.inputs) != 1:
        raise BundleError(f"input: a detector has one, this file has {sorted(session.inputs)}")
    name, shape = next(iter(session.inputs.items()))
    if len(shape) != 4 or shape[1] != 3:
        raise BundleError(f"input: expected (N, 3, height, width), the file takes {shape}")
    size = _size(shape, session.metadata)
    names = class_names(session.metadata)
    family, channels = _family(session.outputs, session.metadata, names, size)
    if names and channels is not None and len(names) != channels:
        raise BundleError(f"classes: the file names {len(names)}, its output has {channels}")
    return About(family, name, size, channels, names)


def class_names(metadata: Mapping[str, str]) -> dict[int, str]:
    """Return the class names by channel that ultralytics and we write (a Python dict literal under `names`).

    Raises:
        BundleError: the text is no such dict.
    """
    text = metadata.get("names", "")
    if not text:
        return {}
    try:
        value = ast.literal_eval(text)
        names = dict(enumerate(value)) if isinstance(value, list | tuple) else dict(value)
        return {int(k): str(v) for k, v in names.items()}
    except (ValueError, SyntaxError, TypeError):
        raise BundleError(f"metadata names: not a dict of channel and name: {text[:80]!r}") from None


def coarsest_stride(metadata: Mapping[str, str]) -> int:
    """Return of how many pixels both sides of the input must be a multiple: the file's `stride`, 32 where it tells none."""
    told = metadata.get("stride", "")
    return max(32, int(told)) if told.isdecimal() else 32


def _size(shape: Shape, metadata: Mapping[str, str]) -> tuple[int, int] | None:
    height, width = shape[2:]
    if isinstance(height, int) and isinstance(width, int):
        return width, height
    try:
        height, width = ast.literal_eval(metadata.get("imgsz", ""))
    except (ValueError, SyntaxError, TypeError):
        return None
    return (int(width), int(height)) if width and height else None


def _family(
    outputs: Sequence[Shape],
    metadata: Mapping[str, str],
    names: Mapping[int, str],
    size: tuple[int, int] | None,
) -> tuple[Family, int | None]:
    declared = metadata.get("family")
    if len(outputs) == 2 and all(len(o) == 4 for o in outputs):
        sides = [o[1] for o in outputs]
        if 4 in sides:
            heat = sides[1 - sides.index(4)]
            return Family.CENTERNET, heat if isinstance(heat, int) else None
    if len(outputs) == 1 and len(outputs[0]) == 3:
        _, rows, columns = outputs[0]
        if metadata.get("end2end") == "True" or declared == Family.YOLO_END2END:
            if columns == 6:
                return Family.YOLO_END2END, None
        elif names and rows == len(names) + 4:
            return Family.YOLO, len(names)
        elif size and isinstance(columns, int) and columns > 5 and rows == yolox_anchors(size):
            return Family.YOLOX, columns - 5
        elif size and isinstance(rows, int) and rows > 4 and columns == yolox_anchors(size):
            return Family.YOLO, rows - 4
    raise BundleError(
        f"family: outputs {[list(o) for o in outputs]} with metadata {sorted(metadata)} fit none of "
        f"{', '.join(Family)}; export with NMS left out, or write manifest.json by hand"
    )


def yolox_anchors(size: tuple[int, int]) -> int:
    """Return the number of cells of the strides 8, 16 and 32, which YOLOX and YOLOv8/11 share."""
    width, height = size
    return sum((width // s) * (height // s) for s in (8, 16, 32))


def check_fit(session: Session, family: Family, name: str, size: tuple[int, int], highest: int) -> int | None:
    """Compare a loaded network with its manifest; return its fixed batch size, None where that is free.

    Raises:
        BundleError: input, family or classes do not fit, with both sides in the message.
    """
    if name not in session.inputs:
        raise BundleError(f"input.name: {name!r} is none of the model's inputs {sorted(session.inputs)}")
    shape = session.inputs[name]
    wanted = (3, size[1], size[0])
    if len(shape) != 4 or any(isinstance(g, int) and g != w for g, w in zip(shape[1:], wanted, strict=True)):
        raise BundleError(f"input: the model takes {shape}, the manifest says (N, 3, {size[1]}, {size[0]})")
    found = _channels(session.outputs, family, size)
    if found is None:
        raise BundleError(f"family: {family} does not fit outputs of the shapes {session.outputs}")
    if found <= highest:
        raise BundleError(
            f"family: {family} reads {found} classes from outputs {session.outputs}, "
            f"the manifest names channel {highest}"
        )
    if session.metadata.get("end2end") == "True" and family is not Family.YOLO_END2END:
        raise BundleError(f"family: the file says end2end, the manifest {family}; use {Family.YOLO_END2END}")
    return shape[0] if isinstance(shape[0], int) else None


def _channels(outputs: Sequence[Shape], family: Family, size: tuple[int, int]) -> int | None:
    """Number of class channels that `family` reads; 10**6 where the output does not show it, None where it cannot."""
    many = 10**6
    if family is Family.CENTERNET:
        sides = [o[1] for o in outputs if len(o) == 4]
        if (
            len(outputs) != 2
            or len(sides) != 2
            or (4 not in sides and all(isinstance(s, int) for s in sides))
        ):
            return None
        counts = [s for s in sides if isinstance(s, int) and s != 4]
        return counts[0] if counts else many
    if len(outputs) != 1 or len(outputs[0]) != 3:
        return None
    _, rows, columns = outputs[0]
    if family is Family.YOLO_END2END:
        return many if columns == 6 or not isinstance(columns, int) else None
    cells, values, extra = (columns, rows, 4) if family is Family.YOLO else (rows, columns, 5)
    if family is Family.YOLOX and isinstance(cells, int) and cells != yolox_anchors(size):
        return None
    if isinstance(cells, int) and isinstance(values, int) and cells <= values:
        return None
    return values - extra if isinstance(values, int) else many
