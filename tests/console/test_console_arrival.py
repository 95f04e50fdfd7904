"""Keys and answers that come early, late or across each other while the reviewer goes from page to page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from console_parts import PRESS, Town, go, held_cases, page_of, said, shown, title, until
from playwright.sync_api import Browser, Page, Route, expect

from api.tables import CaseRow

pytestmark = pytest.mark.browser

WAYS = {
    "link": "document.querySelector('[href=\"#/review\"]').click()",
    "address": "location.hash = '#/review'",
}


@contextmanager
def late(page: Page, pattern: str, method: str = "GET", after: int = 0) -> Iterator[list[Route]]:
    """Keep the requests of `pattern` waiting, all but the first `after`, until the block ends."""
    waiting: list[Route] = []
    passed, over = 0, False

    def hold(route: Route) -> None:
        nonlocal passed
        if over or route.request.method != method or passed < after:
            passed += route.request.method == method
            route.continue_()
        else:
            waiting.append(route)

    page.route(pattern, hold)
    # A busy browser lets requests through for a moment after it was told to hold them.
    held: list[str] = []

    def note(route: Route) -> None:
        held.append(route.request.url)
        route.fulfill(status=204)

    page.route("**/is-it-held", note)
    while not held:
        page.evaluate("() => fetch('/is-it-held').catch(() => null)")
    page.unroute("**/is-it-held")
    yield waiting
    over = True
    for route in waiting:
        route.continue_()


def until_waits(page: Page, waiting: list[Route]) -> None:
    while not waiting:
        page.wait_for_timeout(20)


@pytest.mark.parametrize("way", WAYS)
def test_a_key_pressed_before_the_browser_tells_of_the_new_address_counts(
    browser: Browser, centre: Town, way: str
) -> None:
    centre.post_case(1)
    page = page_of(browser, centre, path="#/start")
    expect(page.locator("#page h1")).to_be_visible()
    page.evaluate(f"() => {{ {WAYS[way]}; ({PRESS})('?'); }}")
    expect(page.locator("#sheet")).to_be_visible()
    shown(page)
    expect(page.locator("#sheet")).to_be_visible()


def test_what_is_no_longer_held_is_not_shown_and_not_decided(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    page.evaluate("location.hash = '#/start'")
    expect(page.locator("#page h1")).to_be_visible()
    with late(page, "**/queue/next?*") as waiting:
        page.evaluate("location.hash = '#/review'")
        until_waits(page, waiting)
        expect(page.locator("#review")).to_be_visible()
        expect(page.locator("#picture")).to_be_hidden()
        expect(page.locator("#empty")).to_be_hidden()
        for key in ("c", "r", "1"):
            page.keyboard.press(key)
        expect(page.locator("#waiting")).to_contain_text("nothing was decided")
    title(page, "Street 1")
    shown(page)
    expect(page.locator("#choices")).to_be_hidden()
    assert [centre.case(c)["state"] for c in ids] == ["in_review", "in_review"]
    page.keyboard.press("c")
    said(page, "confirmed")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review"]


def test_the_first_case_waits_for_none_behind_it(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2, 3)]
    page = page_of(browser, centre, path="#/start")
    expect(page.locator("#page h1")).to_be_visible()
    with late(page, "**/queue/next?*", after=1) as waiting:
        page.evaluate("location.hash = '#/review'")
        until_waits(page, waiting)
        title(page, "Street 1")
        shown(page)
        page.keyboard.press("c")
        said(page, "confirmed")
        assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review", "in_review"]
        page.keyboard.press("c")
        expect(page.locator("#waiting")).to_contain_text("nothing was decided")
    title(page, "Street 2")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review", "in_review"]


def test_a_case_of_a_link_is_the_first_on_the_screen(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2, 3)]
    page = page_of(browser, centre, path="#/start")
    expect(page.locator("#page h1")).to_be_visible()
    titles = "() => { window.titles = []; new MutationObserver(() => titles.push(document.getElementById('case-title').textContent)).observe(document.getElementById('case-title'), { childList: true }); }"
    page.evaluate(titles)
    page.evaluate(f"location.hash = '#/review?case={ids[2]}'")
    title(page, "Street 3")
    shown(page)
    assert all("Street 3" in words for words in page.evaluate("titles"))


def test_the_picture_before_is_not_shown_with_the_next_title(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    with late(page, "**/evidence/*") as waiting:
        centre.post_case(2)
        until_waits(page, waiting)
        page.keyboard.press("j")
        expect(page.locator("#case-title")).to_contain_text("Street 2")
        assert page.locator("#picture").evaluate("(i) => i.naturalWidth") == 0
    shown(page)


def test_there_and_back_before_the_cases_are_given_back(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    with late(page, "**/queue/leases?*", "DELETE") as waiting:
        page.evaluate("location.hash = '#/start'")
        until_waits(page, waiting)
        page.evaluate("location.hash = '#/review'")
        expect(page.locator('#pages [aria-current="page"]')).to_have_text("Review")
    title(page, "Street 1")
    shown(page)
    expect(page.locator("#page")).to_be_hidden()
    expect(page.locator('#pages [aria-current="page"]')).to_have_text("Review")
    assert held_cases(centre) == {ids[0]: "wang", ids[1]: "wang"}
    page.keyboard.press("?")
    expect(page.locator("#sheet")).to_be_visible()


def test_a_case_that_comes_after_the_reviewer_has_left_goes_back(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre, path="#/start")
    expect(page.locator("#page h1")).to_be_visible()
    with late(page, "**/queue/next?*") as waiting:
        page.evaluate("location.hash = '#/review'")
        until_waits(page, waiting)
        page.evaluate("location.hash = '#/start'")
        expect(page.locator("#page h1")).to_be_visible()
        with page.expect_request(lambda r: r.method == "DELETE" and "/queue/leases" in r.url) as back:
            waiting.pop().continue_()
        answer = back.value.response()
        assert answer
        assert answer.ok
    assert held_cases(centre) == {}


def test_a_verdict_that_is_answered_after_the_reviewer_has_left_takes_no_new_cases(
    browser: Browser, centre: Town
) -> None:
    ids = [centre.post_case(n) for n in (1, 2, 3)]
    page = page_of(browser, centre)
    shown(page)
    with late(page, "**/cases/*/verdicts", "POST") as waiting:
        page.keyboard.press("c")
        until_waits(page, waiting)
        page.evaluate("location.hash = '#/start'")
        expect(page.locator("#page h1")).to_be_visible()
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        with page.expect_response("**/cases/*/verdicts"):
            waiting.pop().continue_()
        # What the answer brings about begins before the page comes to this.
        page.evaluate("() => new Promise((done) => setTimeout(done))")
    assert centre.case(ids[0])["state"] == "confirmed"
    assert [url for url in asked if "/queue/next" in url] == []


def test_a_case_that_is_asked_for_while_it_is_on_its_way_comes_once(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2, 3, 4)]
    page = page_of(browser, centre)
    shown(page)
    expect(page.locator("#queue li")).to_have_count(4)
    until(lambda: len(held_cases(centre)) == 3)
    with late(page, "**/queue/next?*") as waiting:
        page.keyboard.press("j")
        title(page, "Street 2")
        until_waits(page, waiting)
        page.locator(f'#queue [data-id="{ids[3]}"]').click()
        title(page, "Street 4")
        with page.expect_response("**/queue/next?*"):
            waiting.pop().continue_()
    for street in (2, 3):
        page.keyboard.press("j")
        title(page, f"Street {street}")
    page.keyboard.press("j")
    said(page, "No further case waits")


def test_a_reason_in_words_is_for_the_case_it_was_asked_for(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    for key in "r9":
        page.keyboard.press(key)
    expect(page.locator("#other")).to_be_visible()
    page.keyboard.type("a film set")
    with centre.person("ada") as boss:
        centre.free(ids[0])
        boss.post(f"/cases/{ids[0]}/verdicts", json={"kind": "confirm"}).raise_for_status()
    title(page, "Street 2")
    expect(page.locator("#other")).to_be_hidden()
    said(page, "confirmed")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review"]


def test_keys_right_after_a_dialog_has_closed_count(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("r")
    page.keyboard.press("9")
    expect(page.locator("#other-text")).to_be_focused()
    # In one task, so that no frame is drawn between: the focus is still in the field of the closed dialog.
    page.evaluate(
        """() => {
            document.getElementById('other').close();
            for (const key of ['Escape', 'b'])
                document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        }"""
    )
    expect(page.locator("#choices")).to_be_hidden()
    expect(page.locator("#batch")).to_be_visible()


@pytest.mark.parametrize("gone", ["to another page", "to the next case"])
def test_a_batch_that_comes_late_is_not_put_before_who_has_gone_on(
    browser: Browser, centre: Town, gone: str
) -> None:
    for n in (1, 2, 3):
        centre.post_case(n, camera="busy")
    page = page_of(browser, centre)
    shown(page)
    with late(page, "**/cases/*/cluster") as waiting:
        page.keyboard.press("b")
        until_waits(page, waiting)
        if gone == "to another page":
            go(page, "start")
        else:
            page.keyboard.press("j")
            title(page, "Street 2")
        with page.expect_response("**/cases/*/cluster"):
            waiting.pop().continue_()
        page.evaluate("() => new Promise((done) => setTimeout(done))")
    assert not page.evaluate("document.getElementById('batch').open")


def test_a_batch_that_is_left_while_it_is_on_its_way_can_be_taken_back(
    browser: Browser, centre: Town
) -> None:
    ids = [centre.post_case(n, camera="busy") for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("b")
    expect(page.locator("#batch-items .one")).to_have_count(2)
    with late(page, "**/queue/batch", "POST") as waiting:
        page.locator("#batch-confirm").click()
        until_waits(page, waiting)
        page.keyboard.press("Escape")
        expect(page.locator("#batch")).to_be_hidden()
    said(page, "2 cases judged")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed"] * 2
    page.keyboard.press("z")
    said(page, "2 verdicts taken back")
    assert [centre.case(c)["state"] for c in ids] == ["in_review"] * 2


def test_a_batch_from_which_the_shown_case_was_taken_out(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n, camera="busy") for n in (1, 2, 3)]
    with centre.core.db.write() as session:
        for case_id, hours in zip(ids, (-40, -20, 0), strict=True):
            case = session.get_one(CaseRow, case_id)
            case.seen_at += timedelta(hours=hours)
    page = page_of(browser, centre, path=f"#/review?case={ids[1]}")
    title(page, "Street 2")
    page.keyboard.press("b")
    expect(page.locator("#batch-items .one")).to_have_count(3)
    page.locator("#batch-items .first input").uncheck()
    page.locator("#batch-reject").click()
    said(page, "2 cases judged")
    assert [centre.case(c)["state"] for c in ids] == ["rejected", "in_review", "rejected"]


def test_undo_takes_back_the_verdict_that_is_on_its_way(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2, 3)]
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("c")
    title(page, "Street 2")
    with late(page, "**/cases/*/verdicts", "POST") as waiting:
        page.keyboard.press("c")
        until_waits(page, waiting)
        page.keyboard.press("z")
    said(page, "taken back")
    title(page, "Street 2")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review", "in_review"]


def test_a_verdict_taken_back_by_a_reviewer_who_leaves_is_not_held_on(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("c")
    title(page, "Street 2")
    said(page, "confirmed")
    with late(page, "**/queue/leases", "POST") as waiting:
        page.keyboard.press("z")
        until_waits(page, waiting)
        go(page, "start")
        with page.expect_response(lambda r: r.request.method == "DELETE" and ids[0] in r.url):
            waiting.pop().continue_()
    assert centre.case(ids[0])["state"] == "in_review"


SLOW = {
    "wall": "**/map?*",
    "fleet": "**/fleet/boxes?*",
    "rollouts": "**/fleet/rollouts",
    "stats": "**/stats/indicators?*",
    "quality": "**/quality?*",
    "labels": "**/labels?*",
    "visits": "**/cases?*",
    "setup/cam-1": "**/cameras/cam-1/pictures",
}


def test_a_page_that_was_left_draws_and_asks_no_more(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre, name="ada", path="#/start")
    expect(page.locator("#page h1")).to_have_text("First steps")
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.clock.install()
    for path, slow in SLOW.items():
        with late(page, slow) as waiting:
            page.evaluate("(path) => { location.hash = `#/${path}`; }", path)
            until_waits(page, waiting)
            go(page, "start")
            with page.expect_response(slow):
                for route in waiting:
                    route.continue_()
                waiting.clear()
        asked: list[str] = []
        page.on("request", lambda r, asked=asked: asked.append(r.url))
        page.clock.run_for(60_000)
        expect(page.locator("#page h1")).to_have_text("First steps")
        assert asked == [], path
        page.unroute(slow)
    assert faults == []
