"""Migrations, forward and back."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

HERE = Path(__file__).parent / "migrations"
LOCK_KEY = 7_266_001_202


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["connection"] = connection
    return config


def heads() -> str:
    """Return the newest revision."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def current(engine: Engine) -> str | None:
    """Return the database's revision."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


_HEAD: list[str] = []


def at_head(engine: Engine) -> bool:
    """True when the database has every migration."""
    if not _HEAD:
        _HEAD.append(heads())
    return current(engine) == _HEAD[0]


def migrate(engine: Engine, target: str = "head") -> None:
    """Bring the database to `target` (a revision, `head`, or `base`); replicas that start at once take turns."""
    write = engine.execution_options(curbwatch_write=True)
    with write.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": LOCK_KEY})
        now = MigrationContext.configure(connection).get_current_revision()
        order = [s.revision for s in ScriptDirectory.from_config(_config()).walk_revisions()]
        down = target == "base" or (
            target in order and now in order and order.index(target) > order.index(now)
        )
        (command.downgrade if down else command.upgrade)(_config(connection), target)
