"""Enrolment codes, what a box shall have, its configurations, rollouts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import Json, UtcDateTime

revision = "h1"
down_revision = "c2a"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "enrolment_codes",
        sa.Column("code_hash", sa.String(64), primary_key=True),
        sa.Column("device_id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("made_by", sa.String(120), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime()),
    )
    op.create_index("ix_enrolment_codes_device_id", "enrolment_codes", ["device_id"])
    op.create_index("ix_enrolment_codes_expires_at", "enrolment_codes", ["expires_at"])
    op.create_table(
        "fleet_boxes",
        sa.Column("device_id", sa.String(64), sa.ForeignKey("devices.id"), primary_key=True),
        sa.Column("labels", Json, nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(140)),
        sa.Column("shadow", Json),
        sa.Column("rollout_id", sa.String(36)),
        sa.Column("since", UtcDateTime()),
        sa.Column("trouble", sa.String(300), nullable=False),
    )
    op.create_index("ix_fleet_boxes_rollout_id", "fleet_boxes", ["rollout_id"])
    _configs_and_rollouts()


def _configs_and_rollouts() -> None:
    op.create_table(
        "box_configs",
        sa.Column("device_id", sa.String(64), sa.ForeignKey("devices.id"), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("saved_by", sa.String(120), nullable=False),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.Column("note", sa.String(300), nullable=False),
    )
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("candidate", sa.String(140), nullable=False),
        sa.Column("champion", sa.String(140)),
        sa.Column("phase", sa.String(20), nullable=False),
        sa.Column("plan", Json, nullable=False),
        sa.Column("state", Json, nullable=False),
        sa.Column("evidence", Json),
        sa.Column("made_by", sa.String(120), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_rollouts_phase", "rollouts", ["phase", "tenant"])


def downgrade() -> None:
    """Back."""
    for name in ("rollouts", "box_configs", "fleet_boxes", "enrolment_codes"):
        op.drop_table(name)
