"""Content Credentials: written by us, read by the reference library, and broken by one changed byte."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import c2pa
import cv2
import numpy as np
import pytest
from case_parts import alert, picture_item
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contract.case_file import Strand
from curbwatch.commands.evidence import cli
from edge.evidence_c2pa import LABEL, ExportError, Signing
from edge.evidence_verify import write_case
from edge.identity import load_signer, public_key
from edge.outbox import Outbox


def jpeg() -> bytes:
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def clip(fragmented: bool) -> bytes:
    out = io.BytesIO()
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof+skip_trailer"} if fragmented else {}
    with av.open(out, "w", format="mp4", options=flags) as file:
        stream = file.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), i * 20, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def certificate(
    name: str, key: Ed25519PrivateKey, issuer: x509.Certificate | None, by: Ed25519PrivateKey
) -> x509.Certificate:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "City")]
    )
    now, ca = datetime.now(UTC), issuer is None
    usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca, None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    )
    if not ca:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return made.sign(by, None)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    root, own = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    above = certificate("root", root, None, root)
    chain = certificate("exporter", own, above, root)
    (tmp_path / "chain.pem").write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in (chain, above)))
    (tmp_path / "key.pem").write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return tmp_path / "key.pem", tmp_path / "chain.pem"


def case_of(folder: Path, files: dict[str, bytes]) -> Path:
    signer = load_signer(folder / "k")
    outbox = Outbox(folder / "outbox", signer=signer)
    items = []
    for kind, data in files.items():
        media = (
            "video/mp4"
            if kind == "clip"
            else "application/octet-stream"
            if kind == "sealed"
            else "image/jpeg"
        )
        items.append(picture_item(data, kind).model_copy(update={"media_type": media, "blurred": True}))
    event = alert(items=tuple(items))
    outbox.put_alert(event)
    strand = Strand(event.data.id, public_key(signer, "box-1"), "box-1", outbox.links(event.data.id))
    write_case(folder / "c.zip", [strand], {i.sha256: d for i, d in zip(items, files.values(), strict=True)})
    return folder / "c.zip"


@pytest.mark.parametrize(
    "make", [lambda: clip(True), lambda: clip(False)], ids=["fragmented clip", "plain clip"]
)
def test_the_reference_reader_believes_the_credentials_and_finds_one_changed_byte(
    tmp_path: Path, keys: tuple[Path, Path], make: Callable[[], bytes]
) -> None:
    case = case_of(tmp_path, {"context": jpeg(), "clip": make(), "sealed": b"age-encryption.org/v1 xyz"})
    out = tmp_path / "out"
    told = ["c2pa", str(case), str(out), "--key", str(keys[0]), "--certificates", str(keys[1])]
    done = CliRunner().invoke(cli, told)
    assert done.exit_code == 0, done.output
    names = sorted(p.name.split("-")[0] for p in out.iterdir())
    assert names == ["clip", "context"], "a sealed original is nobody's to show"
    for path in out.iterdir():
        media = "video/mp4" if path.suffix == ".mp4" else "image/jpeg"
        raw = path.read_bytes()
        reader = c2pa.Reader(media, io.BytesIO(raw))
        assert reader.get_validation_state() == "Valid", reader.get_validation_results()
        active = json.loads(reader.json())
        manifest = active["manifests"][active["active_manifest"]]
        facts = next(a["data"] for a in manifest["assertions"] if a["label"] == LABEL)
        assert facts["file"]["sha256"][:16] in path.name
        assert facts["link"]["seq"] == 1
        changed = bytearray(raw)
        at = len(raw) - 60 if media == "image/jpeg" else raw.rindex(b"mdat") + 40
        changed[at] ^= 1
        assert c2pa.Reader(media, io.BytesIO(bytes(changed))).get_validation_state() == "Invalid"


def test_what_does_not_stand_gets_no_credentials(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    case = case_of(tmp_path, {"context": jpeg()})
    raw = bytearray(case.read_bytes())
    raw[raw.index(b"\xff\xd8\xff") + 300] ^= 1
    case.write_bytes(raw)
    told = ["c2pa", str(case), str(tmp_path / "o"), "--key", str(keys[0]), "--certificates", str(keys[1])]
    done = CliRunner().invoke(cli, told)
    assert (done.exit_code, "does not stand" in done.output) == (1, True)
    assert not (tmp_path / "o").exists()


def test_a_key_and_a_foreign_certificate_are_refused(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "other.pem").write_bytes(other)
    with pytest.raises(ExportError, match="is not that of"):
        Signing.read(tmp_path / "other.pem", keys[1])
    with pytest.raises(ExportError, match="cannot be read"):
        Signing.read(keys[1], keys[1])
