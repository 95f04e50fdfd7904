"""Questions about a camera that its box answers: probe, snapshot, trial of a draft."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import Json, UtcDateTime

revision = "g2"
down_revision = "h1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "camera_checks",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("device_id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("question", Json, nullable=False),
        sa.Column("asked_by", sa.String(120), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("report", Json, nullable=True),
        sa.Column("done_at", UtcDateTime(), nullable=True),
    )
    op.create_index("ix_camera_checks_device", "camera_checks", ["device_id", "done_at"])
    op.create_index("ix_camera_checks_camera", "camera_checks", ["camera_id", "asked_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("camera_checks")
