"""What a full disk, a lock, a stepped clock and a stop in between leave owed, and how the box pays it."""

from __future__ import annotations

import os
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.chaos_sites import frame_of, site_view
from camera_adapters.frame import Frame, FrameMeta
from camera_adapters.ring import NoPicturesError, PacketRing, RingPacket, StreamParams
from contract import AlertEvent, EvidenceKind, IssueClass, ModelRef, ScoreThreshold, new_id
from edge.config import CameraConfig
from edge.evidence_clip import ClipMaker
from edge.judge import Change
from edge.ledger import AlertLedger
from edge.log import get_logger
from edge.outbox import Outbox, Priority
from edge.pictures import jpeg, read
from edge.privacy import blur
from edge.recorder import AlertRecorder, BoxFacts
from edge.score_floor import ScoreFloor
from edge.site_store import SiteStore, boot_id
from edge.sites import Moment, Site
from edge.stills import Still, StillStore
from models.detections import Detections

AT = datetime(2026, 5, 6, 2, 0, tzinfo=UTC)
NOTHING = Detections.empty()


class House:
    """A recorder on a folder; `house.again()` is the box after a stop."""

    def __init__(self, folder: Path, ring: PacketRing | None = None, blur: bool = False) -> None:
        self.folder, self.ring = folder, ring
        self.outbox, self.ledger = Outbox(folder / "outbox"), AlertLedger(folder / "alerts.db")
        self.stills = StillStore(folder / "stills")
        camera = CameraConfig.model_validate(
            {"id": "cam", "url": "x", "place": {"lon": 1, "lat": 2}, "clip": {"pre_s": 2, "post_s": 2}}
        )
        facts = BoxFacts("box-1", ModelRef(name="m", version="1", sha256="a" * 64), "0.1", blur)
        self.recorder = AlertRecorder(
            camera, facts, lambda: self.ring, self.stills, self.outbox, self.ledger, folder / "clips", get_logger(),
            ClipMaker(False, lambda: None, inline=True),
        )  # fmt: skip

    def again(self) -> House:
        return House(self.folder, self.ring)

    def tell(self, kind: Any, site: Any, at: datetime = AT) -> None:
        self.recorder.record(Change(kind, site), frame_of(1, at), NOTHING, 320, 180)

    def stages(self) -> list[str]:
        return [AlertEvent.model_validate_json(a.body).data.stage.value for a in self.outbox.next_alerts(50)]


def test_a_case_whose_end_was_never_written_ends_at_the_next_start(tmp_path: Path) -> None:
    house = House(tmp_path)
    kept, gone = site_view(new_id(), 1, AT), site_view(new_id(), 2, AT)
    house.tell("confirmed", kept)
    house.tell("confirmed", gone)
    again = house.again()
    assert again.recorder.resume([kept], frame_of(1, AT), NOTHING, 320, 180)
    told = [AlertEvent.model_validate_json(a.body).data for a in again.outbox.next_alerts(50)]
    assert [(a.id, a.stage) for a in told[2:]] == [(gone.site_id, "cleared")]
    assert "no longer knows the place" in told[2].note
    assert again.recorder.resume([kept], frame_of(1, AT), NOTHING, 320, 180)
    assert len(again.stages()) == 3, "once"


def test_what_cannot_be_read_at_the_start_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    monkeypatch.setattr(
        house.ledger, "open_of", lambda _camera: (_ for _ in ()).throw(sqlite3.OperationalError("locked"))
    )
    assert not house.recorder.resume([], frame_of(1, AT), NOTHING, 320, 180)
    monkeypatch.undo()
    assert house.recorder.resume([site_view(new_id(), 1, AT)], frame_of(1, AT), NOTHING, 320, 180)
    assert house.stages() == ["opened"]


@pytest.mark.parametrize("where", ["first picture", "ledger", "outbox", "look of the place"])
def test_a_full_disk_takes_no_alert_of_the_same_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    house = House(tmp_path)

    def full(*_: Any) -> Any:
        raise {"ledger": sqlite3.OperationalError, "outbox": sqlite3.OperationalError}.get(where, OSError)(
            "full"
        )

    target, name = {
        "first picture": (house.stills, "put"),
        "ledger": (house.ledger, "get"),
        "outbox": (house.outbox, "put_alert"),
        "look of the place": (house.recorder, "_remember_look"),
    }[where]
    if where == "look of the place":
        from edge.references import ReferenceStore

        references = ReferenceStore(tmp_path / "references")
        house.recorder._references = references
        target, name = references, "put"
    monkeypatch.setattr(target, name, full)
    for change in ("seen", "confirmed"):
        house.tell(change, site_view(new_id(), 1 if change == "seen" else 2, AT))
    monkeypatch.undo()
    house.recorder.tick(AT + timedelta(seconds=6))
    assert house.stages() == ["opened"]


def test_what_is_owed_does_not_wait_for_a_clock_that_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(house.outbox, "put_file", lambda *_: (_ for _ in ()).throw(OSError("full")))
        house.tell("confirmed", site_view(new_id(), 1, AT))
        house.recorder.tick(AT + timedelta(seconds=6))
    house.recorder.tick(AT - timedelta(hours=1))
    assert house.stages() == ["opened"]


def test_an_owed_alert_that_a_least_score_covers_meanwhile_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, site = House(tmp_path), site_view(new_id(), 1, AT)
    house.recorder._floor = floor = ScoreFloor(tmp_path / "floor.json", "Asia/Shanghai")
    with monkeypatch.context() as patch:
        patch.setattr(house.outbox, "put_file", lambda *_: (_ for _ in ()).throw(OSError("full")))
        house.tell("confirmed", site)
    assert list(house.recorder._owed) == [site.site_id]
    floor.set([ScoreThreshold(camera_id="cam", issue=site.issue, min_score=0.9)])
    house.tell("cleared", site)
    for n in range(1, 4):
        house.recorder.tick(AT + timedelta(seconds=6 * n))
    assert (house.stages(), floor.held_back) == ([], 1)
    assert not house.recorder._owed
    assert not house.recorder._owed_clear


def ring_of(seconds: float, step_at: float, step: timedelta) -> PacketRing:
    """A second a packet, all key frames; the wall clock is stepped at `step_at`."""
    ring = PacketRing(60, 1 << 20)
    params = StreamParams("h264", 64, 48, Fraction(1, 10), None, 1)
    for n in range(int(seconds) + 1):
        at = AT + timedelta(seconds=n) + (step if n >= step_at else timedelta())
        ring.push(RingPacket(at, True, n, n, bytes(10), params, 1000.0 + n))
    return ring


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_stepped_clock_leaves_the_ring_whole(step: timedelta) -> None:
    ring = ring_of(20, 12, step)
    assert len(ring.held()) == 21
    timed = ring.timed_by(AT + timedelta(seconds=10), 1010.0)
    packets = timed.packets(AT + timedelta(seconds=8), AT + timedelta(seconds=14))
    assert [p.pts for p in packets] == list(range(8, 15))
    assert [p.at for p in packets] == [AT + timedelta(seconds=n) for n in range(8, 15)]


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clip_is_cut_although_the_clock_was_stepped_meanwhile(
    tmp_path: Path, step: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, PacketRing(60, 1 << 20))
    meta = FrameMeta("cam", 1, AT + timedelta(seconds=10), 1010.0, "arrival", None, True, False, 0, 320, 180)
    frame = Frame.from_rgb(np.zeros((180, 320, 3), np.uint8), meta)
    house.ring = ring_of(11, 99, step)
    house.recorder.record(Change("confirmed", site_view(new_id(), 1, AT)), frame, NOTHING, 320, 180)
    house.recorder.tick(AT + timedelta(seconds=11))
    assert not house.recorder._clips._cutting, "its last second is to come"
    house.ring = ring_of(14, 12, step)
    asked: list[tuple[datetime, datetime, int]] = []
    whole = PacketRing.clip

    def clip(self: PacketRing, t0: datetime, t1: datetime, path: Path) -> Any:
        asked.append((t0, t1, len(self.packets(t0, t1))))
        return whole(self, t0, t1, path)

    monkeypatch.setattr(PacketRing, "clip", clip)
    house.recorder.tick(AT + step + timedelta(seconds=14))
    assert asked == [(AT + timedelta(seconds=8), AT + timedelta(seconds=12), 5)]


def test_a_clip_shows_its_alerts_moment_although_the_camera_came_back_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = PacketRing(60, 1 << 20)
    for n in (*range(11), *range(13, 60)):
        params = StreamParams("h264", 64, 48, Fraction(1, 10), None, 1 if n < 11 else 2)
        at = AT + timedelta(seconds=n / 10)
        ring.push(RingPacket(at, True, n, n, bytes(10), params, 1000.0 + n / 10))
    house, shown = House(tmp_path, ring), list[list[int | None]]()

    def clip(self: PacketRing, t0: datetime, t1: datetime, _path: Path) -> Any:
        shown.append([p.pts for p in self.packets(t0, t1)])
        raise NoPicturesError("ten bytes are no picture")

    monkeypatch.setattr(PacketRing, "clip", clip)
    meta = FrameMeta("cam", 1, AT + timedelta(seconds=1), 1001.0, "arrival", None, True, False, 0, 320, 180)
    house.recorder._clips.expect("a", meta)
    house.recorder.tick(AT + timedelta(seconds=6))
    assert shown == [list(range(11))]


def test_a_clip_that_finds_the_disk_full_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camera_adapters.ring import ClipInfo

    house = House(tmp_path)
    site = site_view(new_id(), 1, AT)
    house.tell("confirmed", site)
    clips = house.recorder._clips
    path = tmp_path / "clips" / "cam" / f"{site.site_id}.mp4"
    path.write_bytes(b"clip")
    clips._ready.append((site.site_id, ClipInfo(path, "0" * 64, 4, AT, 2.0, 64, 48, "h264", False), "main"))
    with monkeypatch.context() as patch:
        patch.setattr("edge.outbox.sync", lambda _p: (_ for _ in ()).throw(OSError("full")))
        house.recorder.tick(AT)
    assert path.exists()
    monkeypatch.setattr(time, "monotonic", lambda: 1e9)
    house.recorder.tick(AT)
    assert house.stages() == ["opened", "updated"]
    assert Priority.CLIP in {f.priority for f in house.outbox.next_files(50)}


@pytest.mark.parametrize("jpeg", [b"", b"\xff\xd8 half", b"\xff\xd8\xff\xd9"])
def test_a_torn_picture_is_no_evidence(tmp_path: Path, jpeg: bytes) -> None:
    store = StillStore(tmp_path)
    store.put("s", "first", Still(jpeg, AT, 4, 3))
    (tmp_path / "s.middle.part").write_bytes(b"x")
    assert (StillStore(tmp_path).get("s", "first") is not None) == jpeg.endswith(b"\xff\xd9")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("boot", "step_s", "dwell_s"),
    [(True, 3600, 25.0), (True, -3600, 25.0), (False, 0, 25.0), (False, 3600, 3625.0)],
    ids=["clock set on", "clock set back", "another boot", "another boot and clock: by the wall clock alone"],
)
def test_the_dwell_goes_on_after_a_restart_whatever_the_wall_clock_says(
    tmp_path: Path, boot: bool, step_s: float, dwell_s: float
) -> None:
    site = Site(IssueClass.PARKING_MOTOR, "z", Moment(AT, 500.0), (0.1, 0.1, 0.2, 0.2))
    site.last = Moment(AT + timedelta(seconds=20), 520.0)
    SiteStore(tmp_path / "s.db", "boot-1").save("cam", [site], durable=True)
    later = Moment(AT + timedelta(seconds=25 + step_s), 525.0 if boot else 7.0)
    (again,) = SiteStore(tmp_path / "s.db", "boot-1" if boot else "boot-2").load("cam", later)
    assert again.dwell_s(later.mono_s) == pytest.approx(dwell_s)
    assert boot_id() == boot_id() != ""


def test_an_alert_that_the_next_start_sends_shows_what_was_confirmed(tmp_path: Path) -> None:
    house, site = House(tmp_path), site_view(new_id(), 1, AT)
    then, now = frame_of(7, AT), frame_of(8, AT + timedelta(seconds=30))
    house.recorder.prepare([Change("confirmed", site)], then, NOTHING, 320, 180)
    again = house.again()
    assert again.recorder.resume([site], now, NOTHING, 320, 180)
    (event,) = (AlertEvent.model_validate_json(a.body) for a in again.outbox.next_alerts(5))
    kinds = {e.kind: e for e in event.data.evidence}
    assert {e.captured_at for e in event.data.evidence} == {AT}
    (path,) = (f.path for f in again.outbox.next_files(9) if f.sha256 == kinds[EvidenceKind.CONFIRM].sha256)
    shown, was, is_now = read(path.read_bytes()).astype(int), then.rgb().astype(int), now.rgb().astype(int)
    assert np.abs(shown - was).mean() < 0.75 * np.abs(shown - is_now).mean()
    assert kinds[EvidenceKind.CROP].width < kinds[EvidenceKind.CONTEXT].width == 320


@pytest.mark.parametrize(
    ("kept", "stands_in"),
    [(("first", "middle"), "middle"), (("first",), "first"), ((), None)],
    ids=["the middle one", "the first one", "nothing is left but the present"],
)
def test_without_the_confirmations_picture_an_older_one_stands_in_and_says_so(
    tmp_path: Path, kept: tuple[str, ...], stands_in: str | None
) -> None:
    house, site = House(tmp_path), site_view(new_id(), 1, AT)
    times = {"first": AT - timedelta(seconds=20), "middle": AT - timedelta(seconds=10)}
    for n, name in enumerate(kept):
        picture = frame_of(20 + n, AT).rgb()
        house.stills.put(site.site_id, name, Still(jpeg(picture), times[name], 320, 180))
    now = frame_of(8, AT + timedelta(seconds=30))
    again = house.again()
    assert again.recorder.resume([site], now, NOTHING, 320, 180)
    (event,) = (AlertEvent.model_validate_json(a.body) for a in again.outbox.next_alerts(5))
    kinds = {e.kind: e for e in event.data.evidence}
    at = now.meta.captured_at if stands_in is None else times[stands_in]
    for kind in (EvidenceKind.CONTEXT, EvidenceKind.CONFIRM, EvidenceKind.CROP):
        assert kinds[kind].captured_at == at
        assert kinds[kind].note.startswith(
            "taken after the dwell: no picture"
            if stands_in is None
            else f"the {stands_in} picture of the dwell"
        )
    if stands_in is not None:
        assert kinds[EvidenceKind.CONFIRM].sha256 == kinds[EvidenceKind(stands_in)].sha256
        assert kinds[EvidenceKind(stands_in)].note == ""


def test_a_full_disk_takes_only_the_kept_picture_of_a_confirmation(tmp_path: Path) -> None:
    house, site = House(tmp_path), site_view(new_id(), 1, AT)
    house.stills.put(
        site.site_id, "middle", Still(jpeg(frame_of(20, AT).rgb()), AT - timedelta(seconds=9), 320, 180)
    )
    house.tell("confirmed", site)
    (event,) = (AlertEvent.model_validate_json(a.body) for a in house.outbox.next_alerts(5))
    kinds = {e.kind: e.captured_at for e in event.data.evidence}
    assert kinds[EvidenceKind.CONFIRM] == AT > kinds[EvidenceKind.MIDDLE]


def test_what_an_alert_needs_is_synced_before_its_place_is_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, site, synced = House(tmp_path), site_view(new_id(), 1, AT), []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    house.tell("seen", site)
    assert not synced, "most places come to nothing"
    house.tell("candidate", site)
    assert synced == [f"{site.site_id}.first.json", f"{site.site_id}.first.jpg", "stills"]
    synced.clear()
    house.recorder.prepare([Change("confirmed", site)], frame_of(7, AT), NOTHING, 320, 180)
    assert [n.removesuffix(".part") for n in synced] == [*[f"{site.site_id}.confirm"] * 2, "stills"]


def test_the_picture_of_a_confirmation_is_cleaned_once_and_is_the_one_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[int] = []

    def counted(picture: Any, *args: Any, **more: Any) -> Any:
        cleaned.append(1)
        return blur(picture, *args, **more)

    monkeypatch.setattr("edge.album.blur", counted)
    house, site, frame = House(tmp_path, blur=True), site_view(new_id(), 1, AT), frame_of(7, AT)
    person = Detections(
        np.array([[80, 40, 120, 140]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), ("person",)
    )
    change = Change("confirmed", site)
    # Its judgement failed after that; another frame confirms it.
    house.recorder.prepare([change], frame_of(6, AT), person, 320, 180)
    house.recorder.prepare([change], frame, person, 320, 180)
    kept = house.stills.get(site.site_id, "confirm")
    assert kept is not None
    house.recorder.record(change, frame, person, 320, 180)
    assert len(cleaned) == 2
    (event,) = (AlertEvent.model_validate_json(a.body) for a in house.outbox.next_alerts(5))
    sent = {e.kind: e for e in event.data.evidence}
    (path,) = (f.path for f in house.outbox.next_files(9) if f.sha256 == sent[EvidenceKind.CONFIRM].sha256)
    assert path.read_bytes() == kept.jpeg
    head = read(kept.jpeg)[36:60, 84:116].astype(int)
    assert np.abs(head - frame.rgb()[36:60, 84:116]).mean() > 30, "noise is averaged away"
    # An alert without a kept picture, such as an owed one, is cleaned as it always was.
    house.recorder.record(Change("confirmed", site_view(new_id(), 2, AT)), frame, person, 320, 180)
    assert len(cleaned) == 3
