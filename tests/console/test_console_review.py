"""A reviewer at work, with the keyboard alone, in a real Chromium against a real centre."""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

sys.path.insert(0, str(Path(__file__).parent))
from console_parts import Town, chromium, town

from contract.datum import Datum, to_datum

pytestmark = pytest.mark.browser
STATIC = Path(__file__).parents[2] / "api" / "console" / "static"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Town]:
    with town(tmp_path) as running:
        yield running


def page_of(browser: Browser, centre: Town, locale: str = "en-GB", **context: object) -> Page:
    page = browser.new_context(locale=locale, viewport={"width": 1366, "height": 768}, **context).new_page()
    page.goto(centre.url)
    page.locator("input[name=username]").fill(centre.username)
    page.locator("input[name=password]").fill(centre.password)
    page.keyboard.press("Enter")
    expect(page.locator("#review")).to_be_visible()
    return page


def shown(page: Page) -> str:
    """Wait for the case's picture and return the title."""
    page.wait_for_function(
        "() => { const i = document.getElementById('picture'); return i.complete && i.naturalWidth > 0 }"
    )
    return page.locator("#case-title").inner_text()


def test_confirm_reject_undo_by_keyboard(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2, 3)]
    page = page_of(browser, centre)
    expect(page.locator("#case-title")).to_contain_text("Street 1")
    shown(page)
    assert page.locator("#overlay .zone").count() == 1
    assert page.locator("#overlay .subject").count() == 1
    assert page.locator("#strip button").count() == 5
    expect(page.locator("#facts")).to_contain_text("5:12 / 5:00")

    page.keyboard.press("c")
    expect(page.locator("#case-title")).to_contain_text("Street 2")
    assert centre.case(ids[0])["state"] == "confirmed"
    assert centre.case(ids[0])["verdicts"][0]["reviewer"] == "wang"

    page.keyboard.press("z")
    expect(page.locator("#case-title")).to_contain_text("Street 1")
    assert centre.case(ids[0])["state"] == "in_review"

    page.keyboard.press("r")
    expect(page.locator("#reasons")).to_be_visible()
    page.keyboard.press("2")
    expect(page.locator("#case-title")).to_contain_text("Street 2")
    rejected = centre.case(ids[0])
    assert (rejected["state"], rejected["verdicts"][-1]["reason"]) == ("rejected", 2)

    page.keyboard.press("r")
    page.keyboard.press("9")
    page.keyboard.type("a film set")
    page.keyboard.press("Enter")
    expect(page.locator("#case-title")).to_contain_text("Street 3")
    assert centre.case(ids[1])["verdicts"][-1]["text"] == "a film set"

    page.keyboard.press("u")
    expect(page.locator("#said")).to_contain_text("second reader")
    assert centre.case(ids[2])["state"] == "second_review"


def test_a_new_case_appears_by_itself(browser: Browser, centre: Town) -> None:
    page = page_of(browser, centre)
    expect(page.locator("#empty")).to_be_visible()
    centre.post_case(7)
    expect(page.locator("#case-title")).to_contain_text("Street 7", timeout=8000)


def test_an_input_method_keeps_its_keys(browser: Browser, centre: Town) -> None:
    case_id = centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    page.evaluate(
        "() => document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'c', isComposing: true, bubbles: true}))"
    )
    page.keyboard.press("Control+c")
    time.sleep(0.5)
    assert centre.case(case_id)["state"] == "in_review"


def test_the_next_picture_is_there_when_the_key_is_pressed(browser: Browser, centre: Town) -> None:
    for n in range(1, 10):
        centre.post_case(n)
    page = page_of(browser, centre)
    waits = []
    for n in range(1, 9):
        expect(page.locator("#case-title")).to_contain_text(f"Street {n}")
        shown(page)
        page.wait_for_timeout(400)
        waits.append(
            page.evaluate(
                """(n) => new Promise((done) => {
                    const began = performance.now(), title = document.getElementById('case-title');
                    const look = () => {
                        const i = document.getElementById('picture');
                        if (title.textContent.includes(`Street ${n + 1}`) && i.complete && i.naturalWidth) done(performance.now() - began);
                        else requestAnimationFrame(look);
                    };
                    document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'c', bubbles: true}));
                    look();
                })""",
                n,
            )
        )
    print(f"key to next picture: median {statistics.median(waits):.0f} ms of {[round(w) for w in waits]}")
    assert len(waits) == 8


def test_a_lost_connection_is_said_and_mended(browser: Browser, centre: Town) -> None:
    case_id = centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    page.context.set_offline(True)
    page.keyboard.press("c")
    expect(page.locator("#offline")).to_be_visible()
    assert centre.case(case_id)["state"] == "in_review"
    page.context.set_offline(False)
    page.keyboard.press("c")
    expect(page.locator("#offline")).to_be_hidden()
    assert centre.case(case_id)["state"] == "confirmed"


def test_two_reviewers_on_one_case_judge_it_once(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    first, second = page_of(browser, centre), page_of(browser, centre)
    for page in (first, second):
        expect(page.locator("#case-title")).to_contain_text("Street 1")
    first.keyboard.press("c")
    expect(second.locator("#case-title")).to_contain_text("Street 2", timeout=8000)
    assert len(centre.case(ids[0])["verdicts"]) == 1
    assert centre.case(ids[1])["verdicts"] == []


def test_the_queue_keeps_the_focus_and_the_labels_their_language(browser: Browser, centre: Town) -> None:
    for n in (1, 2):
        centre.post_case(n)
    page = page_of(browser, centre)
    shown(page)
    page.locator("#queue button").nth(1).focus()
    centre.post_case(3)
    expect(page.locator("#queue button")).to_have_count(3, timeout=8000)
    expect(page.locator("#queue button").nth(1)).to_be_focused()
    page.locator("#lang").click()
    expect(page.locator("#scrub")).to_have_attribute("aria-label", "片段位置")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_accessible_in_both_languages(browser: Browser, centre: Town, locale: str, scheme: str) -> None:
    centre.post_case(1)
    page = page_of(browser, centre, locale, color_scheme=scheme)
    shown(page)
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
    assert found.violations_count == 0, found.generate_report()


def test_a_phone_shows_the_case(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre)
    page.set_viewport_size({"width": 390, "height": 844})
    shown(page)
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth + 1")
    expect(page.locator("#confirm")).to_be_visible()


@pytest.mark.parametrize("datum", ["wgs84", "gcj02", "bd09"])
def test_the_map_shifts_as_the_centre_does(browser: Browser, centre: Town, datum: Datum) -> None:
    page = page_of(browser, centre)
    points = [(116.404, 39.915), (121.4737, 31.2304), (87.6168, 43.8256), (2.35, 48.85)]
    for lon, lat in points:
        words = f"import('/static/datum.js').then(m => m.toDatum({lon}, {lat}, '{datum}'))"
        assert page.evaluate(words) == pytest.approx(to_datum(lon, lat, datum), abs=1e-9)


def test_a_wrong_password_is_said(browser: Browser, centre: Town) -> None:
    page = browser.new_context(locale="en-GB").new_page()
    page.goto(centre.url)
    page.locator("input[name=username]").fill(centre.username)
    page.locator("input[name=password]").fill("nonsense")
    page.keyboard.press("Enter")
    expect(page.locator("#login-error")).to_contain_text("Wrong name or password")


def test_both_languages_are_complete() -> None:
    text = (STATIC / "strings.js").read_text(encoding="utf-8")
    blocks = {lang: text.split(f"  {lang}: {{")[1].split("\n  },")[0] for lang in ("en", "zh")}
    keys = {lang: set(re.findall(r"(\w+): \"", block)) for lang, block in blocks.items()}
    assert keys["en"] == keys["zh"]
    used = set()
    for path in STATIC.glob("*.js"):
        used |= set(re.findall(r"\bt\(\"(\w+)\"\)", path.read_text(encoding="utf-8")))
    used |= set(re.findall(r"data-t=\"(\w+)\"", (STATIC / "index.html").read_text(encoding="utf-8")))
    assert used <= keys["en"], f"without words: {used - keys['en']}"


def test_nothing_comes_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert "http://" not in text, path.name
        assert "https://" not in text, path.name
