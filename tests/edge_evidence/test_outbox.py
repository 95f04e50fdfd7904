from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from case_parts import alert, jpegs, spool_file
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import new_id
from contract.chain import ORIGIN, open_link
from edge.identity import load_signer
from edge.outbox import Outbox, OutboxFullError, Priority

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from case_parts import alert, jpegs
from edge.identity import load_signer
from edge.outbox import Outbox, Priority
folder = Path(sys.argv[1])
outbox = Outbox(folder / "outbox", signer=load_signer(folder / "identity.key"))
for i in range(int(sys.argv[2]), 10**6):
    event = alert()
    for data in jpegs(event.id, 2):
        print("file", outbox.put_file(data, Priority.PICTURE, "image/jpeg", float(i)), flush=True)
    outbox.put_alert(event)
    print("alert", event.id, flush=True)
    if i % 3 == 0:
        first = outbox.next_files(1)[0]
        print("acking", first.sha256, flush=True)
        outbox.ack_file(first.sha256)
"""


def test_kill_at_any_instruction_loses_nothing_that_was_promised(tmp_path: Path) -> None:
    rng = random.Random(5)
    files: set[str] = set()
    alerts: list[str] = []
    here = str(Path(__file__).parent)
    for round_ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(round_ * 1000), here],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(rng.uniform(0.0, 0.25))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        for kind, name in (line.split() for line in lines if line.endswith("\n")):
            if kind == "file":
                files.add(name)
            elif kind == "acking":
                files.discard(name)
            else:
                alerts.append(name)
    signer = load_signer(tmp_path / "identity.key")
    outbox = Outbox(tmp_path / "outbox", signer=signer)
    queued = outbox.next_alerts(10**6)
    assert set(alerts) <= {a.event_id for a in queued}
    assert len({a.event_id for a in queued}) == len(queued)
    waiting = {f.sha256: f for f in outbox.next_files(10**6)}
    assert files <= set(waiting)
    for name, file in waiting.items():
        assert hashlib.sha256(file.path.read_bytes()).hexdigest() == name
    on_disk = {p.name for p in (tmp_path / "outbox/spool").glob("*/*")}
    assert on_disk == set(waiting), "orphans and parts are swept"
    previous = ORIGIN
    for number, queued_alert in enumerate(queued, 1):
        link = open_link(str(queued_alert.envelope), signer.public_key)
        assert (link.seq, link.previous) == (number, previous)
        assert link.event_sha256 == hashlib.sha256(queued_alert.body.encode()).hexdigest()
        previous = link.digest()
    outbox.close()


def test_pictures_before_clips_before_sealed(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    for priority, at in (
        (Priority.SEALED, 1.0),
        (Priority.CLIP, 2.0),
        (Priority.PICTURE, 3.0),
        (Priority.PICTURE, 2.5),
    ):
        outbox.put_file(f"{priority}{at}".encode(), priority, "image/jpeg", at)
    order = [f.priority for f in outbox.next_files()]
    assert order == [Priority.PICTURE, Priority.PICTURE, Priority.CLIP, Priority.SEALED]


def test_a_full_quota_lets_clips_go_first_and_never_a_picture(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", quota_bytes=1000)
    clip = outbox.put_file(b"c" * 600, Priority.CLIP, "video/mp4", 1.0)
    first = outbox.put_file(b"p" * 600, Priority.PICTURE, "image/jpeg", 2.0)
    assert [f.sha256 for f in outbox.next_files()] == [first]
    assert not spool_file(tmp_path, clip).exists()
    with pytest.raises(OutboxFullError, match="quota"):
        outbox.put_file(b"q" * 600, Priority.PICTURE, "image/jpeg", 3.0)
    with pytest.raises(OutboxFullError):
        outbox.put_file(b"d" * 600, Priority.CLIP, "video/mp4", 3.0)
    level = outbox.level()
    assert (level.files, level.bytes, level.dropped_files, level.high_water_bytes) == (1, 600, 1, 600)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.sampled_from(list(Priority))), max_size=12))
def test_the_quota_holds_and_the_level_is_what_is_on_disk(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[int, Priority]]
) -> None:
    folder = tmp_path_factory.mktemp("q")
    outbox = Outbox(folder / "outbox", quota_bytes=1000)
    for i, (size, priority) in enumerate(puts):
        try:
            outbox.put_file(os.urandom(size), priority, "image/jpeg", float(i))
        except OutboxFullError:
            assert priority is not Priority.PICTURE or outbox.level().bytes + size > 1000
        assert outbox.level().bytes <= 1000
    on_disk = sum(p.stat().st_size for p in (folder / "outbox/spool").glob("*/*"))
    assert on_disk == outbox.level().bytes
    outbox.close()


def test_the_same_twice_is_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", signer=load_signer(tmp_path / "k"))
    event, data = alert(), jpegs("x")[0]
    for _ in range(2):
        outbox.put_alert(event)
        outbox.put_file(data, Priority.PICTURE, "image/jpeg", 0.0)
    assert (outbox.level().alerts, outbox.level().files) == (1, 1)
    outbox.ack_alert(outbox.next_alerts()[0].seq)
    outbox.put_alert(event)
    assert len(outbox.links(event.data.id)) == 1


def test_a_refused_message_is_kept_and_offered_again_at_the_next_start(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put_alert(event := alert())
    outbox.refuse_alert(outbox.next_alerts()[0].seq, "422 too new")
    assert outbox.next_alerts() == []
    outbox.close()
    assert [a.event_id for a in Outbox(tmp_path / "outbox").next_alerts()] == [event.id]


def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    other = sqlite3.connect(tmp_path / "outbox/outbox.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, lambda: other.execute("ROLLBACK"))
    timer.start()
    outbox.put_alert(alert())
    timer.join()
    other.close()
    assert outbox.level().alerts == 1


def test_links_of_other_cases_come_without_their_messages(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", signer=load_signer(tmp_path / "k"))
    mine = new_id()
    outbox.put_alert(alert(mine))
    outbox.put_alert(alert())
    outbox.put_alert(alert(mine, 1, "cleared"))
    assert [body is None for _, _, body in outbox.links(mine)] == [False, True, False]


def test_a_full_disk_at_the_start_leaves_what_was_refused_for_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            if sql.startswith(("INSERT", "DELETE")):
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *given)

    outbox, refused = Outbox(tmp_path / "outbox"), alert()
    outbox.put_alert(refused)
    outbox.refuse_alert(outbox.next_alerts()[0].seq, "422")
    outbox.close()
    with monkeypatch.context() as patched:
        patched.setattr("edge.outbox.sqlite3.connect", partial(sqlite3.connect, factory=Full))
        for _ in range(2):
            outbox = Outbox(tmp_path / "outbox")
            assert outbox.level().alerts == 0
            outbox.close()
    assert [a.event_id for a in Outbox(tmp_path / "outbox").next_alerts()] == [refused.id]
