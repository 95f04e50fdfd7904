"""A reviewer at work, with the keyboard alone, in a real Chromium against a real centre."""

from __future__ import annotations

import statistics
from datetime import timedelta
from pathlib import Path

import pytest
from console_parts import Town, fetched, held_cases, page_of, said, shown, title, town, until
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import insert, select

from api.tables import Audit, CaseRow
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


def test_two_reviewers_never_hold_one_case(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in range(1, 8)]
    first = page_of(browser, centre)
    title(first, "Street 1")
    shown(first)
    until(lambda: len(held_cases(centre)) == 3)
    second = page_of(browser, centre, name="li")
    title(second, "Street 4")
    expect(second.locator("#queue .held")).to_have_count(3)
    second.locator(f'#queue [data-id="{ids[0]}"]').click()
    said(second, "wang is reading this case")
    title(second, "Street 4")
    for page in (first, second):
        shown(page)
        page.keyboard.press("c")
    title(first, "Street 2")
    title(second, "Street 5")
    judged = [centre.case(c)["verdicts"] for c in ids]
    assert [v[0]["reviewer"] if v else None for v in judged[:4]] == ["wang", None, None, "li"]
    first.locator("#logout").click()
    second.locator(f'#queue [data-id="{ids[1]}"]').click()
    title(second, "Street 2")


def test_a_stale_verdict_is_refused_kindly(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    title(page, "Street 1")
    shown(page)
    page.route("**/events", lambda route: route.abort())
    page.evaluate("() => document.getElementById('review').dataset.x = '1'")
    page.route(
        "**/cases/*/verdicts", lambda route: (_judge_first(centre, ids[0]), route.continue_())[1], times=1
    )
    page.keyboard.press("c")
    said(page, "has changed while you looked")
    assert [v["reviewer"] for v in centre.case(ids[0])["verdicts"]] == ["li"]


def _judge_first(centre: Town, case_id: str) -> None:
    """Another person is unsure at the very moment in which the verdict is on its way."""
    with centre.core.db.write() as session:
        row = session.get_one(CaseRow, case_id)
        row.lease_by = row.lease_until = None
    with centre.person("li") as other:
        other.post(f"/cases/{case_id}/verdicts", json={"kind": "unsure"}).raise_for_status()


def test_a_lease_that_ended_is_told(browser: Browser, tmp_path: Path) -> None:
    with town(tmp_path, second_share=0.0, lease_s=1) as centre:
        ids = [centre.post_case(n) for n in (1, 2)]
        page = page_of(browser, centre)
        title(page, "Street 1")
        shown(page)
        page.wait_for_timeout(1200)
        with centre.person("li") as other:
            other.post("/queue/leases", json={"cases": [ids[0]]}).raise_for_status()
            other.post(f"/cases/{ids[0]}/verdicts", json={"kind": "confirm"}).raise_for_status()
        title(page, "Street 2")
        assert len(centre.case(ids[0])["verdicts"]) == 1


def test_a_blind_reading_looks_like_any_case(browser: Browser, tmp_path: Path) -> None:
    with town(tmp_path, second_share=1.0) as centre:
        case_id = centre.post_case(1)
        with centre.person("li") as other:
            other.post(f"/cases/{case_id}/verdicts", json={"kind": "confirm"}).raise_for_status()
        page = page_of(browser, centre)
        title(page, "Street 1")
        shown(page)
        assert "li" not in page.locator("aside.side").inner_text().split()
        expect(page.locator('#queue [aria-current="true"]')).to_have_attribute("data-id", case_id)
        expect(page.locator("#waiting")).to_have_text("1 waiting")
        page.keyboard.press("r")
        page.keyboard.press("1")
        said(page, "rejected")
        assert centre.case(case_id)["state"] == "confirmed"
        boss = page_of(browser, centre, name="ada", path="#/quality")
        expect(boss.locator("#page")).to_contain_text("li: confirm")
        expect(boss.locator("#page")).to_contain_text("wang: reject (not this class)")


def test_a_reading_whose_first_verdict_was_taken_back_leaves_the_page(
    browser: Browser, tmp_path: Path
) -> None:
    with town(tmp_path, second_share=1.0) as centre:
        case_id = centre.post_case(1)
        with centre.person("li") as other:
            first = other.post(f"/cases/{case_id}/verdicts", json={"kind": "confirm"}).raise_for_status()
            page = page_of(browser, centre)
            title(page, "Street 1")
            shown(page)
            path = f"/cases/{case_id}/verdicts/{first.headers['Verdict-Id']}"
            other.delete(path).raise_for_status()
        assert centre.case(case_id)["state"] == "in_review"
        page.keyboard.press("r")
        with page.expect_response("**/readings/*") as answer:
            page.keyboard.press("1")
        assert answer.value.status == 404
        # Nothing of it counts; the case comes again, now as one that waits for its first verdict.
        assert centre.case(case_id)["state"] == "in_review"
        title(page, "Street 1")
        shown(page)
        page.keyboard.press("c")
        said(page, "confirmed")
        assert centre.case(case_id)["state"] == "confirmed"


def test_each_view_is_logged(browser: Browser, centre: Town) -> None:
    ids = [centre.post_case(n) for n in (1, 2)]
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press("c")
    title(page, "Street 2")
    views = select(Audit).where(Audit.chain == "views:wang").order_by(Audit.position)

    def viewed() -> list[str]:
        with centre.core.db.read() as session:
            return [row.body["case"] for row in session.scalars(views)]

    until(lambda: len(viewed()) >= len(ids))
    assert viewed() == ids


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
                "opened_at": now + timedelta(days=30), "updated_at": now, "dwell_s": 100.0, "priority": 2**31 - 1, "version": 1, "held": {},
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
