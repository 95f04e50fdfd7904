"""Odd and valid requests of every operation of the OpenAPI, made by Schemathesis, against the app in this process.

No answer may be a 5xx, and each must have a status, a content type and a body that the OpenAPI names.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.access import COOKIE
from api.app import create_app
from api.examples import ALERT_EVENT
from api.log import configure
from api.security import add_device, add_user
from api.settings import Settings
from bench.servers import new_database, postgres
from contract import utc_now

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# The live feed does not end. Sign-in and sign-out would change whose requests the others are.
LEFT_OUT = {("GET", "/events"), ("POST", "/session"), ("DELETE", "/session")}


@dataclass
class Fuzzed:
    """What came of it: answers by status, operations asked, and a line for each operation that answered wrongly."""

    statuses: Counter[int] = field(default_factory=Counter)
    operations: int = 0
    faults: list[str] = field(default_factory=list)


def fuzz(app: FastAPI, headers: list[dict[str, str]], examples: int) -> Fuzzed:
    """Ask each operation `examples` times, in turn with each caller's headers. The same requests each time."""
    done = Fuzzed()
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        if isinstance(found, Err):
            raise found.err()
        operation = found.ok()
        if (operation.method.upper(), operation.path) in LEFT_OUT:
            continue
        done.operations += 1
        try:
            _ask(operation, headers, examples, done)
        except (Failure, FailureGroup) as exc:
            told = exc.exceptions if isinstance(exc, FailureGroup) else [exc]
            done.faults += [f"{operation.method.upper()} {operation.path}: {one}" for one in told]
    return done


def _ask(operation: Any, headers: list[dict[str, str]], examples: int, done: Fuzzed) -> None:
    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        for caller in headers:
            answer = case.call(headers=caller)
            done.statuses[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS, headers=caller)

    ask()


def run(examples: int) -> Fuzzed:
    """Fuzz a centre on a PostgreSQL of its own, as its admin and as a box."""
    configure(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="cw-fuzz-") as folder, postgres() as server:
        url = new_database(server, "fuzz")
        app = create_app(Settings(data=Path(folder), database_url=url, min_free_bytes=0))  # type: ignore[arg-type]
        db = app.state.core.db
        with db.write() as session:
            token = add_device(session, "box-1", utc_now())
            password = add_user(session, "root", "admin", utc_now())
        with TestClient(app, base_url="http://centre") as client:
            box = {"Authorization": f"Bearer {token}"}
            client.post("/alerts", json=ALERT_EVENT, headers=box).raise_for_status()
            client.post("/session", json={"username": "root", "password": password}).raise_for_status()
            cookie = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
            return fuzz(app, [cookie, box], examples)
