"""Keys, chains, the case file, sealed originals: real signatures, a real verifier, a real time-stamping authority."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pyrage
import pytest
from api_parts import Centre, centre, sha
from box_parts import SigningBox, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from api.errors import ApiError
from api.seals import Unsealer
from api.security import add_device
from api.settings import Settings
from api.stamps import StampError, stamp_due
from api.tables_custody import ChainLink
from bench.servers import new_database
from contract import new_id
from edge.evidence_verify import verify_case
from edge.identity import load_signer, public_key


@pytest.fixture(params=["sqlite", "postgresql"])
def any_house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Centre]:
    more = {}
    if request.param == "postgresql":
        more["database_url"] = new_database(request.getfixturevalue("pg_url"), f"cw_{new_id()}")
    with centre(tmp_path / "data", **more) as made:
        yield made


@pytest.fixture
def box(house: Centre, tmp_path: Path) -> SigningBox:
    made = SigningBox(house, tmp_path)
    assert made.enrol() == 200
    return made


def faults(house: Centre, device: str = "box-1") -> list[str]:
    view = house.person("aud", "auditor").get(f"/devices/{device}/chain").json()
    return [f["fault"] for f in view["faults"]]


def export(house: Centre, case: str, path: Path) -> Path:
    answer = house.person("sue", "supervisor").get(f"/cases/{case}/export.zip")
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    return path


def test_a_token_enrols_one_key_once(house: Centre, box: SigningBox, tmp_path: Path) -> None:
    assert box.enrol() == 200, "the same key again changes nothing"
    other = public_key(load_signer(tmp_path / "thief.key"), "box-1")
    assert box.client.put("/devices/self/key", json={"key": other}).status_code == 409
    foreign = public_key(box.signer, "box-2")
    assert box.client.put("/devices/self/key", json={"key": foreign}).status_code == 422
    assert box.client.put("/devices/self/key", json={"key": "{}"}).status_code == 422
    with house.core.db.write() as session:
        house.tokens["box-1"] = add_device(session, "box-1", house.clock())
    assert box.client.put("/devices/self/key", json={"key": other}).status_code == 409, "the old token"
    assert house.box().put("/devices/self/key", json={"key": other}).status_code == 200, "the new one"
    assert house.box("box-9").put("/devices/self/key", json={"key": other}).status_code == 422


def test_the_case_file_of_the_centre_passes_the_offline_verifier(
    house: Centre, box: SigningBox, tmp_path: Path
) -> None:
    house.case(box.client, device_id="box-1")
    case = box.send(picture(1), picture(2))
    other = box.send(picture(3))
    told, header = box.sign(
        stage="cleared", revision=1, **{k: v for k, v in _again(house, case).items() if k != "evidence"}
    )
    assert box.post(told, header) == case
    path = export(house, case, tmp_path / "c.zip")
    keyid = json.loads(box.public)["keyid"]
    verdict = verify_case(path, keyid)
    assert verdict.good, verdict.wrong
    words = " ".join(verdict.proven)
    assert "3 links of the box box-1" in words, "the other case's link is between"
    assert "2 messages" in words
    assert "2 evidence files" in words
    assert "the centre's log of the case has" in words
    assert verify_case(export(house, other, tmp_path / "o.zip"), keyid).good
    audit = house.person("aud", "auditor").get(f"/cases/{case}/audit").json()
    assert "case.exported" in [e["action"] for e in audit["entries"]]
    assert faults(house) == ["the message came without a readable link"]


def _again(house: Centre, case: str) -> dict[str, object]:
    with house.core.db.read() as session:
        body = session.scalars(select(ChainLink.body).order_by(ChainLink.received_at)).all()
    alert = next(d for b in body if (d := json.loads(b)["data"]) and _case_of(house, d["id"]) == case)
    return {"id": alert["id"], "key": alert["key"]}


def _case_of(house: Centre, alert_id: str) -> str:
    from api.tables import AlertRow

    with house.core.db.read() as session:
        return session.get_one(AlertRow, alert_id).case_id


def test_a_case_of_two_boxes_has_two_strands(house: Centre, box: SigningBox, tmp_path: Path) -> None:
    second = SigningBox(house, tmp_path, "box-2")
    assert second.enrol() == 200
    first = box.send(picture(1))
    case = second.send(picture(2))
    merged = house.person("rita").post(f"/cases/{case}/verdicts", json={"kind": "merge", "into": first})
    assert merged.status_code == 200, merged.text
    verdict = verify_case(export(house, first, tmp_path / "c.zip"))
    assert verdict.good, verdict.wrong
    assert "box box-2" in " ".join(verdict.proven)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no link", "without a readable link"),
        ("not base64", "without a readable link"),
        ("nonsense", "not a link"),
        ("a NUL", "not an envelope"),
        ("foreign key", "not by the box's key"),
        ("another message's", "belongs to another message"),
        ("changed message", "changed after it was signed"),
        ("broken chain", "does not follow link 1"),
    ],
)
def test_a_wrong_link_is_recorded_and_shown_and_its_message_is_not_lost(
    house: Centre, box: SigningBox, tmp_path: Path, how: str, words: str
) -> None:
    box.send(picture(0))
    told, header = box.sign()
    if how == "no link":
        case = box.post(told, None)
    elif how == "not base64":
        case = box.post(told, "%%%")
    elif how in {"nonsense", "a NUL"}:
        text = "\0{}\0" if how == "a NUL" else '{"payload":"eA==","payloadType":1,"signatures":[]}'
        case = box.post(told, base64.b64encode(text.encode()).decode())
    elif how == "foreign key":
        case = box.post(*SigningBox(house, tmp_path / "x").sign())
    elif how == "another message's":
        case = box.post(told, box.sign()[1])
    elif how == "changed message":
        told["data"]["note"] = "something else"
        case = box.post(told, header)
    else:
        from edge.outbox import Outbox

        box.outbox = Outbox(
            tmp_path / "restored", signer=box.signer, now=house.clock
        )  # an old disk came back
        box.sign()
        case = box.post(*box.sign())
    assert words in faults(house)[0]
    view = house.person().get(f"/cases/{case}/custody").json()
    assert words in view["faults"][0]["fault"]
    assert house.person().get(f"/cases/{case}").status_code == 200
    actions = [
        e["action"] for e in house.person("aud", "auditor").get(f"/cases/{case}/audit").json()["entries"]
    ]
    assert "chain.fault" in actions


def test_a_number_used_twice_and_a_missing_one(any_house: Centre, tmp_path: Path) -> None:
    from edge.outbox import Outbox

    house, box = any_house, SigningBox(any_house, tmp_path)
    assert box.enrol() == 200
    box.send(picture(0))
    lost, late = box.sign()
    box.post(*box.sign())
    view = house.person("aud", "auditor").get("/devices/box-1/chain").json()
    assert view["keys"][0]["missing"] == ["2-2"]
    box.post(lost, late)
    assert not house.person("aud", "auditor").get("/devices/box-1/chain").json()["keys"][0]["missing"]
    assert faults(house) == [], "out of order is no fault"
    box.outbox = Outbox(tmp_path / "clone", signer=box.signer, now=house.clock)
    case = box.post(*box.sign())
    assert faults(house) == ["the number 1 was used twice"]
    assert house.person("aud", "auditor").get(f"/cases/{case}/audit").json()["intact"]


def test_links_that_came_before_the_key_are_checked_when_it_comes(house: Centre, tmp_path: Path) -> None:
    box = SigningBox(house, tmp_path)
    case = box.send(picture(1))
    assert "no enrolled key" in faults(house)[0]
    assert house.person("sue", "supervisor").get(f"/cases/{case}/export.zip").status_code == 409
    assert box.enrol() == 200
    assert faults(house) == []
    assert verify_case(export(house, case, tmp_path / "c.zip")).good


@pytest.mark.parametrize(("old", "new"), [('"count":1', '"count":2'), ("parking", "dumping"), ("{", "[")])
def test_a_tampering_centre_is_found(
    house: Centre, box: SigningBox, tmp_path: Path, old: str, new: str
) -> None:
    case = box.send(picture(1))
    with house.core.db.write() as session:
        row = session.scalars(select(ChainLink)).one()
        row.body = row.body.replace(old, new)
    assert not verify_case(export(house, case, tmp_path / "c.zip")).good


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_the_centres_file_is_found(made: Path, tmp_path: Path, data: st.DataObject) -> None:
    with zipfile.ZipFile(made) as archive:
        content = [(n, archive.read(n)) for n in archive.namelist()]
    which = data.draw(st.integers(0, len(content) - 1))
    name, body = content[which]
    how = data.draw(st.sampled_from(["byte", "cut", "drop", "line"]))
    if how == "drop":
        del content[which]
    elif how == "cut":
        content[which] = (name, body[: data.draw(st.integers(0, len(body) - 1))])
    elif how == "line":
        lines = body.splitlines(keepends=True)
        del lines[data.draw(st.integers(0, len(lines) - 1))]
        content[which] = (name, b"".join(lines))
    else:
        at, by = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(1, 255))
        content[which] = (name, body[:at] + bytes([body[at] ^ by]) + body[at + 1 :])
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content_of in content:
            archive.writestr(entry, content_of)
    assert not verify_case(path).good


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("made")
    with centre(folder / "data") as house:
        box = SigningBox(house, folder)
        box.enrol()
        case = box.send(picture(1), picture(2))
        yield export(house, case, folder / "c.zip")


def test_a_sealed_original_opens_by_role_and_reason_and_leaves_an_entry(tmp_path: Path) -> None:
    pair, key = pyrage.x25519.Identity.generate(), tmp_path / "age.key"
    key.write_text(f"{pair}\n")
    key.chmod(0o600)
    original = picture(7)
    sealed = pyrage.encrypt(original, [pair.to_public()])
    stranger = pyrage.encrypt(original, [pyrage.x25519.Identity.generate().to_public()])
    with centre(tmp_path / "data", unseal_key=key) as house:
        box = SigningBox(house, tmp_path)
        case = box.send(sealed, stranger, kind="sealed")
        plain = box.send(picture(8))
        ask = {"sha256": sha(sealed), "reason": "appeal 12"}
        path = f"/cases/{case}/original"
        assert house.person("rita").post(path, json=ask).status_code == 403
        sue = house.person("sue", "supervisor")
        assert sue.post(path, json=ask | {"reason": "  "}).status_code == 422
        assert sue.post(f"/cases/{plain}/original", json=ask).status_code == 404
        assert sue.post(path, json=ask | {"sha256": sha(stranger)}).status_code == 409
        opened = sue.post(path, json=ask)
        assert (opened.status_code, opened.content) == (200, original)
        assert opened.headers["cache-control"] == "no-store"
        entries = house.person("aud", "auditor").get(f"/cases/{case}/audit").json()["entries"]
        told = [(e["actor"], e["body"]) for e in entries if e["action"] == "evidence.unsealed"]
        assert told == [("user:sue", {"sha256": sha(sealed), "reason": "appeal 12"})]
        assert house.box().post(path, json=ask).status_code == 403
        key.chmod(0o644)
        refused = sue.post(path, json=ask)
        assert (refused.status_code, "chmod 600" in refused.text) == (503, True)
    with centre(tmp_path / "none") as house:
        case = SigningBox(house, tmp_path).send(sealed, kind="sealed")
        assert house.person("sue", "supervisor").post(f"/cases/{case}/original", json=ask).status_code == 503


@pytest.mark.parametrize(
    ("ours", "mode", "opens"),
    [(True, 0o600, True), (True, 0o640, False), (False, 0o440, True), (False, 0o444, False)],
)
def test_a_key_for_sealed_originals_is_shut_or_a_mounted_secret_of_our_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool, mode: int, opens: bool
) -> None:
    pair, key = pyrage.x25519.Identity.generate(), tmp_path / "age.key"
    key.write_text(f"{pair}\n")
    key.chmod(mode)
    if not ours:
        uid = key.stat().st_uid + 1
        monkeypatch.setattr(os, "geteuid", lambda: uid)
    told = Settings(data=tmp_path, unseal_key=key)
    if opens:
        assert Unsealer.of(told).open(pyrage.encrypt(b"face", [pair.to_public()])) == b"face"
    else:
        with pytest.raises(ApiError, match="chmod 600"):
            Unsealer.of(told)


@contextmanager
def authority(folder: Path) -> Iterator[str]:
    """A time-stamping authority: openssl ts behind HTTP on loopback."""
    (folder / "serial").write_text("01")
    (folder / "tsa.cnf").write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=Test TSA\n"
        "[ext]\nextendedKeyUsage=critical,timeStamping\nbasicConstraints=CA:true\n"
        f"[tsa]\ndefault_tsa=t\n[t]\ndir={folder}\nserial={folder}/serial\nsigner_cert={folder}/tsa.pem\n"
        f"signer_key={folder}/tsa.key\ndefault_policy=1.2.3.4\ndigests=sha256\nsigner_digest=sha256\n"
        "accuracy=secs:1\nordering=yes\ntsa_name=yes\ness_cert_id_alg=sha256\n"
    )
    new_key = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "tsa.key",
        "-out",
        "tsa.pem",
    ]
    subprocess.run(
        [*new_key, "-days", "2", "-config", "tsa.cnf"], check=True, capture_output=True, cwd=folder
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "q").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            reply = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "q", "-out", "r"]
            subprocess.run(reply, check=True, capture_output=True, cwd=folder)
            self.send_response(200)
            self.end_headers()
            self.wfile.write((folder / "r").read_bytes())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_centre_has_links_stamped_and_the_verifier_believes_the_authority(tmp_path: Path) -> None:
    for name in ("tsa", "other"):
        (tmp_path / name).mkdir()
    with (
        authority(tmp_path / "tsa") as url,
        authority(tmp_path / "other"),
        centre(tmp_path / "data", tsa_url=url, tsa_roots=tmp_path / "tsa/tsa.pem") as house,
        centre(tmp_path / "data2", tsa_url=url, tsa_roots=tmp_path / "other/tsa.pem") as wary,
    ):

        async def stamp(core: object) -> int:
            async with httpx.AsyncClient() as client:
                return await stamp_due(core, client)  # type: ignore[arg-type]

        box = SigningBox(house, tmp_path)
        box.enrol()
        case = box.send(picture(1))
        assert asyncio.run(stamp(house.core)) == 1
        assert asyncio.run(stamp(house.core)) == 0
        assert house.person().get(f"/cases/{case}/custody").json()["stamped"] == 1
        path = export(house, case, tmp_path / "c.zip")
        verdict = verify_case(path, tsa_certificate=tmp_path / "tsa/tsa.pem")
        assert verdict.good, verdict.wrong
        assert "time-stamping authority signed" in " ".join(verdict.proven)
        assert not verify_case(path, tsa_certificate=tmp_path / "other/tsa.pem").good
        second = SigningBox(wary, tmp_path / "w")
        second.enrol()
        second.send(picture(1))
        with pytest.raises(StampError, match="believed"):
            asyncio.run(stamp(wary.core))


def test_the_header_is_the_dsse_envelope(box: SigningBox) -> None:
    _, header = box.sign()
    assert json.loads(base64.b64decode(header))["payloadType"] == "application/vnd.curbwatch.link+json"
    assert len(header) < 2048
