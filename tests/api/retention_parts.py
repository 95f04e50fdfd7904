"""What the tests of retention share."""

from __future__ import annotations

import asyncio
from typing import Any

from api_parts import Centre, sha

from api.retention import Swept, sweep

DAY = 86400.0
KEEP = {"keep_candidate_days": 90, "keep_rejected_days": 30, "keep_filed_days": 0, "keep_closed_days": 365}


def run(house: Centre) -> Swept:
    return asyncio.run(sweep(house.core))


def here(house: Centre, data: bytes) -> bool:
    return asyncio.run(house.core.store.size(sha(data))) is not None


def to_state(house: Centre, case: str, state: str) -> None:
    rita, root = house.person("rita"), house.person("root", "admin")
    if state == "candidate":
        return
    verdict = {"kind": "reject", "reason": 2} if state == "rejected" else {"kind": "confirm"}
    assert rita.post(f"/cases/{case}/verdicts", json=verdict).status_code == 200
    steps: list[tuple[Any, dict[str, str]]] = []
    if state in {"filed", "closed"}:
        steps.append((root, {"step": "file"}))
    if state == "closed":
        steps += [
            (root, {"step": "accept"}),
            (root, {"step": "dispatch", "unit": "u"}),
            (house.person("hans", "handler"), {"step": "start"}),
            (house.person("hans", "handler"), {"step": "done"}),
            (root, {"step": "close"}),
        ]
    for who, step in steps:
        answer = who.post(f"/cases/{case}/steps", json=step)
        assert answer.status_code == 200, answer.text


class Killed(BaseException):
    pass
