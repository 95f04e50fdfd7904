from __future__ import annotations

import base64
import hashlib
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn
from case_parts import KINDS, alert, jpegs, picture_item
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from bench.ports import free_port
from contract import AlertStage, new_id
from contract.chain import LINK_HEADER, open_link
from edge.identity import load_signer
from edge.log import get_logger
from edge.outbox import Outbox, Priority
from edge.uplink import CHUNK, RetryLaterError, Uplink, client_for

S = TypeVar("S", bound="Server")


class Server:
    """A small centre on loopback that can be told to fail."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.alerts: list[bytes] = []
        self.links: list[str] = []
        self.files: dict[str, bytes] = {}
        self.parts: dict[str, bytes] = {}
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.fail_part_at: int | None = None
        app = FastAPI()
        app.add_api_route("/alerts", self._alert, methods=["POST"])
        app.add_api_route("/evidence/{sha256}", self._head, methods=["HEAD"])
        app.add_api_route("/evidence/{sha256}", self._put, methods=["PUT"])
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [sock]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def _fault(self) -> Response | None:
        if not self.answers:
            return None
        status, headers = self.answers.pop(0)
        return Response(status_code=status, headers=headers)

    async def _alert(self, request: Request) -> Response:
        self.log.append("alert")
        if fault := self._fault():
            return fault
        self.alerts.append(await request.body())
        self.links.append(request.headers.get(LINK_HEADER, ""))
        assert request.headers["authorization"] == "Bearer secret"
        told = {"alert_id": json.loads(self.alerts[-1])["data"]["id"], "missing_evidence": []}
        return Response(json.dumps(told), 201)

    async def _head(self, sha256: str) -> Response:
        if sha256 in self.files:
            return Response(headers={"Upload-Complete": "?1", "Upload-Offset": str(len(self.files[sha256]))})
        held = len(self.parts.get(sha256, b""))
        return (
            Response(headers={"Upload-Complete": "?0", "Upload-Offset": str(held)})
            if held
            else Response(status_code=404)
        )

    async def _put(self, sha256: str, request: Request) -> Response:
        body = await request.body()
        span = request.headers.get("content-range")
        self.log.append(f"part {span}" if span else "file")
        if fault := self._fault():
            return fault
        if span:
            start, total = int(span.split()[1].split("-")[0]), int(span.split("/")[1])
            if self.fail_part_at is not None and start >= self.fail_part_at:
                self.fail_part_at = None
                return Response(status_code=503)
            body = self.parts.get(sha256, b"")[:start] + body
            self.parts[sha256] = body
            if len(body) < total:
                return JSONResponse({"sha256": sha256, "received": len(body), "complete": False}, 202)
        if hashlib.sha256(body).hexdigest() != sha256:
            return Response(status_code=422)
        self.files[sha256] = body
        return JSONResponse({"sha256": sha256, "received": len(body), "complete": True}, 201)


def until_done(running: S) -> Iterator[S]:
    yield running
    running.server.should_exit = True
    running.thread.join(60)


@pytest.fixture
def server() -> Iterator[Server]:
    yield from until_done(Server())


def uplink_of(outbox: Outbox, server: Server, **options: Any) -> Uplink:
    return Uplink(outbox, client_for(server.url, "secret", 5.0), get_logger(), **options)


def run_until(uplink: Uplink, outbox: Outbox, seconds: float = 90) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=uplink.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (outbox.level().alerts or outbox.level().files):
        time.sleep(0.02)
    stop.set()
    outbox.changed.set()
    thread.join(60)


def fill(outbox: Outbox) -> str:
    pictures = jpegs("u")
    items = tuple(picture_item(d, k) for d, k in zip(pictures, KINDS, strict=True))
    outbox.put_file(b"\0\0\0\x18ftypisom" + b"v" * 500, Priority.CLIP, "video/mp4", 0.0)
    for data in pictures:
        outbox.put_file(data, Priority.PICTURE, "image/jpeg", 1.0)
    event = alert(items=items)
    outbox.put_alert(event)
    return event.id


def test_messages_then_pictures_then_clips_with_a_signed_link(tmp_path: Path, server: Server) -> None:
    signer = load_signer(tmp_path / "k")
    outbox = Outbox(tmp_path / "outbox", signer=signer)
    event_id = fill(outbox)
    run_until(uplink_of(outbox, server), outbox)
    assert server.log == ["alert"] + ["file"] * 6
    assert list(server.files.values())[-1].startswith(b"\0\0\0\x18ftyp")
    link = open_link(base64.b64decode(server.links[0]).decode(), signer.public_key)
    assert link.event_id == event_id
    assert hashlib.sha256(server.alerts[0]).hexdigest() == link.event_sha256
    assert not list((tmp_path / "outbox/spool").glob("*/*"))


@pytest.mark.parametrize(
    "status", [301, 302, 307, 308, 401, 402, 403, 404, 406, 408, 409, 410, 429, 500, 502, 503, 507]
)
def test_an_answer_that_may_change_keeps_the_message(tmp_path: Path, server: Server, status: int) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put_alert(alert())
    server.answers = [(status, {})]
    uplink = uplink_of(outbox, server)
    with pytest.raises(RetryLaterError):
        uplink.send_once(threading.Event())
    assert outbox.level().alerts == 1
    uplink.send_once(threading.Event())
    assert (outbox.level().alerts, len(server.alerts)) == (0, 1)


@pytest.mark.parametrize("status", [302, 308, 401, 402, 404, 409, 429, 503])
@pytest.mark.parametrize("size", [100, 2000])
def test_an_answer_that_may_change_keeps_the_file(
    tmp_path: Path, server: Server, status: int, size: int
) -> None:
    outbox = Outbox(tmp_path / "outbox")
    sha256 = outbox.put_file(b"v" * size, Priority.CLIP, "video/mp4", 0.0)
    server.answers = [(status, {"Retry-After": "\u00b2"})]
    uplink = uplink_of(outbox, server, part_bytes=500)
    with pytest.raises(RetryLaterError):
        uplink.send_once(threading.Event())
    assert (outbox.level().files, uplink.counts.files) == (1, 0)
    uplink.send_once(threading.Event())
    assert outbox.level().files == 0
    assert server.files == {sha256: b"v" * size}


def test_a_file_that_cannot_be_read_any_more_does_not_hold_back_the_others(
    tmp_path: Path, server: Server
) -> None:
    outbox = Outbox(tmp_path / "outbox")
    lost = outbox.put_file(b"a" * 100, Priority.PICTURE, "image/jpeg", 1.0)
    kept = outbox.put_file(b"b" * 100, Priority.PICTURE, "image/jpeg", 2.0)
    outbox._path(lost).unlink()
    uplink_of(outbox, server).send_once(threading.Event())
    assert (list(server.files), outbox.level().files) == ([kept], 0)
    assert [(t.sha256, t.why) for t in outbox.tombstones()[0]] == [(lost, "unreadable")]


@pytest.mark.parametrize("what", ["ack_alert", "ack_file", "next_alerts"])
def test_a_disk_that_was_full_for_a_moment_does_not_end_the_uplink(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    outbox = Outbox(tmp_path / "outbox")
    fill(outbox)
    real, failed = getattr(outbox, what), []

    def once(*given: Any) -> Any:
        if not failed:
            failed.append(what)
            raise sqlite3.OperationalError("database or disk is full")
        return real(*given)

    monkeypatch.setattr(outbox, what, once)
    uplink = uplink_of(outbox, server)
    run_until(uplink, outbox)
    assert failed
    assert (outbox.level().alerts, outbox.level().files) == (0, 0)
    assert "disk is full" in uplink.counts.last_error


def test_a_refused_message_does_not_hold_back_the_next_and_is_not_lost(
    tmp_path: Path, server: Server
) -> None:
    outbox = Outbox(tmp_path / "outbox")
    refused, good = alert(), alert()
    outbox.put_alert(refused)
    outbox.put_alert(good)
    server.answers = [(422, {})]
    uplink = uplink_of(outbox, server)
    uplink.send_once(threading.Event())
    assert json.loads(server.alerts[0])["id"] == good.id
    assert uplink.counts.refused == 1
    outbox.close()
    assert [a.event_id for a in Outbox(tmp_path / "outbox").next_alerts()] == [refused.id]


class Fussy(Server):
    """Fails (500) at some messages, by their ids."""

    def __init__(self) -> None:
        super().__init__()
        self.poison: set[str] = set()

    async def _alert(self, request: Request) -> Response:
        if json.loads(await request.body())["id"] in self.poison:
            self.log.append("poison")
            return Response(status_code=500)
        return await super()._alert(request)


@pytest.fixture
def fussy() -> Iterator[Fussy]:
    yield from until_done(Fussy())


@pytest.mark.parametrize("order", ["poison, poison, good", "good, poison, poison", "poison", "poison, good"])
def test_messages_at_which_the_centre_fails_hold_back_no_others(
    tmp_path: Path, fussy: Fussy, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr("edge.uplink.ASIDE_S", (0.5, 600.0))
    outbox, good = Outbox(tmp_path / "outbox"), []
    for kind in order.split(", "):
        event = alert()
        outbox.put_alert(event)
        if kind == "poison":
            fussy.poison.add(event.id)
        else:
            good.append(event.id)
    sha256 = outbox.put_file(b"a" * 100, Priority.PICTURE, "image/jpeg", 1.0)
    uplink, stop = uplink_of(outbox, fussy, backoff_cap_s=0.1), threading.Event()
    thread = threading.Thread(target=uplink.run, args=(stop,))
    thread.start()
    end = time.monotonic() + 60
    while time.monotonic() < end and (outbox.level().files or len(fussy.alerts) < len(good)):
        time.sleep(0.02)
    stop.set()
    thread.join(60)
    assert [json.loads(a)["id"] for a in fussy.alerts] == good
    assert list(fussy.files) == [sha256]
    assert outbox.level().alerts == len(fussy.poison), "none is lost"
    fussy.poison.clear()
    uplink._aside._waits.clear()
    run_until(uplink, outbox)
    assert outbox.level().alerts == 0


def test_later_messages_of_an_alert_wait_for_the_one_that_failed(tmp_path: Path, fussy: Fussy) -> None:
    outbox = Outbox(tmp_path / "outbox")
    opened, other = alert(), alert()
    updated = opened.model_copy(
        update={
            "id": new_id(),
            "data": opened.data.model_copy(update={"stage": AlertStage.UPDATED, "revision": 2}),
        }
    )
    for event in (opened, updated, other):
        outbox.put_alert(event)
    fussy.poison.add(opened.id)
    uplink = uplink_of(outbox, fussy)
    uplink.send_once(threading.Event())
    assert [json.loads(a)["id"] for a in fussy.alerts] == [other.id]
    fussy.poison.clear()
    uplink._aside._waits.clear()
    uplink.send_once(threading.Event())
    assert [json.loads(a)["id"] for a in fussy.alerts] == [other.id, opened.id, updated.id]


def test_a_clip_at_which_the_centre_fails_holds_back_no_other_clip(tmp_path: Path, server: Server) -> None:
    outbox = Outbox(tmp_path / "outbox")
    for n in range(3):
        outbox.put_file(bytes([n]) * 100, Priority.CLIP, "video/mp4", float(n))
    server.answers = [(500, {})]
    uplink = uplink_of(outbox, server)
    uplink.send_once(threading.Event())
    assert outbox.level().files == 2, "the first one waits, the second one went"
    uplink.send_once(threading.Event())
    assert outbox.level().files == 1


def test_a_centre_that_fails_at_everything_is_asked_twice_a_turn(tmp_path: Path, server: Server) -> None:
    outbox = Outbox(tmp_path / "outbox")
    fill(outbox)
    outbox.put_alert(alert())
    server.answers = [(500, {})] * 9
    with pytest.raises(RetryLaterError):
        uplink_of(outbox, server).send_once(threading.Event())
    assert server.log == ["alert", "alert"]
    assert (outbox.level().alerts, outbox.level().files) == (2, 6)


def test_retry_after_is_respected(tmp_path: Path, server: Server) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put_alert(alert())
    server.answers = [(503, {"Retry-After": "1"})]
    began = time.monotonic()
    run_until(uplink_of(outbox, server), outbox)
    assert time.monotonic() - began >= 1.0
    assert len(server.alerts) == 1


def test_a_clip_resumes_where_it_was_broken_off(tmp_path: Path, server: Server) -> None:
    outbox = Outbox(tmp_path / "outbox")
    clip = bytes(range(256)) * (5 * 2**20 // 256)
    name = outbox.put_file(clip, Priority.CLIP, "video/mp4", 0.0)
    server.fail_part_at = 4 * CHUNK
    run_until(uplink_of(outbox, server, uniform=lambda *_: 0.1), outbox)
    assert server.files[name] == clip
    starts = [int(line.split()[2].split("-")[0]) for line in server.log]
    assert starts.count(0) == 1, "the first part is not sent again"
    assert starts.count(4 * CHUNK) == 2


def test_a_clip_that_came_whole_and_was_not_stored_is_sent_again(tmp_path: Path, server: Server) -> None:
    outbox = Outbox(tmp_path / "outbox")
    clip = bytes(range(256)) * (5 * 2**20 // 256)
    name = outbox.put_file(clip, Priority.CLIP, "video/mp4", 0.0)
    server.parts[name] = clip
    run_until(uplink_of(outbox, server, uniform=lambda *_: 0.1), outbox)
    assert server.files[name] == clip


def test_the_rate_cap_holds(tmp_path: Path, server: Server) -> None:
    outbox = Outbox(tmp_path / "outbox")
    for i in range(4):
        outbox.put_file(bytes([i]) * 50_000, Priority.PICTURE, "image/jpeg", float(i))
    began = time.monotonic()
    run_until(uplink_of(outbox, server, rate_cap_bytes_s=200_000), outbox)
    assert time.monotonic() - began >= 0.9


def test_backoff_grows_has_jitter_and_an_end(tmp_path: Path) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.0

    outbox = Outbox(tmp_path / "outbox")
    outbox.put_alert(alert())
    port = free_port()
    uplink = Uplink(
        outbox, client_for(f"http://127.0.0.1:{port}", "secret-token"), get_logger(), uniform=uniform
    )
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    uplink.run(stop)
    assert len(asked) >= 2
    assert uplink.counts.failures >= 2
    assert "secret-token" not in uplink.counts.last_error
    assert outbox.level().alerts == 1
