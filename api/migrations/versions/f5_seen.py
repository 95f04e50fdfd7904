"""When a case was seen on the street: a box that was offline tells it hours later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.db import UtcDateTime

revision = "f5"
down_revision = "f4"
branch_labels = None
depends_on = None
# Of a case's first alert. What people told was seen, as far as is known, when it was told.
_FILL = """
UPDATE cases SET seen_at = COALESCE({least}(opened_at, (
  SELECT {confirmed} FROM alerts a WHERE a.case_id = cases.id ORDER BY a.received_at, a.id LIMIT 1
)), opened_at)
"""
_POSTGRESQL = {"least": "least", "confirmed": "CAST(a.body -> 'dwell' ->> 'confirmed_at' AS timestamptz)"}
_SQLITE = {
    "least": "min",
    "confirmed": "strftime('%Y-%m-%d %H:%M:%f000', json_extract(a.body, '$.dwell.confirmed_at'))",
}


def upgrade() -> None:
    """Forward."""
    op.add_column("cases", sa.Column("seen_at", UtcDateTime()))
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.execute(_FILL.format(**(_POSTGRESQL if postgresql else _SQLITE)))
    if postgresql:
        # A replica of before, still up while the others are replaced, does not know the column.
        op.alter_column("cases", "seen_at", nullable=False, server_default=sa.func.now())


def downgrade() -> None:
    """Back."""
    op.drop_column("cases", "seen_at")
