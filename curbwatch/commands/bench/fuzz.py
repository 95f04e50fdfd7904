"""`curbwatch bench fuzz`: odd requests to every route of the centre."""

from __future__ import annotations

import click


@click.command("fuzz")
@click.option("--examples", default=30, show_default=True, help="Requests of each operation and caller.")
def cli(examples: int) -> None:
    """Ask every operation of the OpenAPI by Schemathesis; exit 1 on a 5xx or an answer that it does not name."""
    from bench.fuzz_api import run

    done = run(examples)
    click.echo(
        f"{done.operations} operations, {done.statuses.total()} requests, answers {dict(sorted(done.statuses.items()))}"
    )
    for fault in done.faults:
        click.echo(fault)
    if done.faults:
        raise SystemExit(1)
