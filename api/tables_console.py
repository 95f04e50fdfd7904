"""Tables of the console: readings that measure people, deferrals, preferences, versions of a camera's setup."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from api.tables import Base, Body


class Preference(Base):
    """What a person set on the page: keys, overlays."""

    __tablename__ = "preferences"
    username: Mapped[str] = mapped_column(String(120), primary_key=True)
    body: Mapped[Body]


class Deferral(Base):
    """A case that one reviewer put back for a while; others may take it."""

    __tablename__ = "deferrals"
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    reviewer: Mapped[str] = mapped_column(String(120), primary_key=True)
    until: Mapped[datetime] = mapped_column(index=True)


class GoldItem(Base):
    """A case whose answer a supervisor knows; `expected` has kind, reason and issue."""

    __tablename__ = "gold_items"
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(200))
    expected: Mapped[Body]
    set_by: Mapped[str] = mapped_column(String(120))
    set_at: Mapped[datetime]


class Reading(Base):
    """A blind reading: `second` measures agreement with another person, `gold` with a known answer.

    It never changes the case. `asked` holds what it is compared with.
    """

    __tablename__ = "readings"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    tenant: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(10))
    verdict_id: Mapped[str | None] = mapped_column(String(36), unique=True)
    first_reviewer: Mapped[str] = mapped_column(String(120))
    asked: Mapped[Body]
    made_at: Mapped[datetime]
    reader: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[datetime | None]
    answer: Mapped[Body | None]
    answered_at: Mapped[datetime | None]
    agrees: Mapped[bool | None]
    __table_args__ = (
        Index("ix_readings_waiting", "answered_at", "kind", "made_at"),
        Index("ix_readings_reader", "reader", "case_id"),
    )


class CameraSetupRow(Base):
    """One saved version of a camera's zones and ground plane. Versions are added, never changed."""

    __tablename__ = "camera_setups"
    camera_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(String(200))
    body: Mapped[Body]
    sha256: Mapped[str] = mapped_column(String(64))
    saved_by: Mapped[str] = mapped_column(String(120))
    saved_at: Mapped[datetime]
    note: Mapped[str] = mapped_column(String(300), default="")


class CameraCheck(Base):
    """A question about a camera that its box answers. The last few of a camera are kept."""

    __tablename__ = "camera_checks"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    camera_id: Mapped[str] = mapped_column(String(64))
    device_id: Mapped[str] = mapped_column(String(64))
    tenant: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(10))
    question: Mapped[Body]
    asked_by: Mapped[str] = mapped_column(String(120))
    asked_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    report: Mapped[Body | None]
    done_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_camera_checks_device", "device_id", "done_at"),
        Index("ix_camera_checks_camera", "camera_id", "asked_at"),
    )


class LabelItem(Base):
    """One line of the labelling queue: a case whose label would teach the model most. `rank` 0 is the first."""

    __tablename__ = "label_items"
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(200))
    rank: Mapped[int]
    score: Mapped[float]
    body: Mapped[Body]
    made_at: Mapped[datetime]
    passed_by: Mapped[str | None] = mapped_column(String(120))
    __table_args__ = (Index("ix_label_items_rank", "tenant", "rank"),)
