"""The tables. A tenant is a path such as `/city/north/`; a person sees the rows whose path begins with theirs.

Cases and alerts have an index by tile besides, see `api.tiles`, and cases that wait one in the queue's order.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from api.db import Json, UtcDateTime

BigId = BigInteger().with_variant(Integer(), "sqlite")
Body = dict[str, Any]


class Base(DeclarativeBase):
    """The base of all tables."""

    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: Json}  # noqa: RUF012


class User(Base):
    """A person who signs in; `subject` is of those whom a provider vouches for."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    username: Mapped[str] = mapped_column(String(120), unique=True)
    password_hash: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(20))
    tenant: Mapped[str] = mapped_column(String(200), default="/")
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    subject: Mapped[str | None] = mapped_column(String(64), default=None)  # SHA-256 of issuer and subject
    __table_args__ = (Index("ix_users_subject", "subject", unique=True),)


class LoginFailure(Base):
    """Failed logins of one name, known or not, so that an attacker learns nothing from the difference."""

    __tablename__ = "login_failures"
    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    count: Mapped[int]
    last_at: Mapped[datetime]


class LoginSession(Base):
    """A signed-in browser; the cookie's SHA-256 is the key."""

    __tablename__ = "sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Device(Base):
    """A box and its tokens' SHA-256."""

    __tablename__ = "devices"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    old_token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    old_valid_until: Mapped[datetime | None]
    tenant: Mapped[str] = mapped_column(String(200), default="/")
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    health: Mapped[Body | None]
    desired: Mapped[Body | None]


class ApiKey(Base):
    """A client that is no person and no box."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    tenant: Mapped[str] = mapped_column(String(200), default="/")
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Camera(Base):
    """A camera as its box and its alerts describe it."""

    __tablename__ = "cameras"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    device_id: Mapped[str] = mapped_column(String(64), index=True)
    tenant: Mapped[str] = mapped_column(String(200), index=True)
    name: Mapped[str] = mapped_column(String(120), default="")
    lon: Mapped[float | None]
    lat: Mapped[float | None]
    health: Mapped[Body | None]
    health_at: Mapped[datetime | None]
    since: Mapped[datetime | None]  # known here since then; empty for one of before this was kept


class HeartbeatRow(Base):
    """A heartbeat as it came; old ones are swept."""

    __tablename__ = "heartbeats"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    device_id: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    body: Mapped[Body]
    __table_args__ = (Index("ix_heartbeats_device_at", "device_id", "at"),)


class Evidence(Base):
    """A stored file, its bytes under its hash. Size 0: a sweep deletes them since `stored_at`, and it counts as not here."""

    __tablename__ = "evidence"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(String(40))
    device_id: Mapped[str] = mapped_column(String(64))
    stored_at: Mapped[datetime]


class CaseRow(Base):
    """A case. `held` keeps who did which step, for rules that need another; `seen_at` is when, `opened_at` when told."""

    __tablename__ = "cases"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    number: Mapped[str] = mapped_column(String(20), unique=True)
    tenant: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(20))
    issue: Mapped[str] = mapped_column(String(40))
    street_class: Mapped[str] = mapped_column(String(20))
    camera_id: Mapped[str] = mapped_column(String(64))
    camera_name: Mapped[str] = mapped_column(String(120))
    lon: Mapped[float]
    lat: Mapped[float]
    place: Mapped[Body]
    opened_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    dwell_s: Mapped[float]
    priority: Mapped[int]
    version: Mapped[int]
    lease_by: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[datetime | None]
    merged_into: Mapped[str | None] = mapped_column(String(36), index=True)
    held: Mapped[Body | None]
    unit: Mapped[str | None] = mapped_column(String(80))
    grid: Mapped[str | None] = mapped_column(String(80))
    district: Mapped[str | None] = mapped_column(String(80))
    audit_head: Mapped[str | None] = mapped_column(String(64))
    filed_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    handling_s: Mapped[float | None]
    reworks: Mapped[int] = mapped_column(default=0, server_default="0")
    reopens: Mapped[int] = mapped_column(default=0, server_default="0")
    repeat_of: Mapped[str | None] = mapped_column(String(36))
    __table_args__ = (
        Index("ix_cases_queue", "state", "priority", "opened_at", "id"),
        Index("ix_cases_state_opened", "state", "opened_at", "id"),
        Index("ix_cases_opened", "opened_at", "id"),
        Index("ix_cases_camera", "camera_id", "opened_at"),
        Index("ix_cases_deadline", "state", "deadline_at"),
    )


class Report(Base):
    """What somebody else reported: the hotline, a collector, a citizen. It always belongs to a case."""

    __tablename__ = "reports"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(200))
    channel: Mapped[str] = mapped_column(String(20))
    external_id: Mapped[str] = mapped_column(String(120))
    issue: Mapped[str] = mapped_column(String(40))
    lon: Mapped[float]
    lat: Mapped[float]
    error_m: Mapped[float]
    text: Mapped[str] = mapped_column(Text)
    reported_at: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(index=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    in_reach: Mapped[bool]
    ahead_s: Mapped[float | None]
    __table_args__ = (Index("ix_reports_external", "tenant", "channel", "external_id", unique=True),)


class Threshold(Base):
    """The least score of a camera's alerts of one class in some hours; a person applied it."""

    __tablename__ = "thresholds"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(200))
    camera_id: Mapped[str] = mapped_column(String(64))
    issue: Mapped[str] = mapped_column(String(40))
    from_hour: Mapped[int]
    to_hour: Mapped[int]
    min_score: Mapped[float]
    applied_by: Mapped[str] = mapped_column(String(120))
    applied_at: Mapped[datetime]
    figures: Mapped[Body]
    __table_args__ = (Index("ix_thresholds_what", "camera_id", "issue", "from_hour", "to_hour", unique=True),)


class Inspection(Base):
    """An order to a camera to look again at a case's place, and what it saw."""

    __tablename__ = "inspections"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id"))
    camera_id: Mapped[str] = mapped_column(String(64))
    device_id: Mapped[str] = mapped_column(String(64))
    tenant: Mapped[str] = mapped_column(String(200))
    why: Mapped[str] = mapped_column(String(20))
    asked_by: Mapped[str] = mapped_column(String(160))
    asked_at: Mapped[datetime]
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime]
    order: Mapped[Body]
    state: Mapped[str] = mapped_column(String(10))
    result: Mapped[str | None] = mapped_column(String(20))
    advice: Mapped[str | None] = mapped_column(String(20))
    sampled: Mapped[bool] = mapped_column(default=False)
    report: Mapped[Body | None]
    done_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_inspections_device", "device_id", "state"),
        Index("ix_inspections_state", "state", "expires_at"),
    )


class Callout(Base):
    """A message that an operator sent to the loudspeaker beside a camera."""

    __tablename__ = "callouts"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    camera_id: Mapped[str] = mapped_column(String(64))
    device_id: Mapped[str] = mapped_column(String(64))
    tenant: Mapped[str] = mapped_column(String(200))
    lon: Mapped[float]
    lat: Mapped[float]
    message: Mapped[str] = mapped_column(String(64))
    asked_by: Mapped[str] = mapped_column(String(120))
    asked_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(String(300), default="")
    done_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_callouts_device", "device_id", "state"),
        Index("ix_callouts_asked", "asked_at"),
    )


class AlertRow(Base):
    """The latest revision of an alert; `ends_at` is empty while it lasts."""

    __tablename__ = "alerts"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    device_id: Mapped[str] = mapped_column(String(64))
    camera_id: Mapped[str] = mapped_column(String(64))
    issue: Mapped[str] = mapped_column(String(40))
    stage: Mapped[str] = mapped_column(String(10))
    revision: Mapped[int]
    site_id: Mapped[str] = mapped_column(String(36), index=True)
    ground_cell: Mapped[str] = mapped_column(String(64))
    lon: Mapped[float]
    lat: Mapped[float]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    body: Mapped[Body]
    __table_args__ = (
        Index("ix_alerts_cell", "ground_cell", "issue"),
        Index("ix_alerts_device", "device_id", "received_at"),
    )


class AlertMessage(Base):
    """The id of each message that was taken, so that the second one changes nothing; old ones are swept."""

    __tablename__ = "alert_messages"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    alert_id: Mapped[str] = mapped_column(String(36))
    received_at: Mapped[datetime]


class AlertEvidence(Base):
    """Which alert names which file."""

    __tablename__ = "alert_evidence"
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    kind: Mapped[str] = mapped_column(String(20))


class VerdictRow(Base):
    """A reviewer's verdict, with what an undo needs."""

    __tablename__ = "verdicts"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    reason: Mapped[int | None]
    issue: Mapped[str | None] = mapped_column(String(40))
    text: Mapped[str] = mapped_column(Text)
    reviewer: Mapped[str] = mapped_column(String(120))
    at: Mapped[datetime] = mapped_column(index=True)
    seconds: Mapped[float | None]
    before: Mapped[Body]
    box: Mapped[list[float] | None] = mapped_column(Json)
    undone_at: Mapped[datetime | None]


class Event(Base):
    """What the live feed says; old ones are swept, but never the newest."""

    __tablename__ = "events"
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    tenant: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(40))
    body: Mapped[Body]


class Audit(Base):
    """One act of a person or a machine. Rows are added, never changed; each names the hash before it."""

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    chain: Mapped[str] = mapped_column(String(80))
    position: Mapped[int]
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(160))
    action: Mapped[str] = mapped_column(String(60))
    body: Mapped[Body]
    before_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    __table_args__ = (Index("ix_audit_chain", "chain", "position", unique=True),)


class Counter(Base):
    """A number that counts up without gaps."""

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class Area(Base):
    """A polygon of the city: a unit grid cell, district, frontage or street; or a component, which is a point."""

    __tablename__ = "areas"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(20))
    code: Mapped[str] = mapped_column(String(80))
    name: Mapped[str] = mapped_column(String(200))
    unit: Mapped[str | None] = mapped_column(String(80))
    street_class: Mapped[str | None] = mapped_column(String(20))
    geometry: Mapped[Body]
    __table_args__ = (Index("ix_areas_code", "tenant", "kind", "code", unique=True),)


class Hook(Base):
    """A webhook: where events go. The secret signs them, so it is kept as it is."""

    __tablename__ = "hooks"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(200))
    url: Mapped[str] = mapped_column(String(500))
    secret: Mapped[str] = mapped_column(String(100))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]


class Delivery(Base):
    """One event for one webhook, written with the change itself and sent after it; those sent are swept."""

    __tablename__ = "deliveries"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    hook_id: Mapped[str] = mapped_column(ForeignKey("hooks.id"))
    state: Mapped[str] = mapped_column(String(10))
    tries: Mapped[int]
    next_at: Mapped[datetime]
    error: Mapped[str] = mapped_column(String(300), default="")
    body: Mapped[Body]
    __table_args__ = (
        Index("ix_deliveries_due", "state", "next_at"),
        Index("ix_deliveries_hook", "hook_id", "state"),
    )
