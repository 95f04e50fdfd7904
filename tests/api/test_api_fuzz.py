"""Schemathesis, the short way; `curbwatch bench fuzz` is the long one."""

from __future__ import annotations

import pytest
from api_parts import Centre
from fastapi import FastAPI, Response

from bench.fuzz_api import LEFT_OUT, fuzz


@pytest.mark.parametrize("house", ["postgresql"], indirect=True)  # the stricter of the two with odd texts
def test_no_5xx_and_no_undocumented_answer(house: Centre) -> None:
    case, admin = house.case(), house.person("root", "admin")
    assert case
    cookie = {"Cookie": f"curbwatch_session={admin.cookies['curbwatch_session']}"}
    box = {"Authorization": f"Bearer {house.tokens['box-1']}"}
    done = fuzz(house.app, [cookie, box], 2)
    assert done.faults == []
    paths = house.app.openapi()["paths"]
    assert done.operations == sum(len(methods) for methods in paths.values()) - len(LEFT_OUT)
    assert {200, 404, 422} <= set(done.statuses)


@pytest.mark.parametrize(("status", "said"), [(500, "Server error"), (418, "Undocumented status code")])
def test_a_wrong_answer_is_found(status: int, said: str) -> None:
    app = FastAPI()

    @app.get("/tea")
    def tea() -> Response:
        return Response(status_code=status)

    faults = fuzz(app, [{}], 1).faults
    assert all("GET /tea" in fault for fault in faults)
    assert said in "".join(faults)
