"""The command `curbwatch`: the rooms' own commands under one roof."""

from __future__ import annotations

from importlib.metadata import version

import click

from curbwatch.lazy import LazyGroup

cli = LazyGroup(
    package="curbwatch.commands",
    name="curbwatch",
    help="Find street issues on city cameras and file them as reviewed cases.",
)
cli = click.version_option(version("curbwatch"))(cli)


def main() -> None:
    """Run the command line."""
    cli(prog_name="curbwatch")


if __name__ == "__main__":
    main()
