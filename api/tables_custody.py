"""The tables of evidence that must stand: boxes' keys, their chains, legal holds, what was deleted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.tables import Base


class DeviceKey(Base):
    """A box's public key. A token enrols one key, once."""

    __tablename__ = "device_keys"
    keyid: Mapped[str] = mapped_column(String(64), primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), index=True)
    public: Mapped[str] = mapped_column(Text)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    enrolled_at: Mapped[datetime]


class ChainLink(Base):
    """A box's link as it came, with the message it signs; `fault` says what was wrong with it."""

    __tablename__ = "chain_links"
    event_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    device_id: Mapped[str] = mapped_column(String(64))
    alert_id: Mapped[str] = mapped_column(String(36), index=True)
    keyid: Mapped[str | None] = mapped_column(String(64))
    seq: Mapped[int | None]
    previous: Mapped[str | None] = mapped_column(String(64))
    digest: Mapped[str | None] = mapped_column(String(64))
    envelope: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    token: Mapped[bytes | None] = mapped_column(LargeBinary)
    fault: Mapped[str | None] = mapped_column(String(300))
    received_at: Mapped[datetime]
    __table_args__ = (
        Index("ix_chain_links_seq", "keyid", "seq"),
        Index("ix_chain_links_device", "device_id", "received_at"),
    )


class LegalHold(Base):
    """A case whose evidence must not go, whatever its age."""

    __tablename__ = "legal_holds"
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    reason: Mapped[str] = mapped_column(String(300))
    by: Mapped[str] = mapped_column(String(120))
    at: Mapped[datetime]


class Tombstone(Base):
    """A file that a case had. `erased_at` is empty until the bytes are gone, and for good where another case keeps them."""

    __tablename__ = "tombstones"
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    rule: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
    doomed: Mapped[bool]
    erased_at: Mapped[datetime | None]
    __table_args__ = (Index("ix_tombstones_sha256", "sha256"), Index("ix_tombstones_doomed", "doomed"))
