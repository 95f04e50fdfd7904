"""Webhooks: a transactional outbox. CloudEvents 1.0, signed as Standard Webhooks has it, retried, never lost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.addresses import is_public
from api.db import Database
from api.tables import Delivery, Hook
from contract import new_id

FIRST_WAIT_S, MAX_WAIT_S, AT_ONCE = 5.0, 6 * 3600.0, 50
CLAIM_S = 60.0


_ACTIVE = select(Hook.id, Hook.tenant).where(Hook.active)


def hooks_above(session: Session, tenant: str) -> list[str]:
    """Return the ids of the active webhooks of the tenant and of those above it."""
    return [hook_id for hook_id, owner in session.execute(_ACTIVE) if tenant.startswith(owner)]


def deliveries(
    hooks: list[str], kind: str, data: dict[str, Any], now: datetime, hold_s: float = 0.0
) -> list[Delivery]:
    """Return a delivery of an event for each webhook, to be written within the change's transaction.

    None leaves before `hold_s` seconds are over: until then `recall` takes it back.
    """
    at = now + timedelta(seconds=hold_s)
    made = []
    for hook_id in hooks:
        event_id = new_id()
        body = {
            "specversion": "1.0", "id": event_id, "source": "/curbwatch/cases", "type": f"city.curbwatch.{kind}.v1",
            "time": now.isoformat(), "subject": data.get("case_id") or data["camera_id"], "datacontenttype": "application/json", "data": data,
        }  # fmt: skip
        made.append(
            Delivery(id=event_id, hook_id=hook_id, state="due", tries=0, next_at=at, error="", body=body)
        )
    return made


def enqueue(
    session: Session, tenant: str, kind: str, data: dict[str, Any], now: datetime, hold_s: float = 0.0
) -> None:
    """Write an event's deliveries within the change's transaction."""
    session.add_all(deliveries(hooks_above(session, tenant), kind, data, now, hold_s))


def recall(session: Session, case_id: str, kind: str, said_at: datetime, now: datetime) -> bool:
    """Delete the deliveries of the event of that moment that are still held back; True when there was one."""
    held = session.scalars(
        select(Delivery).where(Delivery.state == "due", Delivery.next_at > now, Delivery.tries == 0)
    )
    found = [
        row
        for row in held
        if row.body["subject"] == case_id
        and row.body["type"] == f"city.curbwatch.{kind}.v1"
        and datetime.fromisoformat(row.body["time"]) == said_at
    ]
    for row in found:
        session.delete(row)
    return bool(found)


def signature(secret: str, message_id: str, stamp: int, body: bytes) -> str:
    """Return `v1,<base64>` over id, time and body (https://www.standardwebhooks.com); the time stops replays."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def check_address(url: str, allow_private: bool) -> str | None:
    """Return why the URL may not be called, or None. Names are resolved, so that none hides a private address."""
    return resolve(url, allow_private)[0]


def resolve(url: str, allow_private: bool) -> tuple[str | None, str]:
    """Return (why the URL may not be called or None, the address to connect to; empty leaves it to the client).

    The address that was checked is the one to connect to: a name asked a second time may answer another one.
    """
    try:
        parts = httpx.URL(url)  # what calls it reads it: another parser may see another host
    except (httpx.InvalidURL, ValueError):
        return "url: it cannot be read; write it as https://HOST/PATH", ""
    if parts.scheme not in ({"https", "http"} if allow_private else {"https"}) or not parts.host:
        return "url: must begin with https://", ""
    if parts.userinfo:
        return "url: must not hold a password", ""
    if parts.port is not None and not 0 < parts.port < 2**16:
        return f"url: {parts.port} is no port", ""
    if allow_private:
        return None, ""
    try:
        found = socket.getaddrinfo(parts.raw_host.decode(), parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return "url: the host name is unknown", ""
    if not found or any(not is_public(str(a[4][0])) for a in found):
        return "url: private and loopback addresses are not allowed here", ""
    return None, str(found[0][4][0])


def wait_s(tries: int) -> float:
    """Seconds before the next try: 5 s, doubled each time, six hours at most."""
    return min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** max(0, tries - 1))


@dataclass(frozen=True)
class _Work:
    id: str
    hook_id: str
    body: dict[str, Any]
    url: str
    secret: str


def send_due(
    db: Database, client: httpx.Client, now: Callable[[], datetime], tries: int, allow_private: bool
) -> int:
    """Send what is due, one after the other, and return how many were tried. Two replicas never send one at once.

    A webhook that fails rests for the round, so that one that does not answer costs the others one wait.
    """
    began, tried, resting = now(), 0, set[str]()
    while tried < AT_ONCE and (work := _claim(db, began, now(), resting)) is not None:
        error = _send(client, work.url, work.secret, work.id, work.body, now(), allow_private)
        with db.write() as session:
            _note(session.get(Delivery, work.id), error, now(), tries)
        tried += 1
        if error:
            resting.add(work.hook_id)
    return tried


def _claim(db: Database, due: datetime, now: datetime, resting: Collection[str]) -> _Work | None:
    """Take the delivery that has been due for longest, just before it leaves: a claim must outlast the sending."""
    with db.write() as session:
        found = session.execute(
            select(Delivery, Hook)
            .join(Hook, Hook.id == Delivery.hook_id)
            .where(
                Delivery.state == "due", Delivery.next_at <= due, Hook.active, Hook.id.not_in(resting),
            )
            .order_by(Delivery.next_at)
            .limit(1)
            .with_for_update(skip_locked=True, of=Delivery)
        ).first()  # fmt: skip
        if found is None:
            return None
        delivery, hook = found
        # Claimed for a minute: a replica that dies while sending leaves the delivery to another.
        # The try counts before it is made, so that `recall` leaves alone what is on its way.
        delivery.next_at, delivery.tries = now + timedelta(seconds=CLAIM_S), delivery.tries + 1
        return _Work(delivery.id, hook.id, delivery.body, hook.url, hook.secret)


def _send(
    client: httpx.Client,
    url: str,
    secret: str,
    message_id: str,
    body: dict[str, Any],
    at: datetime,
    private: bool,
) -> str:
    refused, host = resolve(url, private)
    if refused:
        return refused
    raw, stamp = json.dumps(body, ensure_ascii=False).encode(), int(at.timestamp())
    headers = {
        "Content-Type": "application/cloudevents+json", "webhook-id": message_id, "webhook-timestamp": str(stamp),
        "webhook-signature": signature(secret, message_id, stamp, raw),
    }  # fmt: skip
    there, more = httpx.URL(url), {}
    if host:
        # The certificate is still that of the name; the connection is not kept, since its key is the bare address.
        headers |= {"Host": there.netloc.decode(), "Connection": "close"}
        more = {"sni_hostname": there.raw_host.decode()}
        there = there.copy_with(host=host)
    try:
        # The body of the answer stays unread: it says nothing, and may come for ever.
        with client.stream("POST", there, content=raw, headers=headers, extensions=more) as answer:
            return "" if answer.is_success else f"HTTP {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
        return type(exc).__name__


def _note(delivery: Delivery | None, error: str, now: datetime, tries: int) -> None:
    if delivery is None or delivery.state != "due":
        return
    delivery.error = error[:300]
    if not error:
        delivery.state = "sent"
    elif delivery.tries >= tries:
        delivery.state = "dead"
    else:
        delivery.next_at = now + timedelta(seconds=wait_s(delivery.tries))
