"""Two reviewers over one queue: leases, stale verdicts, blind readings, and what is logged of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from console_parts import Town, go, held_cases, page_of, said, shown, title, town, until
from playwright.sync_api import Browser, expect
from sqlalchemy import select

from api.tables import Audit, CaseRow

pytestmark = pytest.mark.browser


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


def test_a_blind_reading_is_held_given_back_and_put_back_as_a_case(browser: Browser, tmp_path: Path) -> None:
    with town(tmp_path, second_share=1.0) as centre:
        case_id = centre.post_case(1)
        with centre.person("li") as other:
            other.post(f"/cases/{case_id}/verdicts", json={"kind": "confirm"}).raise_for_status()
        page = page_of(browser, centre)
        page.clock.install()
        with page.expect_response(lambda r: "/queue/next" in r.url and r.status == 200) as came:
            page.reload()
        reading = came.value.headers["reading-id"]
        shown(page)
        with page.expect_request(lambda r: r.method == "DELETE" and f"case={reading}" in r.url):
            go(page, "start")
        go(page, "review")
        page.route("**/queue/leases", lambda route: route.fulfill(json={"until": "", "refused": {}}))
        with page.expect_request(lambda r: r.method == "POST" and "/queue/leases" in r.url) as held:
            page.clock.fast_forward("00:31")
        assert held.value.post_data_json == {"cases": [reading]}
        with page.expect_request(f"**/cases/{case_id}/defer"):
            page.keyboard.press("d")
        said(page, "comes back at")


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
