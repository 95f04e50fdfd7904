"""The box's own key: an Ed25519 key that is born here, never leaves, and signs what the box says.

`securesystemslib`'s `Signer` is the seam for a key in hardware: its HSM signer (PKCS#11) and TPM signer fit where
`load_signer` stands. The public half is enrolled once at the centre.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key

# The package's __init__ has no __all__.
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from contract.chain import canonical


class IdentityError(RuntimeError):
    """The key file cannot be used; the message says how to mend it."""


def load_signer(path: Path) -> CryptoSigner:
    """Return the box's signer; the key is made on the first call, readable by its owner alone.

    Raises:
        IdentityError: the file is readable by others, or is not a key.
    """
    if not path.exists():
        _create(path)
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


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, CryptoSigner.generate_ed25519().private_bytes)
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        # A link fails where the file exists: of two processes that start at once, one key wins.
        os.link(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except FileExistsError:
        pass
    finally:
        part.unlink()


def public_key(signer: CryptoSigner, device_id: str) -> str:
    """Return what the centre enrols, as canonical JSON: device, key id, public key."""
    key = signer.public_key
    return canonical({"device": device_id, "keyid": key.keyid, "key": key.to_dict()})
