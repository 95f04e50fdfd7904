"""One browser, one person after the other: nothing of the first is left for the second, and no keys but one's own count."""

from __future__ import annotations

import pytest
from console_parts import Town, go, page_of, shown, sign_in, title
from playwright.sync_api import Browser, expect

from api.security import add_user

pytestmark = pytest.mark.browser

KEYS = {"keys": {"confirm": "x", "unsure": "c"}, "hidden": []}


def test_the_news_of_one_person_are_not_shown_to_the_next(browser: Browser, centre: Town) -> None:
    with centre.core.db.write() as session:
        centre.others["nora"] = add_user(session, "nora", "supervisor", centre.core.now(), "/north/")
    page = page_of(browser, centre, name="ada", path="#/wall")
    expect(page.locator("#page")).to_contain_text("0 cases on the map")
    centre.post_case(3)
    expect(page.locator(".arrivals li")).to_have_count(1)
    page.locator("#logout").click()
    sign_in(page, centre, "nora")
    expect(page.locator("#page")).to_contain_text("0 cases on the map")
    expect(page.locator(".arrivals li")).to_have_count(0)


def test_undo_takes_back_nothing_of_the_person_before(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("c")
    title(page, "Street 2")
    page.locator("#logout").click()
    sign_in(page, centre, "li")
    shown(page)
    expect(page.locator('[data-action="undo"]')).to_be_disabled()
    page.keyboard.press("z")
    page.keyboard.press("u")
    expect(page.locator("#empty")).to_be_visible()
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "second_review"]


def test_no_keys_but_ones_own_count_while_they_do_not_come(browser: Browser, centre: Town) -> None:
    case_id = centre.post_case(1)
    for name in ("li", "wang"):
        with centre.person(name) as person:
            own = KEYS if name == "li" else {"keys": {"confirm": "g"}, "hidden": ["zone"]}
            person.put("/session/preferences", json=own).raise_for_status()
    page = page_of(browser, centre, name="li")
    shown(page)
    page.locator("#logout").click()
    expect(page.locator("#login-form")).to_be_visible()  # rules set while a page loads may lose its requests
    page.route("**/session/preferences", lambda route: route.fulfill(status=503, body="{}"))
    with page.expect_response("**/session/preferences"):
        sign_in(page, centre)
    expect(page.locator("#offline")).to_be_visible()
    expect(page.locator("#picture")).to_be_hidden()
    for key in "co?":  # nothing is judged, and no layers are kept in place of the person's own
        page.keyboard.press(key)
    page.unroute("**/session/preferences")
    shown(page)
    expect(page.locator("#offline")).to_be_hidden()
    expect(page.locator("#do-confirm kbd")).to_have_text("G")
    expect(page.locator("#sheet")).to_be_visible()
    page.keyboard.press("Escape")
    assert centre.case(case_id)["state"] == "in_review"
    with centre.person("wang") as wang:
        assert wang.get("/session/preferences").json() == {"keys": {"confirm": "g"}, "hidden": ["zone"]}


@pytest.mark.parametrize("path", ["review", "start"])
def test_who_logs_out_on_a_cut_line_is_told_that_they_are_not_signed_out(
    browser: Browser, centre: Town, path: str
) -> None:
    centre.post_case(1)
    page = page_of(browser, centre, path=f"#/{path}")
    go(page, path)
    page.context.set_offline(True)
    page.locator("#logout").click()
    expect(page.locator("#offline")).to_be_visible()
    expect(page.locator("#still-in")).to_contain_text("You are not signed out")
    expect(page.locator("#login")).to_be_hidden()
    page.context.set_offline(False)
    if path == "review":
        shown(page)
        expect(page.locator("#offline")).to_be_hidden()
    expect(page.locator("#still-in")).to_be_visible()
    page.locator("#logout").click()
    expect(page.locator("#login-form")).to_be_visible()
    page.reload()
    expect(page.locator("#login-form")).to_be_visible()
