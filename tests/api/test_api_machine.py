"""The case's states: random walks against the rules, and the same steps through the API."""

from __future__ import annotations

import pytest
from api_parts import Centre
from hypothesis import given
from hypothesis import strategies as st

from api.machine import NAMES, OPEN_STATES, STEPS, IllegalStepError, allowed, take
from contract import CaseState

PEOPLE = ("ann", "bo", "cy")
WALK = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(PEOPLE), st.sampled_from(["", "why"])), max_size=40
)


@given(WALK)
def test_a_random_walk_keeps_the_rules(walk: list[tuple[str, str, str]]) -> None:
    state, notes = CaseState.IN_REVIEW, {}
    first_reviewer = handler = asked = None
    for name, actor, reason in walk:
        can = allowed(state)
        try:
            taken = take(state, name, actor, reason, notes)
        except IllegalStepError as exc:
            assert set(exc.allowed) <= set(can)  # noqa: PT017
            step = STEPS.get((state, name))
            assert (
                step is None
                or (step.reason and not reason)
                or (step.not_same_as == "first_reviewer" and actor == first_reviewer)
                or (step.not_same_as == "handler" and actor == handler)
                or (step.two_persons and actor == asked)
            )
            continue
        assert name in can
        assert reason or not STEPS[state, name].reason
        if state is CaseState.SECOND_REVIEW and name in {"confirm", "reject"}:
            assert actor != first_reviewer
        if name == "close":
            assert actor != handler
        if taken.waits:
            assert taken.state is state
            asked = actor
        else:
            if STEPS[state, name].two_persons:
                assert asked is not None
                assert asked != actor
            asked = None
        first_reviewer = actor if name in {"unsure", "reject"} else first_reviewer
        handler = actor if name == "done" else handler
        state, notes = taken.state, taken.notes


def test_every_open_state_can_be_left_and_every_end_is_an_end() -> None:
    for state in CaseState:
        assert bool(allowed(state)) or state not in OPEN_STATES
    assert allowed(CaseState.VOID) == allowed(CaseState.MERGED) == []


def test_the_whole_way_through_the_city(house: Centre) -> None:
    case = house.case()
    people = {
        "review": house.person(),
        "supervise": house.person("sue", "supervisor"),
        "dispatch": house.person("dan", "dispatcher"),
        "handle": house.person("han", "handler"),
    }

    def go(role: str, step: str, status: int = 200, **more: object) -> dict[str, object]:
        answer = people[role].post(f"/cases/{case}/steps", json={"step": step, **more})
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    people["review"].post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    assert go("dispatch", "accept", 409)["allowed"] == ["file", "merge", "self_resolve", "void"]
    go("dispatch", "file", 403)
    filed = go("supervise", "file")
    assert filed["deadline_at"] == "2026-03-04T10:00:00Z"
    go("dispatch", "return", 409)
    go("dispatch", "return", reason="wrong street")
    go("supervise", "file")
    go("dispatch", "accept")
    assert go("dispatch", "dispatch", unit="east-office")["state"] == "dispatched"
    go("handle", "start")
    house.clock.pass_s(3600)
    go("dispatch", "suspend", reason="flood")
    house.clock.pass_s(7200)
    assert go("dispatch", "resume")["deadline_at"] == "2026-03-04T12:00:00Z"
    assert go("dispatch", "extend", reason="no crane", hours=2)["deadline_at"] == "2026-03-04T14:00:00Z"
    go("handle", "done")
    go("handle", "close", 403)
    go("supervise", "rework", reason="half of it is left")
    go("handle", "start")
    go("handle", "done")
    assert go("supervise", "close")["state"] == "closed"
    chain = house.person("aud", "auditor").get(f"/cases/{case}/audit").json()
    assert chain["intact"]
    assert [e["action"] for e in chain["entries"]][:3] == ["case.opened", "verdict.confirm", "step.file"]
    reopened = house.box().post("/alerts", json=_again(house, case))
    assert reopened.json() == {**reopened.json(), "outcome": "reopened", "case_id": case}
    assert people["review"].get(f"/cases/{case}").json()["state"] == "in_review"


def _again(house: Centre, case: str) -> dict[str, object]:
    from api_parts import event

    key = house.person("rita2").get(f"/cases/{case}").json()["alerts"][0]["key"]
    return event(house.clock(), key=key)


def test_two_persons_void_a_filed_case(house: Centre) -> None:
    case = house.case()
    sue, sam = house.person("sue", "supervisor"), house.person("sam", "supervisor")
    sue.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    sue.post(f"/cases/{case}/steps", json={"step": "file"})
    told = {"step": "void", "reason": "not our street"}
    assert sue.post(f"/cases/{case}/steps", json=told).json()["state"] == "filed"
    assert sue.post(f"/cases/{case}/steps", json=told).status_code == 409
    assert sam.post(f"/cases/{case}/steps", json=told).json()["state"] == "void"


def test_the_audit_shows_a_change_and_the_database_refuses_it(house: Centre) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import DatabaseError

    from api.audit import verify

    case = house.case()
    house.person().post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    db = house.core.db
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
        with pytest.raises(DatabaseError, match="append-only"), db.write() as session:
            session.execute(text(statement))
    with db.write() as session:
        assert verify(session, f"case:{case}") is None
        session.execute(text("DROP TRIGGER audit_no_update"))
        session.execute(text("UPDATE audit SET actor = 'x' WHERE position = 1"))
        assert "was changed" in str(verify(session, f"case:{case}"))
    with db.write() as session:
        session.execute(text("DROP TRIGGER audit_no_delete"))
        session.execute(text("DELETE FROM audit WHERE position = 1"))
        assert "last entries are missing" in str(verify(session, f"case:{case}"))


def test_split_keeps_history(house: Centre) -> None:
    a, b = house.case(), house.case()
    sue = house.person("sue", "supervisor")
    sue.post(f"/cases/{b}/verdicts", json={"kind": "merge", "into": a})
    alerts = [x["id"] for x in sue.get(f"/cases/{a}").json()["alerts"]]
    assert sue.post(f"/cases/{a}/split", json={"alerts": alerts}).status_code == 422
    made = sue.post(f"/cases/{a}/split", json={"alerts": alerts[1:]})
    assert made.status_code == 201
    assert [x["id"] for x in made.json()["alerts"]] == alerts[1:]
    near = sue.get(f"/cases/{a}/suggestions").json()
    assert [s["case_id"] for s in near] == [made.json()["id"]]
    actions = [e["action"] for e in sue.get(f"/cases/{a}/audit").json()["entries"]]
    assert actions == ["case.opened", "case.took_in", "case.split"]
