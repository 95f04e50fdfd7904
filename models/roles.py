"""Roles: what a class means to the rules, whatever a model calls it.

| role | meaning |
|---|---|
| person | a human being |
| vehicle | a motor vehicle that can be parked |
| non_motor | bicycle, scooter, tricycle |
| stall | a stall by itself: a vendor's cart or tricycle |
| stall_part | umbrella, table, chair, tent, cart: what a stall is made of |
| goods | wares on display |
| bag | something a person carries and may leave |
| garbage | a bag or heap of rubbish |
| bin | a container, not full |
| bin_overflow | a container that overflows |
| other | seen, and used by no rule |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Role = Literal[
    "person",
    "vehicle",
    "non_motor",
    "stall",
    "stall_part",
    "goods",
    "bag",
    "garbage",
    "bin",
    "bin_overflow",
    "other",
]

DEFAULT_ROLES: Mapping[str, Role] = {
    "person": "person",
    "car": "vehicle",
    "bus": "vehicle",
    "truck": "vehicle",
    "van": "vehicle",
    "motorcycle": "non_motor",
    "bicycle": "non_motor",
    "tricycle": "non_motor",
    "umbrella": "stall_part",
    "chair": "stall_part",
    "bench": "other",
    "table": "stall_part",
    "dining table": "stall_part",
    "tent": "stall_part",
    "cart": "stall_part",
    "bag": "bag",
    "backpack": "bag",
    "handbag": "bag",
    "suitcase": "bag",
    "potted plant": "goods",
    "bottle": "goods",
    "goods": "goods",
    "luggage": "bag",
    "garbage": "garbage",
    "garbage_bin": "bin",
    "overflow": "bin_overflow",
}


def role_of(name: str, city: Mapping[str, Role] | None = None) -> Role:
    """Return the role of a class; `city` maps a city's own class names first, unknown names are `other`."""
    if city and name in city:
        return city[name]
    return DEFAULT_ROLES.get(name, "other")
