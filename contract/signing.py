"""Signed documents between centre and box: one DSSE envelope, one signature. Needs securesystemslib, see `contract.chain`."""

from __future__ import annotations

import hashlib
import json

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError

# The package's __init__ has no __all__.
from securesystemslib.signer import Key, Signature, Signer, SSlibKey  # type: ignore[attr-defined]

from contract.chain import canonical
from contract.fleet import ENROL_WORD, ConfigOrder

CONFIG_TYPE = "application/vnd.curbwatch.config+json"


class SignedError(ValueError):
    """A document is not what its signer signed, or not for this box."""


def proof_of(signer: Signer, code: str) -> str:
    """Return the signature (hexadecimal) that shows possession of the key at enrolment."""
    return str(signer.sign(f"{ENROL_WORD}\n{code}".encode()).signature)


def proves(key: SSlibKey, code: str, proof: str) -> bool:
    """True when `proof` is the key's signature over the code."""
    try:
        key.verify_signature(Signature(str(key.keyid), proof), f"{ENROL_WORD}\n{code}".encode())
    except (UnverifiedSignatureError, VerificationError, ValueError):
        return False
    return True


def key_text(key: Key) -> str:
    """Return a public key as one JSON text."""
    return canonical({"keyid": key.keyid, "key": key.to_dict()})


def read_key(text: str) -> SSlibKey:
    """Return the key of `key_text`.

    Raises:
        SignedError: it is none, or not Ed25519.
    """
    try:
        told = json.loads(text)
        key = SSlibKey.from_dict(str(told["keyid"]), dict(told["key"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise SignedError(f"not a public key: {type(exc).__name__}") from None
    if key.keytype != "ed25519":
        raise SignedError(f"the key is {key.keytype}, not ed25519")
    return key


def sign_config(signer: Signer, order: ConfigOrder) -> str:
    """Return the envelope's text."""
    envelope = Envelope(canonical(order.wire()).encode(), CONFIG_TYPE, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def open_config(text: str, key: Key, device_id: str) -> ConfigOrder:
    """Return the configuration of an envelope that `key` signed for this box.

    Raises:
        SignedError: another signer, another box, another kind of document, or a body that was changed.
    """
    try:
        envelope = Envelope.from_dict(json.loads(text))
    except Exception as exc:  # securesystemslib raises its own format errors
        raise SignedError(f"not an envelope ({type(exc).__name__})") from None
    if envelope.payload_type != CONFIG_TYPE:
        raise SignedError(f"the envelope holds {str(envelope.payload_type)[:80]!r}, not a configuration")
    try:
        envelope.verify([key], 1)
        order = ConfigOrder.model_validate_json(envelope.payload)
    except (VerificationError, ValueError) as exc:
        raise SignedError(
            f"the configuration is not signed by the fleet's key ({type(exc).__name__})"
        ) from None
    if order.device_id != device_id:
        raise SignedError(f"the configuration is for {order.device_id}, not for {device_id}")
    if hashlib.sha256(order.body.encode()).hexdigest() != order.sha256:
        raise SignedError("the configuration's body does not have its hash")
    return order
