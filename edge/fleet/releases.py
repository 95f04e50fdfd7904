"""Released models over TUF (https://theupdateframework.github.io/specification/latest/): metadata checked by python-tuf's
own client, targets fetched into a slot, a cut download taken up where it ended.

A release `city/name@version` is the targets `city/name/version/<file>`, one a file of the bundle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    RepositoryError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from models.bundle import Bundle, BundleError, load_bundle

CHUNK = 64 * 1024
MAX_FILES = 64
MAX_MANIFEST = 2**20
# A box on a bad line asks for a piece; what stands still for this long is cut and taken up again later.
LIMITS = UpdaterConfig(max_root_rotations=64, max_delegations=32, targets_max_length=2_000_000)


class ReleaseError(RuntimeError):
    """The release is not what its signers released, or cannot be had; `final`: asking again gives the same answer."""

    def __init__(self, reason: str, final: bool) -> None:
        super().__init__(reason)
        self.final = final


class UntrustedError(ReleaseError):
    """What came is not the signers', or no longer: a portal's page, or a timer that signs nothing. That passes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, final=False)


class WrongBytesError(UntrustedError):
    """A file has not the hash that was released. The same bytes again and again will not pass."""


@dataclass(frozen=True, slots=True)
class Release:
    """What the signed metadata says of a release."""

    model: str
    files: dict[str, TargetFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(t.length for t in self.files.values())


class HttpxFetcher(FetcherInterface):
    """The box's own HTTP client under python-tuf; nothing is decompressed, so that a small answer cannot grow."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def _fetch(self, url: str) -> Iterator[bytes]:
        with self._client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code != httpx.codes.OK:
                raise DownloadHTTPError(f"{answer.status_code} for {url}", answer.status_code)
            yield from answer.iter_raw(CHUNK)


class Releases:
    """The releases at one address, as far as this box trusts them."""

    def __init__(self, folder: Path, url: str, client: httpx.Client, root: bytes) -> None:
        """`root` is the root metadata that the box was enrolled with; later ones must be signed by it, one after the other.

        `folder` keeps the metadata, so that an older one is known as older after a restart.
        """
        self._folder, self._url, self._client, self._root = folder, url.rstrip("/"), client, root
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, model: str) -> tuple[Release, Updater]:
        """Return what the signers say of a release, from fresh metadata.

        Raises:
            ReleaseError: metadata that is unsigned, expired, older than known, mixed, too long; or no such release.
        """
        city, _, rest = model.partition("/")
        name, _, version = rest.partition("@")
        prefix = f"{city}/{name}/{version}"
        try:
            updater = self._updater()
            updater.refresh()
            listed = updater.get_targetinfo(f"{prefix}/manifest.json")
            if listed is None:
                raise ReleaseError(f"{model}: no trusted role has released it", final=True)
            if listed.length > MAX_MANIFEST:
                raise ReleaseError(f"{model}: its manifest has {listed.length} bytes", final=True)
            files = {"manifest.json": listed}
            for file in self._names(listed):
                found = updater.get_targetinfo(f"{prefix}/{file}")
                if found is None:
                    raise ReleaseError(f"{model}: {file} of its manifest was not released", final=True)
                files[file] = found
        except (RepositoryError, DownloadLengthMismatchError) as exc:
            raise UntrustedError(f"{model}: {type(exc).__name__}: {exc}") from None
        except (DownloadError, httpx.HTTPError, OSError) as exc:
            raise ReleaseError(f"{model}: not reachable ({_cause(exc)})", final=False) from None
        return Release(model, files), updater

    def fetch(self, release: Release, slot: Path) -> Bundle:
        """Bring every file of a release into `slot`, checked; parts that are there are taken up. Return the bundle.

        Raises:
            ReleaseError: a file is not what was released (the next call begins it anew), or the line broke (it goes on).
        """
        for name, target in release.files.items():
            self._file(target, slot / name)
        try:
            bundle = load_bundle(slot)
        except BundleError as exc:
            raise ReleaseError(f"{release.model}: {exc}", final=True) from None
        told = f"{bundle.manifest.name}@{bundle.manifest.version}"
        if told != release.model.partition("/")[2]:
            raise ReleaseError(f"{release.model}: its manifest calls it {told}", final=True)
        return bundle

    def _updater(self) -> Updater:
        return Updater(
            str(self._folder), f"{self._url}/metadata/", None, f"{self._url}/targets/", HttpxFetcher(self._client), LIMITS,
            bootstrap=self._root,
        )  # fmt: skip

    def _names(self, listed: TargetFile) -> list[str]:
        path = self._folder / "manifest.json.part"
        self._file(listed, path)
        try:
            told = json.loads(path.read_bytes())
            names = sorted(told["files"])
        except (ValueError, KeyError, TypeError):
            raise ReleaseError("the released manifest is none", final=True) from None
        finally:
            path.unlink(missing_ok=True)
        if len(names) > MAX_FILES or any(Path(n).name != n or n == "manifest.json" for n in names):
            raise ReleaseError("the released manifest names files that no bundle has", final=True)
        return names

    def _file(self, target: TargetFile, path: Path) -> None:
        if path.is_file() and _right(target, path):
            return
        part = path if path.name.endswith(".part") else path.with_name(f"{path.name}.part")
        have = part.stat().st_size if part.is_file() else 0
        if have > target.length:
            part.unlink()
            have = 0
        if have < target.length:
            self._pull(target, part, have)
        if not _right(target, part):
            with part.open("rb") as file:
                came = hashlib.file_digest(file, "sha256").hexdigest()[:16]
            part.unlink()
            raise WrongBytesError(
                f"{target.path}: the bytes that came do not have the released hash (but {came}…)"
            )
        if part != path:
            part.replace(path)

    def _pull(self, target: TargetFile, part: Path, have: int) -> None:
        folder, _, name = target.path.rpartition("/")
        url = f"{self._url}/targets/{folder}/{next(iter(target.hashes.values()))}.{name}"
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with self._client.stream("GET", url, headers=headers) as answer:
                if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                    raise ReleaseError(f"{target.path}: the server answers {answer.status_code}", final=False)
                length = answer.headers.get("Content-Length", "")
                if answer.status_code == httpx.codes.OK and length not in ("", str(target.length)):
                    raise UntrustedError(
                        f"{target.path}: the server sends {length} bytes, {target.length} were released"
                    )
                if answer.status_code == httpx.codes.OK or not _continues(answer, have):
                    have = 0  # it sends from the beginning
                with part.open("r+b" if part.is_file() else "wb") as file:
                    file.truncate(have)
                    file.seek(have)
                    # Whole chunks would be lost with the line: on a line that breaks sooner nothing would ever arrive.
                    for piece in answer.iter_raw():
                        have += len(piece)
                        if have > target.length:
                            file.truncate(0)
                            raise UntrustedError(f"{target.path}: more bytes than were released")
                        file.write(piece)
        except httpx.HTTPError as exc:
            raise ReleaseError(
                f"{target.path}: the line broke at {have} of {target.length} bytes ({type(exc).__name__})",
                final=False,
            ) from None
        if have < target.length:
            raise ReleaseError(
                f"{target.path}: the line ended at {have} of {target.length} bytes", final=False
            )


def _continues(answer: httpx.Response, have: int) -> bool:
    told: str = answer.headers.get("Content-Range", "")
    return told.startswith(f"bytes {have}-")


def _right(target: TargetFile, path: Path) -> bool:
    with path.open("rb") as file:
        try:
            target.verify_length_and_hashes(file)
        except LengthOrHashMismatchError:
            return False
    return True


def _cause(exc: BaseException) -> str:
    return type(exc.__cause__ or exc).__name__
