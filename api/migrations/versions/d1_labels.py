"""What to label next."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import Json, UtcDateTime

revision = "d1"
down_revision = "f1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "label_items",
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("body", Json, nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("passed_by", sa.String(120)),
    )
    op.create_index("ix_label_items_rank", "label_items", ["tenant", "rank"])


def downgrade() -> None:
    """Back."""
    op.drop_table("label_items")
