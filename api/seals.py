"""Sealed originals: age files that only the centre's private key opens."""

from __future__ import annotations

import os
from pathlib import Path

import pyrage

from api.errors import ApiError
from api.settings import Settings


class Unsealer:
    """Opens what boxes sealed to the centre's public key."""

    def __init__(self, identities: list[pyrage.x25519.Identity]) -> None:
        self._identities = identities

    @classmethod
    def of(cls, settings: Settings) -> Unsealer:
        """Read the key file for this one opening, so that the key stays in memory no longer than it is needed.

        Raises `ApiError`: 503 without a key, or with a file that is not one or that others can read.
        """
        path = settings.unseal_key
        if path is None:
            raise ApiError(
                503,
                "no key for sealed originals: set CURBWATCH_API_UNSEAL_KEY to the file of `evidence keygen`",
            )
        return cls(_read(path))

    def open(self, sealed: bytes) -> bytes:
        """Return the original.

        Raises `ApiError`: 409 when it was sealed to another key, or is damaged.
        """
        try:
            return bytes(pyrage.decrypt(sealed, self._identities))
        except pyrage.DecryptError:
            raise ApiError(
                409, "this original was sealed to another key, or is damaged; is an older key in the file?"
            ) from None


def _read(path: Path) -> list[pyrage.x25519.Identity]:
    try:
        info = path.stat()
        # A mounted secret of Kubernetes belongs to root and is given to us by the group alone.
        if info.st_mode & (0o077 if info.st_uid == os.geteuid() else 0o007):
            raise ApiError(503, "the key for sealed originals can be read by others: chmod 600 it")
        lines = path.read_text(encoding="utf-8").splitlines()
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        return [pyrage.x25519.Identity.from_str(key) for key in keys]
    except OSError as exc:
        raise ApiError(503, f"the key for sealed originals cannot be read ({exc.strerror})") from None
    except pyrage.IdentityError:
        raise ApiError(
            503, "the key for sealed originals is not an age key, which begins with AGE-SECRET-KEY-1"
        ) from None
