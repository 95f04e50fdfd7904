"""The attacks of the TUF specification (section 1.5.2) against a box's client, over real HTTP."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fleet_parts import City
from tuf_scene import MODEL, Scene, bundle, refused

from curbwatch.releasing.repository import Repository
from edge.fleet.releases import ReleaseError, Releases
from edge.fleet.slots import QuotaError, Slots
from models.bundle import load_bundle as load


def test_a_release_arrives_whole_and_by_its_city_alone(scene: Scene) -> None:
    slot = scene.take()
    assert load(slot).manifest.version == "1"
    scene.signer().delegate("south")
    refused(scene, "no trusted role", "south/street@1", final=True)
    # The north's key signs for a path of the south: nobody asks the north for it.
    north = scene.signer()
    role = north._load("north")
    role.signed.targets |= {p.replace("north/", "south/"): t for p, t in role.signed.targets.items()}
    north._sign("north", role)
    north._publish_snapshot()
    refused(scene, "no trusted role", "south/street@1", final=True)


def _unsigned(scene: Scene) -> None:
    path = scene.meta("timestamp.json")
    told = json.loads(path.read_text())
    told["signatures"] = []
    path.write_text(json.dumps(told))


def _by_another_key(scene: Scene) -> None:
    other = Repository(scene.folder / "evil", scene.folder / "evil-keys")
    other.create()
    other.delegate("north")
    other.publish("north", scene.folder / "one")
    for name in ("timestamp.json", "4.snapshot.json", "3.snapshot.json"):
        if (scene.folder / "evil" / "metadata" / name).exists():
            shutil.copy(scene.folder / "evil" / "metadata" / name, scene.meta(name))


def _expired(scene: Scene) -> None:
    scene.signer(timedelta(days=-3)).refresh()


def _changed_after_signing(scene: Scene) -> None:
    path = sorted(scene.repo.glob("metadata/*.snapshot.json"))[-1]
    path.write_text(path.read_text().replace("north", "nosth", 1))


def _endless_metadata(scene: Scene) -> None:
    scene.line.endless = "timestamp.json"


def _endless_target(scene: Scene) -> None:
    scene.line.endless = "model.onnx"


def _wrong_bytes(scene: Scene) -> None:
    path = next(scene.repo.glob("targets/north/street/1/*.model.onnx"))
    data = path.read_bytes()
    path.write_bytes(b"X" + data[1:])


@pytest.mark.parametrize(
    ("attack", "word"),
    [
        (_unsigned, "UnsignedMetadataError"),
        (_by_another_key, "UnsignedMetadataError"),
        (_expired, "ExpiredMetadataError"),
        (_changed_after_signing, "LengthOrHash|RepositoryError"),
        (_endless_metadata, "DownloadLengthMismatchError"),
        (_endless_target, "more bytes than were released"),
        (_wrong_bytes, "do not have the released hash"),
    ],
)
def test_a_box_refuses(scene: Scene, attack: Any, word: str) -> None:
    attack(scene)
    refused(scene, word)
    assert scene.slots.model == ""


@pytest.mark.parametrize(
    "attack",
    [_unsigned, _expired, _endless_metadata, _endless_target, _wrong_bytes],
    ids=lambda a: a.__name__,
)
def test_what_was_not_the_signers_leaves_nothing_behind(scene: Scene, attack: Any) -> None:
    kept = scene.folder / "kept"
    shutil.copytree(scene.repo, kept)
    attack(scene)
    refused(scene, "Error|bytes")
    shutil.rmtree(scene.repo)
    shutil.copytree(kept, scene.repo)
    scene.line.endless = ""
    scene.signer().refresh()
    assert load(scene.take()).manifest.version == "1"


def test_rollback_and_freeze(scene: Scene) -> None:
    kept = scene.folder / "old"
    shutil.copytree(scene.repo / "metadata", kept)
    scene.signer().publish("north", bundle(scene.folder / "two", "2"))
    scene.take("north/street@2")
    now = scene.folder / "now"
    shutil.copytree(scene.repo / "metadata", now)
    shutil.copy(kept / "timestamp.json", scene.meta("timestamp.json"))
    refused(scene, "BadVersionNumberError", "north/street@2")  # an older timestamp
    shutil.copy(now / "timestamp.json", scene.meta("timestamp.json"))
    scene.take("north/street@2")
    # Freeze: the same good timestamp for ever. It expires, and the box says so instead of believing that all is well.
    scene.signer(timedelta(days=-2)).refresh(["timestamp"])
    refused(scene, "ExpiredMetadataError", "north/street@2")


def test_an_older_snapshot_or_role_under_a_new_timestamp(scene: Scene) -> None:
    scene.signer().publish("north", bundle(scene.folder / "two", "2"))
    scene.take("north/street@2")
    # The machine that holds snapshot and timestamp was taken over: it signs a new snapshot that names the city's old role.
    thief = scene.signer()
    thief._load("north")
    newest = sorted(scene.repo.glob("metadata/*.north.json"), key=lambda p: int(p.name.split(".")[0]))[-1]
    newest.unlink()
    thief._publish_snapshot()
    refused(scene, "BadVersionNumberError", "north/street@2")


def test_mix_and_match(scene: Scene) -> None:
    scene.signer().publish("north", bundle(scene.folder / "two", "2"))
    files = sorted(scene.repo.glob("metadata/*.north.json"), key=lambda p: int(p.name.split(".")[0]))
    shutil.copy(files[-2], files[-1])  # a role of one time in a snapshot of another
    refused(scene, "BadVersionNumberError", "north/street@2")


@pytest.mark.parametrize("cut", [33_000, 100_000])
def test_a_cut_download_goes_on_where_it_ended(scene: Scene, cut: int) -> None:
    scene.line.cut = cut
    size = next(scene.repo.glob("targets/north/street/1/*.model.onnx")).stat().st_size
    tries = 0
    while True:
        tries += 1
        try:
            slot = scene.take()
        except ReleaseError as exc:
            if exc.final:
                raise
            continue
        break
    assert load(slot).manifest.version == "1"
    asked = [r for p, r in scene.line.asked if "model.onnx" in p]
    assert tries == len(asked) == -(-size // cut)
    assert asked[1:] == [f"bytes={cut * i}-" for i in range(1, len(asked))], "no byte came twice"


def test_quota_and_two_slots(scene: Scene, tmp_path: Path) -> None:
    small = Slots(tmp_path / "small", 100_000)
    with pytest.raises(QuotaError, match="quota_mib"):
        small.make_room(200_000, lambda _: True)
    slots, slot = scene.slots, scene.take()
    slots.switch(slot, MODEL)
    assert (slots.boot(), slots.phase) == (slot, "trial")
    slots.keep()
    assert slots.phase == "held"
    scene.signer().publish("north", bundle(scene.folder / "two", "2"))
    other = scene.take("north/street@2")
    assert other != slot, "the one that runs is never written to"
    slots.switch(other, "north/street@2")
    assert slots.boot() == other
    # The process ended during the trial, twice: a power cut is forgiven once.
    assert Slots(scene.folder / "slots", 64 * 2**20).boot() == other
    again = Slots(scene.folder / "slots", 64 * 2**20)
    assert (again.boot(), again.phase, again.model) == (slot, "rolled_back", MODEL)
    assert again.refused[0] == "north/street@2"
    assert load(slot).manifest.version == "1"


def test_the_api_serves_the_repository_to_boxes_and_gives_the_root_at_enrolment(
    town: City, tmp_path: Path
) -> None:
    repo = Repository(town.core.settings.data / "releases", tmp_path / "keys")
    repo.create()
    repo.delegate("north")
    repo.publish("north", bundle(tmp_path / "one"))
    with town.enrolled(tmp_path / "box") as client:
        root = (tmp_path / "box" / "fleet" / "root.json").read_bytes()
        releases = Releases(tmp_path / "box" / "tuf", f"{town.url}/releases", client, root)
        release, _ = releases.find(MODEL)
        (tmp_path / "slot").mkdir()
        assert releases.fetch(release, tmp_path / "slot").manifest.version == "1"
        for path in ("../curbwatch.db", "..%2Fcurbwatch.db", "%2e%2e/fleet.key", "metadata"):
            assert client.get(f"{town.url}/releases/{path}").status_code == 404
        part = client.get(f"{town.url}/releases/metadata/1.root.json", headers={"Range": "bytes=5-"})
        assert part.status_code == 206
        assert part.content == root[5:]
    assert partial(httpx.get, trust_env=False)(f"{town.url}/releases/metadata/1.root.json").status_code == 401
