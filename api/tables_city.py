"""Tables of the exchange with the city's own endpoint."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from api.tables import Base


class CityRequest(Base):
    """A filed case at the city's Open311 endpoint: to be posted, posted, or given up.

    `state`: `due` (to be posted), `token` (the city has it and owes an id), `open`, `closed`, `silent` (a service that tells
    nothing back), `dead`.
    """

    __tablename__ = "city_requests"
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(10))
    remote_id: Mapped[str] = mapped_column(String(200), default="", index=True)
    token: Mapped[str] = mapped_column(String(200), default="")
    notes: Mapped[str] = mapped_column(String(1000), default="")
    tries: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    posted_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(String(500), default="")
    __table_args__ = (Index("ix_city_requests_due", "state", "next_at"),)
