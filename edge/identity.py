"""The box's own key: an Ed25519 key that is born here, never leaves, and signs what the box says.

`securesystemslib`'s `Signer` is the seam for a key in hardware: `signer_of` takes the one of a PKCS#11 token where the
box's file names one. The public half is enrolled once at the centre.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key

# The package's __init__ has no __all__.
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey  # type: ignore[attr-defined]

from contract.chain import canonical
from contract.key_file import make_key_file
from edge.identity_error import IdentityError
from edge.identity_token import TokenSigner
from edge.keeping_config import IdentityConfig

KEY_FILE, PUBLIC_FILE = "identity.key", "identity.public"


def load_signer(path: Path) -> CryptoSigner:
    """Return the box's signer; the key is made on the first call, readable by its owner alone.

    Raises:
        IdentityError: the file is readable by others, or is not a key.
    """
    if not path.exists():
        make_key_file(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise IdentityError(
            f"{path} can be read by others (mode {mode:o}); it may have been copied: "
            "delete it and enrol the box again, or `chmod 600` it if you know that it was not"
        )
    try:
        key: Any = load_pem_private_key(path.read_bytes(), None)
        return CryptoSigner(key)
    except (ValueError, TypeError) as exc:
        raise IdentityError(
            f"{path} is not a private key ({exc}); delete it and enrol the box again"
        ) from None


def signer_of(config: IdentityConfig, data: Path) -> Signer:
    """Return the signer that a box's file asks for: of its token, or of `identity.key` in its data folder.

    Raises:
        IdentityError: the key cannot be used.
    """
    if config.token is None:
        return load_signer(data / KEY_FILE)
    if (data / KEY_FILE).exists():
        raise IdentityError(
            f"identity.token: {data / KEY_FILE} is there as well; a box has one key: delete the file, then give the box a token of "
            "`curbwatch api device add NAME` (`edge enroll` makes a key file)"
        )
    signer = TokenSigner(config.token)
    # For the commands that name the key, on a machine where the token may be away.
    part = data / f"{PUBLIC_FILE}.part"
    key = signer.public_key
    part.write_text(canonical({"keyid": key.keyid, "key": key.to_dict()}))
    part.replace(data / PUBLIC_FILE)
    return signer


def known_key(data: Path) -> SSlibKey:
    """Return the public key of the box with this data folder.

    Raises:
        IdentityError: the key file cannot be used.
    """
    if not (data / PUBLIC_FILE).exists():
        return load_signer(data / KEY_FILE).public_key
    told = json.loads((data / PUBLIC_FILE).read_text())
    return SSlibKey.from_dict(told["keyid"], told["key"])


def public_key(signer: Signer | SSlibKey, device_id: str) -> str:
    """Return what the centre enrols, as canonical JSON: device, key id, public key."""
    key = signer if isinstance(signer, SSlibKey) else signer.public_key
    return canonical({"device": device_id, "keyid": key.keyid, "key": key.to_dict()})
