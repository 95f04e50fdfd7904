"""What the uplink believes: an answer that names what was sent, and no page that comes in its place."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from case_parts import alert
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from edge.identity import load_signer, public_key
from edge.log import get_logger
from edge.outbox import Outbox, Priority
from edge.uplink import RetryLaterError, Uplink

PAGES = (
    b"<html>Down for maintenance</html>",
    b"[]",
    b'{"alert_id": "01a1b2c3-0000-7000-8000-000000000000", "sha256": "00", "complete": true, "keyid": "00"}',
    b'{"sha256": "%s", "received": 0, "complete": false}',
)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_page_that_answers_everything_takes_nothing(tmp_path: Path, page: bytes, status: int) -> None:
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT"])
    def answer(path: str) -> Response:
        told = page.replace(b"%s", path.rpartition("/")[2].encode())
        return Response(b"" if status == 204 else told, status, media_type="text/html")

    signer = load_signer(tmp_path / "k")
    public = public_key(signer, "box-1")

    with TestClient(app) as client:
        for what in ("alert", "picture", "clip"):
            outbox = Outbox(tmp_path / what, signer=signer)
            if what == "alert":
                outbox.put_alert(alert())
            else:
                kind = Priority.PICTURE if what == "picture" else Priority.CLIP
                outbox.put_file(b"v" * (100 if what == "picture" else 2000), kind, "video/mp4", 1.0)
            uplink = Uplink(outbox, client, get_logger(), public_key=public, part_bytes=500)
            with pytest.raises(RetryLaterError, match="is it the centre"):
                uplink.send_once(threading.Event())
            assert outbox.level().alerts + outbox.level().files == 1
            assert uplink._public_key == public, "the key is still to be enrolled"
