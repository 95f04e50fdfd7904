"""Streets among the areas: the class of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "c1c"
down_revision = "c1b"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("areas", sa.Column("street_class", sa.String(20)))


def downgrade() -> None:
    """Take back."""
    op.drop_column("areas", "street_class")
