"""`curbwatch api device` and `curbwatch api user`: who may speak with the centre."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from api.security import add_device, add_user
from contract import utc_now
from curbwatch.centre import DATA, JSON, open_centre, tell


@click.group("device")
def device() -> None:
    """Boxes and their tokens."""


@device.command("add")
@click.argument("name")
@click.option("--tenant", default="/", show_default=True)
@DATA
@JSON
def device_add(name: str, tenant: str, data: Path, as_json: bool) -> None:
    """Add a box, or renew its token (the old one works for another day); print the token, once."""
    token = _write(data, lambda s: add_device(s, _slug(name), utc_now(), _tenant(tenant)), new=True)
    tell(
        as_json,
        {"device": name, "token": token},
        f"{token}\n(shown this once; the box keeps it in api.token_file)",
    )


@device.command("revoke")
@click.argument("name")
@DATA
def device_revoke(name: str, data: Path) -> None:
    """Make a box's tokens worthless."""
    from api.tables import Device

    def revoke(session: Any) -> None:
        found = session.get(Device, name)
        if found is None:
            raise click.ClickException(f"no box {name}")
        found.revoked_at = utc_now()

    _write(data, revoke)
    click.echo(f"{name} is revoked")


@click.group("user")
def user() -> None:
    """People who sign in."""


@user.command("add")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["reviewer", "supervisor", "dispatcher", "handler", "auditor", "admin"]),
    default="reviewer",
    show_default=True,
)
@click.option("--tenant", default="/", show_default=True)
@DATA
@JSON
def user_add(name: str, role: str, tenant: str, data: Path, as_json: bool) -> None:
    """Add a person; print the password, once."""
    password = _write(data, lambda s: add_user(s, name, role, utc_now(), _tenant(tenant)), new=True)
    tell(as_json, {"username": name, "password": password}, f"password {password} (shown this once)")


@user.command("password")
@click.argument("name")
@DATA
@JSON
def user_password(name: str, data: Path, as_json: bool) -> None:
    """Give a person a new password, ending all sessions and any lock; print it, once."""
    from api.security import new_password

    password = _write(data, lambda s: new_password(s, name, utc_now()))
    if password is None:
        raise click.ClickException(f"no user {name} with a password; `curbwatch api user add` makes one")
    tell(as_json, {"username": name, "password": password}, f"password {password} (shown this once)")


def _write(data: Path, act: Callable[[Any], Any], new: bool = False) -> Any:
    from sqlalchemy.exc import IntegrityError

    _, db = open_centre(data, new, tell_new=True)
    try:
        with db.write() as session:
            return act(session)
    except IntegrityError as exc:
        raise click.ClickException("this name is taken") from exc
    finally:
        db.close()


def _slug(name: str) -> str:
    import re

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise click.BadParameter("letters, digits, dot, dash, underscore; 64 at most", param_hint="NAME")
    return name


def _tenant(path: str) -> str:
    if not path.startswith("/"):
        raise click.BadParameter("a tenant is a path such as /city/north/", param_hint="--tenant")
    return path if path.endswith("/") else path + "/"
