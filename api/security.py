"""Passwords, tokens and sign-in. Nothing that opens a door is stored in the clear."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from api.audit import record
from api.db import lock
from api.tables import Device, LoginFailure, LoginSession, User
from contract import new_id

FREE_TRIES = 5
FIRST_LOCK_S = 30.0
MAX_LOCK_S = 900.0
FREE_TRIES_OF_ADDRESS = 30
ADDRESS_LOCK_S = 60.0
ADDRESS_FORGETS = timedelta(hours=1)
ROTATION_GRACE = timedelta(hours=24)
# The OWASP minimum (19 MiB, 2 passes): 30 ms here, and 100 logins at once stay under 2 GiB.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_DUMMY = HASHER.hash("no such user")
_AT_ONCE = threading.Semaphore(2)


class LockedError(RuntimeError):
    """Too many failed logins; `retry_s` says when to come again."""

    def __init__(self, retry_s: float) -> None:
        super().__init__(f"too many failed logins; try again in {retry_s:.0f} s")
        self.retry_s = retry_s


@dataclass(frozen=True)
class Login:
    """A fresh session: the cookie's value, once, and its end."""

    token: str
    user: User
    expires_at: datetime


def digest(token: str) -> str:
    """Return the SHA-256 of a token of full entropy."""
    return hashlib.sha256(token.encode()).hexdigest()


def hash_password(password: str) -> str:
    """Return the argon2id hash."""
    with _AT_ONCE:
        return HASHER.hash(password)


def check_password(stored: str | None, password: str) -> bool:
    """Compare; an unknown user (None) takes the same time."""
    try:
        with _AT_ONCE:
            return HASHER.verify(stored or _DUMMY, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def lock_seconds(failures: int) -> float:
    """How long a name stays locked after so many failures in a row."""
    return 0.0 if failures < FREE_TRIES else min(MAX_LOCK_S, FIRST_LOCK_S * 2 ** (failures - FREE_TRIES))


def address_lock_seconds(failures: int) -> float:
    """How long an address waits after so many failures, of whatever names: many people may share one."""
    return 0.0 if failures < FREE_TRIES_OF_ADDRESS else ADDRESS_LOCK_S


def failure_key(kind: str, told: str) -> str:
    """Return under what failures are counted: a hash, since people type passwords into the field for names."""
    return digest(f"{kind}:{told.casefold()}")


def begin_try(session: Session, username: str, address: str, now: datetime) -> datetime | None:
    """Count a try as failed before it is judged, so that tries at one moment, on whichever replica, all count.

    Returns when the address failed before, for `end_try`, which takes the count back. Raises `LockedError` while the name
    or the address is locked.
    """
    place = failure_key("address", address)
    keys = {failure_key("name", username): lock_seconds, place: address_lock_seconds}
    lock(session, [f"login:{key}" for key in keys])
    session.execute(delete(LoginFailure).where(LoginFailure.last_at < now - timedelta(days=1)))
    known = {key: session.get(LoginFailure, key) for key in keys}
    for key, row in known.items():
        if row is not None:
            left = keys[key](row.count) - (now - row.last_at).total_seconds()
            if left > 0:
                raise LockedError(left)
    here = known[place]
    before = here.last_at if here is not None else None
    if here is not None and now - here.last_at > ADDRESS_FORGETS:
        here.count = 0
    for key, row in known.items():
        if row is None:
            session.add(LoginFailure(name=key, count=1, last_at=now))
        else:
            row.count, row.last_at = row.count + 1, now
    return before


def end_try(session: Session, username: str, address: str, now: datetime, before: datetime | None) -> None:
    """After a right password: forget the name's failures, and this one of the address's. `now` is the try's, not the end's."""
    forget_failures(session, username)
    place = LoginFailure.name == failure_key("address", address)
    session.execute(
        update(LoginFailure).where(place, LoginFailure.count > 0).values(count=LoginFailure.count - 1)
    )
    if before is not None:
        # Unless another has failed since: a right password must not stand for the moment of the last wrong one.
        session.execute(update(LoginFailure).where(place, LoginFailure.last_at == now).values(last_at=before))


def forget_failures(session: Session, username: str) -> None:
    """Unlock a name."""
    session.execute(delete(LoginFailure).where(LoginFailure.name == failure_key("name", username)))


def open_session(session: Session, user: User, now: datetime, hours: float) -> Login:
    """Start a session and sweep the expired ones."""
    token = secrets.token_urlsafe(32)
    expires = now + timedelta(hours=hours)
    session.execute(delete(LoginSession).where(LoginSession.expires_at < now))
    session.add(LoginSession(token_hash=digest(token), user_id=user.id, created_at=now, expires_at=expires))
    return Login(token, user, expires)


def add_user(
    session: Session, username: str, role: str, now: datetime, tenant: str = "/", password: str | None = None
) -> str:
    """Add a person and return the password, made here unless given."""
    password = password or secrets.token_urlsafe(15)
    session.add(
        User(
            id=new_id(),
            username=username,
            password_hash=hash_password(password),
            role=role,
            tenant=tenant,
            created_at=now,
        )
    )
    session.flush()
    return password


def new_password(session: Session, username: str, now: datetime) -> str | None:
    """Replace a person's password, end all their sessions and any lock; None when nobody signs in by that name."""
    user = session.scalar(select(User).where(User.username == username, User.active, User.subject.is_(None)))
    if user is None:
        return None
    password = secrets.token_urlsafe(15)
    user.password_hash = hash_password(password)
    session.execute(delete(LoginSession).where(LoginSession.user_id == user.id))
    forget_failures(session, username)
    record(session, "credentials", now, "cli", "user.password", {"username": username})
    return password


def first_admin(session: Session, now: datetime) -> str | None:
    """Make `admin` when there is no user at all; return the password, to be shown once, or None."""
    if session.scalar(select(User.id).limit(1)) is not None:
        return None
    return add_user(session, "admin", "admin", now)


def add_device(session: Session, name: str, now: datetime, tenant: str = "/") -> str:
    """Add a box, or give a known one a new token whose predecessor works for another day. Return the token."""
    token = f"cw_dev_{secrets.token_urlsafe(32)}"
    device = session.get(Device, name)
    if device is None:
        session.add(Device(id=name, token_hash=digest(token), tenant=tenant, created_at=now))
    else:
        device.old_token_hash, device.old_valid_until = device.token_hash, now + ROTATION_GRACE
        device.token_hash, device.revoked_at = digest(token), None
    session.flush()
    return token
