"""Backup and restore, on both databases, with a folder and with a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_parts import JPEG, Centre, centre, evidence_item, sha

from api.backup import BackupError, back_up, bring_back
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
