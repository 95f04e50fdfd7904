"""The commands that keep people and boxes."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from curbwatch.commands.api import cli


def test_a_lost_password(tmp_path: Path) -> None:
    run = CliRunner()
    first = json.loads(run.invoke(cli, ["init", "--data", str(tmp_path), "--json"]).output)
    again = run.invoke(cli, ["init", "--data", str(tmp_path)])
    assert again.exit_code == 1
    assert "curbwatch api user password NAME" in again.output
    told = run.invoke(cli, ["user", "password", "admin", "--data", str(tmp_path), "--json"])
    assert told.exit_code == 0, told.output
    second = json.loads(told.output)
    assert second["username"] == "admin"
    assert second["password"] != first["password"]
    nobody = run.invoke(cli, ["user", "password", "nobody", "--data", str(tmp_path)])
    assert nobody.exit_code == 1
    assert "user add" in nobody.output
