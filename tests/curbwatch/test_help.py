"""The lists of commands tell what each is for, without importing it."""

import sys

import pytest
from click import Context, Group
from click.testing import CliRunner

from curbwatch.__main__ import cli
from curbwatch.commands.bench import cli as bench


@pytest.mark.parametrize(("group", "name"), [(cli, "train"), (bench, "throughput")])
def test_every_command_says_what_it_is_for(group: Group, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = f"curbwatch.commands.{'bench.' if group is bench else ''}"
    monkeypatch.delitem(sys.modules, package + name, raising=False)
    told = CliRunner().invoke(group, ["--help"], terminal_width=400).output.partition("Commands:\n")[2]
    lines = dict(line.split(maxsplit=1) for line in told.strip().splitlines())
    assert list(lines) == group.list_commands(Context(group))
    assert package + name not in sys.modules
    assert "`" not in lines[name], "the command's own name is said twice"
