"""Boxes' keys and chains, legal holds, tombstones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import UtcDateTime

revision = "e1"
down_revision = "c1a"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "device_keys",
        sa.Column("keyid", sa.String(64), primary_key=True),
        sa.Column("device_id", sa.String(64), sa.ForeignKey("devices.id"), nullable=False),
        sa.Column("public", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("enrolled_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_device_keys_device_id", "device_keys", ["device_id"])
    op.create_table(
        "chain_links",
        sa.Column("event_id", sa.String(36), primary_key=True),
        sa.Column("device_id", sa.String(64), nullable=False),
        sa.Column("alert_id", sa.String(36), nullable=False),
        sa.Column("keyid", sa.String(64)),
        sa.Column("seq", sa.Integer()),
        sa.Column("previous", sa.String(64)),
        sa.Column("digest", sa.String(64)),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("token", sa.LargeBinary()),
        sa.Column("fault", sa.String(300)),
        sa.Column("received_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_chain_links_alert_id", "chain_links", ["alert_id"])
    op.create_index("ix_chain_links_seq", "chain_links", ["keyid", "seq"])
    op.create_index("ix_chain_links_device", "chain_links", ["device_id", "received_at"])
    op.create_table(
        "legal_holds",
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), primary_key=True),
        sa.Column("reason", sa.String(300), nullable=False),
        sa.Column("by", sa.String(120), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "tombstones",
        sa.Column("case_id", sa.String(36), sa.ForeignKey("cases.id"), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("rule", sa.String(20), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("doomed", sa.Boolean(), nullable=False),
        sa.Column("erased_at", UtcDateTime()),
    )
    op.create_index("ix_tombstones_sha256", "tombstones", ["sha256"])
    op.create_index("ix_tombstones_doomed", "tombstones", ["doomed"])


def downgrade() -> None:
    """Take back."""
    for name in ("tombstones", "legal_holds", "chain_links", "device_keys"):
        op.drop_table(name)
