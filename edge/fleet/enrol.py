"""Enrolment: the box makes its key, shows it with a one-time code, and keeps what the centre answers."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from pydantic import ValidationError

from contract.fleet import Enrolled, Enrolment
from contract.signing import SignedError, proof_of, read_key
from edge.fleet.state import write_bytes
from edge.identity import KEY_FILE, PUBLIC_FILE, load_signer, public_key
from edge.identity_error import IdentityError

TOKEN, FLEET_KEY, ROOT = "box.token", "fleet.pub", "root.json"
_CODE = "code: write it as the centre showed it, BOX.SECRET"


class EnrolError(RuntimeError):
    """Enrolment failed; the message says what to do."""


def enrol(data_dir: Path, client: httpx.Client, code: str) -> Enrolled:
    """Enrol this box; the key is made when there is none. Writes token, fleet key and release root into `data_dir`.

    A code that was used answers 403: ask for another one. Nothing is written unless the centre agrees.

    Raises:
        EnrolError: the code has no box's name in it, the centre is away, refuses, or answers what cannot be used;
            or the box's key is in a PKCS#11 token.
    """
    device, dot, _ = code.strip().rpartition(".")
    if not dot or not device:
        raise EnrolError(_CODE)
    if (data_dir / PUBLIC_FILE).exists() and not (data_dir / KEY_FILE).exists():
        raise EnrolError(
            "this box's key is in a token (identity.token), and enrolment by code would make a second one: write the "
            f"token of `curbwatch api device add {device}` into api.token_file"
        )
    try:
        signer = load_signer(data_dir / KEY_FILE)
        try:
            told = Enrolment(
                code=code.strip(), key=public_key(signer, device), proof=proof_of(signer, code.strip())
            )
        except ValidationError:
            raise EnrolError(_CODE) from None
        answer = client.post("/enrol", json=told.wire())
        if not answer.is_success:
            raise EnrolError(f"the centre refuses ({answer.status_code}): {_detail(answer)}")
        got = Enrolled.model_validate_json(answer.content)
        read_key(got.fleet_key)
    except httpx.HTTPError as exc:
        raise EnrolError(
            f"the centre cannot be reached ({type(exc).__name__}); check --api and the network"
        ) from None
    except ValidationError:
        raise EnrolError(
            "the answer is none of a centre's; check --api: is it the centre that answers?"
        ) from None
    except (SignedError, IdentityError) as exc:
        raise EnrolError(str(exc)) from None
    write_bytes(data_dir / "fleet" / FLEET_KEY, got.fleet_key.encode())
    if got.root is not None:
        write_bytes(data_dir / "fleet" / ROOT, got.root.encode())
    # Last: a token is the sign that everything else is here.
    write_bytes(data_dir / TOKEN, got.token.encode())
    return got


def _detail(answer: httpx.Response) -> str:
    try:
        return str(json.loads(answer.text)["detail"])[:300]
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
