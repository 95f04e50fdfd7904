"""Boxes' keys and chains: each message's link is checked as it comes and kept, broken or not, with what was wrong."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session, defer

from api.audit import record, record_case
from api.db import lock
from api.errors import ApiError
from api.security import digest
from api.tables import AlertRow, CaseRow, Device
from api.tables_custody import ChainLink, DeviceKey
from contract import AlertEvent
from contract.chain import ORIGIN, Link, LinkError, event_body, open_link, read_public_key

MAX_HEADER = 8192
MAX_KEPT = 10_000
NOT_ENROLLED = "the box has no enrolled key: it starts again with a new token, or enrols its key"


def enrol(session: Session, device_id: str, token: str, public: str, now: datetime) -> DeviceKey:
    """Keep a box's public key; a token enrols one key, once, and the same key again changes nothing.

    Raises `ApiError`: 409 when the token has enrolled another key or is not the newest, 422 on a text that is no key.
    """
    try:
        named, key = read_public_key(public)
    except ValueError as exc:
        raise ApiError(422, f"key: {exc}") from None
    if named != device_id:
        raise ApiError(422, f"key.device: the token belongs to {device_id}, not to {named}")
    hashed = digest(token)
    lock(session, [f"keys:{device_id}"])
    known = session.get(DeviceKey, key.keyid)
    if known is not None and known.device_id == device_id:
        return known
    used = session.scalar(select(DeviceKey.keyid).where(DeviceKey.token_hash == hashed))
    current = session.scalar(select(Device.token_hash).where(Device.id == device_id))
    if known is not None or used is not None or current != hashed:
        raise ApiError(
            409, "this token has enrolled another key, or is an old one; a new key needs `curbwatch api device add` again"
        )  # fmt: skip
    row = DeviceKey(keyid=key.keyid, device_id=device_id, public=public, token_hash=hashed, enrolled_at=now)
    session.add(row)
    record(session, "credentials", now, f"device:{device_id}", "device.enrolled", {"keyid": key.keyid})
    session.flush()
    for link in session.scalars(
        select(ChainLink).where(ChainLink.device_id == device_id, ChainLink.fault == NOT_ENROLLED)
    ):
        _judge(session, link, AlertEvent.model_validate_json(link.body), [PublicKey(row.keyid, public)])
    return row


_KEYS = (
    select(DeviceKey.keyid, DeviceKey.public)
    .where(DeviceKey.device_id == bindparam("device"))
    .order_by(DeviceKey.enrolled_at.desc())
    .limit(8)
)
# Neighbours are compared by their hashes; their messages stay where they are.
_NEIGHBOURS = (
    select(ChainLink)
    .where(
        ChainLink.keyid == bindparam("keyid"),
        ChainLink.seq.between(bindparam("seq") - 1, bindparam("seq") + 1),
        ChainLink.event_id != bindparam("event"),
    )
    .options(defer(ChainLink.body), defer(ChainLink.envelope), defer(ChainLink.token))
)
_read_key = lru_cache(1024)(read_public_key)
# Whether the link before is here and the one that is named, and whether another one has this number or the next.
_MINE = ChainLink.keyid == bindparam("keyid")
CLUES = {
    "joined": select(ChainLink.seq)
    .where(_MINE, ChainLink.seq == bindparam("seq") - 1, ChainLink.digest == bindparam("previous"))
    .exists(),
    "crowded": select(ChainLink.seq)
    .where(_MINE, ChainLink.seq.between(bindparam("seq"), bindparam("seq") + 1))
    .exists(),
    "key": select(DeviceKey.keyid)
    .where(DeviceKey.device_id == bindparam("device"))
    .order_by(DeviceKey.enrolled_at.desc())
    .limit(1)
    .scalar_subquery(),
}


@dataclass(frozen=True)
class Claim:
    """What a link says of its place in the chain, before anybody has checked it."""

    keyid: str | None = None
    seq: int | None = None
    previous: str | None = None


@dataclass(frozen=True)
class Clues:
    """What the store says of a claim: see `CLUES`. `key` is the newest key of the box."""

    claim: Claim
    joined: bool
    crowded: bool
    key: str | None


def claim_of(envelope: str) -> Claim:
    """Read an envelope's claim; an empty one where it is not readable."""
    try:
        told = json.loads(envelope)
        link = json.loads(base64.b64decode(told["payload"]))
        keyid, seq, previous = told["signatures"][0]["keyid"], link["seq"], link["previous"]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError):
        return Claim()
    sound = isinstance(keyid, str) and isinstance(previous, str) and type(seq) is int and 0 < seq < 2**31 - 1
    return Claim(keyid, seq, previous) if sound and "\0" not in keyid + previous else Claim()


class PublicKey(NamedTuple):
    """A key as `_judge` needs it."""

    keyid: str
    public: str


class Keys:
    """The keys of boxes, kept while the newest one is the same: keys are added and never changed."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, list[PublicKey]]] = {}

    def of(self, session: Session, device: str, newest: str | None) -> list[PublicKey]:
        """Return up to eight keys of a box, the newest first, of which `newest` is the first."""
        if newest is None:
            return []
        kept = self._kept.get(device)
        if kept is None or kept[0] != newest:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            rows = session.execute(_KEYS, {"device": device})
            kept = self._kept[device] = (newest, [PublicKey(*row) for row in rows])
        return kept[1]


def judged_link(
    message: AlertEvent, envelope: str | None, session: Session, clues: Clues, keys: Keys, now: datetime
) -> ChainLink | None:
    """Return the checked link of a message that has none yet, `fault` saying what is wrong; None for a box without a key.

    A fault refuses nothing. The caller holds `chain:<device>`, stores the link, and its fault by `note_fault`.
    """
    device = message.data.device_id
    found = keys.of(session, device, clues.key)
    if envelope is None and not found:
        return None
    row = ChainLink(
        event_id=message.id, device_id=device, alert_id=message.data.id, envelope=envelope or "",
        body=event_body(message).decode(), received_at=now,
    )  # fmt: skip
    _judge(session, row, message, found, clues)
    return row


def note_fault(session: Session, row: ChainLink, case_id: str, now: datetime) -> None:
    """Put a link's fault into the audit of its case."""
    if row.fault is not None:
        case = session.get_one(CaseRow, case_id)
        told = {"event": row.event_id, "fault": row.fault}
        record_case(session, case, now, f"device:{row.device_id}", "chain.fault", told)


def envelope_of(header: str | None) -> str | None:
    """Return the envelope of a link's header, empty where it is not readable; None without a header."""
    if header is None:
        return None
    if not header or len(header) > MAX_HEADER:
        return ""
    try:
        # PostgreSQL holds no NUL, and no envelope has one.
        return base64.b64decode(header, validate=True).decode().replace("\0", "")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def _judge(
    session: Session, row: ChainLink, message: AlertEvent, keys: list[PublicKey], clues: Clues | None = None
) -> None:
    row.keyid = row.seq = row.previous = row.digest = None
    row.fault = None
    if not row.envelope:
        row.fault = "the message came without a readable link"
        return
    if not keys:
        row.fault = NOT_ENROLLED
        return
    link, fault = None, ""
    for known in keys:
        try:
            link = open_link(row.envelope, _read_key(known.public)[1])
        except LinkError as exc:
            fault = fault or str(exc)
            continue
        row.keyid = known.keyid
        break
    if link is None:
        row.fault = fault[:300]
        return
    row.seq, row.previous, row.digest = link.seq, link.previous, link.digest()
    row.fault = _differs(link, message, row.body)
    if row.fault is None and not _follows(row, clues):
        row.fault = _unjoined(session, row)


def _follows(row: ChainLink, clues: Clues | None) -> bool:
    """True when it is known that the link before is the one that is named, and that nothing stands in the way."""
    if clues is None or clues.crowded or clues.claim != Claim(row.keyid, row.seq, row.previous):
        return False
    return clues.joined or (row.seq == 1 and row.previous == ORIGIN)


def _differs(link: Link, message: AlertEvent, body: str) -> str | None:
    told = (link.event_id, link.alert_id, link.device, link.stage, link.revision)
    data = message.data
    if told != (message.id, data.id, data.device_id, data.stage, data.revision):
        return "the link belongs to another message"
    if link.event_sha256 != digest(body):
        return "the message was changed after it was signed"
    return None


def _unjoined(session: Session, row: ChainLink) -> str | None:
    """Compare with the neighbours that are here. A neighbour that is missing may still come; `gaps` counts those."""
    if row.seq is None:
        return None
    values = {"keyid": row.keyid, "seq": row.seq, "event": row.event_id}
    near = {found.seq: found for found in session.scalars(_NEIGHBOURS, values)}
    if row.seq in near:
        return f"the number {row.seq} was used twice"
    before, after = near.get(row.seq - 1), near.get(row.seq + 1)
    if after is not None and after.previous != row.digest and after.fault is None:
        after.fault = f"does not follow link {row.seq}"
    if row.seq == 1:
        return None if row.previous == ORIGIN else "the first link names one before it"
    if before is not None and before.digest != row.previous:
        return f"does not follow link {row.seq - 1}"
    return None


def read_link(envelope: str) -> bytes:
    """Return the signed text of a link whose envelope was checked before: what its digest is taken of."""
    return base64.b64decode(json.loads(envelope)["payload"])


def gaps(session: Session, keyid: str) -> tuple[int, int, list[str]]:
    """Return the first and last number of a key's chain that are here, and up to 100 spans missing between."""
    first, last, count = session.execute(
        select(func.min(ChainLink.seq), func.max(ChainLink.seq), func.count(ChainLink.seq.distinct())).where(
            ChainLink.keyid == keyid
        )
    ).one()
    if first is None or last is None:
        return 0, 0, []
    if count == last - first + 1:
        return first, last, []
    following = func.lead(ChainLink.seq).over(order_by=ChainLink.seq).label("following")
    near = select(ChainLink.seq.label("seq"), following).where(ChainLink.keyid == keyid).subquery()
    rows = session.execute(
        select(near.c.seq, near.c.following).where(near.c.following > near.c.seq + 1).limit(100)
    )
    return first, last, [f"{seq + 1}-{after - 1}" for seq, after in rows]


def links_of_case(session: Session, case_id: str) -> list[ChainLink]:
    """Return the links of a case's alerts, in order."""
    return list(
        session.scalars(
            select(ChainLink)
            .join(AlertRow, AlertRow.id == ChainLink.alert_id)
            .where(AlertRow.case_id == case_id)
            .order_by(ChainLink.received_at, ChainLink.seq)
        )
    )
