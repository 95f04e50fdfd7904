"""What is kept for a while alone: the feed's events, webhooks' deliveries, ids of messages. Nothing of it is evidence."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from api.core import Core
from api.db import lock
from api.tables import AlertMessage, Delivery, Event, Hook

LOG = structlog.get_logger("retention")
# Rows of one transaction: on SQLite nobody else writes meanwhile.
AT_ONCE = 1000


def shed(core: Core) -> None:
    """Delete what has had its time. Safe on several replicas, and after a kill anywhere."""
    settings, now = core.settings, core.now()
    told = {}
    for name, days, rule in (
        ("events", settings.keep_event_days, _events),
        ("deliveries", settings.keep_delivery_days, _deliveries),
        ("messages", settings.keep_message_days, _messages),
    ):
        if days > 0:
            key, condition = rule(now - timedelta(days=days))
            told[name] = _delete(core, key, condition)
    if any(told.values()):
        LOG.info("retention.shed", **told)


Rule = tuple[InstrumentedAttribute[Any], Any]


def _events(before: datetime) -> Rule:
    # The newest stays: SQLite would give its number a second time, and whoever resumes after it would miss the other.
    return Event.seq, and_(Event.at < before, Event.seq < select(func.max(Event.seq)).scalar_subquery())


def _deliveries(before: datetime) -> Rule:
    """Those that were sent, and all of webhooks that were stopped. A dead letter stays until it is sent again."""
    stopped = Delivery.hook_id.in_(select(Hook.id).where(~Hook.active))
    return Delivery.id, and_(Delivery.next_at < before, or_(Delivery.state == "sent", stopped))


def _messages(before: datetime) -> Rule:
    """The chain keeps the ids of signed ones; of others, one that comes again says nothing that is not newer here."""
    # Ids sort by time and are the key, the column with the time is none: the least UUIDv7 of that moment bounds the walk.
    first = f"{int(before.timestamp() * 1000):012x}"
    bound = AlertMessage.id < f"{first[:8]}-{first[8:]}"
    return AlertMessage.id, and_(bound, AlertMessage.received_at < before)


def _delete(core: Core, key: InstrumentedAttribute[Any], condition: Any) -> int:
    gone = 0
    while True:
        with core.db.read() as session:
            found = session.scalars(select(key).where(condition).limit(AT_ONCE)).all()
        if found:
            # Asked again: a delivery may be due once more since the list was made.
            with core.db.write() as session:
                lock(session, ["shed"])
                session.execute(delete(key.class_).where(key.in_(found), condition))
        gone += len(found)
        if len(found) < AT_ONCE:
            return gone
