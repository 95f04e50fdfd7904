"""The street classes and what the COCO teacher already knows of them."""

from __future__ import annotations

from types import MappingProxyType

STREET_CLASSES = (
    "person",
    "bicycle",
    "motorcycle",
    "car",
    "bus",
    "truck",
    "umbrella",
    "chair",
    "table",
    "bag",
    "garbage",
    "garbage_bin",
    "overflow",
    "cart",
    "tent",
)
"""Order of the shipped detector's outputs."""

TEACHER_CLASSES = MappingProxyType(
    {
        "person": ("person",),
        "bicycle": ("bicycle",),
        "motorcycle": ("motorcycle",),
        "car": ("car",),
        "bus": ("bus",),
        "truck": ("truck",),
        "umbrella": ("umbrella",),
        "chair": ("chair",),
        "table": ("dining table",),
        "bag": ("backpack", "handbag", "suitcase"),
    }
)
"""Street class -> the COCO names that are folded into it."""

NEW_CLASSES = tuple(name for name in STREET_CLASSES if name not in TEACHER_CLASSES)


def street_of_coco() -> dict[str, str]:
    """COCO name -> street class, for the names that the street model keeps."""
    return {coco: street for street, names in TEACHER_CLASSES.items() for coco in names}
