"""Signing: each alert message becomes a link of the box's chain (`contract/chain.py`)."""

from __future__ import annotations

import hashlib
from datetime import datetime

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signer  # type: ignore[attr-defined]  # no __all__

from contract import AlertEvent
from contract.chain import PAYLOAD_TYPE, Link, canonical, event_body


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
