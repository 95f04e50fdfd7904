"""What a reviewer judges is what is on the screen: its picture, its zones, the box drawn on it."""

from __future__ import annotations

import httpx
import pytest
from console_parts import Town, alert_event, go, page_of, said, shown
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


def test_a_box_drawn_on_one_picture_does_not_go_with_the_next(browser: Browser, centre: Town) -> None:
    case_id = centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("e")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#overlay .own")).to_have_count(1)
    event, files = alert_event(1, "parking.motor", "cam-1", 1)
    event["data"]["key"] = centre.case(case_id)["alerts"][0]["key"]
    token = {"Authorization": f"Bearer {centre.token}"}
    with httpx.Client(timeout=60, base_url=centre.url, headers=token, trust_env=False) as box:
        assert box.post("/alerts", json=event).raise_for_status().json()["case_id"] == case_id
        for name, data in files.items():
            put = {"Content-Type": "image/jpeg"}
            box.put(f"/evidence/{name}", content=data, headers=put).raise_for_status()
    said(page, "A new picture has come")
    expect(page.locator("#overlay .own")).to_have_count(0)
    expect(page.locator("#edit")).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(300)
    page.keyboard.press("c")
    expect(page.locator("#empty")).to_be_visible()
    assert "box" not in centre.case(case_id)["verdicts"][0]
