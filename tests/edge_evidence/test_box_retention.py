"""What the box forgets: the clock is moved by hand; what is owed stays, what went has a tombstone that cannot be taken away."""

from __future__ import annotations

import sqlite3
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from case_parts import START, alert
from click.testing import CliRunner

from contract import AlertEvent, utc_now
from curbwatch.commands.evidence import cli
from edge.identity import load_signer
from edge.keeping_config import RetentionConfig
from edge.ledger import AlertLedger
from edge.log import get_logger
from edge.metrics import BoxCollector
from edge.outbox import Outbox, Priority
from edge.retention import BoxRetention, Forgotten
from edge.stills import Still, StillStore
from edge.uplink import UplinkCounts
from edge.view_log import ViewLog

JPEG = b"\xff\xd8\xff\xd9"


class House:
    """A box's stores with a clock that the test moves."""

    def __init__(self, folder: Path, **policy: object) -> None:
        self.at, self.folder, self.wrong = START, folder, timedelta(0)
        self.outbox = Outbox(folder / "outbox", signer=load_signer(folder / "k"), now=self.now)
        self.ledger, self.stills = AlertLedger(folder / "alerts.db"), StillStore(folder / "stills")
        config = RetentionConfig.model_validate({"candidate_days": 2, "sent_days": 30, **policy})
        self.retention = BoxRetention(
            config, 24 * 14, self.outbox, self.ledger, lambda: [self.stills], self.now, get_logger(),
            monotonic=lambda: (self.at - START).total_seconds(),
        )  # fmt: skip

    def now(self) -> datetime:
        return self.at + self.wrong

    def sweep_after(self, days: float) -> Forgotten:
        self.at = START + timedelta(days=days)
        return self.retention.sweep()

    def put(self, data: bytes, priority: Priority) -> str:
        return self.outbox.put_file(data, priority, "application/octet-stream", START.timestamp())

    def waiting(self) -> list[str]:
        return [f.sha256 for f in self.outbox.next_files(10)]


def test_unsent_clips_go_late_and_messages_and_pictures_never(tmp_path: Path) -> None:
    house = House(tmp_path)
    picture, clip, sealed = (house.put(p.name.encode() * 50, p) for p in Priority)
    house.outbox.put_alert(alert())
    assert house.sweep_after(13.9) == Forgotten()
    assert house.waiting() == [picture, clip, sealed]
    assert house.sweep_after(14.1) == Forgotten(unsent=2)
    assert house.sweep_after(4000) == Forgotten()
    assert house.waiting() == [picture]
    assert (house.outbox.level().alerts, house.outbox.level().dropped_files) == (1, 2)
    stones, fault = house.outbox.tombstones()
    assert fault is None
    assert [(s.sha256, s.kind, s.why) for s in stones] == [(clip, "clip", "age"), (sealed, "sealed", "age")]
    assert not (tmp_path / "outbox/spool" / clip[:2] / clip).exists()


def test_a_clock_that_jumps_costs_no_clip_until_it_is_believed(tmp_path: Path) -> None:
    house = House(tmp_path)
    clip = house.put(b"clip", Priority.CLIP)
    house.wrong = timedelta(days=40)
    assert house.sweep_after(0.5) == Forgotten()
    house.wrong = timedelta(0)
    assert house.sweep_after(0.6) == Forgotten()
    assert house.waiting() == [clip]
    house.wrong = timedelta(days=40)
    assert [house.sweep_after(days).unsent for days in (2.0, 2.1, 2.2)] == [0, 0, 1], (
        "it stayed so for three hours"
    )


def test_what_was_sent_is_forgotten_and_its_link_stays(tmp_path: Path) -> None:
    house = House(tmp_path)
    sent, owed = alert(stage="cleared"), alert(stage="cleared")
    for event in (sent, owed):
        house.outbox.put_alert(event)
        house.ledger.put(event.data, START.timestamp())
    house.outbox.ack_alert(house.outbox.next_alerts(1)[0].seq)
    still_open = alert()
    house.ledger.put(still_open.data, START.timestamp())
    assert house.sweep_after(29) == Forgotten()
    done = house.sweep_after(31)
    assert (done.messages, done.alerts) == (1, 2)
    assert house.ledger.get(still_open.data.id) is not None, "an open alert is not over"
    ((_, envelope, body),) = house.outbox.links(sent.data.id)
    assert envelope
    assert body == ""
    ((_, _, kept),) = house.outbox.links(owed.data.id)
    assert AlertEvent.model_validate_json(str(kept)).id == owed.id, "what is owed is kept whole"


def test_pictures_of_what_was_never_confirmed_go(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.stills.put("old", "first", Still(JPEG, START, 1, 1))
    house.stills.put("long", "first", Still(JPEG, START, 1, 1))
    house.stills.put("long", "middle", Still(JPEG, START + timedelta(days=1), 1, 1))
    assert house.sweep_after(1.9) == Forgotten()
    assert house.sweep_after(2.1) == Forgotten(candidates=1)
    assert [house.stills.has("old", "first"), house.stills.has("long", "first")] == [False, True]
    assert StillStore(tmp_path / "stills").expire(house.at + timedelta(days=9)) == 1


def test_under_a_legal_hold_nothing_goes_by_age(tmp_path: Path) -> None:
    house = House(tmp_path, legal_hold=True)
    clip = house.put(b"clip", Priority.CLIP)
    house.stills.put("old", "first", Still(JPEG, START, 1, 1))
    assert house.sweep_after(4000) == Forgotten()
    assert house.waiting() == [clip]
    assert house.stills.has("old", "first")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM tombstones WHERE seq = 2", "2 is missing"),
        ("UPDATE tombstones SET size = 1 WHERE seq = 2", "2 was changed"),
        ("UPDATE tombstones SET why = 'quota' WHERE seq = 1", "1 was changed"),
    ],
)
def test_a_tombstone_cannot_be_changed_or_taken_away(tmp_path: Path, sql: str, words: str) -> None:
    house = House(tmp_path)
    for i in range(3):
        house.put(bytes([i]) * 9, Priority.CLIP)
    house.sweep_after(15)
    house.outbox.close()
    command = ["dropped", "--box", str(tmp_path)]
    assert "3 files were let go unsent; the record is whole" in CliRunner().invoke(cli, command).output
    with sqlite3.connect(tmp_path / "outbox/outbox.db") as db:
        db.execute(sql)
    done = CliRunner().invoke(cli, command)
    assert (done.exit_code, words in done.output) == (1, True)


def test_the_quota_leaves_tombstones_too_and_the_metrics_count_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, quota_bytes=1000)
    for i in range(3):
        outbox.put_file(bytes([i]) * 400, Priority(2 if i < 2 else 1), "video/mp4", float(i))
    outbox.put_alert(alert())
    assert [s.why for s in outbox.tombstones()[0]] == ["quota"]
    counts = UplinkCounts(alerts=7, refused=2)

    class Worker:
        lanes = ()

        def load(self) -> object:
            raise NotImplementedError

    page = {
        sample.name: sample.value
        for metric in BoxCollector(Worker(), outbox.level, counts, ViewLog(utc_now, None))._outbox()  # type: ignore[arg-type]
        for sample in metric.samples
        if not sample.labels
    }
    assert page["curbwatch_edge_outbox_dropped_files_total"] == 1
    assert page["curbwatch_edge_outbox_bytes_high_water"] == 800
    assert page["curbwatch_edge_outbox_alerts_high_water"] == 1
    assert page["curbwatch_edge_outbox_oldest_seconds"] > 1e8
    assert (page["curbwatch_edge_uplink_alerts_total"], page["curbwatch_edge_uplink_refused_total"]) == (7, 2)


def test_the_loop_goes_on_after_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house, calls, stop = House(tmp_path), [], threading.Event()
    monkeypatch.setattr("edge.retention.EVERY_S", 0.01)

    def fail(_: datetime) -> int:
        calls.append(1)
        if len(calls) == 2:
            stop.set()
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(house.outbox, "expire", fail)
    house.retention.run(stop)
    assert len(calls) == 2
