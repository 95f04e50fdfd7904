"""The trace of an alert, from frame to case (https://www.w3.org/TR/trace-context/).

The trace's id is the alert's: what is done twice, after a restart, over another line or years later by hand, falls into
the same trace, and a case leads to it without a table.
"""

from __future__ import annotations

import hashlib
import re

PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
HEADER = "traceparent"


def trace_id(alert_id: str) -> str:
    """Return the 32 hexadecimal digits of an alert's trace."""
    return alert_id.replace("-", "")


def root_span(alert_id: str) -> str:
    """Return the 16 hexadecimal digits of the trace's first span, the box's "alert"."""
    return hashlib.sha256(f"alert:{alert_id}".encode()).hexdigest()[:16]


def parent_of(alert_id: str) -> str:
    """Return the `traceparent` of an alert's first span, sampled."""
    return f"00-{trace_id(alert_id)}-{root_span(alert_id)}-01"


def read_parent(value: str | None) -> tuple[str, str, bool] | None:
    """Return (trace, span, sampled) of a `traceparent`, None when it is missing or wrong."""
    found = PARENT.fullmatch(value or "")
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    return found[1], found[2], bool(int(found[3], 16) & 1)
