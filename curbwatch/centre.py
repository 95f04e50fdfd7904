"""What the centre's commands share: where its data lie, and how they speak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from api.db import Database
from api.migrate import current, migrate
from api.settings import SQLITE, Settings

DATA = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=Path("var/api"), show_default=True
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")


def open_centre(data: Path, new: bool = False, tell_new: bool = False) -> tuple[Settings, Database]:
    """Return the settings and the database, brought to the present revision; whoever asks closes it.

    `tell_new` says on the error stream that there was none: a folder may be mistyped.

    Raises:
        click.ClickException: there is no centre, and none shall be made (`new`).
    """
    settings = Settings.from_env(data=data)
    nothing = click.ClickException(
        f"--data: no centre is in {data}; name its folder, or make one with `curbwatch api init`"
        if settings.database_url is None
        else "database_url: the database holds no centre; make one with `curbwatch api init`"
    )
    # Opening SQLite makes the file.
    if not new and settings.database_url is None and not (settings.data / SQLITE).is_file():
        raise nothing
    db = Database(settings)
    if current(db.engine) is None:
        if not new:
            db.close()
            raise nothing
        if tell_new:
            where = settings.data if settings.database_url is None else "the database"
            click.echo(f"there was no centre in {where}: a new one is made", err=True)
    migrate(db.engine)
    return settings, db


def tell(as_json: bool, body: dict[str, Any], text: str) -> None:
    """Print the text, or the body as one JSON line."""
    click.echo(json.dumps(body) if as_json else text)
