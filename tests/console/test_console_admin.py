"""What an admin's centre has beside the reviewers' pages: the city's own sign-in, and letters that did not arrive."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from console_parts import Town, page_of, town, violations
from playwright.sync_api import Browser, expect

from bench.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib")]


@contextmanager
def provider() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from oidc_provider_mock import User as Person
        from oidc_provider_mock import run_server_in_thread
    people = [Person(sub="1", claims={"groups": ["north"], "preferred_username": "rita"})]
    with run_server_in_thread(free_port(), user_claims=people) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.mark.parametrize(
    ("locale", "words"), [("en-GB", "Sign in with the city's account"), ("zh-CN", "使用城市统一账号登录")]
)
def test_the_city_signs_people_in(browser: Browser, tmp_path: Path, locale: str, words: str) -> None:
    port = free_port()
    with (
        provider() as issuer,
        town(
            tmp_path, port, oidc_issuer=issuer, public_url=f"http://127.0.0.1:{port}", oidc_client_id="cw",
            oidc_client_secret="s", oidc_roles="north=reviewer@/",
        ) as centre,
    ):  # fmt: skip
        page = browser.new_context(locale=locale).new_page()
        page.goto(centre.url)
        link = page.get_by_role("link", name=words)
        expect(link).to_be_visible()
        count, report = violations(page)
        assert count == 0, report
        link.focus()
        page.keyboard.press("Enter")
        page.locator("input[name=sub]").fill("1")
        page.keyboard.press("Enter")
        # The provider is another site to the browser, so that the cookies are those of a real way back.
        expect(page.locator("#logout")).to_be_visible()
        expect(page.locator("#login")).to_be_hidden()
        assert page.evaluate("async () => (await (await fetch('/session')).json()).role") == "reviewer"


def test_without_a_provider_there_is_no_such_link(browser: Browser, centre: Town) -> None:
    page = browser.new_context(locale="en-GB").new_page()
    with page.expect_response("**/session/ways") as told:
        page.goto(centre.url)
    assert told.value.json() == {"password": True, "oidc": False}
    expect(page.locator("#login-form")).to_be_visible()
    expect(page.locator("#city-login")).to_be_hidden()


class Receiver(BaseHTTPRequestHandler):
    """A city's service that refuses what comes until it is mended."""

    mended: threading.Event
    got: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append(self.headers["webhook-id"])
        self.send_response(204 if self.mended.is_set() else 500)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    kind = type("Kept", (Receiver,), {"mended": threading.Event(), "got": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/events", kind
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_a_dead_letter_is_seen_and_sent_again(browser: Browser, tmp_path: Path) -> None:
    with (
        receiver() as (url, kind),
        town(tmp_path, allow_private_hooks=True, hook_tries=1) as centre,
        centre.person("ada") as ada,
    ):
        hook = ada.post("/hooks", json={"url": url}).raise_for_status().json()["id"]
        centre.post_case(1)
        page = page_of(browser, centre, name="ada", path="#/stats")
        letters = page.locator("#letters")
        row = letters.locator("tbody tr").first
        for _ in range(40):
            page.reload()
            expect(letters).to_be_visible()
            if row.count():
                break
            page.wait_for_timeout(500)
        expect(row).to_contain_text("HTTP 500")
        expect(row).to_contain_text(url)
        expect(row).to_contain_text("city.curbwatch.case")
        count, report = violations(page)
        assert count == 0, report
        dead = ada.get(f"/hooks/{hook}/deliveries", params={"state": "dead"}).json()
        kind.mended.set()
        for _ in dead:
            row.get_by_role("button", name="Send again").click()
            expect(page.locator("#page-said")).to_have_text("On its way again.")
        expect(letters).to_contain_text("Every event has arrived")
        for _ in range(40):
            if len(ada.get(f"/hooks/{hook}/deliveries", params={"state": "sent"}).json()) >= len(dead):
                break
            page.wait_for_timeout(500)
        assert {d["id"] for d in dead} <= {
            d["id"] for d in ada.get(f"/hooks/{hook}/deliveries", params={"state": "sent"}).json()
        }
