"""Filed cases at the city's Open311 endpoint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import UtcDateTime

revision = "c2a"
down_revision = "d1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "city_requests",
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("remote_id", sa.String(200), nullable=False),
        sa.Column("token", sa.String(200), nullable=False),
        sa.Column("notes", sa.String(1000), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("posted_at", UtcDateTime()),
        sa.Column("error", sa.String(500), nullable=False),
    )
    op.create_index("ix_city_requests_remote_id", "city_requests", ["remote_id"])
    op.create_index("ix_city_requests_due", "city_requests", ["state", "next_at"])


def downgrade() -> None:
    """Back."""
    op.drop_table("city_requests")
