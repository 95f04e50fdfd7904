"""People whom a provider vouches for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "f1"
down_revision = "c1c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.add_column("users", sa.Column("subject", sa.String(64), nullable=True))
    op.create_index("ix_users_subject", "users", ["subject"], unique=True)


def downgrade() -> None:
    """Back."""
    op.drop_index("ix_users_subject", "users")
    op.drop_column("users", "subject")  # no batch: copying the table breaks the sessions that point at it
