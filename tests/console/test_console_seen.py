"""What a reviewer judges is what is on the screen: its picture, its zones, the box drawn on it."""

from __future__ import annotations

import httpx
import pytest
from console_parts import LOOK_MS, PRESS, Town, alert_event, go, page_of, said, shown, title
from playwright.sync_api import Browser, Page, Route, expect

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
    shown(page)
    page.keyboard.press("c")
    expect(page.locator("#empty")).to_be_visible()
    assert "box" not in centre.case(case_id)["verdicts"][0]


def test_a_double_press_judges_one_case(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("c")
    # As soon as the next case is on the screen, which no eye has reached yet.
    page.evaluate(
        f"""() => new Promise((done) => {{
            const title = document.getElementById('case-title');
            new MutationObserver(() => {{ if (title.textContent.includes('Street 2')) setTimeout(() => {{ for (const key of 'cd') ({PRESS})(key); done(); }}, 50); }})
                .observe(title, {{ childList: true, characterData: true, subtree: true }});
        }})"""
    )
    title(page, "Street 2")
    # The list is drawn anew with each case and each piece of news; what was said stays.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#said")).to_contain_text("Nothing was decided")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review"]
    page.keyboard.press("c")
    expect(page.locator("#empty")).to_be_visible()
    assert centre.case(ids[1])["state"] == "confirmed"


def test_a_case_whose_picture_is_on_its_way_is_not_judged(browser: Browser, centre: Town) -> None:
    case_id = centre.post_case(1)
    page = page_of(browser, centre, path="#/start")
    waiting: list[Route] = []
    page.route("**/evidence/*", lambda route: waiting.append(route))
    page.evaluate("location.hash = '#/review'")
    expect(page.locator("#case-title")).to_contain_text("Street 1")
    page.wait_for_timeout(LOOK_MS)
    page.keyboard.press("c")
    expect(page.locator("#said")).to_contain_text("Nothing was decided")
    assert centre.case(case_id)["state"] == "in_review"
    for route in waiting:  # a picture that fails comes no more
        route.abort()
    title(page, "Street 1")
    page.keyboard.press("c")
    expect(page.locator("#empty")).to_be_visible()
    assert centre.case(case_id)["state"] == "confirmed"


def test_a_picture_that_stalls_does_not_stop_a_decision_for_ever(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre, path="#/start")
    page.route("**/evidence/*", lambda _: None)
    page.evaluate("location.hash = '#/review'")
    expect(page.locator("#case-title")).to_contain_text("Street 1")
    page.wait_for_timeout(LOOK_MS)
    page.keyboard.press("d")
    expect(page.locator("#case-title")).to_contain_text("Street 2")
    page.wait_for_timeout(10_500)
    page.keyboard.press("c")
    expect(page.locator("#said")).to_contain_text("confirmed")
    assert centre.case(ids[1])["state"] == "confirmed"
