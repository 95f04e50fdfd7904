"""Blind readings beside the queue: whose they are, how long they are held, when they are put back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_parts import Centre, centre
from fastapi.testclient import TestClient
from sqlalchemy import update

from api.tables import User


@pytest.fixture
def gold(tmp_path: Path) -> Iterator[Centre]:
    with centre(tmp_path, second_share=0.0, reading_mix=0.0) as made:
        yield made


def _reading(client: TestClient) -> str | None:
    """The reading that the queue gives, and None when it gives nothing."""
    answer = client.get("/queue/next", params={"readings": True})
    assert answer.status_code == 204 or "Reading-Id" in answer.headers
    return answer.headers.get("Reading-Id")


def _gold_case(house: Centre) -> str:
    sue = house.person("sue", "supervisor")
    case = house.case(house.box("north-box", "/north/"), device_id="north-box", camera_id="north-cam")
    assert sue.put(f"/cases/{case}/gold", json={"kind": "confirm"}).status_code == 204
    assert sue.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).status_code == 200
    return case


def test_a_gold_reading_stays_in_its_tenant(gold: Centre) -> None:
    _gold_case(gold)
    rita = gold.person("rita", "reviewer", "/north/")
    assert _reading(rita)
    with gold.core.db.write() as session:
        session.execute(update(User).where(User.username == "rita").values(tenant="/south/"))
    assert _reading(rita) is None


def test_a_gold_item_that_is_dropped_or_merged_is_shown_no_more(gold: Centre) -> None:
    rita, sue = gold.person(), gold.person("sue", "supervisor")
    dropped = _gold_case(gold)
    assert _reading(rita)
    assert sue.delete(f"/cases/{dropped}/gold").status_code == 204
    assert _reading(rita) is None
    gold.clock.pass_s(3600)
    merged = _gold_case(gold)
    assert _reading(rita)
    assert sue.post(f"/cases/{merged}/verdicts", json={"kind": "merge", "into": dropped}).status_code == 200
    assert _reading(rita) is None
