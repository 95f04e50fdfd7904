"""A click group whose commands are the modules of a package, imported only when asked for."""

from __future__ import annotations

import importlib
import pkgutil

import click


class LazyGroup(click.Group):
    """Commands are `<package>.<name>.cli`; a module `foo_bar` is the command `foo-bar`."""

    def __init__(self, *, package: str, **attrs: object) -> None:
        super().__init__(**attrs)  # type: ignore[arg-type]
        self._package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the modules in the package, without importing them."""
        paths = importlib.import_module(self._package).__path__
        found = {m.name.replace("_", "-") for m in pkgutil.iter_modules(paths)}
        return sorted(found | set(super().list_commands(ctx)))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of the name and return its `cli`; None where there is no such module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{self._package}.{cmd_name.replace('-', '_')}")
        command = module.cli
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.cli must be a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the names alone: a help text would cost the import of every room."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, f"see `{ctx.command_path} {name} --help`") for name in self.list_commands(ctx)]
            )
