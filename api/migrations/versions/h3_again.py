"""How often a person let a box try again what it had refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "h3"
down_revision = "f3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.add_column("fleet_boxes", sa.Column("again", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    """Back."""
    op.drop_column("fleet_boxes", "again")
