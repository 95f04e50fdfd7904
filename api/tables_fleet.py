"""Tables of the fleet: enrolment codes, what each box shall have, its configurations, rollouts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.tables import Base, Body


class EnrolmentCode(Base):
    """A code that enrols one box once; only its SHA-256 is kept."""

    __tablename__ = "enrolment_codes"
    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    device_id: Mapped[str] = mapped_column(String(64), index=True)
    tenant: Mapped[str] = mapped_column(String(200))
    labels: Mapped[Body]
    made_by: Mapped[str] = mapped_column(String(120))
    made_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class FleetBox(Base):
    """What a box shall have. What it has is in its last heartbeat."""

    __tablename__ = "fleet_boxes"
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    labels: Mapped[Body]
    config_version: Mapped[int] = mapped_column(default=0)
    model: Mapped[str | None] = mapped_column(String(140))
    shadow: Mapped[Body | None]
    rollout_id: Mapped[str | None] = mapped_column(String(36), index=True)
    # When the wish for the model was last changed.
    since: Mapped[datetime | None]
    # How often a person let it try again what it had refused.
    again: Mapped[int] = mapped_column(default=0, server_default="0")


class BoxConfigRow(Base):
    """One version of a box's configuration. Versions are added, never changed."""

    __tablename__ = "box_configs"
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    envelope: Mapped[str] = mapped_column(Text)
    saved_by: Mapped[str] = mapped_column(String(120))
    saved_at: Mapped[datetime]
    note: Mapped[str] = mapped_column(String(300), default="")


class Rollout(Base):
    """A model on its way to the boxes; each step of it is in the audit, chain `rollout:<id>`."""

    __tablename__ = "rollouts"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(200))
    candidate: Mapped[str] = mapped_column(String(140))
    champion: Mapped[str | None] = mapped_column(String(140))
    phase: Mapped[str] = mapped_column(String(20))
    plan: Mapped[Body]
    state: Mapped[Body]
    evidence: Mapped[Body | None]
    made_by: Mapped[str] = mapped_column(String(120))
    made_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    __table_args__ = (Index("ix_rollouts_phase", "phase", "tenant"),)


class RolloutBox(Base):
    """A box in a rollout: its ring, what it had before, and what its heartbeats said under either model.

    `runs` is `champion` or `candidate` as of the last heartbeat; camera-seconds and ages are kept for both.
    """

    __tablename__ = "rollout_boxes"
    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id"), primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    ring: Mapped[int]
    shadows: Mapped[bool] = mapped_column(default=False)
    before_model: Mapped[str] = mapped_column(String(140))
    before_shadow: Mapped[Body | None]
    runs: Mapped[str] = mapped_column(String(10), default="")
    holds: Mapped[bool] = mapped_column(default=False)
    seen_at: Mapped[datetime | None]
    uptime_s: Mapped[float] = mapped_column(default=0.0)
    champion_camera_s: Mapped[float] = mapped_column(default=0.0)
    candidate_camera_s: Mapped[float] = mapped_column(default=0.0)
    champion_age_s: Mapped[float | None]
    candidate_age_s: Mapped[float | None]
    restarts: Mapped[int] = mapped_column(default=0)
    took_back: Mapped[str] = mapped_column(String(300), default="")
    refused: Mapped[str] = mapped_column(String(300), default="")
    safe: Mapped[bool] = mapped_column(default=False)
    report: Mapped[Body | None]
    __table_args__ = (Index("ix_rollout_boxes_ring", "rollout_id", "ring"),)
