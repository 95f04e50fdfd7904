"""Tiles of the city: the index and the question agree, on both stores; and numbers that a statement gives itself."""

from __future__ import annotations

from typing import Any

import pytest
from api_parts import Centre
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Select, literal_column, select, text, update
from sqlalchemy.orm import Session

from api.access import Principal
from api.db import is_postgres
from api.leases import in_queue
from api.tables import CaseRow, Counter
from api.tiles import MAX_TILES, PER_DEG, ROW, inside, tile_sql, tiles_of

SIDE = 1 / PER_DEG
NOBODY = Principal("user", "-", "-", "reviewer", "/", frozenset())


@given(
    st.floats(-180, 179.9), st.floats(-90, 89.9), st.floats(0, 0.03), st.floats(0, 0.03), st.floats(0, 1), st.floats(0, 1)
)  # fmt: skip
def test_a_point_of_a_box_lies_in_one_of_its_tiles(
    west: float, south: float, wide: float, tall: float, x: float, y: float
) -> None:
    box = west, south, west + wide, south + tall
    lon, lat = min(west + x * wide, box[2]), min(south + y * tall, box[3])
    tiles = tiles_of(box)
    assert tiles is not None
    assert int((lat + 90.0) * PER_DEG) * ROW + int((lon + 180.0) * PER_DEG) in tiles
    assert len(tiles) == len(set(tiles)) <= (wide / SIDE + 2) * (tall / SIDE + 2)


def test_a_city_is_too_large_for_tiles() -> None:
    assert tiles_of((112.0, 37.0, 113.0, 38.0), MAX_TILES) is None
    assert len(tiles_of((112.5, 37.8, 112.511, 37.809), MAX_TILES) or ()) <= 42


def _plan(session: Session, query: Select[Any], *without: str) -> str:
    for kind in without if is_postgres(session) else ():  # on sixteen rows nothing is worth an index
        session.execute(text(f"SET enable_{kind} = off"))
    told = str(query.compile(session.connection(), compile_kwargs={"literal_binds": True}))
    return str(session.execute(text(f"EXPLAIN {'' if is_postgres(session) else 'QUERY PLAN'} {told}")).all())


def test_boxes_hold_what_lies_in_them_and_ask_the_index(house: Centre) -> None:
    root = house.person("root", "admin")
    spots = [(112.5 + i * 0.0007, 37.8 + j * 0.0009) for i in range(4) for j in range(3)]
    spots += [(112.5, 37.802), (112.502, 37.8), (-0.0001, -0.0001), (180.0, -90.0)]
    cases = {house.case(place__lon=lon, place__lat=lat): (lon, lat) for lon, lat in spots}
    boxes = [(112.5, 37.8, 112.502, 37.802), (112.4999, 37.8009, 112.5008, 37.9), (-1.0, -1.0, 0.0, 0.0),
             (-0.001, -0.001, 0.001, 0.001), (179.99, -90.0, 180.0, -89.99), (0.0, 0.0, 180.0, 90.0)]  # fmt: skip
    for west, south, east, north in boxes:
        items = root.get("/cases", params={"bbox": f"{west},{south},{east},{north}", "limit": 50}).json()[
            "items"
        ]
        want = {c for c, (lon, lat) in cases.items() if west <= lon <= east and south <= lat <= north}
        assert {c["id"] for c in items} == want != set()
    with house.core.db.read() as session:
        tile = select(CaseRow.id, literal_column(tile_sql(session.get_bind().dialect.name)))
        for case, found in session.execute(tile):
            lon, lat = cases[case]
            assert found == int((lat + 90.0) * PER_DEG) * ROW + int((lon + 180.0) * PER_DEG)
        box = select(CaseRow.id).where(*inside(CaseRow, boxes[0]))
        assert "ix_cases_tile" in _plan(session, box, "seqscan", "indexscan")
        first = select(CaseRow).where(*in_queue(NOBODY, house.clock()))
        first = first.order_by(CaseRow.priority, CaseRow.opened_at, CaseRow.id).limit(1)
        if is_postgres(session):
            session.execute(text("RESET ALL"))
            assert "ix_cases_waiting" in _plan(session, first, "seqscan", "bitmapscan", "sort")
            session.execute(text("RESET ALL"))


@pytest.mark.parametrize("hooked", [False, True])
def test_case_numbers_go_on_past_six_digits(house: Centre, hooked: bool) -> None:
    root = house.person("root", "admin")
    if hooked:
        for core in house.cores:
            core.settings.__dict__["allow_private_hooks"] = True
        root.post("/hooks", json={"url": "http://127.0.0.1:9/in"}).raise_for_status()
    first = root.get(f"/cases/{house.case()}").json()["number"]
    assert first.endswith("-000001")
    with house.core.db.write() as session:
        session.execute(update(Counter).where(Counter.name.startswith("case:")).values(value=999_998))
    numbers = [root.get(f"/cases/{house.case()}").json()["number"] for _ in range(2)]
    assert [n.partition("-")[2] for n in numbers] == ["999999", "1000000"]
