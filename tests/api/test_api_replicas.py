"""The city's process on PostgreSQL with two replicas: reports, looks, call-outs, sweeps that race."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from api_parts import JPEG, Centre, centre, event, evidence_item, sha, until_waiting

from api import callouts, clues, inspections, retention
from api.access import ROLES, Principal
from api.casebook import hold
from api.examples import HEARTBEAT
from api.review import VerdictIn, find, give_verdict
from bench.servers import new_database
from contract import RejectReason, VerdictKind, new_id


@pytest.fixture
def pair(tmp_path: Path, pg_url: str) -> Iterator[tuple[Centre, Centre]]:
    url = new_database(pg_url, f"cw_{new_id()}")
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(centre(tmp_path / name, database_url=url, pool_size=5)) for name in ("a", "b")
        )
        two.tokens, two.passwords, two.clock = one.tokens, one.passwords, one.clock
        two.core.__dict__["now"] = one.clock
        yield one, two


def test_reports_looks_and_callouts(pair: tuple[Centre, Centre]) -> None:
    one, two = pair
    root, other = one.person("root", "admin"), two.person("root", "admin")
    case, box = one.case(), one.box()
    told: dict[str, Any] = {
        "channel": "hotline", "external_id": "7", "issue": "parking.motor", "lon": 112.5489, "lat": 37.8706,
        "reported_at": one.clock().isoformat(),
    }  # fmt: skip
    clients = (root, other)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda i: clients[i % 2].post("/reports", json=told), range(6)))
    assert sorted(a.status_code for a in answers) == [200] * 5 + [201]
    assert {a.json()["case_id"] for a in answers} == {case}
    root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    han = two.person("han", "handler")
    for by, step in ((root, "file"), (root, "accept"), (root, "dispatch"), (han, "start")):
        assert by.post(f"/cases/{case}/steps", json={"step": step}).is_success
    with ThreadPoolExecutor(4) as pool:
        calls = list(
            pool.map(
                lambda i: clients[i % 2].post(f"/cases/{case}/callouts", json={"message": "move_vehicle"}),
                range(4),
            )
        )
    assert sorted(c.status_code for c in calls) == [201, 201, 409, 409], (
        "two an hour, whichever replica is asked"
    )
    one.clock.pass_s(95 * 60)

    def sweep(house: Centre) -> int:
        with house.core.db.write() as session:
            late = callouts.sweep(session, one.clock())
            return inspections.sweep(session, one.clock(), house.core.pack) + 10 * late

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(sweep, pair))[-1] in {1, 20, 21}
    beat = box.post("/heartbeats", json=HEARTBEAT).json()
    (order,) = beat["inspections"]
    look = {"at": one.clock().isoformat(), "found": "clear"}
    report = {
        "order_id": order["id"], "alert_id": order["alert_id"], "camera_id": "gate", "device_id": "box-1",
        "result": "cleared", "reason": "3 clear", "finished_at": one.clock().isoformat(), "looks": [look] * 3,
    }  # fmt: skip
    assert two.box().post(f"/inspections/{order['id']}/report", json=report).status_code == 204
    (seen,) = other.get(f"/cases/{case}/inspections").json()
    assert (seen["why"], seen["result"], seen["advice"]) == ("deadline", "cleared", "look")
    assert [c["state"] for c in root.get(f"/cases/{case}/callouts").json()] == ["failed", "failed"]
    assert other.get(f"/cases/{case}/terms").json()["codes"] == [
        {"pack": "cjt214", "version": "2007", "code": "0505"}
    ]
    assert root.get("/stats/indicators", params={"by": "channel"}).json()["total"]["miss_rate"] == 0
    assert root.get("/stats/inspections").json()["cleared"] == 1
    assert root.get(f"/cases/{case}/audit").json()["intact"]


def test_crosswise_merges_never_wait_for_each_other(pair: tuple[Centre, Centre]) -> None:
    """Two people merge the same two cases, each into the other, over two connections: one wins, the other is told."""
    people = pair[0].person("ann"), pair[1].person("bob")
    for _ in range(6):
        cases = pair[0].case(), pair[0].case()
        start = Barrier(2)

        def merge(i: int, cases: tuple[str, str] = cases, start: Barrier = start) -> int:
            told = {"kind": "merge", "into": cases[1 - i]}
            start.wait()
            return people[i].post(f"/cases/{cases[i]}/verdicts", json=told).status_code

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(merge, range(2))) == [200, 409]


def test_alerts_and_people_at_one_case_lose_nothing(pair: tuple[Centre, Centre]) -> None:
    """Six alerts join a case while a person judges it: each counts the version up, and the chain is whole."""
    one, two = pair
    site, root = new_id(), two.person("root", "admin")
    case, boxes = one.case(key__site_id=site), (one.box(), two.box())
    start = Barrier(4)

    def join(i: int) -> set[str]:
        start.wait()
        told = [boxes[i % 2].post("/alerts", json=event(one.clock(), key__site_id=site)) for _ in range(2)]
        assert [t.status_code for t in told] == [201, 201], told
        return {t.json()["case_id"] for t in told}

    def judge() -> None:
        start.wait()
        assert root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).status_code == 200

    with ThreadPoolExecutor(4) as pool:
        judged, *joined = pool.submit(judge), *(pool.submit(join, i) for i in range(3))
        judged.result()
        assert [j.result() for j in joined] == [{case}] * 3
    seen = root.get(f"/cases/{case}").json()
    assert (seen["version"], seen["state"]) == (1 + 6 + 1, "confirmed")
    assert root.get(f"/cases/{case}/audit").json()["intact"]


def test_a_batch_leaves_what_somebody_judged_meanwhile(pair: tuple[Centre, Centre]) -> None:
    """Bob rejects the first case of Ann's batch after she read it and before she holds it."""
    one, two = pair
    ann, bob = one.person("ann"), Principal("user", "bob", "bob", "reviewer", "/", ROLES["reviewer"])
    cases = sorted([one.case(), one.case()])
    told = {"cases": [{"id": c, "version": 1} for c in cases], "verdict": {"kind": "confirm"}}
    verdict = VerdictIn(kind=VerdictKind.REJECT, reason=RejectReason.NOT_THIS_CLASS)
    with ThreadPoolExecutor(1) as pool:
        with two.core.db.write() as session:
            case = find(session, cases[0], bob, update=True)
            give_verdict(session, case, verdict, bob, two.clock(), two.core)
            batch = pool.submit(ann.post, "/queue/batch", json=told)
            until_waiting(two)
        done = batch.result().json()
    assert (done["judged"], list(done["refused"])) == ([cases[1]], [cases[0]])
    seen = ann.get(f"/cases/{cases[0]}").json()
    assert [(v["reviewer"], v["kind"]) for v in seen["verdicts"]] == [("bob", "reject")]
    assert (seen["state"], seen["version"]) == ("rejected", 2)


def _in_turn(house: Centre, case: str, *deeds: Callable[[], Any]) -> list[Any]:
    """Start each deed when the one before waits for the case; then let the case go."""
    with ThreadPoolExecutor(len(deeds)) as pool:
        with house.core.db.write() as session:
            hold(session, [case])
            going = []
            for deed in deeds:
                going.append(pool.submit(deed))
                until_waiting(house, len(going))
        return [g.result(60) for g in going]


@pytest.mark.parametrize("what", ["inspections", "callouts"])
def test_a_late_report_counts_once_and_the_sweep_leaves_it(pair: tuple[Centre, Centre], what: str) -> None:
    """The box sends its report twice, and the sweep has found the order before either was done."""
    one, two = pair
    root, case, boxes = one.person("root", "admin"), one.case(), (one.box(), two.box())
    told = {"message": "move_vehicle"} if what == "callouts" else {}
    assert root.post(f"/cases/{case}/{what}", json=told).status_code == 201
    (order,) = boxes[0].post("/heartbeats", json=HEARTBEAT).json()[what]
    one.clock.pass_s(4 * 3600)
    at = one.clock().isoformat()
    said: dict[str, Any] = {"played": True, "at": at}
    if what == "inspections":
        said = {"result": "cleared", "reason": "3 clear", "finished_at": at, "alert_id": order["alert_id"]}
        said["looks"] = [{"at": at, "found": "clear"}] * 3
    report = said | {"order_id": order["id"], "camera_id": "gate", "device_id": "box-1"}

    def sweep() -> int:
        with one.core.db.write() as session:
            if what == "callouts":
                return callouts.sweep(session, one.clock())
            return inspections.sweep(session, one.clock(), one.core.pack)

    def sent(i: int) -> int:
        return boxes[i].post(f"/{what}/{order['id']}/report", json=report).status_code

    assert _in_turn(two, case, lambda: sent(0), lambda: sent(1), sweep) == [204, 204, 0]
    audit = root.get(f"/cases/{case}/audit").json()
    assert audit["intact"]
    ends = {"inspections": "inspection.cleared", "callouts": "callout.played"}
    acts = [e["action"] for e in audit["entries"]]
    assert acts.count(ends[what]) == 1
    assert not {"inspection.expired", "callout.failed"} & set(acts)


def test_no_look_is_ordered_at_a_case_that_was_put_off_meanwhile(pair: tuple[Centre, Centre]) -> None:
    one, two = pair
    root, case = one.person("root", "admin"), one.case()
    han = two.person("han", "handler")
    root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    for by, step in ((root, "file"), (root, "accept"), (root, "dispatch"), (han, "start")):
        assert by.post(f"/cases/{case}/steps", json={"step": step}).is_success
    one.clock.pass_s(95 * 60)

    def put_off() -> int:
        told = {"step": "suspend", "reason": "the street is dug up"}
        return root.post(f"/cases/{case}/steps", json=told).status_code

    def sweep() -> int:
        with one.core.db.write() as session:
            return inspections.sweep(session, one.clock(), one.core.pack)

    assert _in_turn(two, case, put_off, sweep) == [200, 0]
    assert root.get(f"/cases/{case}/inspections").json() == []


@pytest.mark.parametrize(("kind", "joins"), [("confirm", True), ("reject", False)])
def test_a_report_sees_what_a_person_said_while_it_waited(
    pair: tuple[Centre, Centre], kind: str, joins: bool
) -> None:
    one, two = pair
    root, case, told = (
        one.person("root", "admin"),
        one.case(),
        {"kind": kind} | ({} if joins else {"reason": 1}),
    )
    report: dict[str, Any] = {
        "channel": "hotline", "external_id": "7", "issue": "parking.motor", "lon": 112.5489, "lat": 37.8706,
        "reported_at": one.clock().isoformat(),
    }  # fmt: skip
    verdict, made = _in_turn(
        two,
        case,
        lambda: root.post(f"/cases/{case}/verdicts", json=told),
        lambda: two.person("root", "admin").post("/reports", json=report),
    )
    assert (verdict.status_code, made.status_code) == (200, 201)
    assert (made.json()["case_id"] == case) is joins
    assert root.get(f"/cases/{case}").json()["version"] == 2 + joins, "each change counts"


def test_a_hold_that_comes_just_before_the_deletion_counts(pair: tuple[Centre, Centre]) -> None:
    """The sweep has found the case and waits for its row while a lawyer's hold is written."""
    one, two = pair
    case = one.case(evidence=[evidence_item(JPEG)])
    one.clock.pass_s(400 * 86400)
    sue = one.person("sue", "supervisor")

    def lawyer() -> int:
        return sue.put(f"/cases/{case}/hold", json={"reason": "court 7"}).status_code

    assert _in_turn(two, case, lawyer, lambda: asyncio.run(retention.sweep(one.core)).cases) == [204, 0]
    assert [f["sha256"] for f in sue.get(f"/cases/{case}/custody").json()["files"]] == [sha(JPEG)]


def test_an_alert_that_names_a_file_just_before_its_deletion_keeps_it(pair: tuple[Centre, Centre]) -> None:
    """The box is told that the file is there, and the sweep waits until it can see that the alert names it."""
    house = pair[0]
    house.box().put(f"/evidence/{sha(JPEG)}", content=JPEG)
    house.clock.pass_s(30 * 86400)
    box, told, ask = house.box(), Event(), clues.ask

    def slow(*asked: Any) -> Any:
        known = ask(*asked)
        told.set()
        time.sleep(1)
        return known

    with ThreadPoolExecutor(2) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.filing.ask", slow)
        message = event(house.clock(), evidence=[evidence_item(JPEG)])
        sent = pool.submit(lambda: box.post("/alerts", json=message))
        assert told.wait(10)
        swept = pool.submit(lambda: asyncio.run(retention.sweep(house.core)))
        assert sent.result(20).json()["missing_evidence"] == []
        assert swept.result(20).orphans == 0
    assert asyncio.run(house.core.store.size(sha(JPEG))) == len(JPEG)
