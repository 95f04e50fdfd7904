"""Inspections and call-outs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import Json, UtcDateTime

revision = "c1b"
down_revision = "g1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "inspections",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("alert_id", sa.String(36), sa.ForeignKey("alerts.id"), nullable=False),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("device_id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("why", sa.String(20), nullable=False),
        sa.Column("asked_by", sa.String(160), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("not_before", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("order", Json, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("result", sa.String(20)),
        sa.Column("advice", sa.String(20)),
        sa.Column("sampled", sa.Boolean(), nullable=False),
        sa.Column("report", Json),
        sa.Column("done_at", UtcDateTime()),
    )
    op.create_index("ix_inspections_case_id", "inspections", ["case_id"])
    op.create_index("ix_inspections_device", "inspections", ["device_id", "state"])
    op.create_index("ix_inspections_state", "inspections", ["state", "expires_at"])
    op.create_table(
        "callouts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("device_id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("lon", sa.Float(), nullable=False),
        sa.Column("lat", sa.Float(), nullable=False),
        sa.Column("message", sa.String(64), nullable=False),
        sa.Column("asked_by", sa.String(120), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(300), nullable=False),
        sa.Column("done_at", UtcDateTime()),
    )
    op.create_index("ix_callouts_case_id", "callouts", ["case_id"])
    op.create_index("ix_callouts_device", "callouts", ["device_id", "state"])
    op.create_index("ix_callouts_asked", "callouts", ["asked_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("callouts")
    op.drop_table("inspections")
