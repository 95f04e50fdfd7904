"""A case file checked offline: what is proven, what is not, what is wrong. The layout is in `contract/case_file.py`."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.signer import Key  # type: ignore[attr-defined]  # no __all__

from contract import AlertEvent
from contract.case_file import GENESIS, CaseHead, Strand, StrandHead, custody_hash, texts
from contract.chain import Link, LinkError, canonical, event_body, open_link, read_public_key

MAX_ENTRIES, MAX_BYTES, MAX_TEXT = 20_000, 2 * 2**30, 2**20
# Stored and JPEG data shrink little; a thousandfold is a bomb.
MAX_RATIO = 200
_ALERT = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_NAME = re.compile(
    rf"case\.json|custody\.jsonl|files/[0-9a-f]{{64}}|{_ALERT}/"
    r"(key\.json|chain/\d{8}\.json|time/\d{8}\.tsr|events/[0-9a-f]{64}\.json)"
)


@dataclass
class Verdict:
    """Lines in words. The case stands when `wrong` is empty."""

    proven: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """True when nothing is wrong."""
        return not self.wrong


class _Broken(Exception):  # noqa: N818 - ends one check, never leaves this module
    pass


def write_case(path: Path, strands: Sequence[Strand], files: Mapping[str, bytes | Path]) -> None:
    """Write a case; `files` by SHA-256.

    Raises:
        ValueError: an alert has no links.
    """
    content = list(texts(strands, len(files)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in content:
            out.writestr(name, data)
        for sha256, file in files.items():
            if isinstance(file, Path):
                out.write(file, f"files/{sha256}", zipfile.ZIP_STORED)
            else:
                out.writestr(zipfile.ZipInfo(f"files/{sha256}"), file)


def verify_case(
    path: Path, enrolled_keyid: str | None = None, tsa_certificate: Path | None = None
) -> Verdict:
    """Check a case offline and say in words what is proven.

    Args:
        enrolled_keyid: id of the key that the centre enrolled for the box; without it the key is only the file's claim.
        tsa_certificate: certificate (PEM) of the time-stamping authority; tokens are checked with `openssl ts`.
    """
    verdict = Verdict()
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, verdict, enrolled_keyid, tsa_certificate)
    except _Broken as exc:
        verdict.wrong.append(str(exc))
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        OSError,
        EOFError,
        NotImplementedError,
        ValueError,
        zlib.error,
        struct.error,
        RuntimeError,
    ) as exc:
        verdict.wrong.append(f"the ZIP file cannot be read: {exc}")
    return verdict


def _check(archive: zipfile.ZipFile, verdict: Verdict, keyid: str | None, tsa: Path | None) -> None:
    names = _names(archive)
    head = _head(archive, names)
    folders = {s.alert_id for s in head.strands}
    if len(folders) != len(head.strands):
        raise _Broken("case.json names an alert twice")
    if stray := sorted(n for n in names if n[8:9] == "-" and n[:36] not in folders):
        raise _Broken(f"{stray[0]} belongs to no alert of case.json")
    events: list[AlertEvent] = []
    for strand in head.strands:
        events += _strand(archive, names, strand, verdict, keyid, tsa)
    count = _files(archive, names, head, events)
    verdict.proven.append(f"{count} evidence files are, byte for byte, those that the messages name")
    _custody(archive, names, head, verdict)
    verdict.unproven += [
        "that no later message of the case exists: ask the centre for the newest one",
        "what the camera was shown: a signature proves who recorded and that nothing was changed since, not the scene",
    ]


def _strand(
    archive: zipfile.ZipFile,
    names: set[str],
    strand: StrandHead,
    verdict: Verdict,
    keyid: str | None,
    tsa: Path | None,
) -> list[AlertEvent]:
    device, key = _key(archive, names, strand.alert_id)
    if device != strand.device:
        raise _Broken(f"case.json names the box {strand.device}, key.json names {device}")
    if keyid is not None and key.keyid != keyid:
        raise _Broken(f"the key {key.keyid[:16]}… is not the enrolled key {keyid[:16]}…")
    links = _links(archive, names, strand, key)
    events = _events(archive, names, strand, links)
    _times(links, events, verdict)
    verdict.proven += [
        f"{len(links)} links of the box {device} are signed by the key {key.keyid[:16]}… and joined without a gap "
        f"(numbers {strand.first_seq} to {strand.last_seq})",
        f"{len(events)} messages of the alert {strand.alert_id} are those that the box signed",
    ]
    if keyid is None:
        verdict.unproven.append(
            f"that the key belongs to the box {device}: compare its id {key.keyid} with the centre's list of enrolled "
            "boxes, or give it with --key"
        )
    _tokens(archive, names, strand.alert_id, links, tsa, verdict)
    return events


def _custody(archive: zipfile.ZipFile, names: set[str], head: CaseHead, verdict: Verdict) -> None:
    if (head.custody is not None) != ("custody.jsonl" in names):
        raise _Broken("case.json and the file disagree on whether there is a custody.jsonl")
    if head.custody is None:
        return
    text = _text(archive, names, "custody.jsonl")
    before, count = GENESIS, 0
    for line in text.splitlines(keepends=True):
        try:
            e = json.loads(line)
            same = canonical(e) + "\n" == line and e["position"] == count and e["before"] == before
            told = (e["before"], e["chain"], e["position"], e["at"], e["actor"], e["action"], e["body"])
            good = same and len(e) == len(told) + 1 and custody_hash(*told) == e["hash"]
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise _Broken(f"custody.jsonl: entry {count} was changed")
        before, count = e["hash"], count + 1
    if (count, before) != (head.custody.entries, head.custody.head):
        raise _Broken("custody.jsonl: its last entries are missing")
    verdict.proven.append(
        f"the centre's log of the case has {count} entries, none changed, missing or moved since its last was written"
    )


def _names(archive: zipfile.ZipFile) -> set[str]:
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise _Broken(f"{len(infos)} entries; a case has at most {MAX_ENTRIES}")
    if sum(i.file_size for i in infos) > MAX_BYTES:
        raise _Broken("the unpacked case would exceed 2 GiB")
    seen: set[str] = set()
    for info in infos:
        if not _NAME.fullmatch(info.filename):
            raise _Broken(f"{info.filename[:80]!r} does not belong into a case")
        if info.filename in seen:
            raise _Broken(f"{info.filename} is there twice")
        if info.file_size > MAX_RATIO * max(info.compress_size, 64):
            raise _Broken(f"{info.filename} unpacks to {info.file_size} bytes: refused as a bomb")
        seen.add(info.filename)
    return seen


def _text(archive: zipfile.ZipFile, names: set[str], name: str) -> str:
    if name not in names:
        raise _Broken(f"{name} is missing")
    if archive.getinfo(name).file_size > MAX_TEXT:
        raise _Broken(f"{name} is larger than 1 MiB")
    try:
        return archive.read(name).decode()
    except UnicodeDecodeError:
        raise _Broken(f"{name} is not text: it was changed") from None


def _head(archive: zipfile.ZipFile, names: set[str]) -> CaseHead:
    text = _text(archive, names, "case.json")
    try:
        head = CaseHead.model_validate_json(text)
    except ValueError:
        raise _Broken("case.json cannot be read: it was changed") from None
    if canonical(head.wire()) != text:
        raise _Broken("case.json was changed")
    return head


def _key(archive: zipfile.ZipFile, names: set[str], folder: str) -> tuple[str, Key]:
    try:
        return read_public_key(_text(archive, names, f"{folder}/key.json"))
    except ValueError as exc:
        raise _Broken(f"key.json: {exc}") from None


def _links(archive: zipfile.ZipFile, names: set[str], head: StrandHead, key: Key) -> list[Link]:
    wanted = [
        f"{head.alert_id}/chain/{seq:08d}.json"
        for seq in range(head.first_seq, min(head.last_seq, head.first_seq + MAX_ENTRIES) + 1)
    ]
    there = sorted(n for n in names if n.startswith(f"{head.alert_id}/chain/"))
    if there != wanted:
        odd = sorted(set(there) ^ set(wanted))
        raise _Broken(
            f"the chain does not run from {head.first_seq} to {head.last_seq}: {', '.join(odd[:3])}"
        )
    links: list[Link] = []
    for seq, name in enumerate(wanted, head.first_seq):
        try:
            link = open_link(_text(archive, names, name), key)
        except LinkError as exc:
            raise _Broken(f"{name}: {exc}") from None
        if link.seq != seq:
            raise _Broken(f"{name} holds link {link.seq}: links were reordered or replayed")
        if link.device != head.device:
            raise _Broken(f"{name} is of another box, {link.device}")
        if links and link.previous != links[-1].digest():
            raise _Broken(f"{name} does not follow the link before it: the chain is broken there")
        links.append(link)
    return links


def _events(
    archive: zipfile.ZipFile, names: set[str], head: StrandHead, links: list[Link]
) -> list[AlertEvent]:
    own = [link for link in links if link.alert_id == head.alert_id]
    if len({link.event_id for link in own}) != len(own) or len({x.event_sha256 for x in own}) != len(own):
        raise _Broken("one message stands twice in the chain: it was replayed")
    wanted = {f"{head.alert_id}/events/{link.event_sha256}.json" for link in own}
    there = {n for n in names if n.startswith(f"{head.alert_id}/events/")}
    if wanted != there or len(own) != head.events or not own:
        odd = sorted(wanted ^ there)
        raise _Broken(
            f"the messages are not those of the links: {', '.join(odd[:3]) or 'their number is wrong'}"
        )
    if own[0] is not links[0] or own[-1] is not links[-1]:
        raise _Broken("the chain does not begin and end with the case's own links")
    return [_event(archive, names, link) for link in own]


def _event(archive: zipfile.ZipFile, names: set[str], link: Link) -> AlertEvent:
    name = f"{link.alert_id}/events/{link.event_sha256}.json"
    text = _text(archive, names, name)
    if hashlib.sha256(text.encode()).hexdigest() != link.event_sha256:
        raise _Broken(f"{name} was changed after it was signed")
    try:
        event = AlertEvent.model_validate_json(text)
    except ValueError:
        raise _Broken(f"{name} is signed, but this version cannot read it") from None
    told = (event.id, event.data.id, event.data.device_id, event.data.stage, event.data.revision)
    if (
        told != (link.event_id, link.alert_id, link.device, link.stage, link.revision)
        or event_body(event) != text.encode()
    ):
        raise _Broken(f"{name} says other than its link")
    return event


def _files(archive: zipfile.ZipFile, names: set[str], head: CaseHead, events: list[AlertEvent]) -> int:
    items = {item.sha256: item for event in events for item in event.data.evidence}
    there = {n.removeprefix("files/") for n in names if n.startswith("files/")}
    if missing := sorted(set(items) - there):
        raise _Broken(
            f"{len(missing)} evidence files are missing, the first is {missing[0]} ({items[missing[0]].kind})"
        )
    if extra := sorted(there - set(items)):
        raise _Broken(f"files/{extra[0]} is named by no message")
    if len(there) != head.files:
        raise _Broken(f"case.json counts {head.files} files, {len(there)} are there")
    for sha256, item in items.items():
        with archive.open(f"files/{sha256}") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it reads, that is all it needs
        if found != sha256 or archive.getinfo(f"files/{sha256}").file_size != item.size:
            raise _Broken(f"the {item.kind} picture or clip {sha256} was changed")
    return len(items)


def _times(links: list[Link], events: list[AlertEvent], verdict: Verdict) -> None:
    revisions = [event.data.revision for event in events]
    if revisions != sorted(revisions):
        raise _Broken("the revisions of the alert do not count up: messages were reordered")
    back = [link.seq for before, link in itertools.pairwise(links) if link.signed_at < before.signed_at]
    if back:
        verdict.unproven.append(
            f"the wall time at link {back[0]}: the box's clock was set back there; the order stands"
        )
    dwell = events[0].data.dwell
    wall = (dwell.confirmed_at - dwell.first_seen_at).total_seconds()
    words = f"{dwell.dwell_s:.0f} s of dwell by the box's monotonic clock; {wall:.0f} s by the picture times"
    (verdict.proven if abs(wall - dwell.dwell_s) <= 5 else verdict.unproven).append(words)
    if dwell.clock_source != "rtcp_sender_report":
        verdict.unproven.append(
            f"the pictures' time of day against the camera's clock (it came from: {dwell.clock_source})"
        )


def _tokens(
    archive: zipfile.ZipFile,
    names: set[str],
    folder: str,
    links: list[Link],
    tsa: Path | None,
    verdict: Verdict,
) -> None:
    by_seq = {link.seq: link for link in links}
    tokens = sorted(n for n in names if n.startswith(f"{folder}/time/"))
    if not tokens:
        verdict.unproven.append("the moment of signing by a third party: no RFC 3161 token is in the case")
        return
    for name in tokens:
        seq = int(name[-12:-4])
        if seq not in by_seq:
            raise _Broken(f"{name} belongs to no link of the case")
        if tsa is None:
            verdict.unproven.append(
                f"the time-stamp of link {seq}: give the authority's certificate with --tsa"
            )
        else:
            _openssl_verify(archive.read(name), by_seq[seq].digest(), tsa, name)
            verdict.proven.append(f"link {seq} existed at the time that the time-stamping authority signed")


def _openssl_verify(token: bytes, digest: str, tsa: Path, name: str) -> None:
    command = ["openssl", "ts", "-verify", "-digest", digest, "-in", "/dev/stdin", "-CAfile", str(tsa)]
    try:
        done = subprocess.run(command, input=token, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise _Broken(f"{name} could not be checked: openssl: {type(exc).__name__}") from None
    if done.returncode != 0:
        raise _Broken(f"{name} is no time-stamp of that link by this authority")
