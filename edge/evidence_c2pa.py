"""C2PA export: the pictures and clips of a case with Content Credentials (https://c2pa.org), for those who have such a reader.

The credentials are signed by whoever exports, with a certificate of theirs; they say which file the box made (its
SHA-256), what the box said of it, and which link of the box's chain signed that. `evidence verify` stays the proof.
Needs the extra `c2pa`.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from contract import AlertEvent, EvidenceItem, EvidenceKind
from contract.case_file import CaseHead
from contract.chain import Link, open_link, read_public_key
from edge.evidence_verify import verify_case

LABEL = "city.curbwatch.evidence"
SUFFIX = {"image/jpeg": ".jpg", "image/png": ".png", "video/mp4": ".mp4"}
_CAMERA = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"


class ExportError(RuntimeError):
    """The export cannot be made; the message says why."""


@dataclass(frozen=True)
class Signing:
    """An Ed25519 key and its certificate with the chain above it, PEM, the signer's own first."""

    key: Ed25519PrivateKey
    chain: str

    @classmethod
    def read(cls, key: Path, chain: Path) -> Signing:
        """Read both files.

        Raises:
            ExportError: one is not what it should be, or they do not belong together.
        """
        try:
            private = load_pem_private_key(key.read_bytes(), None)
            certificates = x509.load_pem_x509_certificates(chain.read_bytes())
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise ExportError(f"{key} or {chain} cannot be read: {exc}") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise ExportError(f"{key} is no Ed25519 key")
        if certificates[0].public_key() != private.public_key():
            raise ExportError(f"the first certificate of {chain} is not that of {key}")
        return cls(private, chain.read_text())


def export_case(case: Path, out: Path, signing: Signing) -> list[Path]:
    """Write every plain picture and clip of a case that stands into `out`, with credentials; return what was written.

    Raises:
        ExportError: the case does not stand, or the library is missing.
    """
    if find_spec("c2pa") is None:
        raise ExportError("the C2PA library is missing: install curbwatch[c2pa]")
    verdict = verify_case(case)
    if not verdict.good:
        raise ExportError(f"the case does not stand: {verdict.wrong[0]}")
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with zipfile.ZipFile(case) as archive:
        for item, event, link in _items(archive):
            if item.kind is EvidenceKind.SEALED or item.media_type not in SUFFIX:
                continue
            path = out / f"{item.kind}-{item.sha256[:16]}{SUFFIX[item.media_type]}"
            signed = _sign(archive.read(f"files/{item.sha256}"), item, event, link, signing)
            path.write_bytes(signed)
            written.append(path)
    return written


def _items(archive: zipfile.ZipFile) -> list[tuple[EvidenceItem, AlertEvent, Link]]:
    head = CaseHead.model_validate_json(archive.read("case.json"))
    found: dict[str, tuple[EvidenceItem, AlertEvent, Link]] = {}
    for strand in head.strands:
        key = read_public_key(archive.read(f"{strand.alert_id}/key.json").decode())[1]
        for seq in range(strand.first_seq, strand.last_seq + 1):
            link = open_link(archive.read(f"{strand.alert_id}/chain/{seq:08d}.json").decode(), key)
            if link.alert_id != strand.alert_id:
                continue
            body = archive.read(f"{strand.alert_id}/events/{link.event_sha256}.json")
            event = AlertEvent.model_validate_json(body)
            for item in event.data.evidence:
                found.setdefault(item.sha256, (item, event, link))
    return list(found.values())


def _sign(data: bytes, item: EvidenceItem, event: AlertEvent, link: Link, signing: Signing) -> bytes:
    import c2pa

    builder = c2pa.Builder(json.dumps(_manifest(item, event, link)))
    signer = c2pa.Signer.from_callback(signing.key.sign, c2pa.C2paSigningAlg.ED25519, signing.chain, None)
    out = io.BytesIO()
    try:
        builder.sign(signer, item.media_type, io.BytesIO(data), out)
    except c2pa.C2paError as exc:
        raise ExportError(f"{item.sha256}: {exc}") from None
    return out.getvalue()


def _manifest(item: EvidenceItem, event: AlertEvent, link: Link) -> dict[str, Any]:
    alert = event.data
    # "c2pa.redacted" is for assertions, not for pixels: what was blurred is an edit.
    actions: list[dict[str, Any]] = [
        {"action": "c2pa.created", "digitalSourceType": _CAMERA, "when": item.captured_at.isoformat()}
    ]
    if item.blurred:
        actions.append({"action": "c2pa.edited", "description": "heads and plates made unreadable"})
    facts = {
        "file": item.wire(),
        "alert": alert.id,
        "issue": alert.issue.value,
        "device": alert.device_id,
        "camera": alert.camera_id,
        "place": alert.place.model_dump(mode="json"),
        "dwell": alert.dwell.model_dump(mode="json"),
        "link": {"seq": link.seq, "digest": link.digest(), "signed_at": link.signed_at.isoformat()},
    }
    return {
        "claim_generator_info": [{"name": "curbwatch", "version": alert.software_version}],
        "title": f"{item.kind} of {alert.id}",
        "format": item.media_type,
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": actions}},
            {"label": LABEL, "data": facts},
        ],
    }
