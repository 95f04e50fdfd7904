"""`curbwatch explain ALERT`: why an alert was raised, as text, JSON, or one picture strip."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import click

from contract import Alert, AlertEvent
from edge.explain import strip, text, timed, told
from edge.ledger import AlertLedger
from edge.pictures import jpeg

_folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("explain")
@click.argument("alert")
@click.option("--box", "data", type=_folder, help="The box's data folder, when ALERT is an id.")
@click.option(
    "--files",
    type=_folder,
    help="Folder of evidence: the API's `evidence`; the box's own spool is asked too.",
)
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Write the strip here, as JPEG."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one list entry an alert.")
def cli(alert: str, data: Path | None, files: Path | None, picture: Path | None, as_json: bool) -> None:
    """Explain ALERT: an alert's id on a box (`--box`), a case file (ZIP), or a case or alert as JSON."""
    alerts, packed = _alerts(alert, data)
    if as_json:
        click.echo(json.dumps([told(a) for a in alerts], ensure_ascii=False, indent=1))
    else:
        click.echo("\n\n".join(text(a) for a in alerts))
    if picture is None:
        return
    folders = [f for f in (files, data / "outbox" / "spool" if data else None) if f is not None]
    first = alerts[0]
    drawn = strip(first, packed | _read(first, folders))
    if drawn is None:
        raise click.ClickException(
            "none of the alert's timed pictures is here: a box keeps them until they are delivered; name the API's folder with --files"
        )
    picture.write_bytes(jpeg(drawn))


def _alerts(word: str, data: Path | None) -> tuple[list[Alert], dict[str, bytes]]:
    path = Path(word)
    try:
        if path.is_file() and zipfile.is_zipfile(path):
            return _of_zip(path)
        if path.is_file():
            return _of_json(json.loads(path.read_text(encoding="utf-8"))), {}
    except ValueError as exc:
        raise click.ClickException(f"{path}: is no case file, case or alert: {exc}") from None
    if data is None:
        raise click.ClickException(
            f"{word}: no such file; for an alert's id name the box's data folder with --box"
        )
    if not (data / "alerts.db").is_file():
        raise click.ClickException(
            f"{data}: has no alerts.db; name the `data_dir` of the box's configuration"
        )
    ledger = AlertLedger(data / "alerts.db")
    try:
        found = ledger.get(word)
    finally:
        ledger.close()
    if found is None:
        raise click.ClickException(f"{word}: the box does not know this alert")
    return [found], {}


def _of_zip(path: Path) -> tuple[list[Alert], dict[str, bytes]]:
    newest: dict[str, Alert] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if "/events/" in name:
                alert = AlertEvent.model_validate_json(archive.read(name)).data
                if alert.id not in newest or newest[alert.id].revision < alert.revision:
                    newest[alert.id] = alert
        wanted = {e.sha256 for a in newest.values() for e in timed(a)}
        files = {n: archive.read(f"files/{n}") for n in wanted if f"files/{n}" in archive.namelist()}
    if not newest:
        raise ValueError("it holds no alert")
    return list(newest.values()), files


def _of_json(body: Any) -> list[Alert]:
    if not isinstance(body, dict):
        raise ValueError("an object was expected")  # noqa: TRY004 - one error for all that is no alert
    rows = body.get("alerts") or [body.get("data", body)]
    return [Alert.model_validate(row) for row in rows]


def _read(alert: Alert, folders: list[Path]) -> dict[str, bytes]:
    out = {}
    for item in timed(alert):
        name = item.sha256
        for folder in folders:
            # The API keeps two levels, the box's spool one.
            for path in (folder / name[:2] / name[2:4] / name, folder / name[:2] / name, folder / name):
                if path.is_file():
                    out[name] = path.read_bytes()
    return out
