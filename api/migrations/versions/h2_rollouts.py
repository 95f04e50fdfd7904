"""Boxes of a rollout; alerts by box; a column that nobody filled goes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import Json, UtcDateTime

revision = "h2"
down_revision = "g2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "rollout_boxes",
        sa.Column("rollout_id", sa.String(36), sa.ForeignKey("rollouts.id"), primary_key=True),
        sa.Column("device_id", sa.String(64), sa.ForeignKey("devices.id"), primary_key=True),
        sa.Column("ring", sa.Integer(), nullable=False),
        sa.Column("shadows", sa.Boolean(), nullable=False),
        sa.Column("before_model", sa.String(140), nullable=False),
        sa.Column("before_shadow", Json),
        sa.Column("runs", sa.String(10), nullable=False),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("seen_at", UtcDateTime()),
        sa.Column("uptime_s", sa.Float(), nullable=False),
        sa.Column("champion_camera_s", sa.Float(), nullable=False),
        sa.Column("candidate_camera_s", sa.Float(), nullable=False),
        sa.Column("champion_age_s", sa.Float()),
        sa.Column("candidate_age_s", sa.Float()),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("took_back", sa.String(300), nullable=False),
        sa.Column("refused", sa.String(300), nullable=False),
        sa.Column("safe", sa.Boolean(), nullable=False),
        sa.Column("report", Json),
    )
    op.create_index("ix_rollout_boxes_ring", "rollout_boxes", ["rollout_id", "ring"])
    op.create_index("ix_alerts_device", "alerts", ["device_id", "received_at"])
    op.drop_column("fleet_boxes", "trouble")


def downgrade() -> None:
    """Back."""
    op.add_column("fleet_boxes", sa.Column("trouble", sa.String(300), nullable=False, server_default=""))
    op.drop_index("ix_alerts_device", "alerts")
    op.drop_table("rollout_boxes")
