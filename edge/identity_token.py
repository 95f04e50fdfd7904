"""The box's key in a PKCS#11 token (a smart card, an HSM, SoftHSM): born there, never outside of it. Extra `pkcs11`."""

from __future__ import annotations

import threading
from importlib.util import find_spec
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# The package's __init__ has no __all__.
from securesystemslib.signer import Key, Signature, Signer, SSlibKey  # type: ignore[attr-defined]

from edge.identity_error import IdentityError
from edge.keeping_config import TokenConfig

# RFC 8410: the object identifier of Ed25519.
ED25519_OID = "1.3.101.112"
POINT_BYTES = 32


class TokenSigner(Signer):
    """Signs with an Ed25519 key inside a token; a session that broke is opened again with the next message."""

    def __init__(self, config: TokenConfig) -> None:
        """Find the key, or let the token make one that it never gives out.

        Raises:
            IdentityError: the module, the token, its PIN or the key cannot be used; the message says which.
        """
        if find_spec("pkcs11") is None:
            raise IdentityError(
                "identity.token: needs the package python-pkcs11; install curbwatch[edge,pkcs11]"
            )
        self._config = config
        self._lock = threading.Lock()
        self._session: Any = None
        self._private: Any = None
        self._key = self._open()

    @property
    def public_key(self) -> SSlibKey:
        """The public half."""
        return self._key

    @classmethod
    def from_priv_key_uri(cls, *_: Any, **__: Any) -> Signer:
        """Not used: the box's file says where its key is."""
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        """Return the signature over a payload.

        Raises:
            OSError: the token does not answer; what was to be signed waits and is tried again.
        """
        import pkcs11

        with self._lock:
            try:
                if self._session is None:
                    self._same_key(self._open())
                made = self._private.sign(payload, mechanism=pkcs11.Mechanism.EDDSA)
            except (pkcs11.PKCS11Error, IdentityError) as exc:
                self._session = None
                raise OSError(f"the token {self._config.token} does not sign: {_words(exc)}") from None
        return Signature(self._key.keyid, bytes(made).hex())

    def _open(self) -> SSlibKey:
        import pkcs11

        try:
            library = pkcs11.lib(str(self._config.module))
            token = library.get_token(token_label=self._config.token)
            pin = self._config.pin_file.read_text(encoding="utf-8").strip()
            try:
                session = token.open(user_pin=pin, rw=True)
            except pkcs11.UserAlreadyLoggedIn:
                session = token.open(rw=True)  # to be logged in is the process's state, not the session's
            public, self._private = _pair(session, self._config.key)
            point = bytes(public[pkcs11.Attribute.EC_POINT])
        except (pkcs11.PKCS11Error, RuntimeError) as exc:
            raise IdentityError(
                f"identity.token: token {self._config.token} of {self._config.module}: {_words(exc)}"
            ) from None
        except OSError as exc:
            raise IdentityError(f"identity.token.pin_file: cannot be read ({exc.strerror})") from None
        self._session = session
        # PKCS#11 wraps the point into an OCTET STRING of two bytes more; some tokens give it bare.
        raw = point[-POINT_BYTES:]
        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw))

    def _same_key(self, found: Key) -> None:
        if found.keyid != self._key.keyid:
            raise IdentityError("another token with another key was put in; enrol the box again")


def _pair(session: Any, label: str) -> tuple[Any, Any]:
    """Return public and private key of a label, made in the token when there is none."""
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    wanted = {"key_type": pkcs11.KeyType.EC_EDWARDS, "label": label}
    try:
        return (
            session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, **wanted),
            session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, **wanted),
        )
    except pkcs11.NoSuchKey:
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC_EDWARDS,
            {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(ED25519_OID)},
            local=True,
        )
        pair = parameters.generate_keypair(
            mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label=label
        )
        return pair[0], pair[1]


def _words(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
