"""`curbwatch bench instructions`: the hot loops' instructions against their budget, the same however busy the machine is."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.instructions import BUDGET, UncountableError, count, judged, write


@click.command("instructions")
@click.option(
    "--write",
    "slack",
    is_flag=False,
    flag_value=3.0,
    type=float,
    help="Make these counts the budget, with so many per cent of slack.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def cli(slack: float | None, json_file: Path | None) -> None:
    """Count by callgrind; fail where a loop takes more than its budget."""
    try:
        counted = count()
        if slack is not None:
            write(counted, slack / 100)
        verdicts = judged(counted)
    except UncountableError as exc:
        raise click.ClickException(str(exc)) from None
    table = Table("loop", "instructions a turn", "budget", "against it")
    for v in verdicts:
        against = "no budget" if v.budget is None else f"{v.instructions / v.budget - 1:+.2%}"
        table.add_row(v.loop, f"{v.instructions:,}", f"{v.budget or 0:,}", against)
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(counted, indent=1) + "\n")
    over = [v.loop for v in verdicts if not v.kept]
    if over:
        raise click.ClickException(
            f"over budget: {', '.join(over)}; mend it, or say why and --write {BUDGET.name}"
        )
