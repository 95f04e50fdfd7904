"""What the centre's commands share: where its data lie, and how they speak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from api.db import Database
from api.migrate import migrate
from api.settings import Settings

DATA = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=Path("var/api"), show_default=True
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")


def open_centre(data: Path) -> tuple[Settings, Database]:
    """Return the settings and the database, brought to the present revision; whoever asks closes it."""
    settings = Settings.from_env(data=data)
    db = Database(settings)
    migrate(db.engine)
    return settings, db


def tell(as_json: bool, body: dict[str, Any], text: str) -> None:
    """Print the text, or the body as one JSON line."""
    click.echo(json.dumps(body) if as_json else text)
