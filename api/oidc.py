"""Sign-in by a city's own provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636, S256).

Whoever comes back is known by (issuer, subject), never by a name or an address that the provider lets people change.
Role and tenant come from a claim, anew at each sign-in, so that what the provider takes away is gone here too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.settings import Settings
from api.tables import User
from contract import new_id

# Signatures by a public key alone: HS256 would let whoever knows a client secret sign, and `none` anybody.
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
LEEWAY_S = 60
MAX_BYTES = 1 << 20
UNUSABLE = "!"  # no argon2 hash, so that no password ever fits


class OidcError(RuntimeError):
    """The provider or its answer is not to be trusted; the message says why and holds no secret."""


class NoRoleError(RuntimeError):
    """The person is known to the provider, but has no role here."""


@dataclass(frozen=True)
class Attempt:
    """What one browser keeps, in a cookie, between going to the provider and coming back."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Attempt:
        """Return three fresh random values of 256 bits."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    @classmethod
    def of_cookie(cls, value: str | None) -> Attempt | None:
        """Read a cookie; None when it is none of ours."""
        parts = (value or "").split(".")
        return cls(*parts) if len(parts) == 3 and all(20 <= len(p) <= 100 for p in parts) else None

    def cookie(self) -> str:
        """Return the cookie's value."""
        return f"{self.state}.{self.nonce}.{self.verifier}"

    def fits(self, state: str) -> bool:
        """Compare the state in constant time."""
        return hmac.compare_digest(self.state.encode(), state.encode())


@dataclass(frozen=True)
class Provider:
    """A provider's published addresses and keys (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorize: str
    token: str
    userinfo: str | None
    keys: dict[str, Any]


def _json(client: httpx.Client, method: str, url: str, **more: Any) -> dict[str, Any]:
    try:
        answer = client.request(method, url, **more)
        if not answer.is_success or len(answer.content) > MAX_BYTES:
            raise OidcError(f"the provider answered {answer.status_code}")
        body = answer.json()
    except (httpx.HTTPError, ValueError) as exc:
        raise OidcError(f"the provider did not answer ({type(exc).__name__})") from exc
    if not isinstance(body, dict):
        raise OidcError("the provider's answer is no JSON object")
    return body


def discover(client: httpx.Client, issuer: str) -> Provider:
    """Read the provider's metadata and keys. Raises `OidcError`, also when it names another issuer than itself."""
    told = _json(client, "GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if str(told.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
        raise OidcError("the provider names another issuer than oidc_issuer")
    try:
        keys = _json(client, "GET", str(told["jwks_uri"]))
        return Provider(
            told["issuer"],
            told["authorization_endpoint"],
            told["token_endpoint"],
            told.get("userinfo_endpoint"),
            keys,
        )
    except KeyError as exc:
        raise OidcError(f"the provider's metadata lacks {exc}") from exc


def address(settings: Settings, provider: Provider, attempt: Attempt) -> str:
    """Return where the browser goes to sign in."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=")
    query = {
        "response_type": "code", "client_id": settings.oidc_client_id, "redirect_uri": redirect_uri(settings),
        "scope": settings.oidc_scope, "state": attempt.state, "nonce": attempt.nonce,
        "code_challenge": challenge.decode(), "code_challenge_method": "S256",
    }  # fmt: skip
    return f"{provider.authorize}{'&' if '?' in provider.authorize else '?'}{urlencode(query)}"


def redirect_uri(settings: Settings) -> str:
    """Return the address that the provider must know as ours."""
    return f"{(settings.public_url or '').rstrip('/')}/session/oidc/callback"


def claims_of(
    client: httpx.Client, settings: Settings, provider: Provider, attempt: Attempt, code: str, now: datetime
) -> dict[str, Any]:
    """Exchange the code and return the person's checked claims. Raises `OidcError`."""
    form = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri(settings),
        "code_verifier": attempt.verifier, "client_id": settings.oidc_client_id,
    }  # fmt: skip
    secret = settings.oidc_client_secret
    login = httpx.BasicAuth(settings.oidc_client_id, secret.get_secret_value()) if secret else None
    told = _json(client, "POST", provider.token, data=form, **({"auth": login} if login else {}))
    claims = check_token(
        str(told.get("id_token", "")), provider, settings.oidc_client_id, attempt.nonce, now.timestamp()
    )
    if settings.oidc_claim not in claims and provider.userinfo and told.get("access_token"):
        bearer = {"Authorization": f"Bearer {told['access_token']}"}
        more = _json(client, "GET", provider.userinfo, headers=bearer)
        # OpenID Connect Core 5.3.2: a userinfo of another subject must not be used.
        if more.get("sub") != claims["sub"]:
            raise OidcError("the provider's userinfo speaks of another person")
        claims = more | claims
    return claims


def check_token(token: str, provider: Provider, client_id: str, nonce: str, now: float) -> dict[str, Any]:
    """Check an ID token as OpenID Connect Core 3.1.3.7 asks: signature, iss, aud, azp, exp, iat, nonce.

    `now` is Unix time in seconds. Raises `OidcError`.
    """
    try:
        keys = KeySet.import_key_set(provider.keys)  # type: ignore[arg-type]
        found = jwt.decode(token, keys, algorithms=list(ALGORITHMS))
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(now),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": provider.issuer},
            sub={"essential": True},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        registry.validate(found.claims)
    except (JoseError, ValueError, TypeError, KeyError) as exc:
        raise OidcError(f"the ID token does not hold ({type(exc).__name__})") from exc
    claims = dict(found.claims)
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != client_id:
        raise OidcError("the ID token was made for another client")
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
        raise OidcError("the ID token's sub is empty or too long")
    return claims


def role_of(claims: Mapping[str, Any], settings: Settings) -> tuple[str, str]:
    """Return (role, tenant) by the first line of `oidc_roles` whose value the claim has. Raises `NoRoleError`."""
    told = claims.get(settings.oidc_claim)
    has = {str(v) for v in told} if isinstance(told, list) else {str(told)}
    for value, role, tenant in settings.role_lines():
        if value in has:
            return role, tenant
    raise NoRoleError(f"your account has no role here; {settings.oidc_claim} must hold a value of oidc_roles")


def admit(
    session: Session, issuer: str, claims: Mapping[str, Any], role: str, tenant: str, now: datetime
) -> User:
    """Find or add the person of (issuer, sub), with today's role and tenant. Raises `NoRoleError` when shut out."""
    subject = hashlib.sha256(f"{issuer}\n{claims['sub']}".encode()).hexdigest()
    user = session.scalar(select(User).where(User.subject == subject))
    if user is None:
        user = User(
            id=new_id(), username=_free_name(session, claims, subject), password_hash=UNUSABLE, subject=subject,
            role=role, tenant=tenant, created_at=now, active=True,
        )  # fmt: skip
        session.add(user)
        session.flush()
    if not user.active:
        raise NoRoleError("your account was shut out here; ask an administrator")
    user.role, user.tenant = role, tenant
    return user


def _free_name(session: Session, claims: Mapping[str, Any], subject: str) -> str:
    """A name to show; one that a local account has already gets a tail, so that nobody takes it over."""
    told = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
    name = "".join(c for c in told if c.isalnum() or c in "._@-")[:100] or "person"
    taken = session.scalar(select(User.id).where(User.username == name))
    return f"{name}-{subject[:8]}" if taken else name
