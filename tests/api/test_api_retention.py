"""Retention by the case's state: the clock is moved, and what is gone, what stays and what the audit says is looked at."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, centre, sha
from box_parts import SigningBox, picture
from click.testing import CliRunner
from retention_parts import DAY, KEEP, Killed, here, run, to_state

from api import retention
from api.audit import verify
from api.backup import back_up, bring_back
from api.core import Core
from api.retention import Swept
from api.settings import Settings
from bench.servers import new_database
from contract import new_id, utc_now
from curbwatch.commands.api import cli
from edge.evidence_verify import verify_case


@pytest.mark.parametrize(
    ("state", "stays_days", "goes_days"),
    [("candidate", 89, 91), ("rejected", 29, 31), ("filed", 4000, None), ("closed", 364, 366)],
)
def test_evidence_goes_when_its_state_has_had_its_time(
    tmp_path: Path, state: str, stays_days: float, goes_days: float | None
) -> None:
    with centre(tmp_path / "data", **KEEP) as house:
        box = SigningBox(house, tmp_path)
        box.enrol()
        case = box.send(picture(1), picture(2))
        to_state(house, case, state)
        house.clock.pass_s(stays_days * DAY)
        assert run(house) == Swept()
        assert here(house, picture(1))
        if goes_days is None:
            return
        house.clock.pass_s((goes_days - stays_days) * DAY)
        done = run(house)
        assert (done.cases, done.files, done.bytes) == (1, 2, len(picture(1)) + len(picture(2)))
        assert not here(house, picture(1))
        assert run(house) == Swept(), "nothing goes twice"
        reader = house.person("rita")
        assert reader.get(f"/cases/{case}").status_code == 200, "the case itself stays"
        answer = reader.get(f"/evidence/{sha(picture(1))}")
        assert (answer.status_code, state in answer.text) == (410, True)
        assert house.person("sue", "supervisor").get(f"/cases/{case}/export.zip").status_code == 410
        audit = house.person("aud", "auditor").get(f"/cases/{case}/audit").json()
        assert audit["intact"], "the tombstone is a link of the case's audit chain"
        stone = audit["entries"][-1]
        assert (stone["action"], stone["actor"], stone["body"]["rule"]) == (
            "evidence.deleted",
            "system:retention",
            state,
        )
        assert {f["sha256"] for f in stone["body"]["files"]} == {sha(picture(1)), sha(picture(2))}
        files = reader.get(f"/cases/{case}/custody").json()["files"]
        assert all(f["rule"] == state and f["deleted_at"] and not f["here"] for f in files)
        again = box.client.put(f"/evidence/{sha(picture(1))}", content=picture(1))
        assert again.status_code == 410, "a box that still holds the file is told to let it go"


def test_a_legal_hold_outlasts_every_rule_until_it_is_released(tmp_path: Path) -> None:
    with centre(tmp_path / "data", **KEEP) as house:
        case = SigningBox(house, tmp_path).send(picture(1))
        to_state(house, case, "rejected")
        sue = house.person("sue", "supervisor")
        assert house.person("rita").put(f"/cases/{case}/hold", json={"reason": "court"}).status_code == 403
        assert sue.put(f"/cases/{case}/hold", json={"reason": " "}).status_code == 422
        assert sue.put(f"/cases/{case}/hold", json={"reason": "court 7"}).status_code == 204
        house.clock.pass_s(4000 * DAY)
        sue = house.person("sue", "supervisor")
        assert run(house) == Swept()
        assert sue.get(f"/cases/{case}/custody").json()["held"] == "court 7"
        assert sue.delete(f"/cases/{case}/hold", params={"reason": "judged"}).status_code == 204
        assert run(house).files == 1
        entries = house.person("aud", "auditor").get(f"/cases/{case}/audit").json()["entries"]
        assert [e["action"] for e in entries[-3:]] == ["case.held", "case.released", "evidence.deleted"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_file_of_two_cases_stays_while_one_needs_it(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    more: dict[str, Any] = dict(KEEP)
    if kind == "postgresql":
        more["database_url"] = new_database(request.getfixturevalue("pg_url"), f"cw_{new_id()}")
    with centre(tmp_path / "data", **more) as house:
        box = SigningBox(house, tmp_path)
        box.enrol()
        rejected, filed = box.send(picture(1), picture(2)), box.send(picture(1), picture(3))
        to_state(house, rejected, "rejected")
        to_state(house, filed, "filed")
        house.clock.pass_s(31 * DAY)
        done = run(house)
        assert (done.cases, done.files, done.kept_for_others) == (1, 1, 1)
        assert [here(house, picture(n)) for n in (1, 2, 3)] == [True, False, True]
        reader = house.person("rita")
        assert reader.get(f"/evidence/{sha(picture(1))}").status_code == 200
        path = tmp_path / "c.zip"
        path.write_bytes(house.person("sue", "supervisor").get(f"/cases/{filed}/export.zip").content)
        verdict = verify_case(path)
        assert verdict.good, verdict.wrong
        root = house.person("root", "admin")
        told = {"step": "void", "reason": "wrong street"}
        root.post(f"/cases/{filed}/steps", json=told)
        house.person("root2", "admin").post(f"/cases/{filed}/steps", json=told)
        house.clock.pass_s(31 * DAY)
        assert run(house).files == 2
        assert not here(house, picture(1))
        view = house.person("aud", "auditor").get("/devices/box-1/chain").json()
        assert (view["fault_count"], view["keys"][0]["missing"]) == (0, []), "the links stay"


@pytest.mark.parametrize("moment", ["_unnamed", "remove", "_forget", "_erased"])
def test_a_kill_in_the_middle_is_made_good_by_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with centre(tmp_path / "data", **KEEP) as house:
        case = SigningBox(house, tmp_path).send(picture(1))
        house.clock.pass_s(91 * DAY)

        def die(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            if moment == "remove":
                patch.setattr(house.core.store, "remove", die)
            else:
                patch.setattr(f"api.retention.{moment}", die)
            with pytest.raises(Killed):
                run(house)
        run(house)
        assert not here(house, picture(1))
        with house.core.db.read() as session:
            assert verify(session, f"case:{case}") is None


def test_a_reopened_case_is_not_emptied_between_the_list_and_the_deed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with centre(tmp_path / "data", **KEEP) as house:
        case = SigningBox(house, tmp_path).send(picture(1))
        to_state(house, case, "rejected")
        house.clock.pass_s(31 * DAY)
        due = retention._due

        def late(core: Core, rule: str, before: Any) -> list[str]:
            found = due(core, rule, before)
            if found:
                told = {"step": "reopen", "reason": "appeal"}
                assert (
                    house.person("sue", "supervisor").post(f"/cases/{case}/steps", json=told).status_code
                    == 200
                )
            return found

        monkeypatch.setattr(retention, "_due", late)
        assert run(house).cases == 0
        assert here(house, picture(1))


def test_evidence_goes_though_the_events_cannot_be_shed(
    house: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.box().put(f"/evidence/{sha(picture(1))}", content=picture(1))
    house.clock.pass_s(15 * DAY)

    def fail(_core: Core) -> None:
        raise OSError("no database")

    monkeypatch.setattr(retention, "shed", fail)
    with pytest.raises(OSError, match="no database"):
        run(house)
    assert not here(house, picture(1))


def test_an_upload_that_never_ends_is_swept(tmp_path: Path) -> None:
    with centre(tmp_path / "data") as house:
        part = {"Content-Range": "bytes 0-9/2061"}
        assert (
            house.box().put(f"/evidence/{sha(picture(1))}", content=bytes(10), headers=part).status_code
            == 202
        )
        house.clock.at = utc_now() + timedelta(days=1)
        assert run(house).unfinished == 0
        house.clock.at = utc_now() + timedelta(days=3)
        assert run(house).unfinished == 1
        assert house.core.store.held(sha(picture(1))) == 0


def test_the_command_says_what_would_go_and_then_does_it(tmp_path: Path) -> None:
    with centre(tmp_path / "data") as house:
        house.clock.at -= timedelta(days=4000)
        case = SigningBox(house, tmp_path).send(picture(1))
    dry = CliRunner().invoke(cli, ["retention", "--data", str(tmp_path / "data"), "--dry-run"])
    assert "candidate  1 cases" in dry.output
    done = CliRunner().invoke(cli, ["retention", "--data", str(tmp_path / "data")])
    assert "1 cases, 1 files" in done.output, done.output
    told = back_up(Settings(data=tmp_path / "data"), tmp_path / "copy")
    assert told["files"] == 0
    assert bring_back(Settings(data=tmp_path / "again"), tmp_path / "copy")["cases"] == 1
    assert case
