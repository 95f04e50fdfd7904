"""The box's key in a PKCS#11 token: SoftHSM stands in for a card."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from case_parts import alert
from click.testing import CliRunner

from contract.chain import open_link, read_public_key
from curbwatch.commands.evidence import cli
from edge.identity import load_signer, public_key, signer_of
from edge.identity_error import IdentityError
from edge.keeping_config import IdentityConfig
from edge.outbox import Outbox

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A token with a PIN; SoftHSM reads its settings once a process, when it is first loaded."""
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    patch = pytest.MonkeyPatch()
    patch.setenv("SOFTHSM2_CONF", str(settings))
    init = ["softhsm2-util", "--init-token", "--free", "--label", "box", "--so-pin", "1234", "--pin", "5678"]
    subprocess.run(init, check=True, capture_output=True)
    (folder / "pin").write_text("5678\n")
    pkcs11.lib(str(MODULE)).reinitialize()
    return {"module": str(MODULE), "token": "box", "pin_file": str(folder / "pin")}


def config(given: dict[str, Any], change: dict[str, Any] | None = None) -> IdentityConfig:
    return IdentityConfig.model_validate({"token": given | (change or {})})


def test_a_key_born_in_the_token_signs_and_never_leaves_it(tmp_path: Path, token: dict[str, Any]) -> None:
    signer = signer_of(config(token), tmp_path)
    outbox = Outbox(tmp_path / "outbox", signer=signer)
    first, second = alert(), alert()
    outbox.put_alert(first)
    # The box starts again: the same key.
    outbox._signer = again = signer_of(config(token), tmp_path)
    outbox.put_alert(second)
    assert again.public_key.keyid == signer.public_key.keyid
    _, key = read_public_key(public_key(signer, "box-1"))
    links = [open_link(a.envelope or "", key) for a in outbox.next_alerts()]
    assert [link.seq for link in links] == [1, 2]
    assert links[1].previous == links[0].digest()
    assert not (tmp_path / "identity.key").exists()
    private = signer._private  # type: ignore[attr-defined]
    assert private[pkcs11.Attribute.SENSITIVE]
    assert not private[pkcs11.Attribute.EXTRACTABLE]
    with pytest.raises(pkcs11.PKCS11Error):
        private[pkcs11.Attribute.VALUE]
    told = CliRunner().invoke(cli, ["key", "--box", str(tmp_path), "--device", "box-1"])
    assert told.output.strip() == public_key(signer, "box-1")


def test_a_token_that_is_away_keeps_the_message_waiting(tmp_path: Path, token: dict[str, Any]) -> None:
    signer: Any = signer_of(config(token), tmp_path)
    outbox = Outbox(tmp_path / "outbox", signer=signer)
    outbox.put_alert(alert())
    signer._session.close()
    with pytest.raises(OSError, match="does not sign"):
        outbox.put_alert(alert())
    assert len(outbox.next_alerts()) == 1, "no message without its link"
    outbox.put_alert(alert())
    assert len(outbox.next_alerts()) == 2, "the session is opened again"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"token": "other"}, "token other"),
        ({"module": "/no/such.so"}, "/no/such.so"),
        ({"pin_file": "/no/pin"}, "pin_file: cannot be read"),
        ({"pin": "0000"}, "PinIncorrect"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, token: dict[str, Any], change: dict[str, str], words: str
) -> None:
    pkcs11.lib(str(MODULE)).reinitialize()  # logged out
    if "pin" in change:
        (tmp_path / "pin").write_text(change["pin"])
        change = {"pin_file": str(tmp_path / "pin")}
    with pytest.raises(IdentityError, match=words):
        signer_of(config(token, change), tmp_path)


def test_a_box_has_one_key(tmp_path: Path, token: dict[str, Any]) -> None:
    load_signer(tmp_path / "identity.key")
    with pytest.raises(IdentityError, match="one key"):
        signer_of(config(token), tmp_path)
