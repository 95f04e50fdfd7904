"""What is kept for a while alone goes; numbering of the feed, ids of messages and dead letters still do their work after it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from api_parts import Centre, event, evidence_item
from box_parts import SigningBox, picture
from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase

from api.core import Core
from api.retention import sweep
from api.routes.live import feed
from api.tables import AlertMessage, Delivery, Event, Hook
from contract import new_id
from contract.chain import LINK_HEADER

# Ids are of the real clock, which may be ahead of the tests'.
YEARS_S = 10 * 366 * 86400.0


def count(house: Centre, table: type[DeclarativeBase], *conditions: Any) -> int:
    with house.core.db.read() as session:
        return session.scalar(select(func.count()).select_from(table).where(*conditions)) or 0


def run(house: Centre) -> None:
    asyncio.run(sweep(house.core))


def add_hook(house: Centre) -> str:
    with house.core.db.write() as session:
        row = Hook(
            id=new_id(), tenant="/", url="http://127.0.0.1:9/", secret="whsec_eA==", active=True,
            created_at=house.clock(),
        )  # fmt: skip
        session.add(row)
    return row.id


def hello(core: Core, after: int | None) -> dict[str, Any]:
    """The first line of a feed."""

    async def first() -> Any:
        lines = feed(core, None, None, after)  # type: ignore[arg-type]  # both are asked after it
        line = await anext(lines)
        await lines.aclose()  # type: ignore[attr-defined]
        return line

    return dict(json.loads(str(asyncio.run(first()).data)))


def test_old_events_go_and_the_feed_counts_on(house: Centre) -> None:
    for _ in range(3):
        house.case()
    house.clock.pass_s(29 * 86400)
    run(house)
    assert count(house, Event) == 3
    house.clock.pass_s(2 * 86400)
    run(house)
    with house.core.db.read() as session:
        (last,) = session.scalars(select(Event.seq))
    assert hello(house.core, None) == {"seq": last}
    assert hello(house.core, last) == {"seq": last}, "nothing was missed"
    assert hello(house.core, last - 2) == {"seq": last - 2, "oldest": last}, "an event was missed"
    house.case()
    run(house)
    with house.core.db.read() as session:
        newest = session.scalar(select(func.max(Event.seq))) or 0
        assert newest > last, "a number is never given twice"
        assert session.scalars(select(Event.seq).where(Event.seq > last)).all() == [newest]
    run(house)
    assert count(house, Event) == 1


def test_sent_deliveries_go_and_what_was_not_delivered_stays(house: Centre) -> None:
    hooks = [add_hook(house) for _ in range(2)]
    for _ in range(3):
        house.case()
    with house.core.db.write() as session:
        for hook_id in hooks:
            rows = session.scalars(select(Delivery).where(Delivery.hook_id == hook_id))
            for row, state in zip(rows, ("sent", "dead", "due"), strict=True):
                row.state = state
        session.get_one(Hook, hooks[1]).active = False
    house.clock.pass_s(29 * 86400)
    run(house)
    assert count(house, Delivery) == 6
    house.clock.pass_s(2 * 86400)
    house.case()
    run(house)
    with house.core.db.read() as session:
        left = session.execute(select(Delivery.hook_id, Delivery.state).order_by(Delivery.state)).all()
    assert [tuple(row) for row in left] == [(hooks[0], s) for s in ("dead", "due", "due")]


def test_a_message_that_comes_again_after_its_id_went_changes_nothing(house: Centre, tmp_path: Path) -> None:
    """A box that lay in a drawer for years with an answer that it never got; one that signs and one that does not."""
    signing = SigningBox(house, tmp_path, "box-2")
    signing.enrol()
    plain = event(house.clock(), evidence=[evidence_item(picture(1))])
    signed, header = signing.sign(camera_id="other", place__lon=113.0, evidence=[evidence_item(picture(2))])
    sent = [(house.box(), plain, {}), (signing.client, signed, {LINK_HEADER: header})]
    cases = [box.post("/alerts", json=m, headers=h).json()["case_id"] for box, m, h in sent]
    house.clock.pass_s(89 * 86400)
    run(house)
    assert count(house, AlertMessage) == 2
    house.clock.pass_s(YEARS_S)
    run(house)
    assert count(house, AlertMessage) == 0
    rita = house.person("aud", "auditor")
    before = [rita.get(f"/cases/{case}").json() for case in cases]
    events = count(house, Event)
    for box, message, link in sent:
        assert box.post("/alerts", json=message, headers=link).json()["outcome"] in {"again", "opened"}
    assert [rita.get(f"/cases/{case}").json() for case in cases] == before
    assert count(house, Event) == events
    cleared = json.loads(json.dumps(plain))
    cleared["id"], cleared["data"]["revision"], cleared["data"]["stage"] = new_id(), 1, "cleared"
    cleared["type"] = "city.curbwatch.alert.cleared.v1"
    assert house.box().post("/alerts", json=cleared).json()["outcome"] == "cleared"
    for case in cases:
        assert rita.get(f"/cases/{case}/audit").json()["intact"]
    assert rita.get(f"/devices/{signing.name}/chain").json()["fault_count"] == 0
