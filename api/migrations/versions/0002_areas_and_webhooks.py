"""Areas and webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import Json, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "areas",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("code", sa.String(80), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("unit", sa.String(80)),
        sa.Column("geometry", Json, nullable=False),
    )
    op.create_index("ix_areas_code", "areas", ["tenant", "kind", "code"], unique=True)
    op.create_table(
        "hooks",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("url", sa.String(500), nullable=False),
        sa.Column("secret", sa.String(100), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("hook_id", sa.String(36), sa.ForeignKey("hooks.id"), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("error", sa.String(300), nullable=False),
        sa.Column("body", Json, nullable=False),
    )
    op.create_index("ix_deliveries_due", "deliveries", ["state", "next_at"])
    op.create_index("ix_deliveries_hook", "deliveries", ["hook_id", "state"])


def downgrade() -> None:
    """Take back."""
    for name in ("deliveries", "hooks", "areas"):
        op.drop_table(name)
