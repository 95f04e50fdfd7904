"""Alembic's entry: it runs on the connection that `api.migrate` hands over."""

from __future__ import annotations

from alembic import context

from api.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
context.run_migrations()
