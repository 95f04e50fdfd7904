"""What must not leave the box readable: heads of people, plates of vehicles. Pictures in, blurred copies out.

No face or plate detector is needed: the boxes of people and vehicles that the judgement already has give the regions.
A region is averaged over few large cells, so the detail is gone from the file, not hidden in it; the regions are chosen
generously, because a readable face costs more than a blurred lamp post.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pyrage import encrypt, x25519

from models.detections import Detections
from models.roles import Role, role_of

Picture = NDArray[np.uint8]
Box = tuple[float, float, float, float]

PEOPLE = frozenset({"person", "pedestrian", "people", "rider", "vendor"})
VEHICLES = frozenset({"car", "bus", "truck", "van", "motorcycle", "motor", "tricycle", "awning-tricycle"})
WITH_PLATES = frozenset({"vehicle", "non_motor"})
# A head is 1/7.5 of a standing person (Loomis) and about 1/4 of a person who sits, rides or is cut off below.
HEAD_SHARE = 0.30
# Plates hang in the lower part of a vehicle's box seen from any side; above it is glass.
PLATE_TOP = 0.40
# A plate is about a quarter as wide as a car: six cells a car leave it one and a half cells, a face of a person's box four.
PLATE_CELLS, HEAD_CELLS = 6, 4


@dataclass(frozen=True, slots=True)
class Sensitive:
    """People and vehicles of one picture, as shares of its width and height."""

    people: tuple[Box, ...] = ()
    vehicles: tuple[Box, ...] = ()

    def __or__(self, other: Sensitive) -> Sensitive:
        """Return both; for a moment between two judged frames."""
        return Sensitive(self.people + other.people, self.vehicles + other.vehicles)


def sensitive_of(detections: Detections, width: int, height: int, roles: Mapping[str, Role]) -> Sensitive:
    """Return people and vehicles of detections that are in pixels of a `width` x `height` picture.

    `roles` are those of the model and the city (see `models.roles`): what they call a person or a vehicle is one.
    """
    people: list[Box] = []
    vehicles: list[Box] = []
    for i in range(len(detections)):
        name = detections.name_of(i)
        role = role_of(name, roles)
        is_person, is_vehicle = name in PEOPLE or role == "person", name in VEHICLES or role in WITH_PLATES
        group = people if is_person else vehicles if is_vehicle else None
        if group is not None:
            x1, y1, x2, y2 = (float(v) for v in detections.boxes[i])
            group.append((x1 / width, y1 / height, x2 / width, y2 / height))
    return Sensitive(tuple(people), tuple(vehicles))


def head_region(box: Box) -> Box:
    """Return where the head of a person's box can be: the upper part, with a margin for a box that sits low."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return x1 - 0.1 * width, y1 - 0.08 * height, x2 + 0.1 * width, y1 + HEAD_SHARE * height


def plate_region(box: Box) -> Box:
    """Return where the plate of a vehicle's box can be: the lower part, with a margin."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return x1 - 0.04 * width, y1 + PLATE_TOP * height, x2 + 0.04 * width, y2 + 0.06 * height


def regions(found: Sensitive, subject: Box | None, blur_subject_plate: bool) -> list[tuple[Box, int]]:
    """Return what to blur, with the cells across each region. Heads are blurred always, on the subject too.

    `subject` is the box whose own plate stays readable, unless `blur_subject_plate`.
    """
    out = [(head_region(b), HEAD_CELLS) for b in found.people]
    others = [b for b in found.vehicles if blur_subject_plate or subject is None or _iou(b, subject) < 0.5]
    out += [(plate_region(b), PLATE_CELLS) for b in others]
    if blur_subject_plate and subject is not None:
        out.append((plate_region(subject), PLATE_CELLS))
    return out


def pixelate(rgb: Picture, wanted: Iterable[tuple[Box, int]], keep: Box | None = None) -> Picture:
    """Average the regions of an RGB uint8 (H, W, 3) picture in place over `cells` cells across, and return it.

    Cells have at least 8 pixels: below that a cell could be as fine as a letter. What lies in `keep` (shares) stays
    as it is, for a subject whose plate is to be read while a vehicle behind it is not; heads are never kept.
    """
    height, width = rgb.shape[:2]
    for (x1, y1, x2, y2), cells in wanted:
        left, right = max(0, int(np.floor(x1 * width))), min(width, int(np.ceil(x2 * width)))
        top, bottom = max(0, int(np.floor(y1 * height))), min(height, int(np.ceil(y2 * height)))
        if right <= left or bottom <= top:
            continue
        patch = rgb[top:bottom, left:right]
        before = patch.copy() if keep is not None and cells == PLATE_CELLS else None
        cell = max(8, round((right - left) / cells))
        small = (max(1, (right - left) // cell), max(1, (bottom - top) // cell))
        tiny = cv2.resize(patch, small, interpolation=cv2.INTER_AREA)
        patch[:] = cv2.resize(tiny, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
        if before is not None and keep is not None:
            _put_back(patch, before, (left, top), keep, (width, height))
    return rgb


def _put_back(
    patch: Picture, before: Picture, origin: tuple[int, int], keep: Box, size: tuple[int, int]
) -> None:
    kx1, ky1 = round(keep[0] * size[0]) - origin[0], round(keep[1] * size[1]) - origin[1]
    kx2, ky2 = round(keep[2] * size[0]) - origin[0], round(keep[3] * size[1]) - origin[1]
    rows, columns = slice(max(0, ky1), max(0, ky2)), slice(max(0, kx1), max(0, kx2))
    patch[rows, columns] = before[rows, columns]


def blur(rgb: Picture, found: Sensitive, subject: Box | None = None, subject_plate: bool = False) -> Picture:
    """Make heads and plates of a picture unreadable, in place, and return it.

    Args:
        rgb: uint8 (H, W, 3).
        subject: the subject's box in shares.
        subject_plate: blur the subject's own plate too (it is then kept in the sealed original alone).
    """
    wanted = regions(found, subject, subject_plate)
    plates = [w for w in wanted if w[1] == PLATE_CELLS]
    heads = [w for w in wanted if w[1] == HEAD_CELLS]
    pixelate(rgb, plates, None if subject_plate else subject)
    return pixelate(rgb, heads)


class Sealer:
    """Encrypts originals to a key that the box does not hold (age, X25519). What is sealed here cannot be opened here."""

    def __init__(self, recipient: str) -> None:
        """`recipient` is an age public key, `age1…`.

        Raises:
            ValueError: it is not one; a private key is refused by name.
        """
        if recipient.upper().startswith("AGE-SECRET-KEY"):
            raise ValueError(
                "privacy.seal_to: this is a private key; give the public one, which begins with age1"
            )
        try:
            self._recipient = x25519.Recipient.from_str(recipient)
        except Exception:
            raise ValueError(
                "privacy.seal_to: not an age public key; make a pair with `curbwatch evidence keygen`"
            ) from None

    def seal(self, data: bytes) -> bytes:
        """Return `data` encrypted."""
        return bytes(encrypt(data, [self._recipient]))


def _iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inner = width * height
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)
