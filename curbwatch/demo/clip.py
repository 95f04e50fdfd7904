"""The demo's clip: real CCTV footage that Debian's package opencv-doc ships, checked by its hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

PACKAGE = "opencv-doc"
MEMBER = "./usr/share/doc/opencv-doc/examples/data/vtest.avi"
INSTALLED = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
MEND = "pass your own footage instead: make demo SOURCE=rtsp://user:password@camera/path, or SOURCE=/path/to/clip.mp4"

Say = Callable[[str], None]


class ClipUnavailableError(RuntimeError):
    """The demo's clip could not be had; the message says what to do instead."""


def demo_clip(cache: Path, say: Say) -> Path:
    """Return the path of the clip, fetching it into `cache` where it is not yet there.

    The package is fetched and unpacked without root and without installing it.

    Raises:
        ClipUnavailableError: there is no apt here, or it could not fetch the package.
    """
    target = cache / "vtest.avi"
    if target.is_file() and _sha256(target) == SHA256:
        return target
    if INSTALLED.is_file() and _sha256(INSTALLED) == SHA256:
        return INSTALLED
    if shutil.which("apt-get") is None:
        raise ClipUnavailableError(
            f"the demo's clip comes with Debian's package {PACKAGE}, and there is no apt here; {MEND}"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as tmp:
        package = _download(Path(tmp), say)
        say("unpacking the clip")
        part = target.with_suffix(".part")
        _extract(package, part)
    digest = _sha256(part)
    if digest != SHA256:
        part.unlink()
        raise ClipUnavailableError(
            f"the clip in {PACKAGE} has the SHA-256 {digest}, not the expected {SHA256}; {MEND}"
        )
    part.replace(target)
    return target


def _download(folder: Path, say: Say) -> Path:
    say(f"fetching Debian's package {PACKAGE} (96 MB, once)")
    if not _apt(folder, ["download", PACKAGE]):
        say("reading the package lists first")
        lists = [f"-oDir::State::Lists={folder / 'lists'}", f"-oDir::Cache={folder / 'cache'}"]
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "cache" / "archives" / "partial").mkdir(parents=True)
        if not (_apt(folder, [*lists, "update"]) and _apt(folder, [*lists, "download", PACKAGE])):
            raise ClipUnavailableError(f"apt could not fetch {PACKAGE} (no network?); {MEND}")
    return next(folder.glob(f"{PACKAGE}_*.deb"))


def _apt(folder: Path, args: list[str]) -> bool:
    env = {**os.environ, "LC_ALL": "C"}
    options = ["-q", "-oAPT::Sandbox::User=root", "-oAcquire::Retries=2", "-oAcquire::http::Timeout=30"]
    done = subprocess.run(
        ["apt-get", *options, *args], cwd=folder, env=env, capture_output=True, check=False, timeout=900
    )
    return done.returncode == 0


def _extract(package: Path, target: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar, target.open("wb") as out:
            for member in tar:
                if member.name == MEMBER and (data := tar.extractfile(member)) is not None:
                    shutil.copyfileobj(data, out)
                    break
            else:
                raise ClipUnavailableError(f"{PACKAGE} no longer holds {MEMBER}; {MEND}")
        unpack.kill()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
