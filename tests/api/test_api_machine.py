"""The case's states: random walks against the rules, and the same steps through the API."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from api_parts import Centre, centre, event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.machine import NAMES, ON_CLOCK, OPEN_STATES, STEPS, IllegalStepError, allowed, take
from api.pack import HERE
from contract import CaseState, new_id

PEOPLE = ("ann", "bo", "cy")
JUDGES = {"unsure", "confirm", "confirm_first"}
WALK = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(PEOPLE), st.sampled_from(["", "why"])), max_size=40
)


@given(WALK)
def test_a_random_walk_keeps_the_rules(walk: list[tuple[str, str, str]]) -> None:
    """The rules once more, told over the whole history instead of over notes."""
    state, notes = CaseState.IN_REVIEW, {}
    history: list[tuple[CaseState, str, str]] = []  # state before, step, actor; since the last reopening
    asked: str | None = None
    for name, actor, reason in walk:
        step, can = STEPS.get((state, name)), allowed(state)
        first = [a for s, n, a in history if n == "reject" or (s is CaseState.IN_REVIEW and n in JUDGES)][-1:]
        steps = [n for _, n, _ in history]
        limit = steps[len(steps) - steps[::-1].index("file") :] if "file" in steps else []
        handlers = [a for _, n, a in history if n in {"start", "done"}]
        barred = {"first_reviewer": first, "handler": handlers}
        legal = (
            step is not None
            and not (step.reason and not reason)
            and actor not in barred.get(str(step.not_same_as), [])
            and not (step.two_persons and actor == asked)
            and not (name == "extend" and "extend" in limit)
        )
        try:
            taken = take(state, name, actor, reason, notes)
        except IllegalStepError as exc:
            assert not legal, (state, name, actor)
            assert set(exc.allowed) <= set(can)  # noqa: PT017
            continue
        assert legal, (state, name, actor)
        assert name in can or name == "confirm_first"
        if taken.waits:
            assert taken.state is state
            asked = actor
            continue
        if step and step.two_persons:
            assert asked not in {None, actor}
        asked = None
        if name == "resume":
            assert taken.state is [s for s, n, _ in history if n == "suspend"][-1]
        history = [] if name == "reopen" else [*history, (state, name, actor)]
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
    assert go("dispatch", "accept", 409)["allowed"] == ["appeal", "file", "merge", "self_resolve", "void"]
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
    pg = db.engine.dialect.name == "postgresql"  # one trigger there, one an act on SQLite
    drops = ["audit_append_only ON audit"] if pg else ["audit_no_update", "audit_no_delete"]
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
        with pytest.raises(DatabaseError, match="append-only"), db.write() as session:
            session.execute(text(statement))
    with db.write() as session:
        assert verify(session, f"case:{case}") is None
        for trigger in drops:
            session.execute(text(f"DROP TRIGGER {trigger}"))
        session.execute(text("UPDATE audit SET actor = 'x' WHERE position = 1"))
        assert "was changed" in str(verify(session, f"case:{case}"))
    with db.write() as session:
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


ROLES = ("reviewer", "supervisor", "dispatcher", "handler", "admin")
DEEDS = st.lists(
    st.tuples(st.sampled_from([*NAMES, "alert"]), st.sampled_from(ROLES), st.booleans()),
    min_size=15,
    max_size=40,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DEEDS)
def test_a_random_walk_through_the_api(house: Centre, deeds: list[tuple[str, str, bool]]) -> None:
    """Every refusal is one of four, a 409 names what is possible, the clock runs when it should, the audit is whole."""
    message = event(
        house.clock(), key={"site_id": new_id(), "ground_cell": new_id()}, place__lat=random.uniform(30, 40)
    )
    case = house.box().post("/alerts", json=message).json()["case_id"]
    people = {role: house.person(f"w-{role}", role) for role in ROLES}
    root, moved = people["admin"], 1
    # Half of the walks begin where the city's work begins.
    if deeds[0][2]:
        people["reviewer"].post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
        for step in ("file", "accept", "dispatch"):
            assert root.post(f"/cases/{case}/steps", json={"step": step}).is_success
    for name, role, reasoned in deeds:
        house.clock.pass_s(61)
        before = root.get(f"/cases/{case}").json()
        if name == "alert":
            again = event(house.clock(), key=message["data"]["key"], place=message["data"]["place"])
            assert house.box().post("/alerts", json=again).json()["case_id"] == case or before["state"] in {
                "void",
                "rejected",
            }
            continue
        if name in {"confirm", "reject", "unsure"}:
            told = {"kind": name} | ({"reason": 1} if name == "reject" else {})
            answer = people[role].post(f"/cases/{case}/verdicts", json=told)
        elif name in {"merge", "confirm_first"}:
            continue
        else:
            told = {"step": name, "reason": "why" if reasoned else ""} | (
                {"hours": 1} if name == "extend" else {}
            )
            answer = people[role].post(f"/cases/{case}/steps", json=told)
        assert answer.status_code in {200, 403, 409}, answer.text
        after = root.get(f"/cases/{case}").json()
        if answer.status_code == 200:
            moved += 1
            assert after["version"] > before["version"]
        else:
            assert after["version"] == before["version"]
        if answer.status_code == 409:
            listed = root.get(f"/cases/{case}/steps").json()
            assert set(answer.json()["allowed"]) <= {*listed["allowed"], *listed["others"]}
        if CaseState(after["state"]) in ON_CLOCK:
            assert "deadline_at" in after
        if after["state"] in {"in_review", "second_review"}:
            assert "deadline_at" not in after
    audit = root.get(f"/cases/{case}/audit", params={"limit": 1000}).json()
    assert audit["intact"]
    assert len(audit["entries"]) >= moved


def test_a_class_may_want_two_confirmations(tmp_path: Path) -> None:
    text = (HERE / "example.yaml").read_text(encoding="utf-8")
    path = tmp_path / "two.yaml"
    path.write_text(
        text.replace("    closing: The vehicle has left.", "    closing: x\n    two_persons: true"), "utf-8"
    )
    with centre(tmp_path / "data", pack=str(path)) as house:
        rita, omar, case = house.person(), house.person("omar"), house.case()
        first = rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).json()
        assert first["state"] == "second_review"
        assert rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).status_code == 409
        assert omar.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).json()["state"] == "confirmed"
        waste = house.case(issue="dumping.exposed")
        assert rita.post(f"/cases/{waste}/verdicts", json={"kind": "confirm"}).json()["state"] == "confirmed"
        wrong = house.case(issue="dumping.exposed")
        told = {"kind": "confirm", "issue": "parking.motor"}
        assert rita.post(f"/cases/{wrong}/verdicts", json=told).json()["state"] == "second_review", (
            "the right class counts"
        )
        told = {"kind": "reject", "reason": 1}
        ended = omar.post(f"/cases/{wrong}/verdicts", json=told).json()
        assert [v.get("on_appeal") for v in ended["verdicts"]] == [None, None], "nobody has appealed"


def test_an_appeal_against_a_closed_case_is_read_by_another(house: Centre) -> None:
    case, rita, root = house.case(), house.person(), house.person("root", "admin")
    han = house.person("han", "handler")
    rita.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    for by, step in ((root, "file"), (root, "accept"), (root, "dispatch"), (root, "start"), (han, "done")):
        assert by.post(f"/cases/{case}/steps", json={"step": step}).is_success
    sue = house.person("sue", "supervisor")
    assert root.post(f"/cases/{case}/steps", json={"step": "close"}).status_code == 409, (
        "whoever has handled it"
    )
    assert sue.post(f"/cases/{case}/steps", json={"step": "close"}).is_success
    told = {"step": "appeal", "reason": "the owner has a permit"}
    assert sue.post(f"/cases/{case}/steps", json=told).json()["state"] == "second_review"
    assert rita.post(f"/cases/{case}/verdicts", json={"kind": "reject", "reason": 2}).status_code == 409
    omar = house.person("omar").post(f"/cases/{case}/verdicts", json={"kind": "reject", "reason": 2}).json()
    assert omar["state"] == "rejected"
    assert "deadline_at" not in omar
    assert [v["kind"] for v in omar["verdicts"]] == ["confirm", "reject"], "nothing is lost"
    assert [v.get("on_appeal") for v in omar["verdicts"]] == [None, True], "the trainer believes the decision"


def test_a_suspended_extension_comes_back_as_one(house: Centre) -> None:
    case, root = house.case(), house.person("root", "admin")
    root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    for step in ("file", "accept", "dispatch", "start"):
        root.post(f"/cases/{case}/steps", json={"step": step})
    root.post(f"/cases/{case}/steps", json={"step": "extend", "reason": "crane", "hours": 1})
    root.post(f"/cases/{case}/steps", json={"step": "suspend", "reason": "flood"})
    assert root.post(f"/cases/{case}/steps", json={"step": "resume"}).json()["state"] == "extended"
    again = root.post(f"/cases/{case}/steps", json={"step": "extend", "reason": "more", "hours": 1})
    assert again.status_code == 409, "once is enough"


def test_merge_and_split_by_hand_keep_every_alert_and_every_word(house: Centre) -> None:
    root = house.person("root", "admin")
    a, b, c = (house.case(place__lat=37 + i / 100) for i in range(3))
    kept = {x["id"] for case in (a, b, c) for x in root.get(f"/cases/{case}").json()["alerts"]}
    root.post(f"/cases/{b}/verdicts", json={"kind": "merge", "into": a, "text": "one van"})
    root.post(f"/cases/{a}/verdicts", json={"kind": "merge", "into": c})
    assert root.post(f"/cases/{c}/verdicts", json={"kind": "merge", "into": a}).status_code == 409, "no ring"
    whole = root.get(f"/cases/{c}").json()
    assert {x["id"] for x in whole["alerts"]} == kept
    assert root.get(f"/cases/{b}").json()["verdicts"][0]["text"] == "one van"
    moved = [x["id"] for x in whole["alerts"]][1:]
    made = root.post(f"/cases/{c}/split", json={"alerts": moved}).json()
    assert {x["id"] for x in made["alerts"]} | {
        x["id"] for x in root.get(f"/cases/{c}").json()["alerts"]
    } == kept
    update = event(house.clock(), id=moved[0], stage="cleared", revision=1, key=made["alerts"][0]["key"])
    told = house.box().post("/alerts", json=update).json()
    assert told["case_id"] == made["id"], "later messages follow the split"
    for case in (a, b, c, made["id"]):
        assert root.get(f"/cases/{case}/audit").json()["intact"]
    actions = [e["action"] for e in root.get(f"/cases/{c}/audit").json()["entries"]]
    assert actions == ["case.opened", "case.took_in", "case.split"]
    closed = house.case(place__lat=38)
    root.post(f"/cases/{closed}/verdicts", json={"kind": "reject", "reason": 1})
    alerts = [x["id"] for x in root.get(f"/cases/{closed}").json()["alerts"]]
    assert root.post(f"/cases/{closed}/split", json={"alerts": alerts}).status_code in {409, 422}
