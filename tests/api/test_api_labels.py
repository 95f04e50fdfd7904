"""What to label next: the trainer's file in, the best cases out, until somebody has judged them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from api_parts import JPEG, Centre, centre, evidence_item, sha
from click.testing import CliRunner

from api.labelling import LabelItemIn, LabelQueueIn
from contract import new_id

SCENE = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))[1].tobytes()


def line(case: str | None, score: float, **more: Any) -> dict[str, Any]:
    signals = {"uncertainty": score, "rare_hour": 0.5}
    return {"key": str(case), "case_id": case, "score": score, "signals": signals, "why": "near", **more}


def queue(*lines: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "model": "street@1.0.0", "items": list(lines)}


def test_the_queue_is_shown_best_first_until_judged_or_passed_over(house: Centre) -> None:
    one, two, three = (house.case(evidence=[evidence_item(JPEG)]) for _ in range(3))
    sue, rita = house.person("sue", "supervisor"), house.person()
    told = queue(
        line(two, 0.9, sha256=sha(JPEG), hour=3),
        line(one, 0.7),
        line(two, 0.6),
        line(None, 0.5),
        line(three, 0.4),
    )
    lost = new_id()
    told["items"].append(line(lost, 0.1))
    answer = sue.put("/labels", json=told)
    assert answer.json() == {"taken": 3, "unknown": [lost], "without_case": 1}
    assert rita.put("/labels", json=told).status_code == 403
    seen = rita.get("/labels", params={"limit": 2}).json()
    assert seen["waiting"] == 3
    assert [i["case_id"] for i in seen["items"]] == [two, one]
    assert (
        seen["items"][0] | {"score": 0.9, "hour": 3, "sha256": sha(JPEG), "model": "street@1.0.0"}
        == seen["items"][0]
    )
    house.clock.pass_s(1)
    verdict = rita.post(f"/cases/{two}/verdicts", json={"kind": "confirm"}).json()["verdicts"][-1]
    assert [i["case_id"] for i in rita.get("/labels").json()["items"]] == [one, three]
    assert rita.delete(f"/cases/{two}/verdicts/{verdict['id']}").is_success
    assert rita.get("/labels").json()["waiting"] == 3, "an undone verdict is none"
    assert rita.delete(f"/labels/{one}").status_code == 204
    assert [i["case_id"] for i in rita.get("/labels").json()["items"]] == [two, three]
    assert rita.delete(f"/labels/{house.case()}").status_code == 404
    assert sue.put("/labels", json=queue(line(three, 0.2))).json()["taken"] == 1
    assert [i["case_id"] for i in rita.get("/labels").json()["items"]] == [three], (
        "a new file replaces the old"
    )


def test_a_tenant_sees_and_replaces_its_own_lines_alone(house: Centre) -> None:
    case = house.case()
    assert house.person("sue", "supervisor").put("/labels", json=queue(line(case, 0.9))).json()["taken"] == 1
    north = house.person("nora", "supervisor", "/north/")
    assert north.get("/labels").json() == {"made_at": None, "waiting": 0, "items": []}
    assert north.put("/labels", json=queue(line(case, 0.9))).json() == {
        "taken": 0,
        "unknown": [case],
        "without_case": 0,
    }
    assert house.person().get("/labels").json()["waiting"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 2, "items": []},
        {"items": [line(None, 1.5)]},
        {"items": [line("x; drop", 0.5)]},
        {"items": [line(None, 0.5, signals={"a": 7})]},
        {"items": [line(None, 0.5)] * 1001},
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused(house: Centre, wrong: dict[str, Any]) -> None:
    assert house.person("sue", "supervisor").put("/labels", json=wrong).status_code == 422


def test_the_trainers_file_fits() -> None:
    from training.active import QueueEntry

    assert set(QueueEntry.__dataclass_fields__) == set(LabelItemIn.model_fields)
    assert set(queue()) == set(LabelQueueIn.model_fields)


def test_waiting_cases_go_to_the_trainer_and_come_back_as_a_queue(tmp_path: Path) -> None:
    from curbwatch.__main__ import cli

    data, out, run = tmp_path / "api", tmp_path / "export", CliRunner()
    with centre(data) as house:
        box = house.box()
        case, broken = (house.case(box, evidence=[evidence_item(c)]) for c in (SCENE, JPEG))
        for content in (SCENE, JPEG):
            assert box.put(f"/evidence/{sha(content)}", content=content).status_code == 201
        judged = house.case()
        house.person().post(f"/cases/{judged}/verdicts", json={"kind": "confirm"}).raise_for_status()
    told = run.invoke(cli, ["api", "export-labels", "--waiting", "--data", str(data), "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert {json.loads(x)["id"] for x in (out / "cases.jsonl").read_text().splitlines()} == {case, broken}
    made = run.invoke(cli, ["train", "queue", "centernet", str(out), "--out", str(tmp_path / "q.json")])
    assert made.exit_code == 0, made.output
    assert "left out" in made.output
    sent = run.invoke(cli, ["api", "label-queue", "--data", str(data), str(tmp_path / "q.json")])
    assert sent.exit_code == 0, sent.output
    with centre(data) as house:
        (item,) = house.person("rob").get("/labels").json()["items"]
    assert (item["case_id"], item["sha256"]) == (case, sha(SCENE))
    assert item["model"].startswith("centernet")
    (tmp_path / "q.json").write_text("{}")
    refused = run.invoke(cli, ["api", "label-queue", "--data", str(data), str(tmp_path / "q.json")])
    assert refused.exit_code == 1
    assert "items" in refused.output
