"""A reviewer at work, with the keyboard alone, in a real Chromium against a real centre."""

from __future__ import annotations

import statistics
from datetime import timedelta

import pytest
from console_parts import Town, fetched, page_of, said, shown, title
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import insert

from api.tables import CaseRow
from contract import new_id
from contract.datum import Datum, to_datum

pytestmark = pytest.mark.browser


def test_a_reviewers_first_ten_minutes_by_keyboard(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in range(1, 9)]
    page = page_of(browser, centre)
    title(page, "Street 1")
    shown(page)
    assert page.locator("#overlay .zone").count() == 1
    assert page.locator("#overlay .subject").count() == 1
    assert page.locator("#strip button").count() == 5
    expect(page.locator("#facts")).to_contain_text("5:12 / 5:00")
    expect(page.locator("#facts dt", has_text="Unit")).to_have_count(1)
    expect(page.locator("#near")).to_have_text("")

    page.keyboard.press("?")
    expect(page.locator("#sheet")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#sheet")).to_be_hidden()
    page.keyboard.press("c")
    title(page, "Street 2")
    assert centre.case(ids[0])["state"] == "confirmed"
    assert centre.case(ids[0])["verdicts"][0]["reviewer"] == "wang"

    page.keyboard.press("z")
    title(page, "Street 1")
    assert centre.case(ids[0])["state"] == "in_review"
    page.keyboard.press("r")
    expect(page.locator("#choices")).to_be_visible()
    page.keyboard.press("2")
    title(page, "Street 2")
    rejected = centre.case(ids[0])
    assert (rejected["state"], rejected["verdicts"][-1]["reason"]) == ("rejected", 2)

    page.keyboard.press("r")
    page.keyboard.press("9")
    page.keyboard.type("a film set")
    page.keyboard.press("Enter")
    title(page, "Street 3")
    assert centre.case(ids[1])["verdicts"][-1]["text"] == "a film set"

    page.keyboard.press("u")
    said(page, "second reader")
    title(page, "Street 4")
    assert centre.case(ids[2])["state"] == "second_review"

    page.keyboard.press("f")
    page.keyboard.press("3")
    title(page, "Street 5")
    assert centre.case(ids[3])["issue"] == "parking.fire_lane"

    page.keyboard.press("d")
    said(page, "comes back at")
    title(page, "Street 6")
    page.keyboard.press("j")
    title(page, "Street 7")
    page.keyboard.press("k")
    title(page, "Street 6")

    page.keyboard.press("o")
    expect(page.locator("#overlay .zone")).to_have_count(0)
    expect(page.locator("#overlay .subject")).to_have_count(1)
    page.keyboard.press("l")
    assert "scale(2)" in str(page.locator("#zoomed").get_attribute("style"))

    page.keyboard.press("e")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("c")
    title(page, "Street 7")
    assert centre.case(ids[5])["verdicts"][0]["box"] == pytest.approx([0.42, 0.5, 0.62, 0.704])


def test_a_box_is_dragged_by_its_corner(browser: Browser, centre: Town) -> None:
    case_id = centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("e")
    expect(page.locator("#overlay .handle")).to_have_count(4)
    area = page.locator("#overlay").bounding_box()
    assert area is not None
    x, y = area["x"] + 0.6 * area["width"], area["y"] + 0.7 * area["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 0.1 * area["width"], y + 0.05 * area["height"], steps=4)
    page.mouse.up()
    page.keyboard.press("c")
    expect(page.locator("#empty")).to_be_visible()
    assert centre.case(case_id)["verdicts"][0]["box"] == pytest.approx([0.4, 0.5, 0.7, 0.75], abs=0.01)


def test_merge_and_batch(browser: Browser, centre: Town) -> None:
    first, second = centre.post_case(1), centre.post_case(2, near=1)
    page = page_of(browser, centre)
    title(page, "Street 1")
    shown(page)
    page.keyboard.press("m")
    expect(page.locator("#choices")).to_contain_text("cam-2")
    expect(page.locator("#near")).to_contain_text("Within 50 m this week: 1.")
    page.keyboard.press("1")
    said(page, "merged")
    assert centre.case(first)["state"] == "merged"
    assert len(centre.case(second)["alerts"]) == 2
    page.keyboard.press("z")
    said(page, "taken back")
    assert centre.case(first)["state"] == "in_review"

    same = [centre.post_case(n, camera="busy") for n in range(11, 15)]
    title(page, "000001")
    page.keyboard.press("c")
    title(page, "Street 2")
    page.keyboard.press("c")
    title(page, "Street 11")
    page.keyboard.press("b")
    expect(page.locator("#batch-items .one")).to_have_count(4)
    page.locator("#batch-items input").nth(3).uncheck()
    page.locator("#batch-reject").click()
    said(page, "3 cases judged")
    title(page, "Street 14")
    assert [centre.case(c)["state"] for c in same] == ["rejected"] * 3 + ["in_review"]
    page.keyboard.press("z")
    said(page, "3 verdicts taken back")
    assert [centre.case(c)["state"] for c in same] == ["in_review"] * 4


def test_a_new_case_appears_by_itself(browser: Browser, centre: Town) -> None:
    page = page_of(browser, centre)
    expect(page.locator("#empty")).to_contain_text("curbwatch edge run")
    centre.post_case(7)
    expect(page.locator("#case-title")).to_contain_text("Street 7", timeout=8000)


def test_keys_are_changed_and_follow_the_person(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("?")
    page.locator('[data-change="confirm"]').focus()
    page.keyboard.press("Enter")
    page.keyboard.press("r")
    expect(page.locator("#sheet-said")).to_contain_text("“Reject” has this key")
    page.keyboard.press("Enter")
    page.keyboard.press("g")
    expect(page.locator("#sheet-said")).to_contain_text("Kept")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    title(page, "Street 1")
    page.keyboard.press("g")
    title(page, "Street 2")
    again = page_of(browser, centre)
    title(again, "Street 2")
    expect(again.locator("#do-confirm kbd")).to_have_text("G")
    again.keyboard.press("g")
    expect(again.locator("#empty")).to_be_visible()
    assert [centre.case(c)["state"] for c in ids] == ["confirmed", "confirmed"]


def _key_to_picture(page: Page, cases: range) -> list[float]:
    waits = []
    for n in cases:
        title(page, f"Street {n}")
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
    return waits


def test_the_next_picture_is_there_when_the_key_is_pressed(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in range(1, 10)]
    needed = {e["sha256"] for e in centre.case(ids[1])["alerts"][-1]["evidence"]}
    page = page_of(browser, centre)
    asked: list[str] = []
    shown(page)
    fetched(page, needed)
    page.on("request", lambda r: asked.append(r.url))
    waits = _key_to_picture(page, range(1, 2))
    assert not needed & {u.rsplit("/", 1)[-1] for u in asked}, (
        "the next case's pictures were there before the key"
    )
    waits += _key_to_picture(page, range(2, 9))
    print(f"key to next picture: median {statistics.median(waits):.0f} ms of {[round(w) for w in waits]}")


def test_ten_thousand_cases_in_the_queue(browser: Browser, centre: Town) -> None:
    with centre.core.db.write() as session:
        now = centre.core.now()
        place = {
            "lon": 116.0,
            "lat": 39.0,
            "error": {"semi_major_m": 5, "semi_minor_m": 5},
            "source": "camera_point",
        }
        rows = [
            {
                "id": new_id(), "number": f"old-{i}", "tenant": "/", "state": "in_review", "source": "camera_ai", "issue": "parking.motor",
                "street_class": "control", "camera_id": f"c{i % 500}", "camera_name": "", "lon": 116.0 + i * 1e-4, "lat": 39.0, "place": place,
                "opened_at": now + timedelta(days=30), "seen_at": now, "updated_at": now, "dwell_s": 100.0, "priority": 2**31 - 1, "version": 1, "held": {},
            }
            for i in range(10_000)
        ]  # fmt: skip
        session.execute(insert(CaseRow), rows)
    for n in (1, 2, 3):
        centre.post_case(n)
    page = page_of(browser, centre)
    title(page, "Street 1")
    expect(page.locator("#waiting")).to_contain_text("10003 waiting")
    expect(page.locator("#queue button")).to_have_count(50)
    shown(page)
    page.keyboard.press("c")
    title(page, "Street 2")
    expect(page.locator("#waiting")).to_contain_text("10002 waiting")


def test_the_queue_keeps_the_focus_and_the_labels_their_language(browser: Browser, centre: Town) -> None:
    for n in (1, 2):
        centre.post_case(n)
    page = page_of(browser, centre)
    shown(page)
    page.locator("#queue button").nth(1).focus()
    centre.post_case(3)
    expect(page.locator("#queue button")).to_have_count(3, timeout=12_000)
    expect(page.locator("#queue button").nth(1)).to_be_focused()
    page.locator("#lang").click()
    expect(page.locator("#scrub")).to_have_attribute("aria-label", "片段位置")
    expect(page.locator("#do-confirm")).to_contain_text("确认")


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
