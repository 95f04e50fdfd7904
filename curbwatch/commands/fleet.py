"""`curbwatch fleet`: sign and publish model releases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from curbwatch.releasing.repository import Repository

_FOLDER = click.Path(file_okay=False, path_type=Path)
_repo = click.option(
    "--repo",
    type=_FOLDER,
    default=Path("var/api/releases"),
    show_default=True,
    help="Folder that is given out.",
)
_keys = click.option(
    "--keys", type=_FOLDER, required=True, help="Folder of the private keys; keep root's offline."
)
_city = click.argument("city", callback=lambda _c, _p, v: _slug(v))


def _slug(value: str) -> str:
    import re

    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", value) or value in {
        "root",
        "targets",
        "snapshot",
        "timestamp",
    }:
        raise click.BadParameter(
            "lower-case letters, digits and dashes; no TUF role's name", param_hint="CITY"
        )
    return value


@click.group("fleet")
def cli() -> None:
    """Many boxes."""


@cli.group()
def release() -> None:
    """Model releases as TUF targets: keys, roles, publishing. Boxes trust the signatures, not the server."""


def _do(repo: Path, keys: Path, act: Callable[[Repository], Any]) -> Any:
    from tuf.api.exceptions import RepositoryError as TufError

    from curbwatch.releasing.repository import Repository, RepositoryError
    from models.bundle import BundleError

    try:
        return act(Repository(repo, keys))
    except (RepositoryError, BundleError, TufError, OSError, ValueError) as exc:
        raise click.ClickException(str(exc)) from None


@release.command()
@_repo
@_keys
@click.option("--root-keys", type=click.IntRange(1, 9), default=2, show_default=True)
@click.option(
    "--threshold", type=click.IntRange(1, 9), default=1, show_default=True, help="Root keys that must sign."
)
def init(repo: Path, keys: Path, root_keys: int, threshold: int) -> None:
    """Make the keys and the first metadata. Do this before boxes enrol: they take the root with them."""
    _do(repo, keys, lambda r: r.create(root_keys, threshold))
    click.echo(f"{repo}: ready; keys in {keys}. Next: delegate CITY, publish CITY BUNDLE")


@release.command()
@_city
@_repo
@_keys
def delegate(city: str, repo: Path, keys: Path) -> None:
    """Give CITY a role and key of its own; it can release under CITY/ alone."""
    _do(repo, keys, lambda r: r.delegate(city))
    click.echo(f"{city}: key {keys / f'{city}-0.pem'}")


@release.command()
@_city
@click.argument("bundle", type=_FOLDER)
@_repo
@_keys
def publish(city: str, bundle: Path, repo: Path, keys: Path) -> None:
    """Release BUNDLE (a folder, or `default`) for CITY."""
    click.echo(_do(repo, keys, lambda r: r.publish(city, bundle)))


@release.command()
@click.argument("model")
@_repo
@_keys
def withdraw(model: str, repo: Path, keys: Path) -> None:
    """Take MODEL (city/name@version) out: no box can get it any more."""
    _do(repo, keys, lambda r: r.withdraw(model))


@release.command()
@click.argument("role")
@_repo
@_keys
def rotate(role: str, repo: Path, keys: Path) -> None:
    """Replace the key of ROLE (root, targets, snapshot, timestamp or a city); the old key is worthless afterwards."""
    _do(repo, keys, lambda r: r.rotate(role))
    click.echo(f"{role}: new key in {keys}; the old one lies beside it as .old")


@release.command()
@click.argument("roles", nargs=-1)
@_repo
@_keys
def refresh(roles: tuple[str, ...], repo: Path, keys: Path) -> None:
    """Sign ROLES (snapshot and timestamp without) again before they expire; for a timer."""
    _do(repo, keys, lambda r: r.refresh(roles or ("snapshot", "timestamp")))


@release.command()
@_repo
def status(repo: Path) -> None:
    """Show each role's version, expiry and released files."""
    for name, version, expires, files in _do(repo, repo, lambda r: r.status()):
        click.echo(f"{name:12} version {version:4}  expires {expires:%Y-%m-%d %H:%M}Z  {files} files")
