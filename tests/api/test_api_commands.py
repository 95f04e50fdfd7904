"""`curbwatch api` and `curbwatch fleet` on input that is wrong in ordinary ways: one line that says so, and nothing is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.servers import new_database
from contract import new_id
from curbwatch.__main__ import cli


def said(*words: str | Path, env: dict[str, str] | None = None) -> Result:
    told = CliRunner().invoke(cli, [str(w) for w in words], env=env)
    assert told.exception is None or isinstance(told.exception, SystemExit), repr(told.exception)
    return told


READING = [
    ["api", "backup", "OUT"], ["api", "export", "OUT"], ["api", "export-labels", "--out", "OUT"],
    ["api", "retention", "--dry-run"], ["api", "audit"], ["api", "device", "revoke", "box-1"],
    ["api", "user", "password", "admin"], ["fleet", "rollout", "list"], ["fleet", "rollout", "show", "x"],
    ["fleet", "rollout", "pause", "x"],
]  # fmt: skip


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_command_that_reads_makes_no_centre(tmp_path: Path, words: list[str]) -> None:
    words = [str(tmp_path / "out") if w == "OUT" else w for w in words]
    told = said(*words, "--data", tmp_path / "typo")
    assert told.exit_code == 1
    assert f"{tmp_path / 'typo'}" in told.output
    assert "no centre is" in told.output
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "curbwatch.db").touch()
    assert said(*words, "--data", tmp_path / "empty").exit_code == 1


def test_a_database_without_a_centre_is_named(tmp_path: Path, pg_url: str) -> None:
    env = {"CURBWATCH_API_DATABASE_URL": new_database(pg_url, f"cw_{new_id()}")}
    for words in (["api", "audit"], ["fleet", "rollout", "list"], ["api", "backup", tmp_path / "out"]):
        told = said(*words, "--data", tmp_path, env=env)
        assert (told.exit_code, "database_url: the database holds no centre" in told.output) == (1, True)
    assert said("api", "init", "--data", tmp_path, env=env).exit_code == 0
    assert said("fleet", "rollout", "list", "--data", tmp_path, env=env).exit_code == 0


@pytest.mark.parametrize("words", [["device", "add", "box-1"], ["user", "add", "rita"]], ids=" ".join)
def test_who_adds_somebody_in_a_new_folder_is_told_that_it_was_new(tmp_path: Path, words: list[str]) -> None:
    told = [said("api", *words, "--data", tmp_path / "typo", "--json") for _ in "ab"]
    assert [f"there was no centre in {tmp_path / 'typo'}" in t.stderr for t in told] == [True, False]
    assert json.loads(told[0].stdout)


def test_mistakes_are_named(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    assert said("api", "init", "--data", data).exit_code == 0
    assert said("api", "backup", copy, "--data", data).exit_code == 0
    (tmp_path / "file").touch()
    told = said("api", "migrate", "--to", "nonsense", "--data", data)
    assert (told.exit_code, "'nonsense'; give a revision, `head` or `base`" in told.output) == (2, True)
    told = said("api", "export", tmp_path / "no" / "such.csv", "--data", data)
    assert (told.exit_code, "No such file or directory" in told.output) == (1, True)
    told = said("api", "backup", tmp_path / "file", "--data", data)
    assert (told.exit_code, "is a file" in told.output) == (2, True)
    database = copy / json.loads((copy / "manifest.json").read_text())["folder"] / "curbwatch.db"
    database.unlink()
    told = said("api", "restore", copy, "--data", tmp_path / "new")
    assert (told.exit_code, f"{database}: missing" in told.output) == (1, True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("role", ["/abs", "../up", "nobody", ""])
def test_a_role_that_is_none_is_not_rotated(tmp_path: Path, role: str) -> None:
    at = ("--repo", tmp_path / "repo", "--keys", tmp_path / "keys")
    assert said("fleet", "release", "init", *at).exit_code == 0
    for word in ("rotate", "refresh"):
        told = said("fleet", "release", word, role, *at)
        assert (told.exit_code, "no such role" in told.output) == (1, True)
