"""The fleet on the metrics page: real heartbeats in, counts out; and alert rules that promtool runs over series."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre

from api.examples import HEARTBEAT
from api.fleet import box_row
from api.fleet_metrics import VERSIONS
from api.tables_fleet import Rollout
from contract import new_id
from curbwatch.releasing.repository import Repository

ROOT = Path(__file__).parents[2]


def beat(house: Centre, name: str, **told: Any) -> None:
    message = {**copy.deepcopy(HEARTBEAT), "id": new_id(), "device_id": name, "at": house.clock().isoformat()}
    answer = house.box(name).post("/heartbeats", json=message | told)
    assert answer.status_code == 200, answer.text


def page(house: Centre) -> dict[str, float]:
    text = house.person("root", "admin").get("/metrics").text
    found = re.findall(r"^curbwatch_(\S+?)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE)
    return {f"{name} {','.join(re.findall(chr(34) + '(.*?)' + chr(34), told))}".strip(): float(n) for name, told, n in found}  # fmt: skip


def test_the_metrics_page_counts_boxes_and_names_none(house: Centre) -> None:
    gib = 2**30
    house.box("box-new")
    beat(house, "box-gone")
    house.clock.pass_s(3600)
    beat(house, "box-well", clock_offset_s=0.1, disk_bytes=100 * gib, disk_free_bytes=50 * gib)
    beat(
        house, "box-bad", mode="safe", clock_offset_s=-7.5, disk_bytes=100 * gib, disk_free_bytes=gib, temperature_c=91.0,
        outbox_items=5000, load={"stretch": 2.0}, config_problem="cameras: none",
        fleet={"config_version": 1, "shadow": {"model": "north/a@1", "problem": "given up"}},
    )  # fmt: skip
    told = page(house)
    assert [told[f"boxes {s}"] for s in ("reporting", "silent", "never")] == [2, 1, 1]
    assert told["boxes_heartbeat_age_seconds 1"] == 3600
    assert told["boxes_heartbeat_age_seconds 0.5"] == 0
    for what in ("clock", "disk", "temperature", "queue", "overloaded", "safe_mode", "configuration"):
        assert told[f"boxes_trouble {what}"] == 1, what
    assert told["boxes_clock_offset_seconds"] == 7.5
    assert (told["boxes_shadow runs"], told["boxes_shadow stopped"]) == (0, 1)
    assert told[f"boxes_software {HEARTBEAT['software_version']}"] == 2
    assert not any(name in key for key in told for name in ("box-", "north/a"))


def test_drift_has_an_age_and_ends_with_the_drift(house: Centre) -> None:
    beat(house, "box-1")
    with house.core.db.write() as session:
        row = box_row(session, "box-1")
        row.model, row.since = "north/a@2", house.clock()
    house.clock.pass_s(7200)
    beat(house, "box-1", fleet={"model": "north/a@1"})
    told = page(house)
    assert (told["boxes_drift model"], told["boxes_drift_seconds model"]) == (1, 7200)
    beat(house, "box-1", fleet={"model": "north/a@2"})
    told = page(house)
    assert (told["boxes_drift model"], told["boxes_drift_seconds model"]) == (0, 0)


def test_versions_on_the_page_are_bounded_whatever_boxes_say(house: Centre) -> None:
    for n in range(VERSIONS + 5):
        beat(house, f"box-{n}", software_version=f"0.{n}")
    told = {k: v for k, v in page(house).items() if k.startswith("boxes_software ")}
    assert len(told) == VERSIONS + 1
    assert told["boxes_software other"] == 5


def test_rollouts_and_the_releases_expiry_are_there(house: Centre) -> None:
    assert not any(k.startswith("release_metadata_expires_seconds") for k in page(house))
    data, now = house.core.settings.data, house.clock()
    signer = Repository(data / "releases", data / "keys", now)
    signer.create()
    signer.delegate("north")
    with house.core.db.write() as session:
        for phase, stage in (("running", 2), ("paused", 0), ("halted", 1)):
            session.add(
                Rollout(
                    id=new_id(), tenant="/", candidate="north/a@2", phase=phase, plan={}, state={"stage": stage}, made_by="x",
                    made_at=now, changed_at=now,
                )
            )  # fmt: skip
    house.clock.pass_s(3600)
    told = page(house)
    day = timedelta(days=1).total_seconds()
    ends = {k.partition(" ")[2]: v for k, v in told.items() if k.startswith("release_metadata_expires")}
    assert ends == {
        "root": 365 * day - 3600, "targets": 180 * day - 3600, "snapshot": 7 * day - 3600, "timestamp": day - 3600,
        "delegated": 90 * day - 3600,
    }  # fmt: skip
    assert [told[f"rollouts {s}"] for s in ("running", "paused", "halted", "done")] == [1, 1, 1, 0]
    assert (told["rollouts_stage 2"], told["rollouts_stage 0"]) == (1, 1)
    (data / "releases" / "metadata" / "timestamp.json").write_text("{")
    assert page(house)["release_metadata_expires_seconds timestamp"] == 0


def _promtool() -> str:
    found = shutil.which("promtool") or shutil.which(str(ROOT / ".venv" / "bin" / "promtool"))
    if found is None:
        pytest.skip("promtool is not here; `scripts/install system` fetches it")
    return found


def test_every_alert_rule_is_read_by_promtool_and_fires_when_it_should() -> None:
    here = Path(__file__).parent / "alert_rules_test.yml"
    done = subprocess.run([_promtool(), "test", "rules", str(here)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = (ROOT / "deploy" / "prometheus" / "curbwatch.yml").read_text()
    fleet = rules.partition("- name: curbwatch-fleet")[2].partition("- name: curbwatch-box")[0]
    tried = set(re.findall(r"alertname: (\w+)", here.read_text()))
    assert set(re.findall(r"- alert: (\w+)", fleet)) <= tried, "each rule of the fleet is tried"
