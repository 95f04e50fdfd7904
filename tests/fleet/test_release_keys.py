"""Keys of a release repository: rotated, stolen, lost, kept apart."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root
from tuf_scene import Scene, bundle, refused

from curbwatch.releasing.repository import Repository, RepositoryError


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
