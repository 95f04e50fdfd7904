"""One verdict for several cases of one cluster."""

from __future__ import annotations

from typing import Any

from api_parts import Centre

from contract import new_id


def test_a_batch_stays_in_its_cluster(house: Centre) -> None:
    ids = [house.case() for _ in range(3)]
    other = house.case(camera_id="elsewhere", place__lon=113.0)
    rita, omar = house.person(), house.person("omar")
    found = rita.get(f"/cases/{ids[0]}/cluster").json()
    assert [c["id"] for c in found] == ids
    cases = [{"id": c["id"], "version": c["version"]} for c in found]
    verdict: dict[str, Any] = {"kind": "reject", "reason": 1}
    strange = rita.post(
        "/queue/batch", json={"cases": [*cases, {"id": other, "version": 1}], "verdict": verdict}
    )
    assert strange.status_code == 422
    assert "not of the cluster" in strange.json()["detail"]
    omar.post(f"/cases/{ids[2]}/verdicts", json={"kind": "unsure"})
    done = rita.post("/queue/batch", json={"cases": cases[:2], "verdict": verdict}).json()
    assert (done["judged"], done["refused"]) == (ids[:2], {})
    assert rita.get(f"/cases/{ids[1]}").json()["verdicts"][0]["reason"] == 1
    wrong = rita.post("/queue/batch", json={"cases": cases[:1], "verdict": {"kind": "unsure"}})
    assert wrong.status_code == 422


def test_a_batch_without_its_first_case_is_of_its_cluster_all_the_same(house: Centre) -> None:
    ids = []
    for day in range(3):
        house.clock.pass_s(20 * 3600 * (day > 0))
        ids.append(house.case())
    rita = house.person()
    found = rita.get(f"/cases/{ids[1]}/cluster").json()
    assert [c["id"] for c in found] == [ids[1], ids[0], ids[2]], "a day before and after the second"
    rest = [{"id": c["id"], "version": c["version"]} for c in found[1:]]
    told: dict[str, Any] = {"cases": rest, "verdict": {"kind": "reject", "reason": 1}}
    assert rita.post("/queue/batch", json=told).status_code == 422
    assert rita.post("/queue/batch", json=told | {"of": new_id()}).status_code == 404
    done = rita.post("/queue/batch", json=told | {"of": ids[1]}).json()
    assert (set(done["judged"]), done["refused"]) == ({ids[0], ids[2]}, {})
    assert rita.get(f"/cases/{ids[1]}").json()["state"] == "in_review"
