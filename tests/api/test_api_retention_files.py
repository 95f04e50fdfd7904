"""Files that go: orphans, deletions that fail or are cut short, and what is named or stored anew meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from api_parts import Centre, centre, event, evidence_item, sha
from box_parts import picture
from obstore.exceptions import GenericError
from retention_parts import DAY, Killed, here, run, to_state
from sqlalchemy import select
from structlog.testing import capture_logs

from api import retention
from api.core import Core
from api.retention import Swept
from api.tables import Audit
from api.tables_custody import Tombstone


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
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(house.core.store if moment == "remove" else retention, moment, die)
            with pytest.raises(Killed):
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
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(house.core.store, "remove", die)
        with pytest.raises(Killed):
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
