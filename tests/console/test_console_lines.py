"""A reviewer whose line is cut, whose centre restarts, who is shut out, or who writes by an input method."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from console_parts import Town, again, page_of, said, shown, title, town
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import update

from api.tables import User
from bench.ports import free_port

pytestmark = pytest.mark.browser


def test_an_input_method_keeps_its_keys(browser: Browser, centre: Town) -> None:
    case_id = centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    for event in (
        "{key: 'c', isComposing: true, bubbles: true}",
        "{key: 'Process', keyCode: 229, bubbles: true}",
    ):
        page.evaluate(f"() => document.body.dispatchEvent(new KeyboardEvent('keydown', {event}))")
    page.keyboard.press("Control+c")
    time.sleep(0.5)
    assert centre.case(case_id)["state"] == "in_review"


def test_a_lost_connection_is_said_and_mended(browser: Browser, centre: Town) -> None:
    case_id = centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    page.context.set_offline(True)
    page.keyboard.press("c")
    expect(page.locator("#offline")).to_contain_text("not stored")
    assert centre.case(case_id)["state"] == "in_review"
    later = centre.post_case(2)
    page.context.set_offline(False)
    # The bar goes by itself, and what came meanwhile is there.
    expect(page.locator("#offline")).to_be_hidden(timeout=20_000)
    expect(page.locator(f'#queue [data-id="{later}"]')).to_be_visible()
    page.keyboard.press("c")
    title(page, "Street 2")
    assert centre.case(case_id)["state"] == "confirmed"


def test_the_centre_goes_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    with town(tmp_path, port, second_share=0.0) as centre:
        case_id = centre.post_case(1)
        page = page_of(browser, centre)
        shown(page)
    expect(page.locator("#offline")).to_be_visible(timeout=20_000)
    page.keyboard.press("c")
    with again(centre, port) as centre:
        expect(page.locator("#offline")).to_be_hidden(timeout=20_000)
        assert centre.case(case_id)["state"] == "in_review", "a verdict given meanwhile is not stored"
        page.keyboard.press("c")
        expect(page.locator("#empty")).to_be_visible()
        assert centre.case(case_id)["verdicts"][0]["reviewer"] == "wang"


def test_who_is_shut_out_hears_nothing_more(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    with (
        centre.person("li") as other,
        other.stream("GET", "/events", timeout=30) as feed,
        centre.person("ada") as ada,
        ada.stream("GET", "/events", timeout=30) as hers,
    ):
        lines, ours = feed.iter_lines(), hers.iter_lines()
        assert next(lines) == next(ours) == "event: hello"
        with centre.core.db.write() as session:
            session.execute(update(User).where(User.username.in_(("li", "wang"))).values(active=False))
        assert not [line for line in lines if "case.opened" in line], "the feed ends"
        assert other.get("/events").status_code == 401
        centre.post_case(2)
        assert next(line for line in ours if "case.opened" in line), "another's goes on"
    expect(page.locator("#login-form")).to_be_visible(timeout=20_000)
    expect(page.locator("#review")).to_be_hidden()


def test_words_are_composed_without_a_verdict(browser: Browser, centre: Town) -> None:
    case_id = centre.post_case(1)
    page = page_of(browser, centre, "zh-CN")
    shown(page)
    page.keyboard.press("r")
    page.keyboard.press("9")
    expect(page.locator("#other-text")).to_be_focused()
    method = page.context.new_cdp_session(page)
    method.send("Input.imeSetComposition", {"text": "paishe", "selectionStart": 6, "selectionEnd": 6})
    # The Enter that ends a composition belongs to the input method, and does not send the form.
    enter = {"type": "rawKeyDown", "key": "Process", "code": "Enter", "windowsVirtualKeyCode": 229}
    method.send("Input.dispatchKeyEvent", enter)
    expect(page.locator("#other")).to_be_visible()
    method.send("Input.insertText", {"text": "拍摄现场"})
    expect(page.locator("#other-text")).to_have_value("拍摄现场")
    assert centre.case(case_id)["state"] == "in_review"
    page.keyboard.press("Enter")
    expect(page.locator("#empty")).to_be_visible()
    assert centre.case(case_id)["verdicts"][0]["text"] == "拍摄现场"


@contextmanager
def answers_lost(page: Page, pattern: str) -> Iterator[None]:
    """Let requests of `pattern` reach the centre, and cut the line before their answers."""

    def cut(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route(pattern, cut)
    with page.expect_event("requestfailed", lambda r: r.method == "POST"):
        yield
    page.unroute(pattern)


def without_news(page: Page) -> None:
    """Open the page anew with no live feed, which would tell of the verdict that the answer did not."""
    page.route("**/events", lambda route: route.abort())
    page.reload()
    shown(page)


def judge_two_the_second_without_an_answer(page: Page, centre: Town, key: str) -> list[str]:
    ids = [centre.post_case(n) for n in (1, 2, 3)]
    without_news(page)
    page.keyboard.press("c")
    title(page, "Street 2")
    with answers_lost(page, "**/cases/*/verdicts"):
        page.keyboard.press(key)
    assert [centre.case(c)["state"] for c in ids[::2]] == ["confirmed", "in_review"]
    assert len(centre.case(ids[1])["verdicts"]) == 1
    return ids


def test_undo_means_the_verdict_whose_answer_was_lost(browser: Browser, centre: Town) -> None:
    page = page_of(browser, centre)
    ids = judge_two_the_second_without_an_answer(page, centre, "c")
    page.keyboard.press("z")
    said(page, "000002: verdict taken back")
    title(page, "Street 2")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review", "in_review"]
    expect(page.locator('[data-action="undo"]')).to_be_disabled()
    page.keyboard.press("c")
    title(page, "Street 3")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "confirmed", "in_review"]


def test_a_verdict_given_again_after_its_answer_was_lost_counts_once_and_can_be_taken_back(
    browser: Browser, centre: Town
) -> None:
    page = page_of(browser, centre)
    ids = judge_two_the_second_without_an_answer(page, centre, "c")
    page.keyboard.press("c")
    said(page, "000002: confirmed")
    title(page, "Street 3")
    assert len(centre.case(ids[1])["verdicts"]) == 1
    page.keyboard.press("z")
    said(page, "000002: verdict taken back")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review", "in_review"]


def test_another_verdict_after_a_lost_answer_is_refused_and_the_stored_one_can_be_taken_back(
    browser: Browser, centre: Town
) -> None:
    page = page_of(browser, centre)
    ids = judge_two_the_second_without_an_answer(page, centre, "c")
    for key in "r1":
        page.keyboard.press(key)
    said(page, "has changed while you looked (confirmed)")
    title(page, "Street 3")
    page.keyboard.press("z")
    said(page, "000002: verdict taken back")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review", "in_review"]


def test_undo_after_a_verdict_that_never_reached_the_centre_takes_nothing_back(
    browser: Browser, centre: Town
) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("c")
    title(page, "Street 2")
    page.route("**/verdicts", lambda route: route.abort())
    with page.expect_event("requestfailed"):
        page.keyboard.press("c")
    page.keyboard.press("z")
    said(page, "no verdict was stored")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review"]


def test_a_batch_whose_answer_was_lost_can_be_taken_back(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n, camera="busy") for n in (1, 2, 3)]
    page = page_of(browser, centre)
    without_news(page)
    page.keyboard.press("c")
    title(page, "Street 2")
    page.keyboard.press("b")
    expect(page.locator("#batch-items .one")).to_have_count(2)
    with answers_lost(page, "**/queue/batch"):
        page.locator("#batch-confirm").click()
    assert [centre.case(c)["state"] for c in ids] == ["confirmed"] * 3
    page.keyboard.press("z")
    said(page, "2 verdicts taken back")
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "in_review", "in_review"]
