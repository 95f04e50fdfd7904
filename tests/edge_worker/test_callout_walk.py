"""Call-out from the operator's key to the column and the look three minutes later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from api_parts import Centre
from test_inspection_walk import EdgeBox

from api.examples import HEARTBEAT
from api.pack import HERE, PackError, load_pack
from camera_adapters.speaker import SpeakerError
from contract import new_id
from edge.agent import CentreAgent


class Column:
    """A loudspeaker that remembers."""

    def __init__(self, fault: str = "") -> None:
        self.said: list[str] = []
        self.fault = fault

    def play(self, message: str) -> None:
        if self.fault:
            raise SpeakerError(self.fault)
        self.said.append(message)


def agent(box: EdgeBox, column: Column) -> CentreAgent:
    return CentreAgent(
        "box-1", box.book, box.floor, {"gate": column}, box.client, box.house.clock, box.recorder._log
    )


def beat(box: EdgeBox, to: CentreAgent) -> Any:
    answer = box.client.post("/heartbeats", json=HEARTBEAT | {"id": new_id()})
    to.obey(answer)
    return answer.json()


def test_a_report_is_kept_until_the_centre_itself_has_taken_it(house: Centre, tmp_path: Path) -> None:
    box = EdgeBox(tmp_path / "box", house)
    pages = iter([(200, "<html>sign in</html>"), (404, "default backend"), (204, "")])

    def ask(_request: httpx.Request) -> httpx.Response:
        status, text = next(pages)
        return httpx.Response(status, text=text)

    with httpx.Client(transport=httpx.MockTransport(ask), base_url="http://portal") as client:
        told = CentreAgent("box-1", box.book, box.floor, {}, client, box.house.clock, box.recorder._log)
        assert [told._send("/checks/1/report", {}) for _ in range(3)] == [False, False, True]


def test_an_operator_calls_out_and_the_camera_looks_again(house: Centre, tmp_path: Path) -> None:
    box, column = EdgeBox(tmp_path / "box", house), Column()
    obedient, dan = agent(box, column), house.person("dan", "dispatcher")
    case = house.case()
    path = f"/cases/{case}/callouts"
    assert dan.get(f"{path}/messages").json()[0]["message"] == "move_vehicle"
    assert house.person("han", "handler").post(path, json={"message": "move_vehicle"}).status_code == 403
    assert dan.post(path, json={"message": "move_vehicle", "text": "you there"}).status_code == 422
    wrong = dan.post(path, json={"message": "no_dumping"})
    assert (wrong.status_code, "move_vehicle" in wrong.json()["detail"]) == (422, True)
    asked = dan.post(path, json={"message": "move_vehicle"})
    assert asked.status_code == 201, asked.text
    beat(box, obedient)
    again = beat(box, obedient)
    assert column.said == ["move_vehicle"], "once"
    assert again["callouts"] == []
    assert dan.get(path).json()[0]["state"] == "played"
    (look,) = dan.get(f"/cases/{case}/inspections").json()
    assert (look["why"], look["state"]) == ("callout", "waiting")
    assert again["inspections"] == [], "three minutes are left to those who were called"
    house.clock.pass_s(150)
    assert len(beat(box, obedient)["inspections"]) == 1
    entries = house.person("root", "admin").get(f"/cases/{case}/audit").json()["entries"]
    logged = [(e["actor"], e["action"]) for e in entries][1:4]
    assert logged == [
        ("user:dan", "callout.asked"), ("device:box-1", "callout.played"), ("machine:callout", "inspection.asked"),
    ]  # fmt: skip
    box.close()


def test_twice_an_hour_at_one_place_and_never_at_night(house: Centre, tmp_path: Path) -> None:
    dan = house.person("dan", "dispatcher")
    first, beside = house.case(), house.case()
    told = {"message": "move_vehicle"}
    assert dan.post(f"/cases/{first}/callouts", json=told).status_code == 201
    house.clock.pass_s(600)
    assert dan.post(f"/cases/{beside}/callouts", json=told).status_code == 201
    third = dan.post(f"/cases/{first}/callouts", json=told)
    assert (third.status_code, "50 min" in third.json()["detail"]) == (409, True)
    far = house.case(house.box("box-9"), camera_id="far", device_id="box-9", place__lat=37.95)
    assert dan.post(f"/cases/{far}/callouts", json=told).status_code == 201, "another place"
    house.clock.pass_s(3001)
    assert dan.post(f"/cases/{first}/callouts", json=told).status_code == 201
    house.clock.pass_s(5 * 3600)  # 22:00 in the city
    night = dan.post(f"/cases/{beside}/callouts", json=told)
    assert (night.status_code, "quiet hours" in night.json()["detail"]) == (409, True)
    root = house.person("root", "admin")
    root.post(f"/cases/{first}/verdicts", json={"kind": "reject", "reason": 1})
    house.clock.pass_s(10 * 3600)
    dan = house.person("dan", "dispatcher")
    assert "nobody to call" in dan.post(f"/cases/{first}/callouts", json=told).json()["detail"]


@pytest.mark.parametrize("fault", ["the loudspeaker answered HTTP 503", ""])
def test_a_column_that_fails_or_a_box_that_is_silent_is_told(
    house: Centre, tmp_path: Path, fault: str
) -> None:
    from api import callouts

    dan, case = house.person("dan", "dispatcher"), house.case()
    path = f"/cases/{case}/callouts"
    dan.post(path, json={"message": "move_vehicle"})
    if fault:
        box = EdgeBox(tmp_path / "box", house)
        beat(box, agent(box, Column(fault)))
        box.close()
    else:
        house.clock.pass_s(300)
        with house.core.db.write() as session:
            assert callouts.sweep(session, house.clock()) == 1
    (seen,) = dan.get(path).json()
    assert seen["state"] == "failed"
    assert seen["reason"] == (fault or "the box did not answer in time")
    assert dan.get(f"/cases/{case}/inspections").json() == []
    assert dan.post(path, json={"message": "move_vehicle"}).status_code == 201, "a failed one does not count"


@pytest.mark.parametrize("text", ["京A12345 请驶离", "AB-123 please move", "沪AF12345车主请驶离"])
def test_a_message_with_a_plate_does_not_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "city.yaml"
    good = (HERE / "example.yaml").read_text(encoding="utf-8")
    path.write_text(good.replace("此处禁止停车，请车主尽快驶离。", text), encoding="utf-8")
    with pytest.raises(PackError, match="never names one"):
        load_pack(str(path))
