"""`curbwatch evidence`: check a case offline, pack one, show a box's key, make a pair for sealed originals."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click
import pyrage

from contract import AlertEvent
from contract.case_file import Strand
from edge.evidence_verify import verify_case, write_case
from edge.identity import known_key, public_key
from edge.identity_error import IdentityError
from edge.outbox import Outbox

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("evidence")
def cli() -> None:
    """Evidence that stands up."""


@cli.command()
@click.argument("case", type=_file)
@click.option("--key", "keyid", help="Id of the box's enrolled key.")
@click.option("--tsa", type=_file, help="Certificate (PEM) of the time-stamping authority.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
def verify(case: Path, keyid: str | None, tsa: Path | None, as_json: bool) -> None:
    """Check the CASE file without network: signatures, chain, messages, files, times."""
    verdict = verify_case(case, keyid, tsa)
    if as_json:
        told = {
            "good": verdict.good,
            "proven": verdict.proven,
            "unproven": verdict.unproven,
            "wrong": verdict.wrong,
        }
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        for title, lines in (
            ("Wrong", verdict.wrong),
            ("Proven", verdict.proven),
            ("Not proven", verdict.unproven),
        ):
            for i, line in enumerate(lines):
                click.echo(f"{title + ':' if i == 0 else '':<12} {line}")
        click.echo("The case stands." if verdict.good else "The case does NOT stand.")
    sys.exit(0 if verdict.good else 1)


@cli.command()
@click.argument("alert_id")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--box", "data", required=True, type=_folder, help="The box's data folder.")
@click.option("--device", required=True, help="The box's name.")
@click.option(
    "--files", required=True, type=_folder, help="Folder of evidence: the API's `evidence`, or the spool."
)
def export(alert_id: str, out: Path, data: Path, device: str, files: Path) -> None:
    """Pack the alert ALERT_ID of a box into the case OUT."""
    outbox = Outbox(data / "outbox")
    try:
        links = outbox.links(alert_id)
    finally:
        outbox.close()
    bodies = [AlertEvent.model_validate_json(body) for _, _, body in links if body]
    wanted = sorted({item.sha256 for event in bodies for item in event.data.evidence})
    found = {name: path for name in wanted if (path := _find(files, name))}
    if len(found) < len(wanted):
        missing = next(name for name in wanted if name not in found)
        raise click.ClickException(
            f"{len(wanted) - len(found)} files are not in {files}, the first is {missing}"
        )
    try:
        key_text = public_key(known_key(data), device)
        write_case(out, [Strand(alert_id, key_text, device, links)], dict(found))
    except (IdentityError, ValueError) as exc:
        raise click.ClickException(str(exc)) from None
    click.echo(f"{out}: {len(bodies)} messages, {len(links)} links, {len(found)} files")


def _find(folder: Path, sha256: str) -> Path | None:
    # The API keeps two levels, the box's spool one.
    for path in (folder / sha256[:2] / sha256[2:4] / sha256, folder / sha256[:2] / sha256, folder / sha256):
        if path.is_file():
            return path
    return None


@cli.command()
@click.option("--box", "data", required=True, type=_folder, help="The box's data folder.")
@click.option("--device", required=True, help="The box's name.")
def key(data: Path, device: str) -> None:
    """Print the box's public key, to be enrolled at the centre."""
    try:
        click.echo(public_key(known_key(data), device))
    except IdentityError as exc:
        raise click.ClickException(str(exc)) from None


@cli.command("c2pa")
@click.argument("case", type=_file)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--key", required=True, type=_file, help="Ed25519 key (PEM) of whoever exports.")
@click.option("--certificates", required=True, type=_file, help="Its certificate and those above it (PEM).")
def c2pa(case: Path, out: Path, key: Path, certificates: Path) -> None:
    """Write the pictures and clips of a CASE that stands into OUT, each with Content Credentials (C2PA)."""
    from edge.evidence_c2pa import ExportError, Signing, export_case

    try:
        written = export_case(case, out, Signing.read(key, certificates))
    except ExportError as exc:
        raise click.ClickException(str(exc)) from None
    click.echo(f"{len(written)} files in {out}")


@cli.command("dropped")
@click.option("--box", "data", required=True, type=_folder, help="The box's data folder.")
def dropped(data: Path) -> None:
    """List what a box let go unsent, and why; exit 1 when that record was tampered with."""
    outbox = Outbox(data / "outbox")
    try:
        stones, fault = outbox.tombstones()
    finally:
        outbox.close()
    for stone in stones:
        click.echo(f"{stone.seq:>6} {stone.kind:<8} {stone.size:>10} {stone.why:<12} {stone.sha256}")
    if fault is not None:
        raise click.ClickException(fault)
    click.echo(f"{len(stones)} files were let go unsent; the record is whole")


@cli.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def keygen(out: Path) -> None:
    """Make a pair for sealed originals: the private key goes to OUT (keep it at the centre), the public one is printed."""
    pair = pyrage.x25519.Identity.generate()
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(f"{out} exists; a key is never overwritten") from None
    with os.fdopen(handle, "w") as file:
        file.write(f"{pair}\n")
    click.echo(f"privacy.seal_to: {pair.to_public()}")
