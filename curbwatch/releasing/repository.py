"""A TUF repository of model releases in a folder that any file server can give out.

Roles: `root` (kept offline, with a threshold), `targets` (delegates, releases nothing itself), one role a city (its releases),
`snapshot` and `timestamp` (signed often, by a machine). https://theupdateframework.github.io/specification/latest/
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # no __all__
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from models.bundle import load_bundle

TOP = ("root", "targets", "snapshot", "timestamp")
# How long each role's word holds: a freeze is noticed after a day, a stolen timestamp key is worth a day.
LIFE = {"root": 365.0, "targets": 180.0, "city": 90.0, "snapshot": 7.0, "timestamp": 1.0}
_WRITE = JSONSerializer(compact=False)


class RepositoryError(RuntimeError):
    """The repository or a key cannot be used; the message says how to mend it."""


class Repository:
    """Reads and writes the metadata under `folder`; the private keys are PEM files in `keys`, mode 0600."""

    def __init__(self, folder: Path, keys: Path, now: datetime | None = None) -> None:
        self._folder, self._keys = folder, keys
        self._now = (now or datetime.now(UTC)).replace(microsecond=0)

    def create(self, root_keys: int = 2, threshold: int = 1) -> None:
        """Make keys and the first metadata.

        Raises:
            RepositoryError: there is a repository already, or the threshold cannot be met.
        """
        if (self._folder / "metadata" / "1.root.json").exists():
            raise RepositoryError(f"{self._folder} holds a repository already")
        if not 1 <= threshold <= root_keys:
            raise RepositoryError(f"threshold: {root_keys} root keys can sign at most {root_keys} times")
        root = Root(version=1, expires=self._now, consistent_snapshot=True)
        root.version = 0  # signing counts up
        for role in TOP:
            for i in range(root_keys if role == "root" else 1):
                root.add_key(self._make_key(role, i).public_key, role)
        root.roles["root"].threshold = threshold
        self._sign("root", Metadata(root))
        targets = Targets(version=1, expires=self._now)
        targets.version = 0
        targets.delegations = Delegations({}, {})
        self._sign("targets", Metadata(targets))
        self._publish_snapshot()

    def delegate(self, city: str) -> None:
        """Let a role of its own release what begins with `city/`; its key is made here and can move to the city.

        Raises:
            RepositoryError: the city has a role already.
        """
        top: Metadata[Targets] = self._load("targets")
        delegations = top.signed.delegations
        if delegations is None or delegations.roles is None or city in delegations.roles:
            raise RepositoryError(f"{city} has a role already; `rotate {city}` renews its key")
        self._check("targets", self._signers("targets"), top)
        key = self._make_key(city, 0).public_key
        delegations.roles[city] = DelegatedRole(city, [], 1, True, paths=[f"{city}/*/*/*"])
        top.signed.add_key(key, city)
        self._sign("targets", top)
        released = Targets(version=1, expires=self._now)
        released.version = 0
        self._sign(city, Metadata(released))
        self._publish_snapshot()

    def publish(self, city: str, bundle_folder: Path) -> str:
        """Release a bundle for a city and return its name; the bundle is verified first.

        Raises:
            RepositoryError: the city has no role, or this version was released with other bytes.
            models.bundle.BundleError: the bundle is not whole.
        """
        bundle = load_bundle(bundle_folder)
        m = bundle.manifest
        role: Metadata[Targets] = self._load(city)
        for name in ["manifest.json", *m.files]:
            path, source = f"{city}/{m.name}/{m.version}/{name}", bundle.folder / name
            info = TargetFile.from_file(path, str(source), ["sha256"])
            known = role.signed.targets.get(path)
            if known is not None and known.hashes != info.hashes:
                raise RepositoryError(f"{path} was released with other bytes; give the bundle a new version")
            role.signed.targets[path] = info
            to = self._folder / "targets" / Path(path).parent / f"{info.hashes['sha256']}.{name}"
            to.parent.mkdir(parents=True, exist_ok=True)
            if not to.exists():
                shutil.copyfile(source, to.with_name(f"{to.name}.part"))
                to.with_name(f"{to.name}.part").replace(to)
        self._sign(city, role)
        self._publish_snapshot()
        return f"{city}/{m.name}@{m.version}"

    def withdraw(self, model: str) -> None:
        """Take a release out of its role: boxes that do not have it cannot get it any more.

        Raises:
            RepositoryError: there is no such release.
        """
        city, _, rest = model.partition("/")
        prefix = f"{city}/{rest.replace('@', '/')}/"
        role: Metadata[Targets] = self._load(city)
        gone = [p for p in role.signed.targets if p.startswith(prefix)]
        if not gone:
            raise RepositoryError(f"{model} was not released")
        for path in gone:
            del role.signed.targets[path]
        self._sign(city, role)
        self._publish_snapshot()

    def rotate(self, role: str) -> None:
        """Replace all keys of `root`, `targets`, `snapshot`, `timestamp` or a city; the old ones are worthless from now on.

        A new root is signed by the old keys and the new ones, so that boxes follow.

        Raises:
            RepositoryError: there is no such role, or a key is missing that must sign; nothing is changed then.
        """
        if role not in (*TOP, *self.cities()):
            raise RepositoryError(f"{role}: no such role; it is one of {', '.join((*TOP, *self.cities()))}")
        above = "root" if role in TOP else "targets"
        holder: Metadata[Any] = self._load(above)
        old: list[str] = list(holder.signed.get_delegated_role(role).keyids)
        made = [CryptoSigner.generate_ed25519() for _ in old]
        for keyid in old:
            holder.signed.revoke_key(keyid, role)
        for signer in made:
            holder.signed.add_key(signer.public_key, role)
        signing = self._signers(above) + (made if role == "root" else [])
        self._check(above, signing, holder)
        for other in ("snapshot", "timestamp"):
            if other != role:
                self._check(other, self._signers(other), holder)
        # The new keys are kept before anything names them, and the old ones go when they are worthless.
        paths = [self._keys / f"{role}-{i}.pem" for i in range(len(made))]
        new = [self._keep(signer, path.with_suffix(".new")) for signer, path in zip(made, paths, strict=True)]
        try:
            self._sign(above, holder, signing)
        except BaseException:
            for kept in new:
                kept.unlink()
            raise
        for path in self._files(role):
            path.replace(path.with_suffix(f".{self._now:%Y%m%dT%H%M%S}.old"))
        for path, kept in zip(paths, new, strict=True):
            kept.replace(path)
        if role not in ("root", "snapshot", "timestamp"):
            self._sign(role, self._load(role))
        self._publish_snapshot()

    def refresh(self, roles: Sequence[str] = ("snapshot", "timestamp")) -> None:
        """Sign roles again, so that they hold longer. Run it from a timer with the keys of snapshot and timestamp alone."""
        for role in roles:
            if role not in ("snapshot", "timestamp"):
                self._sign(role, self._load(role))
        if set(roles) - {"timestamp"}:
            self._publish_snapshot()
        else:
            self._publish_timestamp()

    def status(self) -> list[tuple[str, int, datetime, int]]:
        """Return each role with version, expiry and number of released files."""
        names = [*TOP, *self.cities()]
        found = []
        for name in names:
            signed = self._load(name).signed
            found.append((name, signed.version, signed.expires, len(getattr(signed, "targets", {}))))
        return found

    def cities(self) -> list[str]:
        """Return the cities that have a role."""
        delegations = self._load("targets").signed.delegations
        return list(delegations.roles or {}) if delegations else []

    def _publish_snapshot(self) -> None:
        path = self._folder / "metadata" / "timestamp.json"
        last: Timestamp | None = Metadata[Timestamp].from_file(str(path)).signed if path.exists() else None
        version = last.snapshot_meta.version if last else 0
        meta = {f"{n}.json": MetaFile(self._load(n).signed.version) for n in ["targets", *self.cities()]}
        snapshot = Snapshot(version=1, expires=self._now, meta=meta)
        snapshot.version = version
        self._sign("snapshot", Metadata(snapshot))
        self._publish_timestamp()

    def _publish_timestamp(self) -> None:
        path = self._folder / "metadata" / "timestamp.json"
        version = Metadata.from_file(str(path)).signed.version if path.exists() else 0
        snapshot = self._load("snapshot")
        data = (self._folder / "metadata" / f"{snapshot.signed.version}.snapshot.json").read_bytes()
        meta = MetaFile(snapshot.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})
        stamp = Timestamp(version=1, expires=self._now, snapshot_meta=meta)
        stamp.version = version
        self._sign("timestamp", Metadata(stamp))

    def _sign(self, role: str, metadata: Metadata[Any], signers: Sequence[CryptoSigner] = ()) -> None:
        """Write the next version; `signers` are those whose keys are in the folder unless they are given."""
        signers = signers or self._signers(role)
        self._check(role, signers, metadata)
        signed = metadata.signed
        signed.version += 1
        signed.expires = self._now + timedelta(days=LIFE.get(role, LIFE["city"]))
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        name = "timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        path = self._folder / "metadata" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{name}.part")
        metadata.to_file(str(part), _WRITE)
        part.replace(path)

    def _check(self, role: str, signers: Sequence[CryptoSigner], metadata: Metadata[Any]) -> None:
        """Refuse what boxes would not believe: too few of the role's present keys, or of those of the root before."""
        has = {signer.public_key.keyid for signer in signers}
        above = (
            [metadata.signed] if role == "root" else [self._load("root" if role in TOP else "targets").signed]
        )
        if role == "root" and metadata.signed.version > 0:
            above.append(self._load("root").signed)
        for holder in above:
            wanted = holder.get_delegated_role(role)
            found = len(has.intersection(wanted.keyids))
            if found < wanted.threshold:
                raise RepositoryError(
                    f"{self._keys}: {found} of the {wanted.threshold} keys that must sign {role} are here (a key that was "
                    "rotated away counts no more); bring the present ones, or sign where they are"
                )

    def _load(self, role: str) -> Metadata[Any]:
        folder = self._folder / "metadata"
        if role == "timestamp":
            found = [folder / "timestamp.json"]
        else:
            found = sorted(folder.glob(f"[0-9]*.{role}.json"), key=lambda p: int(p.name.split(".")[0]))
        if not found or not found[-1].exists():
            raise RepositoryError(
                f"{role}: no such role; `curbwatch fleet release init`, then `delegate CITY`"
            )
        return Metadata.from_file(str(found[-1]))

    def _files(self, role: str) -> list[Path]:
        return sorted(self._keys.glob(f"{role}-[0-9].pem"))

    def _signers(self, role: str) -> list[CryptoSigner]:
        found = []
        for path in self._files(role):
            if path.stat().st_mode & 0o077:
                raise RepositoryError(f"{path}: others can read it; chmod 600 {path}")
            key: Any = load_pem_private_key(path.read_bytes(), None)
            found.append(CryptoSigner(key))
        if not found:
            raise RepositoryError(
                f"{self._keys}: the key of {role} is not here; bring it, or let its holder sign"
            )
        return found

    def _make_key(self, role: str, number: int) -> CryptoSigner:
        signer = CryptoSigner.generate_ed25519()
        self._keep(signer, self._keys / f"{role}-{number}.pem")
        return signer

    def _keep(self, signer: CryptoSigner, path: Path) -> Path:
        self._keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise RepositoryError(
                f"{path} is there already; if the newest metadata has its key, name it {path.stem}.pem, else remove it"
            ) from None
        with os.fdopen(handle, "wb") as file:
            file.write(signer.private_bytes)
        return path
