from __future__ import annotations

import base64
import json
import stat
import subprocess
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from case_parts import KINDS, START, alert, jpegs, picture_item
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from contract import new_id
from contract.case_file import Strand
from contract.chain import LinkError, canonical, open_link, read_public_key
from curbwatch.commands.evidence import cli
from edge.evidence_verify import verify_case, write_case
from edge.identity import load_signer, public_key
from edge.identity_error import IdentityError
from edge.outbox import Outbox, Priority


class Times:
    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> object:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case of three messages, with the links of another case between them."""
    folder = tmp_path_factory.mktemp("case")
    signer = load_signer(folder / "identity.key")
    outbox = Outbox(folder / "outbox", signer=signer, now=Times())  # type: ignore[arg-type]
    mine, files = new_id(), {}
    pictures = jpegs("a")
    items = tuple(picture_item(data, kind) for data, kind in zip(pictures, KINDS, strict=True))
    files = {item.sha256: data for item, data in zip(items, pictures, strict=True)}
    outbox.put_alert(alert())
    for revision, stage in enumerate(("opened", "updated", "cleared")):
        outbox.put_alert(alert(mine, revision, stage, items))
        if revision < 2:
            outbox.put_alert(alert())
    for item, data in zip(items, pictures, strict=True):
        outbox.put_file(data, Priority.PICTURE, "image/jpeg", 0.0)
        assert item.sha256 in files
    path = folder / "CASE.zip"
    write_case(path, [Strand(mine, public_key(signer, "box-1"), "box-1", outbox.links(mine))], files)
    outbox.close()
    (folder / "alert_id").write_text(mine)
    return path


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def named(content: dict[str, bytes], tail: str) -> str:
    return next(n for n in content if n.endswith(tail))


def only(path: Path, tail: str) -> bytes:
    content = entries(path)
    return content[named(content, tail)]


def pack(path: Path, content: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content:
            archive.writestr(name, data)
    return path


def test_a_whole_case_stands_and_says_what_it_does_not_prove(case: Path) -> None:
    verdict = verify_case(case)
    assert verdict.good, verdict.wrong
    words = " ".join(verdict.proven)
    assert "5 links" in words
    assert "3 messages" in words
    assert "5 evidence files" in words
    assert any("key belongs to the box" in line for line in verdict.unproven)
    assert any("RFC 3161" in line for line in verdict.unproven)
    key = read_public_key(only(case, "key.json").decode())[1]
    assert verify_case(case, key.keyid).good
    assert not verify_case(case, "0" * 64).good


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_is_found(case: Path, tmp_path: Path, data: st.DataObject) -> None:
    content, mine = list(entries(case).items()), (case.parent / "alert_id").read_text()
    which = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["byte", "cut", "grow", "drop", "twice", "rename", "swap", "copy"]))
    name, body = content[which]
    other = data.draw(st.integers(0, len(content) - 1))
    if how == "byte":
        at, by = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(1, 255))
        content[which] = (name, body[:at] + bytes([body[at] ^ by]) + body[at + 1 :])
    elif how == "cut":
        content[which] = (name, body[: data.draw(st.integers(0, len(body) - 1))])
    elif how == "grow":
        content[which] = (name, body + data.draw(st.sampled_from([b" ", b"\n", b"\0", b"="])))
    elif how == "drop":
        del content[which]
    elif how == "twice":
        content.append((f"{mine}/chain/{99:08d}.json", body))
    elif how == "rename":
        content[which] = (name[:-1] + ("0" if name[-1] != "0" else "1"), body)
    elif other == which:
        return
    elif how == "swap":
        content[which], content[other] = (name, content[other][1]), (content[other][0], body)
    else:
        content[which] = (name, content[other][1])
    assert not verify_case(pack(tmp_path / "changed.zip", content)).good


def _claims(content: dict[str, bytes], **change: int) -> None:
    head = json.loads(content["case.json"])
    head["strands"][0].update({k: head["strands"][0][k] + by for k, by in change.items()})
    content["case.json"] = canonical(head).encode()


def _link(mine: str, seq: int) -> str:
    return f"{mine}/chain/{seq:08d}.json"


def _event_of(content: dict[str, bytes], mine: str, seq: int) -> str:
    return f"{mine}/events/{json.loads(_payload(content[_link(mine, seq)]))['event_sha256']}.json"


def _payload(envelope: bytes) -> bytes:
    return base64.b64decode(json.loads(envelope)["payload"])


def _shift_down(content: dict[str, bytes], mine: str, gone: int) -> None:
    del content[_link(mine, gone)]
    for seq in range(gone + 1, 7):
        content[_link(mine, seq - 1)] = content.pop(_link(mine, seq))
    _claims(content, last_seq=-1)


def _missing_between(content: dict[str, bytes], mine: str) -> None:
    _shift_down(content, mine, 3)


def _missing_own(content: dict[str, bytes], mine: str) -> None:
    del content[_event_of(content, mine, 4)]
    _shift_down(content, mine, 4)
    _claims(content, events=-1)


def _reordered(content: dict[str, bytes], mine: str) -> None:
    a, b = _link(mine, 2), _link(mine, 4)
    content[a], content[b] = content[b], content[a]


def _replayed(content: dict[str, bytes], mine: str) -> None:
    content[_link(mine, 7)] = content[_link(mine, 4)]
    _claims(content, last_seq=1, events=1)


def _replayed_in_place(content: dict[str, bytes], mine: str) -> None:
    content[_link(mine, 6)] = content[_link(mine, 4)]


def _message_of_another_time(content: dict[str, bytes], mine: str) -> None:
    content[_event_of(content, mine, 6)] = content[_event_of(content, mine, 2)]


def _signed_by_another(content: dict[str, bytes], mine: str) -> None:
    other = CryptoSigner.generate_ed25519()
    content[f"{mine}/key.json"] = public_key(other, "box-1").encode()


FORGERIES = [
    (_missing_between, "link"), (_missing_own, "link"), (_reordered, "reordered or replayed"),
    (_replayed, "reordered or replayed"), (_replayed_in_place, "reordered or replayed"),
    (_message_of_another_time, "event"), (_signed_by_another, "signature"),
]  # fmt: skip


@pytest.mark.parametrize(("forge", "words"), FORGERIES, ids=[f.__name__[1:] for f, _ in FORGERIES])
def test_a_careful_forger_is_found(
    case: Path, tmp_path: Path, forge: Callable[[dict[str, bytes], str], None], words: str
) -> None:
    """Whoever takes links away, moves or repeats them and rewrites every claim of the file to fit."""
    content, mine = entries(case), (case.parent / "alert_id").read_text()
    forge(content, mine)
    verdict = verify_case(pack(tmp_path / "forged.zip", list(content.items())))
    assert not verdict.good
    assert words in " ".join(verdict.wrong), verdict.wrong


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**9), by=st.integers(1, 255))
def test_a_damaged_zip_never_raises_and_never_gains_a_claim(
    case: Path, tmp_path: Path, at: int, by: int
) -> None:
    raw = bytearray(case.read_bytes())
    raw[at % len(raw)] ^= by
    path = tmp_path / "damaged.zip"
    path.write_bytes(raw)
    verdict = verify_case(path)
    if verdict.good:
        # The container has bytes that carry nothing, such as times of entries: the content is the same.
        assert entries(path) == entries(case)


def test_a_link_of_another_box_with_a_copied_name_is_refused(case: Path, tmp_path: Path) -> None:
    content = entries(case)
    stranger = load_signer(tmp_path / "other.key")
    content[named(content, "key.json")] = public_key(stranger, "box-1").encode()
    verdict = verify_case(pack(tmp_path / "c.zip", list(content.items())))
    assert "not by the box's key" in verdict.wrong[0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (("../evil", b"x"), "does not belong"),
        (("files/" + "a" * 64, b"x"), "named by no message"),
        (("files/" + "b" * 64, b"\0" * 5_000_000), "bomb"),
        (("MINE/chain/00000009.json", b"{}"), "does not run"),
        ((f"{new_id()}/key.json", b"{}"), "no alert of case.json"),
    ],
    ids=["path trick", "extra file", "zip bomb", "extra link", "stray alert"],
)
def test_what_does_not_belong_is_refused(
    case: Path, tmp_path: Path, entry: tuple[str, bytes], words: str
) -> None:
    path = tmp_path / "c.zip"
    path.write_bytes(case.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(entry[0].replace("MINE", (case.parent / "alert_id").read_text()), entry[1])
    assert words in verify_case(path).wrong[0]


def test_not_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    path.write_bytes(b"PK\x03\x04 nothing")
    assert "cannot be read" in verify_case(path).wrong[0]


def test_the_command_says_it_in_words(case: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["verify", str(case)])
    assert done.exit_code == 0
    assert "The case stands." in done.output
    content = entries(case)
    name = next(n for n in content if n.startswith("files/"))
    content[name] = content[name][:-1] + b"!"
    done = CliRunner().invoke(cli, ["verify", str(pack(tmp_path / "x.zip", list(content.items()))), "--json"])
    assert done.exit_code == 1
    assert "was changed" in json.loads(done.output)["wrong"][0]


def test_the_box_exports_what_the_verifier_accepts(case: Path, tmp_path: Path) -> None:
    mine = (case.parent / "alert_id").read_text()
    spool = case.parent / "outbox" / "spool"
    out = tmp_path / "E.zip"
    done = CliRunner().invoke(
        cli, ["export", mine, str(out), "--box", str(case.parent), "--device", "box-1", "--files", str(spool)]
    )
    assert done.exit_code == 0, done.output
    assert verify_case(out).good


def test_the_key_is_born_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    first = load_signer(path).public_key.keyid
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_signer(path).public_key.keyid == first
    assert [p.name for p in tmp_path.iterdir()] == ["identity.key"]
    path.chmod(0o644)
    with pytest.raises(IdentityError, match="read by others"):
        load_signer(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(IdentityError, match="not a private key"):
        load_signer(path)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"payload":1}', '{"payload":"","payloadType":"x","signatures":[{}]}']
)
def test_nonsense_is_no_link(tmp_path: Path, text: str) -> None:
    with pytest.raises(LinkError):
        open_link(text, load_signer(tmp_path / "k").public_key)


_SHAPES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.just("eA=="),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["keyid", "sig", "keyval", "x"]), inner)
    ),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries({}, optional={"payload": _SHAPES, "payloadType": _SHAPES, "signatures": _SHAPES}),
    st.fixed_dictionaries({}, optional={"device": _SHAPES, "keyid": _SHAPES, "key": _SHAPES}),
)
def test_whatever_a_stranger_sends_is_refused_in_words(
    envelope: dict[str, object], key: dict[str, object]
) -> None:
    signer = CryptoSigner.generate_ed25519()
    with pytest.raises(LinkError):
        open_link(canonical(envelope), signer.public_key)
    with pytest.raises(ValueError, match="key"):
        read_public_key(canonical(key))


def test_a_real_time_stamp_is_checked(case: Path, tmp_path: Path) -> None:
    """A time-stamping authority made with openssl signs the last link's digest."""
    config = tmp_path / "tsa.cnf"
    config.write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=Test TSA\n"
        "[ext]\nextendedKeyUsage=critical,timeStamping\nbasicConstraints=CA:true\n"
        f"[tsa]\ndefault_tsa=t\n[t]\ndir={tmp_path}\nserial={tmp_path}/serial\nsigner_cert={tmp_path}/tsa.pem\n"
        f"signer_key={tmp_path}/tsa.key\ndefault_policy=1.2.3.4\ndigests=sha256\nsigner_digest=sha256\n"
        "accuracy=secs:1\nordering=yes\ntsa_name=yes\ness_cert_id_alg=sha256\n"
    )
    (tmp_path / "serial").write_text("01")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=tmp_path)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "tsa.key",
        "-out",
        "tsa.pem",
        "-days",
        "2",
        "-config",
        "tsa.cnf",
    )
    content = entries(case)
    last = max(n for n in content if "/chain/" in n)
    key = read_public_key(content[named(content, "key.json")].decode())[1]
    link = open_link(content[last].decode(), key)
    for digest, name in ((link.digest(), "good.tsr"), ("0" * 64, "other.tsr")):
        openssl("ts", "-query", "-digest", digest, "-sha256", "-no_nonce", "-cert", "-out", "q.tsq")
        openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "q.tsq", "-out", name)
    token = f"{link.alert_id}/time/{link.seq:08d}.tsr"
    for name, good in (("good.tsr", True), ("other.tsr", False)):
        path = pack(tmp_path / "t.zip", [*content.items(), (token, (tmp_path / name).read_bytes())])
        verdict = verify_case(path, tsa_certificate=tmp_path / "tsa.pem")
        assert verdict.good == good, verdict.wrong
    assert not verify_case(
        pack(tmp_path / "t.zip", [*content.items(), (f"{link.alert_id}/time/00000001.tsr", b"x")])
    ).good
