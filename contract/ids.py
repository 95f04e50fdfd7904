"""Identifiers: UUIDv7 (RFC 9562), so that ids sort by the time of their making."""

from __future__ import annotations

from uuid_utils import uuid7


def new_id() -> str:
    """Return a new UUIDv7 in its canonical lower-case form."""
    return str(uuid7())
