"""A box that signs: real key, real outbox, its messages posted to the app."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from api_parts import JPEG, Centre, event, evidence_item, sha
from fastapi.testclient import TestClient

from contract import AlertEvent
from contract.chain import LINK_HEADER
from edge.identity import load_signer, public_key
from edge.outbox import Outbox


class SigningBox:
    def __init__(self, house: Centre, folder: Path, name: str = "box-1") -> None:
        self.house, self.name = house, name
        self.client: TestClient = house.box(name)
        self.signer = load_signer(folder / name / "identity.key")
        self.outbox = Outbox(folder / name / "outbox", signer=self.signer, now=house.clock)

    @property
    def public(self) -> str:
        return public_key(self.signer, self.name)

    def enrol(self) -> int:
        return self.client.put("/devices/self/key", json={"key": self.public}).status_code

    def sign(self, **changes: Any) -> tuple[dict[str, Any], str]:
        """Return a message and its header; the message is not sent."""
        told = event(self.house.clock(), device_id=self.name, **changes)
        message = AlertEvent.model_validate(told)
        self.outbox.put_alert(message)
        queued = self.outbox.next_alerts(100)[-1]
        assert queued.event_id == message.id
        assert queued.envelope is not None
        return message.wire(), base64.b64encode(queued.envelope.encode()).decode()

    def post(self, told: dict[str, Any], header: str | None) -> str:
        headers = {LINK_HEADER: header} if header is not None else {}
        answer = self.client.post("/alerts", json=told, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["case_id"])

    def send(self, *pictures: bytes, kind: str = "context", **changes: Any) -> str:
        """Send a new alert with its files, and return its case."""
        items = [
            evidence_item(p, kind, "image/jpeg" if p.startswith(b"\xff\xd8") else "application/octet-stream")
            for p in pictures
        ]
        case = self.post(*self.sign(evidence=items, **changes))
        for picture in pictures:
            assert self.client.put(f"/evidence/{sha(picture)}", content=picture).status_code in (200, 201)
        return case


def picture(n: int) -> bytes:
    return JPEG + f"picture {n}".encode()
