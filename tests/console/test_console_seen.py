"""What a reviewer judges is what is on the screen: its picture, its zones, the box drawn on it."""

from __future__ import annotations

import pytest
from console_parts import Town, go, page_of
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser

TERRACE = {
    "id": "terrace-1", "kind": "terrace", "street_class": "control", "holder": "Cafe",
    "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]],
}  # fmt: skip


def draw_zones(centre: Town, zones: list[dict[str, object]]) -> None:
    with centre.person("ada") as ada:
        ada.put("/cameras/cam-1/setup", json={"setup": {"zones": zones}}).raise_for_status()


def and_back(page: Page) -> None:
    """Leave the review page and come again."""
    go(page, "start")
    go(page, "review")


def test_zones_that_did_not_come_are_asked_for_again(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    draw_zones(centre, [TERRACE])
    page = page_of(browser, centre, path="#/start")
    page.route("**/cameras/cam-1/setup", lambda route: route.fulfill(status=503, body="{}"))
    with page.expect_response("**/cameras/cam-1/setup"):
        go(page, "review")
    expect(page.locator("#overlay .permit")).to_have_count(0)
    page.unroute("**/cameras/cam-1/setup")
    and_back(page)
    expect(page.locator("#overlay .permit")).to_have_count(1)


def test_zones_that_were_changed_are_seen_within_minutes(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    draw_zones(centre, [TERRACE])
    page = page_of(browser, centre)
    expect(page.locator("#overlay .permit")).to_have_count(1)
    draw_zones(centre, [])
    page.clock.install()
    page.clock.fast_forward("06:00")
    and_back(page)
    expect(page.locator("#overlay .subject")).to_have_count(1)
    expect(page.locator("#overlay .permit")).to_have_count(0)
