"""The chain: each alert message becomes a signed link that names the link before it.

A link holds the message's hash, not the message, so that a case can be handed out with an unbroken chain without the
cases between. Its envelope is DSSE (https://github.com/secure-systems-lab/dsse); it is small enough for an HTTP header.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

# The package's __init__ has no __all__.
from securesystemslib.signer import Key, Signer  # type: ignore[attr-defined]

from contract import AlertEvent, AlertStage, Message, UtcTime
from contract.base import Identifier, Sha256, Slug
from edge.identity import canonical

PAYLOAD_TYPE = "application/vnd.curbwatch.link+json"
ORIGIN = "0" * 64


class Link(Message):
    """One link of a box's chain."""

    version: Literal[1] = 1
    device: Slug
    seq: Annotated[int, Field(ge=1, description="Counts up by one with each message of the box.")]
    previous: Annotated[Sha256, Field(description="SHA-256 of the link before; zeros at the beginning.")]
    event_id: Identifier
    event_sha256: Annotated[Sha256, Field(description="SHA-256 of the message as `event_body` writes it.")]
    alert_id: Identifier
    stage: AlertStage
    revision: Annotated[int, Field(ge=0)]
    signed_at: UtcTime

    def text(self) -> str:
        """Return the one JSON text of the link."""
        return canonical(self.wire())

    def digest(self) -> str:
        """Return what the next link names as its `previous`."""
        return hashlib.sha256(self.text().encode()).hexdigest()


class LinkError(ValueError):
    """An envelope is not what the box signed."""


def event_body(event: AlertEvent) -> bytes:
    """Return the one JSON text of a message: what is hashed, queued and posted."""
    return canonical(event.wire()).encode()


def sign_link(
    signer: Signer, event: AlertEvent, seq: int, previous: str, signed_at: datetime
) -> tuple[Link, str]:
    """Return the link of a message and its envelope as canonical JSON."""
    link = Link(
        device=event.data.device_id,
        seq=seq,
        previous=previous,
        event_id=event.id,
        event_sha256=hashlib.sha256(event_body(event)).hexdigest(),
        alert_id=event.data.id,
        stage=event.data.stage,
        revision=event.data.revision,
        signed_at=signed_at,
    )
    envelope = Envelope(link.text().encode(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return link, canonical(envelope.to_dict())


def open_link(text: str, key: Key) -> Link:
    """Return the link of an envelope that `key` signed.

    Raises:
        LinkError: the signature does not fit, or any byte of the text is not as the box wrote it.
    """
    try:
        told: dict[str, Any] = json.loads(text)
        envelope = Envelope.from_dict(told)
        # Base64 has spare bits and JSON spare spaces that no signature covers; one value has one text here.
        same = canonical(envelope.to_dict()) == text
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise LinkError(f"not an envelope ({type(exc).__name__})") from None
    except Exception as exc:  # securesystemslib raises its own format errors
        raise LinkError(f"not an envelope ({exc})") from None
    if not same:
        raise LinkError("the envelope's text was changed")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise LinkError(f"the envelope holds {envelope.payload_type[:80]!r}, not a link")
    try:
        envelope.verify([key], 1)
    except (VerificationError, ValueError):
        raise LinkError("the signature is not by the box's key") from None
    try:
        link = Link.model_validate_json(envelope.payload)
    except ValueError as exc:
        raise LinkError(f"the signed link is not readable: {exc}") from None
    if link.text().encode() != envelope.payload or len(envelope.signatures) != 1:
        raise LinkError("the signed link is not in its one form")
    return link
