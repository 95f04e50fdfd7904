"""Cases and alerts by the tile of the city that they lie in; cases that wait for a reviewer in their order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.tiles import tile_sql

revision = "f3"
down_revision = "h2"
branch_labels = None
depends_on = None

WAITS = sa.text("state IN ('in_review', 'second_review')")


def upgrade() -> None:
    """Apply."""
    tile = tile_sql(op.get_bind().dialect.name)
    for table in ("cases", "alerts"):
        op.create_index(f"ix_{table}_tile", table, [sa.text(tile), "lat", "lon"])
    order = ["priority", "opened_at", "id"]
    op.create_index("ix_cases_waiting", "cases", order, postgresql_where=WAITS, sqlite_where=WAITS)
    op.drop_index("ix_alerts_issue_place", "alerts")
    op.drop_index("ix_cases_place", "cases")


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_cases_waiting", "cases")
    op.create_index("ix_cases_place", "cases", ["lat", "lon"])
    op.create_index("ix_alerts_issue_place", "alerts", ["issue", "lat", "lon"])
    for table in ("cases", "alerts"):
        op.drop_index(f"ix_{table}_tile", table)
