"""Backup and restore, on both databases, with a folder and with a bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_parts import JPEG, Centre, centre, evidence_item, sha

from api.backup import BackupError, back_up, bring_back, missing_key
from api.evidence import EvidenceStore
from api.settings import Settings
from bench.servers import new_database, s3
from contract import new_id


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    with s3() as endpoint:
        yield {
            "evidence_url": "s3://evidence/street", "s3_endpoint": endpoint, "s3_access_key": "key",
            "s3_secret_key": "secret",
        }  # fmt: skip


@pytest.mark.parametrize("evidence", ["folder", "bucket"])
def test_backup_and_restore(
    house: Centre, tmp_path: Path, evidence: str, request: pytest.FixtureRequest
) -> None:
    """On both databases, with a folder and with a bucket: what was there is there, and counting goes on."""
    sqlite = house.core.settings.is_sqlite
    if evidence == "bucket":
        told = house.core.settings.model_dump() | request.getfixturevalue("bucket")
        for core in house.cores:
            core.__dict__["settings"] = Settings(**told)
            core.__dict__["store"] = EvidenceStore(core.settings)
    url = None if sqlite else new_database(request.getfixturevalue("pg_url"), f"cw_{new_id()}")
    fresh = {"database_url": url} if url else {}
    more = {k: v for k, v in house.core.settings.model_dump().items() if k.startswith(("evidence", "s3"))}
    box, case = house.box(), house.case(evidence=[evidence_item(JPEG)])
    assert box.put(f"/evidence/{sha(JPEG)}", content=JPEG).status_code == 201
    house.person().post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    last = house.person("root", "admin").get(f"/cases/{case}/audit").json()
    copy = tmp_path / "copy"
    assert back_up(house.core.settings, copy) == {"cases": 1, "files": 1}
    with pytest.raises(BackupError, match="already"):
        bring_back(house.core.settings, copy)
    if evidence == "bucket":
        more["evidence_url"] = f"{more['evidence_url']}/restored"
    told = bring_back(Settings(data=tmp_path / "new", **fresh, **more), copy)
    assert (told["cases"], told["files"]) == (1, 1)
    with centre(tmp_path / "new", **fresh, **more) as again:
        again.passwords, again.tokens = house.passwords, house.tokens
        assert again.person().get(f"/cases/{case}").json()["state"] == "confirmed"
        assert again.person().get(f"/evidence/{sha(JPEG)}").content == JPEG
        assert again.person("root", "admin").get(f"/cases/{case}/audit").json() == last
        assert again.case() != case, "numbers and sequences go on where they were"
        assert len(again.person().get("/cases").json()["items"]) == 2
    back_up(house.core.settings, copy)
    stored = next((copy / "evidence").rglob(sha(JPEG)))
    stored.write_bytes(b"other")
    third = {"database_url": new_database(request.getfixturevalue("pg_url"), f"cw_{new_id()}")} if url else {}
    with pytest.raises(BackupError, match="missing or damaged"):
        bring_back(Settings(data=tmp_path / "third", **third, **more), copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(BackupError, match="no whole backup"):
        bring_back(Settings(data=tmp_path / "fourth"), copy)


def test_a_backup_that_fails_leaves_the_one_before_whole(
    house: Centre, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Of another folder, of an empty database, and in the midst of the evidence."""
    sqlite = house.core.settings.is_sqlite
    case, copy = house.case(evidence=[evidence_item(JPEG)]), tmp_path / "copy"
    house.box().put(f"/evidence/{sha(JPEG)}", content=JPEG)
    back_up(house.core.settings, copy)
    empty = (
        {} if sqlite else {"database_url": new_database(request.getfixturevalue("pg_url"), f"cw_{new_id()}")}
    )
    with pytest.raises(BackupError, match="no centre"):
        back_up(Settings(data=tmp_path / "typo", **empty), copy)
    assert not (tmp_path / "typo").exists()
    if sqlite:
        (tmp_path / "text").mkdir()
        (tmp_path / "text" / "curbwatch.db").write_text("no database" * 100)
        with pytest.raises(BackupError, match="cannot be copied"):
            back_up(Settings(data=tmp_path / "text"), copy)
    house.case(evidence=[evidence_item(JPEG * 2)])
    house.box().put(f"/evidence/{sha(JPEG * 2)}", content=JPEG * 2)
    blocked = copy / "evidence" / EvidenceStore.key(sha(JPEG * 2)).partition("/")[0]
    blocked.write_text("in the way")
    with pytest.raises(OSError):
        back_up(house.core.settings, copy)
    url = None if sqlite else new_database(request.getfixturevalue("pg_url"), f"cw_{new_id()}")
    fresh = {"database_url": url} if url else {}
    assert bring_back(Settings(data=tmp_path / "new", **fresh), copy) | {"chains": 0} == {
        "cases": 1, "files": 1, "chains": 0,
    }  # fmt: skip
    with centre(tmp_path / "new", **fresh) as again:
        assert again.person("rosa").get(f"/cases/{case}").status_code == 200
    blocked.unlink()
    assert back_up(house.core.settings, copy)["files"] == 2
    assert len(list(copy.glob("database-*"))) == 1, "the one before goes when its successor is whole"


def test_a_backup_in_the_form_of_before_is_brought_back_and_replaced(tmp_path: Path) -> None:
    """Its database and manifest lie beside each other, and no key with them."""
    copy = tmp_path / "copy"
    with centre(tmp_path / "data") as house:
        house.case()
        back_up(house.core.settings, copy)
        told = json.loads((copy / "manifest.json").read_text())
        (copy / told.pop("folder") / "curbwatch.db").rename(copy / "curbwatch.db")
        del told["fleet_key"]
        (copy / "manifest.json").write_text(json.dumps(told))
        assert bring_back(Settings(data=tmp_path / "new"), copy)["cases"] == 1
        assert "not there" in str(missing_key(Settings(data=tmp_path / "new"), copy))
        back_up(house.core.settings, copy)
        assert not (copy / "curbwatch.db").exists()
        assert bring_back(Settings(data=tmp_path / "newer"), copy)["cases"] == 1


def test_a_backup_takes_nothing_away_that_is_not_its_own(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    theirs = [
        copy / "database-mysql-weekly" / "dump.sql",
        copy / "tables" / "plan.xlsx",
        copy / "curbwatch.db",
    ]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    with centre(tmp_path / "data") as house:
        house.case()
        for _ in range(2):
            back_up(house.core.settings, copy)
            assert [p.read_text() for p in theirs] == ["theirs"] * 3
        with pytest.raises(BackupError, match="the centre's own folder"):
            back_up(house.core.settings, tmp_path / "data")
        assert house.case()


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"database": 1, "folder": 2}', "{"])
def test_a_manifest_that_is_none_is_named(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(BackupError, match="no whole backup"):
        bring_back(Settings(data=tmp_path / "new"), tmp_path)
