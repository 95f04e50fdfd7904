"""A centre that is brought back from its backup goes on with the boxes that it had."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from api_parts import Centre, centre
from click.testing import CliRunner
from fastapi.testclient import TestClient
from test_apply import camera, config_of

from api.backup import back_up
from api.settings import Settings
from contract import new_id, utc_now
from curbwatch.commands.api import cli
from edge.changes import Changes
from edge.fleet.central_config import ConfigFromCentre
from edge.fleet.enrol import enrol
from edge.fleet.health_window import Look
from edge.log import get_logger


def give(house: Centre, admin: str, name: str) -> int:
    body = yaml.safe_dump({"cameras": [camera(name, "rtsp://127.0.0.1:1/x")]})
    answer = house.person(admin, "admin").put("/fleet/boxes/box-1/config", json={"body": body})
    return int(answer.raise_for_status().json()["version"])


class Taker:
    """The part of a box that takes the centre's configurations."""

    def __init__(self, folder: Path, house: Centre) -> None:
        self.folder = folder
        code = house.person("root", "admin").post("/fleet/codes", json={"device_id": "box-1"}).json()["code"]
        self.token = enrol(folder / "box", house.anonymous(), code).token

    def client(self, house: Centre) -> TestClient:
        house.tokens["box-1"] = self.token
        return house.box()

    def take(self, house: Centre, version: int) -> tuple[int, str, list[str]]:
        """Return the version that holds, why one was refused, and the cameras."""
        central = ConfigFromCentre(self.folder / "box", None, "box-1", get_logger())
        central.base = base = config_of(self.folder, camera("own", "rtsp://127.0.0.1:1/x"))
        nothing = Look(0.0, frozenset(), frozenset())
        central.take(version, self.client(house), lambda _: Changes(), lambda: nothing, 0.0)
        if central.phase == "trial":
            central.watch(nothing, lambda _: Changes())
        assert central.phase in {"held", "refused"}
        return central.version, central.refused[1], [c.id for c in central.merged(base).cameras]

    def beat(self, house: Centre, version: int) -> None:
        told = {
            "id": new_id(), "device_id": "box-1", "at": utc_now().isoformat(), "uptime_s": 5, "software_version": "1",
            "model_name": "m", "model_version": "1", "model_sha256": "0" * 64, "config_sha256": "0" * 64,
            "fleet": {"config_version": version, "config_phase": "held"},
        }  # fmt: skip
        self.client(house).post("/heartbeats", json=told).raise_for_status()


@pytest.mark.parametrize("reported", [None, 2, 5000])
def test_a_box_takes_the_first_configuration_after_a_restore(tmp_path: Path, reported: int | None) -> None:
    """It had a version that the backup does not know, whether or not it has said so."""
    with centre(tmp_path / "old") as house:
        box = Taker(tmp_path, house)
        assert box.take(house, give(house, "root", "one")) == (1, "", ["one"])
        back_up(house.core.settings, tmp_path / "copy")
        assert box.take(house, give(house, "root", "two")) == (2, "", ["two"])
    told = CliRunner().invoke(cli, ["restore", str(tmp_path / "copy"), "--data", str(tmp_path / "new")])
    assert told.exit_code == 0, told.output
    assert "warning" not in told.output
    assert (tmp_path / "new" / "fleet.key").stat().st_mode & 0o777 == 0o600
    with centre(tmp_path / "new") as again:
        if reported:
            box.beat(again, reported)
        wanted = give(again, "root2", "three")
        assert wanted > max(2, reported or 0)
        assert box.take(again, wanted) == (wanted, "", ["three"])
        old = again.person("root3", "admin").put("/fleet/boxes/box-1", json={"config_version": 1})
        assert old.raise_for_status().json()["desired"]["config_version"] == wanted + 1, "history is kept"


def test_a_number_that_no_box_can_have_is_not_counted_from(tmp_path: Path) -> None:
    with centre(tmp_path / "old") as house:
        box = Taker(tmp_path, house)
        box.beat(house, 2**40)
        assert box.take(house, give(house, "root", "one")) == (1, "", ["one"])


def test_a_restore_without_the_fleet_key_says_so(tmp_path: Path) -> None:
    key = tmp_path / "kept" / "fleet.key"
    with centre(tmp_path / "old") as house:
        back_up(house.core.settings, tmp_path / "before")
        Taker(tmp_path, house)
        key.parent.mkdir()
        (tmp_path / "old" / "fleet.key").rename(key)
        back_up(Settings(data=tmp_path / "old", fleet_key=key), tmp_path / "copy")
    assert not list((tmp_path / "copy").rglob("fleet.key")), "a key of the owner's own stays where it is"
    for name, env in (("none", {}), ("own", {"CURBWATCH_API_FLEET_KEY": str(key)})):
        told = CliRunner().invoke(
            cli, ["restore", str(tmp_path / "copy"), "--data", str(tmp_path / name)], env=env
        )
        assert told.exit_code == 0, told.output
        assert ("its boxes refuse every configuration" in told.output) is (not env), told.output
    told = CliRunner().invoke(cli, ["restore", str(tmp_path / "before"), "--data", str(tmp_path / "young")])
    assert "warning" not in told.output, "before the first box there is no key to miss"
