"""Rules as small versioned objects: pure functions of a scene and a zone. `ALL_RULES` is what a box knows."""

from edge.rules.base import Rule
from edge.rules.dumping import DUMPING_RULES
from edge.rules.parking import PARKING_RULES
from edge.rules.stalls import STALL_RULES

ALL_RULES: tuple[Rule, ...] = (*PARKING_RULES, *DUMPING_RULES, *STALL_RULES)

__all__ = ["ALL_RULES", "Rule"]
