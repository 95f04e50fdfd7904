"""The console's readings, deferrals, preferences and camera setups; a verdict's corrected box."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import Json, UtcDateTime

revision = "g1"
down_revision = "e1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("verdicts", sa.Column("box", Json, nullable=True))
    op.create_table(
        "preferences",
        sa.Column("username", sa.String(120), primary_key=True),
        sa.Column("body", Json, nullable=False),
    )
    op.create_table(
        "deferrals",
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), primary_key=True),
        sa.Column("reviewer", sa.String(120), primary_key=True),
        sa.Column("until", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_deferrals_until", "deferrals", ["until"])
    op.create_table(
        "gold_items",
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("expected", Json, nullable=False),
        sa.Column("set_by", sa.String(120), nullable=False),
        sa.Column("set_at", UtcDateTime(), nullable=False),
    )
    _readings()
    op.create_table(
        "camera_setups",
        sa.Column("camera_id", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("body", Json, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("saved_by", sa.String(120), nullable=False),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.Column("note", sa.String(300), nullable=False),
    )


def _readings() -> None:
    op.create_table(
        "readings",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("verdict_id", sa.String(36), unique=True),
        sa.Column("first_reviewer", sa.String(120), nullable=False),
        sa.Column("asked", Json, nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("reader", sa.String(120)),
        sa.Column("lease_until", UtcDateTime()),
        sa.Column("answer", Json),
        sa.Column("answered_at", UtcDateTime()),
        sa.Column("agrees", sa.Boolean()),
    )
    op.create_index("ix_readings_waiting", "readings", ["answered_at", "kind", "made_at"])
    op.create_index("ix_readings_reader", "readings", ["reader", "case_id"])


def downgrade() -> None:
    """Take back."""
    for name in ("camera_setups", "readings", "gold_items", "deferrals", "preferences"):
        op.drop_table(name)
    with op.batch_alter_table("verdicts") as table:
        table.drop_column("box")
