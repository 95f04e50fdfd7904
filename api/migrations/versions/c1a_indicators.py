"""What the indicators count: filing, handling, reworks, repeats; reports by others; thresholds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import Json, UtcDateTime

revision = "c1a"
down_revision = "0002"
branch_labels = None
depends_on = None
_COLUMNS = ("filed_at", "done_at", "handling_s", "reworks", "reopens", "repeat_of")
# The audit knows what older cases did.
_KNOWN = """
UPDATE cases SET {column} = (
  SELECT max(a.at) FROM audit a WHERE a.chain = 'case:' || cases.id AND a.action = '{action}'
) WHERE state NOT IN ('in_review', 'rejected', 'second_review', 'confirmed', 'merged', 'self_resolved')
"""


def upgrade() -> None:
    """Apply."""
    op.add_column("cases", sa.Column("filed_at", UtcDateTime()))
    op.add_column("cases", sa.Column("done_at", UtcDateTime()))
    op.add_column("cases", sa.Column("handling_s", sa.Float()))
    op.add_column("cases", sa.Column("reworks", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("cases", sa.Column("reopens", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("cases", sa.Column("repeat_of", sa.String(36)))
    for column, action in (("filed_at", "step.file"), ("done_at", "step.done")):
        op.execute(_KNOWN.format(column=column, action=action))
    op.create_table(
        "reports",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("channel", sa.String(20), nullable=False),
        sa.Column("external_id", sa.String(120), nullable=False),
        sa.Column("issue", sa.String(40), nullable=False),
        sa.Column("lon", sa.Float(), nullable=False),
        sa.Column("lat", sa.Float(), nullable=False),
        sa.Column("error_m", sa.Float(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("reported_at", UtcDateTime(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("in_reach", sa.Boolean(), nullable=False),
        sa.Column("ahead_s", sa.Float()),
    )
    op.create_index("ix_reports_received_at", "reports", ["received_at"])
    op.create_index("ix_reports_case_id", "reports", ["case_id"])
    op.create_index("ix_reports_external", "reports", ["tenant", "channel", "external_id"], unique=True)
    op.create_table(
        "thresholds",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("issue", sa.String(40), nullable=False),
        sa.Column("from_hour", sa.Integer(), nullable=False),
        sa.Column("to_hour", sa.Integer(), nullable=False),
        sa.Column("min_score", sa.Float(), nullable=False),
        sa.Column("applied_by", sa.String(120), nullable=False),
        sa.Column("applied_at", UtcDateTime(), nullable=False),
        sa.Column("figures", Json, nullable=False),
    )
    what = ["camera_id", "issue", "from_hour", "to_hour"]
    op.create_index("ix_thresholds_what", "thresholds", what, unique=True)


def downgrade() -> None:
    """Take back."""
    op.drop_table("thresholds")
    op.drop_table("reports")
    for name in _COLUMNS:
        op.drop_column("cases", name)
