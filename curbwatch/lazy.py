"""A click group whose commands are the modules of a package, imported only when asked for."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
from pathlib import Path

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
        """List the names with what their modules' docstrings say, read and not imported: that would cost every room."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._said_of(name)) for name in self.list_commands(ctx)])

    def _said_of(self, name: str) -> str:
        spec = importlib.util.find_spec(f"{self._package}.{name.replace('-', '_')}")
        if spec is None or spec.origin is None:
            return ""
        said = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""
        # The docstring begins with the command in backticks and a colon.
        text = said.partition("\n")[0].partition("`: ")[2].rstrip(".")
        return text[:1].upper() + text[1:]
