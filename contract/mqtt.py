"""How a box speaks to the centre through an MQTT 5 broker: each request of the HTTP interface as one message, each answer
as one message (request and response of MQTT 5). The answer is the API's own, so a box forgets nothing that only a broker has.

A request goes to `up_topic` with a response topic, correlation data, the user properties `method` and `path`, and the
headers as further user properties. The answer has the user property `status` and the headers.
"""

from __future__ import annotations

import re

PREFIX = "curbwatch/v1"
# One message holds at most this much of a file; a larger one goes in parts with Content-Range.
PART_BYTES = 256 * 1024
MAX_PAYLOAD = 1024 * 1024
REQUEST_HEADERS = frozenset(
    {"authorization", "content-type", "content-range", "curbwatch-link", "traceparent"}
)
ANSWER_HEADERS = frozenset({"content-type", "retry-after", "upload-offset", "upload-complete"})
_ROUTES = re.compile(
    r"POST /(alerts|heartbeats|(inspections|callouts|checks)/[0-9a-f-]{36}/report)"
    r"|PUT /devices/self/key|(PUT|HEAD) /evidence/[0-9a-f]{64}",
    re.ASCII,
)
_UP = re.compile(rf"{PREFIX}/up/([A-Za-z0-9][A-Za-z0-9._-]{{0,63}})", re.ASCII)


def up_topic(device: str) -> str:
    """Return the topic of a box's requests."""
    return f"{PREFIX}/up/{device}"


def down_topic(device: str, session: str) -> str:
    """Return the topic of the answers to one run of a box."""
    return f"{PREFIX}/down/{device}/{session}"


def device_of(topic: str) -> str | None:
    """Return whose request came on a topic, or None."""
    found = _UP.fullmatch(topic)
    return found[1] if found else None


def allowed(method: str, path: str) -> bool:
    """True for what a box may ask for; nothing else passes the bridge."""
    return _ROUTES.fullmatch(f"{method} {path}") is not None
