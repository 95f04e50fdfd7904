"""Cases and alerts by the tile of the city that they lie in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.tiles import tile_sql

revision = "f2"
down_revision = "g2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    tile = tile_sql(op.get_bind().dialect.name)
    for table in ("cases", "alerts"):
        op.create_index(f"ix_{table}_tile", table, [sa.text(tile)])
    op.drop_index("ix_alerts_issue_place", "alerts")
    op.drop_index("ix_cases_place", "cases")


def downgrade() -> None:
    """Take back."""
    op.create_index("ix_cases_place", "cases", ["lat", "lon"])
    op.create_index("ix_alerts_issue_place", "alerts", ["issue", "lat", "lon"])
    for table in ("cases", "alerts"):
        op.drop_index(f"ix_{table}_tile", table)
