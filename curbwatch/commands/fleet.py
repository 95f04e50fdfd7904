"""`curbwatch fleet`: sign and publish model releases, and roll them out."""

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


@cli.group()
def rollout() -> None:
    """A model on its way to the boxes: shadow, rings, gates. Run it beside the centre's database."""


_data = click.option(
    "--data", type=_FOLDER, default=Path("var/api"), show_default=True, help="The centre's data folder."
)
_id = click.argument("rollout_id", metavar="ID")
_MODEL = r"[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9._-]{0,63}@[A-Za-z0-9][A-Za-z0-9._+-]{0,39}"


@rollout.command()
@click.argument("model")
@click.argument("plan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", default="/", show_default=True, help="Whose boxes.")
@_data
def begin(model: str, plan: Path, tenant: str, data: Path) -> None:
    """Send MODEL (city/name@version) to the boxes by the stages of PLAN, a YAML file."""
    import re

    import yaml
    from pydantic import ValidationError

    from api.rollout_plan import Plan
    from api.rollouts import create

    if not re.fullmatch(_MODEL, model):
        raise click.BadParameter("write it as city/name@version", param_hint="MODEL")
    try:
        told = Plan.model_validate(yaml.safe_load(plan.read_text(encoding="utf-8")))
    except ValidationError as exc:
        lines = [f"{plan}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in exc.errors()]
        raise click.ClickException("\n".join(lines)) from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as exc:
        raise click.ClickException(f"{plan}: {exc}") from None
    click.echo(_at(data, lambda session, core: create(session, model, told, tenant, _CLI, core).id))


@rollout.command("list")
@_data
def list_(data: Path) -> None:
    """Show the rollouts, the newest first."""
    from sqlalchemy import select

    from api.rollouts import plan_of, state_of
    from api.tables_fleet import Rollout

    def lines(session: Any, _core: Any) -> list[str]:
        rows = session.scalars(select(Rollout).order_by(Rollout.made_at.desc()).limit(50))
        return [
            f"{r.id}  {r.phase:8} {plan_of(r).stages[state_of(r).stage]:12} {r.candidate}  {state_of(r).why}"
            for r in rows
        ]

    for line in _at(data, lines):
        click.echo(line)


@rollout.command()
@_id
@_data
def show(rollout_id: str, data: Path) -> None:
    """Show a rollout's rings, gates and history."""
    from api.routes.rollouts import view_of

    told = _at(data, lambda session, _core: view_of(session, _found(session, rollout_id)))
    click.echo(f"{told.candidate} for {told.champion}: {told.status} in {told.stage}; {told.why}")
    for ring in told.rings:
        click.echo(
            f"  {ring.name:12} {ring.holding} of {ring.boxes} boxes hold it, {ring.took_back} took it back"
        )
    for gate in told.gates:
        click.echo(f"  {gate.verdict:4} {gate.name}: {gate.reason}")
    for step in told.history:
        click.echo(f"  {step.at:%Y-%m-%d %H:%M}Z {step.actor} {step.action} {step.body.get('why', '')}")


def _word(name: str, help_: str) -> None:
    @rollout.command(name, help=help_)
    @_id
    @click.option("--reason", default="", help="For the history.")
    @_data
    def say(rollout_id: str, reason: str, data: Path) -> None:
        from api.rollouts import command

        def act(session: Any, core: Any) -> str:
            row = _found(session, rollout_id)
            command(session, row, name, reason[:300], _CLI, core)  # type: ignore[arg-type]
            return str(row.phase)

        click.echo(_at(data, act))


_word("pause", "Hold the stage; what breaks boxes still halts it.")
_word("resume", "Go on, and let in a ring with `hold`.")
_word("abort", "End it: every box goes back to the model it had.")
_word("finish", "End it in its last ring though gates wait: every box keeps the candidate.")
_CLI = "cli"


def _found(session: Any, rollout_id: str) -> Any:
    from api.tables_fleet import Rollout

    row = session.get(Rollout, rollout_id)
    if row is None:
        raise click.ClickException(f"no rollout {rollout_id}; `curbwatch fleet rollout list` shows them")
    return row


def _at(data: Path, act: Callable[[Any, Any], Any]) -> Any:
    from api.app import core_for
    from api.errors import ApiError
    from curbwatch.centre import open_centre

    settings, db = open_centre(data)
    try:
        with db.write() as session:
            return act(session, core_for(settings, db))
    except ApiError as exc:
        hint = f" (possible: {', '.join(exc.allowed)})" if exc.allowed else ""
        raise click.ClickException(f"{exc.detail}{hint}") from None
    finally:
        db.close()
