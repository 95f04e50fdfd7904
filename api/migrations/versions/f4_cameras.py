"""Since when a camera is known, so that rates a camera and day are of the days that it was there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import UtcDateTime

revision = "f4"
down_revision = "h3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.add_column("cameras", sa.Column("since", UtcDateTime(), nullable=True))


def downgrade() -> None:
    """Back."""
    op.drop_column("cameras", "since")
