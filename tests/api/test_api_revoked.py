"""A revoked box and its enrolment codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_parts import Centre

from edge.fleet.enrol import EnrolError, enrol


def test_a_revoked_box_does_not_enrol_by_an_older_code(house: Centre, tmp_path: Path) -> None:
    root, other = house.person("root", "admin"), house.person("sue", "admin", "/south/")

    def code(name: str) -> str:
        told = {"device_id": name, "tenant": "/north/", "hours": 336}
        return str(root.post("/fleet/codes", json=told).json()["code"])

    enrol(tmp_path / "b1", house.anonymous(), code("b1"))
    unused = {"b1": code("b1"), "b2": code("b2")}  # b2 has never enrolled
    for name, old in unused.items():
        assert other.delete(f"/devices/{name}").status_code == 404, "no box or code of the asker's tenant"
        assert root.delete(f"/devices/{name}").status_code == 204
        with pytest.raises(EnrolError, match="403"):
            enrol(tmp_path / f"thief-{name}", house.anonymous(), old)
    assert root.delete("/devices/b2").status_code == 404
    got = enrol(tmp_path / "b2", house.anonymous(), code("b2"))
    assert got.device_id == "b2", "a code made after it counts"
