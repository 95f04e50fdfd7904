"""Retention by the case's state: the clock is moved, and what is gone, what stays and what the audit says is looked at."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, centre, event, evidence_item, sha
from box_parts import SigningBox, picture
from click.testing import CliRunner
from obstore.exceptions import GenericError
from sqlalchemy import select
from structlog.testing import capture_logs

from api import retention
from api.audit import verify
from api.backup import back_up, bring_back
from api.core import Core
from api.retention import Swept, sweep
from api.settings import Settings
from api.tables import Audit
from api.tables_custody import Tombstone
from bench.servers import new_database
from contract import new_id, utc_now
from curbwatch.commands.api import cli
from edge.evidence_verify import verify_case

DAY = 86400.0
KEEP = {"keep_candidate_days": 90, "keep_rejected_days": 30, "keep_filed_days": 0, "keep_closed_days": 365}


def run(house: Centre) -> Swept:
    return asyncio.run(sweep(house.core))


def here(house: Centre, data: bytes) -> bool:
    return asyncio.run(house.core.store.size(sha(data))) is not None


def to_state(house: Centre, case: str, state: str) -> None:
    rita, root = house.person("rita"), house.person("root", "admin")
    if state == "candidate":
        return
    verdict = {"kind": "reject", "reason": 2} if state == "rejected" else {"kind": "confirm"}
    assert rita.post(f"/cases/{case}/verdicts", json=verdict).status_code == 200
    steps: list[tuple[Any, dict[str, str]]] = []
    if state in {"filed", "closed"}:
        steps.append((root, {"step": "file"}))
    if state == "closed":
        steps += [
            (root, {"step": "accept"}),
            (root, {"step": "dispatch", "unit": "u"}),
            (house.person("hans", "handler"), {"step": "start"}),
            (house.person("hans", "handler"), {"step": "done"}),
            (root, {"step": "close"}),
        ]
    for who, step in steps:
        answer = who.post(f"/cases/{case}/steps", json=step)
        assert answer.status_code == 200, answer.text


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


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["_unnamed", "remove", "_forget", "_erased"])
def test_a_kill_in_the_middle_is_made_good_by_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with centre(tmp_path / "data", **KEEP) as house:
        case = SigningBox(house, tmp_path).send(picture(1))
        house.clock.pass_s(91 * DAY)

        def die(*_: object) -> None:
            raise _Killed

        with monkeypatch.context() as patch:
            if moment == "remove":
                patch.setattr(house.core.store, "remove", die)
            else:
                patch.setattr(f"api.retention.{moment}", die)
            with pytest.raises(_Killed):
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


def test_files_that_no_alert_names_go_after_a_while(tmp_path: Path) -> None:
    with centre(tmp_path / "data", keep_orphan_days=14) as house:
        house.box().put(f"/evidence/{sha(picture(1))}", content=picture(1))
        house.clock.pass_s(13 * DAY)
        assert run(house) == Swept()
        house.clock.pass_s(2 * DAY)
        assert run(house).orphans == 1
        assert not here(house, picture(1))
        again = house.box().put(f"/evidence/{sha(picture(1))}", content=picture(1))
        assert again.status_code == 201, "an orphan may come again"


@pytest.mark.parametrize("moment", ["remove", "_forget"])
def test_a_file_that_no_alert_names_goes_though_its_first_deletion_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with centre(tmp_path / "data", keep_orphan_days=14) as house:
        house.box().put(f"/evidence/{sha(picture(1))}", content=picture(1))
        house.clock.pass_s(15 * DAY)

        def die(*_: object) -> None:
            raise _Killed

        with monkeypatch.context() as patch:
            patch.setattr(house.core.store if moment == "remove" else retention, moment, die)
            with pytest.raises(_Killed):
                run(house)
        assert run(house).orphans == 1
        assert not here(house, picture(1))
        assert run(house) == Swept()


def test_a_file_that_is_stored_anew_while_the_old_one_is_deleted_stays(
    house: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, forget = f"/evidence/{sha(picture(1))}", retention._forget
    house.box().put(path, content=picture(1))
    house.clock.pass_s(15 * DAY)

    def late(*told: Any) -> None:
        assert house.box().put(path, content=picture(1)).status_code == 201
        forget(*told)

    monkeypatch.setattr(retention, "_forget", late)
    assert run(house).orphans == 1
    assert house.case(evidence=[evidence_item(picture(1))])
    house.clock.pass_s(15 * DAY)
    assert run(house) == Swept()
    assert here(house, picture(1))


def test_a_file_that_is_named_while_it_is_deleted_is_told_as_missing(
    house: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the bytes go, no upload and no alert is told that they are there; afterwards the box sends them again."""
    path, remove, told = f"/evidence/{sha(picture(1))}", house.core.store.remove, []
    box = house.box()
    assert box.put(path, content=picture(1)).status_code == 201
    house.clock.pass_s(15 * DAY)
    box = house.box()

    async def late(sha256: str) -> int:
        told.append(await asyncio.to_thread(box.put, path, content=picture(1)))
        told.append(await asyncio.to_thread(box.head, path))
        message = event(house.clock(), evidence=[evidence_item(picture(1))])
        told.append(await asyncio.to_thread(box.post, "/alerts", json=message))
        return await remove(sha256)

    with monkeypatch.context() as patch:
        patch.setattr(house.core.store, "remove", late)
        assert run(house).orphans == 1
    put, head, alert = told
    assert (put.status_code, head.status_code, alert.status_code) == (409, 404, 201)
    assert alert.json()["missing_evidence"] == [sha(picture(1))]
    assert box.put(path, content=picture(1)).status_code == 201
    assert box.put(path, content=picture(1)).status_code == 200
    assert run(house) == Swept()
    assert here(house, picture(1))


def test_a_file_that_is_sent_again_is_not_told_as_here_when_its_bytes_went_all_the_same(
    house: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload ends while the bytes go, and the deletion has the last word."""
    path, remove = f"/evidence/{sha(picture(1))}", house.core.store.remove
    house.box().put(path, content=picture(1))
    house.clock.pass_s(15 * DAY)

    async def late(sha256: str) -> int:
        freed = await remove(sha256)
        again = await asyncio.to_thread(house.box().put, path, content=picture(1))
        assert again.status_code == 201
        return freed + await remove(sha256)

    monkeypatch.setattr(house.core.store, "remove", late)
    assert run(house).orphans == 1
    assert not here(house, picture(1))
    answer = house.box().post("/alerts", json=event(house.clock(), evidence=[evidence_item(picture(1))]))
    assert answer.json()["missing_evidence"] == [sha(picture(1))]


def test_a_file_whose_deletion_was_cut_short_is_taken_again(
    house: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/evidence/{sha(picture(1))}"
    house.box().put(path, content=picture(1))
    house.clock.pass_s(15 * DAY)

    def die(*_: object) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(house.core.store, "remove", die)
        with pytest.raises(_Killed):
            run(house)
    case = house.case(evidence=[evidence_item(picture(1))])
    (file,) = house.person("rita").get(f"/cases/{case}/custody").json()["files"]
    assert not file["here"]
    assert house.box().put(path, content=picture(1)).status_code == 409
    house.clock.pass_s(301)
    assert house.box().put(path, content=picture(1)).status_code == 201
    assert run(house) == Swept()
    (file,) = house.person("rita").get(f"/cases/{case}/custody").json()["files"]
    assert file["here"]
    assert here(house, picture(1))


def test_a_tombstone_says_erased_only_of_bytes_that_are_gone(
    house: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another alert names the file after its case was emptied and before the bytes go."""
    case, doomed = house.case(evidence=[evidence_item(picture(1))]), retention._doomed
    house.box().put(f"/evidence/{sha(picture(1))}", content=picture(1))
    to_state(house, case, "rejected")
    house.clock.pass_s(31 * DAY)

    def late(core: Core, after: str) -> list[str]:
        found = doomed(core, after)
        if found:
            house.case(evidence=[evidence_item(picture(1))])
        return found

    monkeypatch.setattr(retention, "_doomed", late)
    assert (run(house).cases, run(house).files) == (1, 0)
    assert here(house, picture(1))
    with house.core.db.read() as session:
        stone = session.get_one(Tombstone, (case, sha(picture(1))))
        assert (stone.doomed, stone.erased_at) == (False, None)


@pytest.mark.parametrize("fault", [OSError(5, "EIO"), GenericError("locked")])
def test_a_file_that_cannot_be_deleted_keeps_no_other_from_it(
    house: Centre, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 1)
    first, second, third, fourth = sorted((picture(n) for n in range(4)), key=sha)
    buried, lonely, remove = (first, second), (third, fourth), house.core.store.remove
    for data in buried:
        to_state(house, house.case(evidence=[evidence_item(data)]), "rejected")
    for data in (*buried, *lonely):
        assert house.box().put(f"/evidence/{sha(data)}", content=data).status_code == 201
    house.clock.pass_s(31 * DAY)

    async def stuck(sha256: str) -> int:
        if sha256 in {sha(first), sha(third)}:
            raise fault
        return await remove(sha256)

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(house.core.store, "remove", stuck)
        done = run(house)
    assert (done.cases, done.files, done.orphans) == (2, 1, 1)
    assert {e["sha256"] for e in logs if e["event"] == "retention.file_failed"} == {sha(first), sha(third)}
    assert done.failed == 2
    assert [here(house, data) for data in (*buried, *lonely)] == [True, False, True, False]
    with house.core.db.read() as session:
        told = session.scalars(select(Audit.body).where(Audit.action == "orphans.deleted")).all()
    assert [t["files"] for t in told] == [[sha(fourth)]]
    done = run(house)
    assert (done.files, done.orphans, done.failed) == (1, 1, 0), "the next sweep makes it good"


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
