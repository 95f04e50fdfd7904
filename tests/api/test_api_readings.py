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


def test_an_open_page_holds_on_to_its_reading(tmp_path: Path) -> None:
    with centre(tmp_path, second_share=1.0, reading_mix=0.0) as house:
        case, sue = house.case(), house.person("sue", "supervisor")
        assert sue.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).is_success
        rita, omar = house.person(), house.person("omar")
        reading = _reading(rita)
        for _ in range(3):
            house.clock.pass_s(60)
            assert rita.post("/queue/leases", json={"cases": [reading]}).json()["refused"] == {}
            assert _reading(omar) is None
        assert omar.post("/queue/leases", json={"cases": [reading]}).json()["refused"] == {reading: "rita"}
        assert rita.delete("/queue/leases", params={"case": reading}).status_code == 204
        assert _reading(omar) == reading, "given back"
        assert rita.post("/queue/leases", json={"cases": [reading]}).json()["refused"] == {reading: "omar"}
        assert rita.post(f"/readings/{reading}", json={"kind": "confirm"}).status_code == 404
        assert omar.post(f"/readings/{reading}", json={"kind": "confirm"}).status_code == 200
        assert omar.post("/queue/leases", json={"cases": [reading]}).json()["refused"] == {reading: ""}


def test_a_reading_is_put_back(tmp_path: Path) -> None:
    with centre(tmp_path, second_share=1.0, reading_mix=0.0) as house:
        case, sue = house.case(), house.person("sue", "supervisor")
        assert sue.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).is_success
        rita, omar = house.person(), house.person("omar")
        path = f"/cases/{case}/defer"
        assert rita.post(path, json={"minutes": 30}).status_code == 409, "she has no reading of it"
        reading = _reading(rita)
        assert rita.post(path, json={"minutes": 30}).json() == {"until": "2026-03-04T08:30:00Z"}
        assert _reading(rita) is None
        assert _reading(omar) == reading, "it goes to others at once"
        assert omar.delete("/queue/leases").status_code == 204
        house.clock.pass_s(1801)
        assert _reading(rita) == reading


def test_a_gold_reading_is_held_and_put_back(house: Centre) -> None:
    case, rita = _gold_case(house), house.person()
    reading = _reading(rita)
    assert rita.post("/queue/leases", json={"cases": [reading, case]}).json()["refused"] == {case: ""}
    assert rita.post(f"/cases/{case}/defer", json={"minutes": 30}).status_code == 200
    assert _reading(rita) is None
    house.clock.pass_s(1801)
    assert _reading(rita) == reading
