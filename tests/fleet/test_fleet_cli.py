"""`curbwatch fleet`: releases from the first key to a rotation, and a rollout from its plan to its end, by the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from api_parts import centre
from click.testing import CliRunner

from api.fleet import box_row
from curbwatch.commands.fleet import cli
from models.bundle import embedded, load_bundle, write_manifest

PLAN = "shadow: null\nrings:\n- {name: early, labels: {ring: early}}\n- {name: rest, hold: true}\n"


def fleet(*words: str | Path, ends: int = 0) -> str:
    told = CliRunner().invoke(cli, [str(w) for w in words])
    assert told.exit_code == ends, told.output
    return told.output


def bundle(folder: Path, version: str) -> Path:
    shutil.copytree(embedded().parent / "centernet", folder / version)
    manifest = load_bundle(folder / version).manifest
    write_manifest(folder / version, manifest.model_copy(update={"version": version}))
    return folder / version


def test_releases(tmp_path: Path) -> None:
    repo, keys = tmp_path / "releases", tmp_path / "keys"
    at = ("--repo", repo, "--keys", keys)
    fleet("release", "init", *at)
    assert "holds a repository already" in fleet("release", "init", *at, ends=1)
    assert (keys / "north-0.pem").name in fleet("release", "delegate", "north", *at)
    assert (
        fleet("release", "publish", "north", bundle(tmp_path, "7"), *at).strip()
        == "north/centernet-mbv3-coco@7"
    )
    rows = {line.split()[0]: line for line in fleet("release", "status", "--repo", repo).splitlines()}
    assert set(rows) == {"root", "targets", "snapshot", "timestamp", "north"}
    old = (keys / "north-0.pem").read_bytes()
    fleet("release", "rotate", "north", *at)
    assert (keys / "north-0.pem").read_bytes() != old
    fleet("release", "refresh", *at)
    fleet("release", "withdraw", "north/centernet-mbv3-coco@7", *at)
    assert "was not released" in fleet("release", "withdraw", "north/centernet-mbv3-coco@7", *at, ends=1)
    assert fleet("release", "status", "--repo", repo).splitlines() != list(rows.values())


@pytest.mark.parametrize("name", ["root", "North", "a b"])
def test_a_city_has_a_name_that_a_role_can_have(tmp_path: Path, name: str) -> None:
    at = ("--repo", tmp_path / "r", "--keys", tmp_path / "k")
    assert "lower-case" in fleet("release", "delegate", name, *at, ends=2)


def test_a_bundle_that_is_none_is_not_published(tmp_path: Path) -> None:
    at = ("--repo", tmp_path / "r", "--keys", tmp_path / "k")
    fleet("release", "init", *at)
    fleet("release", "delegate", "north", *at)
    (tmp_path / "none").mkdir()
    assert "Error" in fleet("release", "publish", "north", tmp_path / "none", *at, ends=1)


def test_a_rollout(tmp_path: Path) -> None:
    data, plan = tmp_path / "data", tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    with centre(data) as house:
        house.box("b0"), house.box("b1")
        with house.core.db.write() as session:
            box_row(session, "b0").labels = {"ring": "early"}
            box_row(session, "b1")
        at = ("--data", data)
        made = fleet("rollout", "begin", "north/m@2", plan, *at).strip()
        assert "is in rollout" in fleet("rollout", "begin", "north/m@3", plan, *at, ends=1)
        assert "city/name@version" in fleet("rollout", "begin", "m", plan, *at, ends=2)
        assert fleet("rollout", "pause", made, "--reason", "lunch", *at).strip() == "paused"
        assert "possible: abort, resume" in fleet("rollout", "pause", made, *at, ends=1)
        assert "lunch" in fleet("rollout", "list", *at)
        assert fleet("rollout", "resume", made, *at).strip() == "running"
        assert fleet("rollout", "abort", made, *at).strip() == "aborted"
        shown = fleet("rollout", "show", made, *at)
        assert "north/m@2 for own: aborted in early" in shown
        assert [
            w for w in ("began", "paused lunch", "resumed", "aborted") if f"rollout.{w}" not in shown
        ] == []
        assert "no rollout x" in fleet("rollout", "show", "x", *at, ends=1)
    plan.write_text("rings: []\n")
    assert "plan.yaml: rings" in fleet("rollout", "begin", "north/m@2", plan, "--data", data, ends=1)
