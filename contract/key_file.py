"""The private key of a box or of a centre, as a file. Needs securesystemslib, see `contract.chain`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

# The package's __init__ has no __all__.
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from contract.durable import sync


def make_key_file(path: Path) -> None:
    """Make an Ed25519 key (PEM), readable by its owner alone; a file that is there already is left as it is.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, CryptoSigner.generate_ed25519().private_bytes)
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        # A link fails where the file exists: of two processes that start at once, one key wins.
        os.link(part, path)
        sync(path.parent)
    except FileExistsError:
        pass
    finally:
        part.unlink()
