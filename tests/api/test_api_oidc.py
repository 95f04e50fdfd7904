"""Sign-in by a provider: a real one on loopback that signs its tokens, and tokens that must not pass."""

from __future__ import annotations

import base64
import hmac
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from api_parts import Centre, centre
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import ValidationError
from sqlalchemy import select

from api.oidc import Attempt, OidcError, Provider, check_token
from api.settings import Settings
from api.tables import User
from bench.ports import free_port

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib")
ROLES = "watch-admins=admin@/, north=reviewer@/north/"


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from oidc_provider_mock import User as Person
        from oidc_provider_mock import run_server_in_thread
    people = [
        Person(sub="1", claims={"groups": ["north"], "preferred_username": "rita", "email": "r@x.example"}),
        Person(sub="2", claims={"groups": ["cooks"], "email": "c@x.example"}),
    ]
    with run_server_in_thread(free_port(), user_claims=people) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def city(tmp_path: Path, provider: str) -> Iterator[Centre]:
    with centre(
        tmp_path, oidc_issuer=provider, public_url="http://localhost", oidc_client_id="cw", oidc_client_secret="s",
        oidc_roles=ROLES,
    ) as made:  # fmt: skip
        made.clock.at = datetime.now(UTC)
        yield made


def _go(client: TestClient, sub: str) -> str:
    """Walk to the provider, sign in there as `sub`, and return the address it sends the browser back to."""
    away = client.get("/session/oidc", follow_redirects=False)
    assert away.status_code == 303, away.text
    there = away.headers["location"]
    assert parse_qs(urlsplit(there).query)["code_challenge_method"] == ["S256"]
    answer = httpx.post(there, data={"sub": sub}, timeout=60, trust_env=False)
    assert answer.status_code in {302, 303}, answer.text
    return answer.headers["location"].removeprefix("http://localhost")


def test_a_person_of_the_city_signs_in(city: Centre) -> None:
    city.person("rita")  # a local account of that name keeps it
    client = city.anonymous()
    back = client.get(_go(client, "1"), follow_redirects=False)
    assert (back.status_code, back.headers.get("location")) == (303, "/"), back.text
    cookie = back.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    me = client.get("/session").json()
    assert (me["role"], me["tenant"]) == ("reviewer", "/north/")
    assert me["username"].startswith("rita-")
    with city.core.db.read() as session:
        stored = session.scalars(select(User).where(User.subject.is_not(None))).one()
    for password in ("!", "", "no such user"):
        told = {"username": stored.username, "password": password}
        assert city.anonymous().post("/session", json=told).status_code == 401
    again = city.anonymous()
    assert again.get(_go(again, "1"), follow_redirects=False).status_code == 303
    assert again.get("/session").json()["username"] == me["username"], "known by subject, not by name"
    root = city.person("root", "admin")
    assert root.delete(f"/users/{stored.username}").status_code == 204
    assert client.get("/session").status_code == 401
    assert again.get(_go(again, "1"), follow_redirects=False).status_code == 403


def test_ways_that_do_not_lead_in(city: Centre, house: Centre) -> None:
    client = city.anonymous()
    assert client.get(_go(client, "2"), follow_redirects=False).status_code == 403, "no role for cooks"
    back = _go(client, "1")
    other = city.anonymous()
    other.get("/session/oidc", follow_redirects=False)
    assert other.get(back, follow_redirects=False).status_code == 400, "begun in another browser"
    assert client.get(back, follow_redirects=False).status_code == 303
    assert client.get(back, follow_redirects=False).status_code == 400, "a code is used once"
    state = _go(client, "1").partition("state=")[2].partition("&")[0]
    told = {"state": state, "error": "access_denied"}
    assert client.get("/session/oidc/callback", params=told, follow_redirects=False).status_code == 401
    told = {"state": state, "code": "made-up"}
    assert client.get("/session/oidc/callback", params=told, follow_redirects=False).status_code == 502
    assert house.anonymous().get("/session/oidc", follow_redirects=False).status_code == 404
    assert house.anonymous().get("/session/ways").json() == {"password": True, "oidc": False}


KEY = RSAKey.generate_key(2048, {"kid": "k1"})
CLAIMS = {"iss": "https://id", "sub": "1", "aud": "cw", "exp": 1100, "iat": 1000, "nonce": "n"}


@pytest.mark.parametrize(
    ("changes", "ok"),
    [
        ({}, True),
        ({"exp": 900}, False),
        ({"iat": 2000}, False),
        ({"aud": "another"}, False),
        ({"aud": ["cw", "another"]}, False),
        ({"aud": ["cw", "another"], "azp": "cw"}, True),
        ({"azp": "another"}, False),
        ({"iss": "https://evil"}, False),
        ({"nonce": "other"}, False),
        ({"nonce": None}, False),
        ({"sub": None}, False),
        ({"exp": None}, False),
    ],
)
def test_tokens(changes: dict[str, object], ok: bool) -> None:
    claims = {k: v for k, v in (CLAIMS | changes).items() if v is not None}
    token = jwt.encode({"alg": "RS256", "kid": "k1"}, claims, KEY)
    there = Provider("https://id", "", "", None, {"keys": [KEY.as_dict(private=False)]})
    if ok:
        assert check_token(token, there, "cw", "n", 1000.0)["sub"] == "1"
    else:
        with pytest.raises(OidcError):
            check_token(token, there, "cw", "n", 1000.0)


def test_signatures_that_do_not_count() -> None:
    there = Provider("https://id", "", "", None, {"keys": [KEY.as_dict(private=False)]})
    stranger = jwt.encode({"alg": "RS256", "kid": "k1"}, CLAIMS, RSAKey.generate_key(2048))
    # Signed with our public key as if it were a shared secret; the library would refuse to make it.
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').rstrip(b"=").decode()
    signed = f"{head}.{stranger.split('.')[1]}"
    mac = hmac.digest(KEY.as_pem(private=False), signed.encode(), "sha256")
    confused = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    unsigned = "eyJhbGciOiJub25lIn0." + stranger.split(".")[1] + "."
    for token in (stranger, confused, unsigned, "", "a.b.c"):
        with pytest.raises(OidcError):
            check_token(token, there, "cw", "n", 1000.0)


def test_attempts() -> None:
    made = Attempt.new()
    assert Attempt.of_cookie(made.cookie()) == made
    assert made.fits(made.state)
    assert not made.fits(made.nonce)
    assert [Attempt.of_cookie(v) for v in (None, "", "a.b.c", made.cookie() + ".x")] == [None] * 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"oidc_roles": "x=king@/"}, "oidc_roles"),
        ({"oidc_roles": ""}, "oidc_roles"),
        ({"public_url": None}, "public_url"),
        ({"oidc_issuer": "http://id.example"}, "oidc_issuer"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    good: dict[str, object] = {
        "oidc_issuer": "https://id.example", "public_url": "https://centre.example", "oidc_roles": ROLES,
    }  # fmt: skip
    with pytest.raises(ValidationError, match=says):
        Settings.model_validate({"data": tmp_path, **good, **changes})
