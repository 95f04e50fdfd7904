"""The attacks of the TUF specification (section 1.5.2) against a box's client, over real HTTP."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from fleet_parts import City
from tuf.api.metadata import Metadata, Root

from curbwatch.releasing.repository import Repository, RepositoryError
from edge.fleet.releases import ReleaseError, Releases
from edge.fleet.slots import QuotaError, Slots
from models.bundle import embedded, write_manifest
from models.bundle import load_bundle as load

MODEL = "north/street@1"


def bundle(folder: Path, version: str = "1", weight: bytes = b"weights" * 30_000) -> Path:
    """A bundle whose ONNX is only bytes: nothing here runs it."""
    folder.mkdir(parents=True)
    manifest = load(embedded()).manifest.model_copy(
        update={"name": "street", "version": version, "onnx": "model.onnx"}
    )
    (folder / "model.onnx").write_bytes(weight + version.encode())
    write_manifest(folder, manifest)
    return folder


class Line:
    """A file server that the tests can make bad."""

    def __init__(self, root: Path) -> None:
        self.root, self.cut, self.endless, self.asked = root, 0, "", []  # type: ignore[var-annotated]
        line = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = line.root / self.path.lstrip("/")
                wanted = self.headers.get("Range", "")
                line.asked.append((self.path, wanted))
                if line.endless and line.endless in self.path:
                    self.send_response(200)
                    self.end_headers()
                    try:
                        while True:
                            self.wfile.write(b"x" * 65536)
                    except OSError:
                        return
                if not path.is_file():
                    self.send_error(404)
                    return
                data = path.read_bytes()
                first = int(wanted[6:-1]) if wanted else 0
                self.send_response(206 if wanted else 200)
                if wanted:
                    self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
                self.send_header("Content-Length", str(len(data) - first))
                self.end_headers()
                piece = data[first:]
                if line.cut and "model.onnx" in self.path and len(piece) > line.cut:
                    self.wfile.write(piece[: line.cut])
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.wfile.write(piece)

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


class Scene:
    """A repository, its server, and one box."""

    def __init__(self, folder: Path) -> None:
        self.repo, self.keys, self.folder = folder / "repo", folder / "keys", folder
        made = self.signer()
        made.create()
        made.delegate("north")
        made.publish("north", bundle(folder / "one"))
        self.line = Line(self.repo)
        self.root = (self.repo / "metadata" / "1.root.json").read_bytes()
        self.client = httpx.Client(trust_env=False, timeout=60)
        self.slots = Slots(folder / "slots", 64 * 2**20)

    def signer(self, shift: timedelta = timedelta(0)) -> Repository:
        return Repository(self.repo, self.keys, datetime.now(UTC) + shift)

    def box(self) -> Releases:
        return Releases(self.folder / "box", self.line.url, self.client, self.root)

    def take(self, model: str = MODEL) -> Path:
        releases = self.box()
        release, _ = releases.find(model)
        slot = self.slots.make_room(release.size, lambda p: p.name.removesuffix(".part") in release.files)
        releases.fetch(release, slot)
        return slot

    def meta(self, name: str) -> Path:
        return self.repo / "metadata" / name


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.client.close()
    made.line.server.shutdown()


def refused(scene: Scene, word: str, model: str = MODEL, final: bool = False) -> None:
    with pytest.raises(ReleaseError, match=word) as caught:
        scene.take(model)
    assert caught.value.final == final


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


class Thief(Repository):
    """Signs without asking whether boxes will believe it."""

    def _check(self, *told: Any) -> None: ...


def test_keys_rotate_and_the_old_ones_are_worthless(scene: Scene) -> None:
    scene.take()
    before = scene.folder / "stolen"
    shutil.copytree(scene.keys, before)
    for role in ("timestamp", "snapshot", "targets", "root", "north"):
        scene.signer().rotate(role)
    scene.signer().publish("north", bundle(scene.folder / "two", "2"))
    scene.take("north/street@2")
    Thief(scene.repo, before).refresh()
    refused(scene, "UnsignedMetadataError", "north/street@2")
    with pytest.raises(RepositoryError, match="other bytes"):
        scene.signer().publish("north", bundle(scene.folder / "again", "2", b"other"))


def without(scene: Scene, *names: str) -> Path:
    """Return a folder with the scene's keys but some."""
    some = scene.folder / "some"
    shutil.copytree(scene.keys, some, ignore=shutil.ignore_patterns(*(f"{n}-0.pem" for n in names)))
    return some


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "north"])
def test_a_key_that_was_rotated_away_signs_nothing(scene: Scene, role: str) -> None:
    """The timer goes on where the key of before lies, and boxes go on with what is there."""
    before = without(scene)
    scene.signer().rotate(role)
    timer = Repository(scene.repo, before)
    with pytest.raises(RepositoryError, match=f"some: 0 of the 1 keys that must sign {role} are here"):
        timer.refresh((role, "snapshot", "timestamp"))
    scene.take()


@pytest.mark.parametrize(
    ("role", "missing"),
    [("north", "targets"), ("north", "timestamp"), ("targets", "root"), ("root", "snapshot")],
)
def test_a_rotation_that_cannot_be_signed_changes_nothing(scene: Scene, role: str, missing: str) -> None:
    some = without(scene, missing)
    for path in some.glob(f"{missing}-*"):
        path.unlink()

    def there() -> dict[Path, bytes]:
        return {p: p.read_bytes() for folder in (some, scene.repo) for p in folder.rglob("*") if p.is_file()}

    before = there()
    with pytest.raises(RepositoryError, match=f"some: the key of {missing} is not here"):
        Repository(scene.repo, some).rotate(role)
    with pytest.raises(RepositoryError, match="no such role"):
        Repository(scene.repo, some).rotate("/abs")
    if missing == "targets":
        with pytest.raises(RepositoryError, match="the key of targets"):
            Repository(scene.repo, some).delegate("south")
    assert there() == before
    scene.take()


def test_as_many_root_keys_sign_as_the_threshold_says(tmp_path: Path) -> None:
    keys, repo = tmp_path / "keys", Repository(tmp_path / "repo", tmp_path / "keys")
    repo.create(root_keys=3, threshold=2)
    for i in (1, 2):
        (keys / f"root-{i}.pem").rename(tmp_path / f"root-{i}.pem")
    for role in ("timestamp", "root"):
        with pytest.raises(RepositoryError, match="1 of the 2 keys that must sign root"):
            repo.rotate(role)
    (tmp_path / "root-1.pem").rename(keys / "root-1.pem")
    for role in ("timestamp", "root", "root", "snapshot"):
        repo.rotate(role)
    roots = [Metadata[Root].from_file(str(tmp_path / f"repo/metadata/{i}.root.json")) for i in range(1, 6)]
    for last, root in itertools.pairwise(roots):
        last.verify_delegate("root", root)
        root.verify_delegate("root", root)
    first, newest = (set(r.signed.roles["root"].keyids) for r in (roots[0], roots[-1]))
    assert len(newest) == 3
    assert not first & newest, "the one that was away is worthless, too"
    assert sorted(p.name for p in keys.glob("root-*.pem")) == [f"root-{i}.pem" for i in range(3)]


def test_a_lost_key_is_replaced_and_that_of_a_like_named_city_stays(scene: Scene) -> None:
    scene.signer().delegate("north-1")
    other = (scene.keys / "north-1-0.pem").read_bytes()
    for role in ("north", "timestamp"):
        (scene.keys / f"{role}-0.pem").unlink()
        scene.signer().rotate(role)
    assert (scene.keys / "north-1-0.pem").read_bytes() == other
    scene.signer().publish("north", bundle(scene.folder / "two", "2"))
    scene.take("north/street@2")


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
