"""The chain of a box: signed links, and the key that signs them, as both sides of the line read them.

A link holds its message's hash, not the message, so that a case can be handed out with an unbroken chain without the
cases between. Its envelope is DSSE (https://github.com/secure-systems-lab/dsse); it is small enough for an HTTP header.
Needs securesystemslib, so `contract` itself does not import it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

# The package's __init__ has no __all__.
from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined]

from contract.alert import AlertEvent, AlertStage
from contract.base import Identifier, Message, Revision, Sha256, Slug, UtcTime

# The signed link of a message, base64 of its DSSE envelope; about 1 KB.
LINK_HEADER = "Curbwatch-Link"
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
    revision: Revision
    signed_at: UtcTime

    def text(self) -> str:
        """Return the one JSON text of the link."""
        return canonical(self.wire())

    def digest(self) -> str:
        """Return what the next link names as its `previous`."""
        return hashlib.sha256(self.text().encode()).hexdigest()


class LinkError(ValueError):
    """An envelope is not what the box signed."""


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: one value, one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def event_body(event: AlertEvent) -> bytes:
    """Return the one JSON text of a message: what is hashed, queued and posted."""
    return canonical(event.wire()).encode()


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
        raise LinkError(f"the envelope holds {str(envelope.payload_type)[:80]!r}, not a link")
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


def read_public_key(text: str) -> tuple[str, SSlibKey]:
    """Return device and key of `public_key`'s JSON.

    Raises:
        ValueError: it is not such a text, or not an Ed25519 key.
    """
    try:
        told = json.loads(text)
        key = SSlibKey.from_dict(str(told["keyid"]), dict(told["key"]))
        device = str(told["device"])
    except (KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"not a public key of a box: {type(exc).__name__}: {exc}") from None
    if key.keytype != "ed25519" or key.scheme != "ed25519":
        raise ValueError(f"the key is {key.keytype}, a box has ed25519")
    if canonical({"device": device, "keyid": key.keyid, "key": key.to_dict()}) != text:
        raise ValueError("the text of the key was changed")
    return device, key
