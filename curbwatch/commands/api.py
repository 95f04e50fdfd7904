"""`curbwatch api`: run the centre; its users, devices, tables, backups and exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from api.db import Database
from api.migrate import current, migrate
from api.security import first_admin
from api.settings import PREFIX, Settings
from contract import utc_now
from curbwatch.accounts import device, user
from curbwatch.centre import DATA, JSON, open_centre, tell


@click.group("api")
def cli() -> None:
    """Run and keep the centre."""


@cli.command("init")
@DATA
@JSON
def init(data: Path, as_json: bool) -> None:
    """Make the database and the first admin; print the password, once."""
    _, db = open_centre(data, new=True)
    with db.write() as session:
        password = first_admin(session, utc_now())
    db.close()
    if password is None:
        raise click.ClickException(
            f"{data} has users already; `curbwatch api user password NAME` makes a new password"
        )
    body = {"username": "admin", "password": password}
    tell(as_json, body, f"user admin, password {password} (shown this once; keep it)")


@cli.command("run")
@DATA
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option(
    "--forwarded-allow-ips", default="127.0.0.1", show_default=True, help="Proxies that are believed."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes; one a core."
)
def run(data: Path, host: str, port: int, forwarded_allow_ips: str, workers: int) -> None:
    """Serve the API and the console."""
    import os

    import uvicorn

    settings, db = open_centre(data, new=True)
    with db.write() as session:
        password = first_admin(session, utc_now())
    db.close()
    if password is not None:
        click.echo(f"first start: user admin, password {password} (shown this once; keep it)")
    os.environ[f"{PREFIX}DATA"] = str(settings.data)
    # 25 s: on a busy machine ten were over while requests were still worked on, which then were told 500. Compose waits 30 s, the chart 40 s.
    uvicorn.run(
        "api.serve:app", factory=True, host=host, port=port, workers=workers, access_log=False, log_config=None,
        server_header=False, timeout_graceful_shutdown=25, forwarded_allow_ips=forwarded_allow_ips,
        timeout_keep_alive=30, timeout_worker_healthcheck=60, loop="api.even:EvenLoop",
    )  # fmt: skip


@cli.command("migrate")
@DATA
@click.option("--to", default="head", show_default=True, help="A revision, `head`, or `base`.")
def migrate_command(data: Path, to: str) -> None:
    """Bring the database to a revision."""
    from alembic.util import CommandError

    db = Database(Settings.from_env(data=data))
    try:
        migrate(db.engine, to)
        click.echo(f"at revision {current(db.engine) or 'base'}")
    except CommandError as exc:
        raise click.BadParameter(f"{exc}; give a revision, `head` or `base`", param_hint="--to") from None
    finally:
        db.close()


cli.add_command(device)
cli.add_command(user)


@cli.command("export-labels")
@DATA
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--files/--no-files", default=True, show_default=True, help="Copy the evidence files too.")
@click.option("--waiting", is_flag=True, help="Cases in review instead, for `curbwatch train queue`.")
def export_labels(data: Path, out: Path, files: bool, waiting: bool) -> None:
    """Write judged cases for training: OUT/cases.jsonl, and OUT/evidence/ with files named by their SHA-256."""
    import asyncio

    from api.export import write_labels

    settings, db = open_centre(data)
    cases, copied = asyncio.run(write_labels(settings, db, out, files, "waiting" if waiting else "judged"))
    db.close()
    click.echo(f"{cases} cases, {copied} files in {out}")


@cli.command("export")
@DATA
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["csv", "geojson", "parquet", "gbt30428"]), default="csv", show_default=True
)  # fmt: skip
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Opened on or after this day, UTC.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Opened before this day, UTC.")
@click.option("--datum", type=click.Choice(["wgs84", "gcj02", "bd09"]), default="wgs84", show_default=True)
def export_command(data: Path, file: Path, form: Any, since: Any, until: Any, datum: Any) -> None:
    """Write the cases into FILE."""
    from datetime import UTC

    from api.app import core_for
    from api.case_export import Wanted, export
    from api.export import EVERYTHING

    settings, db = open_centre(data)
    first, last = (day.replace(tzinfo=UTC) if day else None for day in (since, until))
    wanted = Wanted(first, last, datum=datum)
    try:
        with file.open("wb") as out:
            for part in export(core_for(settings, db), EVERYTHING, form, wanted):
                out.write(part)
    except OSError as exc:
        raise click.FileError(str(file), exc.strerror or str(exc)) from None
    finally:
        db.close()
    click.echo(f"{file.stat().st_size} bytes in {file}")


@cli.command("label-queue")
@DATA
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def label_queue(data: Path, file: Path) -> None:
    """Put FILE of `curbwatch train queue` before the reviewers, in the place of the queue so far."""
    from api.audit import record
    from api.export import EVERYTHING
    from api.labelling import read_queue, replace_queue

    try:
        told = read_queue(file)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    _, db = open_centre(data)
    with db.write() as session:
        taken = replace_queue(session, told, EVERYTHING, utc_now())
        record(
            session,
            "labels",
            utc_now(),
            "system",
            "labels.queued",
            {"taken": taken.taken, "model": told.model},
        )
    db.close()
    click.echo(
        f"{taken.taken} to label; {len(taken.unknown)} unknown cases, {taken.without_case} pictures without a case"
    )


@cli.command("bridge")
@click.option("--api", "url", default="http://127.0.0.1:8080", show_default=True, help="The API's address.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The MQTT 5 broker.")
@click.option("--port", type=click.IntRange(1, 65535), default=8883, show_default=True)
@click.option(
    "--tls/--no-tls", default=True, show_default=True, help="Without: only for a broker on this machine."
)
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--username")
@click.option("--password-file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def bridge(
    url: str, host: str, port: int, tls: bool, ca_file: Path | None, username: str | None, password_file: Path | None
) -> None:  # fmt: skip
    """Hand boxes' messages from an MQTT 5 broker to the API, and its answers back, until SIGINT or SIGTERM."""
    import signal
    import threading

    import httpx

    from api.bridge import Bridge
    from api.log import configure

    if not tls and host not in {"127.0.0.1", "::1", "localhost"}:
        raise click.BadParameter("boxes' tokens would travel in the clear; use --tls", param_hint="--no-tls")
    configure()
    password = password_file.read_text(encoding="utf-8").strip() if password_file else None
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with httpx.Client(base_url=url, timeout=15, trust_env=False) as client:
        made = Bridge(client, host, port, username=username, password=password, tls=tls, ca_file=ca_file)
        done.wait()
        made.close()


@cli.command("retention")
@DATA
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
def retention(data: Path, dry_run: bool) -> None:
    """Delete what has had its time, as the `keep_*` settings say; `run` does this every hour by itself."""
    import asyncio

    from api.app import core_for
    from api.retention import preview, sweep

    settings, db = open_centre(data)
    core = core_for(settings, db)
    try:
        if dry_run:
            for rule, cases in preview(core).items():
                click.echo(f"{rule:<10} {cases} cases")
            return
        done = asyncio.run(sweep(core))
    finally:
        db.close()
    click.echo(
        f"{done.cases} cases, {done.files} files, {done.bytes} bytes; {done.kept_for_others} files stay for other "
        f"cases; {done.orphans} files that no alert named"
        + (f"; {done.failed} files could not be deleted" if done.failed else "")
    )


@cli.command("pack")
@click.argument("file")
def pack_command(file: str) -> None:
    """Check a city pack, with its numbering tables; exit 1 with one line a problem: file, field, mend."""
    from api.pack import PackError, load_pack

    try:
        city = load_pack(file)
    except PackError as exc:
        raise click.ClickException(str(exc)) from exc
    tables = ", ".join(f"{t.name}@{t.version}" for t in city.tables.values())
    click.echo(
        f"{city.name}@{city.version} is sound: {len(city.units)} units, {len(city.permits)} permits, {tables}"
    )


@cli.command("open311")
@DATA
@click.option("--exchange", "once", is_flag=True, help="Do one round of the exchange too.")
def open311(data: Path, once: bool) -> None:
    """Check the city's Open311 endpoint against the city pack: services, and attributes that they demand."""
    from api.app import core_for
    from api.city_loop import endpoint
    from api.city_requests import check, exchange
    from api.georeport import GeoReportError

    settings, db = open_centre(data)
    core = core_for(settings, db)
    try:
        with endpoint(settings) as city:
            if problems := check(core, city):
                raise click.ClickException("\n".join(problems))
            click.echo(f"the endpoint has all {len(core.pack.open311)} services of the pack")
            if once:
                done = exchange(core, city)
                click.echo(
                    f"{done.posted} posted, {done.changed} changed there, {done.pulled} reports pulled"
                )
    except (ValueError, GeoReportError) as exc:
        raise click.ClickException(str(exc)) from exc
    finally:
        db.close()


@cli.command("backup")
@DATA
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
def backup(data: Path, target: Path) -> None:
    """Write a consistent copy of database, evidence and fleet key into TARGET while the centre runs. Keep it secret."""
    from api.backup import BackupError, back_up

    try:
        told = back_up(Settings.from_env(data=data), target)
    except (BackupError, OSError) as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(f"{told['cases']} cases, {told['files']} files in {target}")


@cli.command("restore")
@DATA
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
def restore(data: Path, source: Path) -> None:
    """Bring a backup into an empty database and store; every file's hash and every audit chain is checked."""
    from api.backup import BackupError, bring_back, missing_key

    settings = Settings.from_env(data=data)
    try:
        told = bring_back(settings, source)
        problem = missing_key(settings, source)
    except (BackupError, OSError) as exc:
        raise click.ClickException(str(exc)) from exc
    if problem:
        click.echo(f"warning: {problem}", err=True)
    click.echo(f"{told['cases']} cases, {told['files']} files, {told['chains']} audit chains are whole")


@cli.command("audit")
@DATA
def audit_command(data: Path) -> None:
    """Check every audit chain; exit 1 with the first fault."""
    from api.backup import check_chains

    _, db = open_centre(data)
    with db.read() as session:
        count, fault = check_chains(session)
    db.close()
    if fault:
        raise click.ClickException(fault)
    click.echo(f"{count} chains are whole")
