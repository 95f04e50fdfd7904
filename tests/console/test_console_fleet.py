"""The fleet's pages in a real Chromium: boxes with what is wrong with them, a shadow's differences, rollouts, and the way back from a case."""

from __future__ import annotations

import copy
import re
from typing import Any

import httpx
import pytest
from console_parts import Town, page_of, violations
from playwright.sync_api import Browser, Page, expect

from api.examples import HEARTBEAT
from api.fleet import box_row
from api.security import add_device
from api.tables_fleet import FleetBox
from contract import new_id, utc_now

pytestmark = pytest.mark.browser
GIB = 2**30
SHADOW = {
    "model": "north/street@2", "frames": 40, "skipped": 3, "both": 90, "champion_only": 4, "candidate_only": 30,
    "by_class": {"car": [80, 3, 2], "bag": [10, 1, 28]}, "champion_ms": 18.0, "candidate_ms": 24.0,
}  # fmt: skip


def beat(centre: Town, name: str, ring: str, wish: str, **told: Any) -> None:
    with centre.core.db.write() as session:
        token = add_device(session, name, utc_now())
        row = box_row(session, name)
        row.labels, row.model = {"ring": ring}, wish
    cameras = [{"camera_id": f"{name}-cam", "state": told.pop("state", "live"), "reason": "", "view": "good"}]
    message = {**copy.deepcopy(HEARTBEAT), "id": new_id(), "device_id": name, "at": utc_now().isoformat(), "cameras": cameras}  # fmt: skip
    head = {"Authorization": f"Bearer {token}"}
    with httpx.Client(timeout=60, base_url=centre.url, headers=head, trust_env=False) as box:
        box.post("/heartbeats", json=message | told).raise_for_status()


def fleet(centre: Town) -> None:
    beat(centre, "fine", "late", "north/street@1", clock_offset_s=-0.04, fleet={"model": "north/street@1"})
    beat(
        centre, "ill", "early", "north/street@2", state="failed", disk_bytes=100 * GIB, disk_free_bytes=GIB, clock_offset_s=-9.0,
        temperature_c=70.0, fleet={"model": "north/street@1", "model_refused": "north/street@2", "model_reason": "it is hot"},
    )  # fmt: skip
    beat(centre, "tries", "early", "north/street@1", fleet={"model": "north/street@1", "shadow": SHADOW})


def names(page: Page) -> list[str]:
    return [text.split("\n")[0] for text in page.locator("#boxes tbody th").all_inner_texts()]


def test_boxes_show_what_is_wrong_and_filters_live_in_the_address(browser: Browser, centre: Town) -> None:
    fleet(centre)
    page = page_of(browser, centre, name="ada", path="#/fleet")
    expect(page.locator("#boxes tbody tr")).to_have_count(4)
    assert names(page)[0] == "ill", "what is wrong stands first"
    row = page.locator("#boxes tbody tr").first
    assert set(row.locator(".mark.bad").all_inner_texts()) == {"drift", "streams down", "disk", "clock"}
    expect(row).to_contain_text("north/street@1")
    expect(row).to_contain_text("shall be north/street@2")
    for words in ("0 / 1", "1 %", "70 °C", "-9.0 s", "ring=early"):
        expect(row).to_contain_text(words)
    expect(page.locator("#boxes tbody tr").filter(has_text="fine").locator("td.num").last).to_have_text(
        "0.0 s"
    )
    page.get_by_label("State").select_option("drift")
    expect(page.locator("#boxes tbody tr")).to_have_count(2)
    assert "state=drift" in page.url
    page.reload()
    expect(page.locator("#boxes tbody tr")).to_have_count(2)
    page.get_by_label("Search box, label, model").fill("ill")
    page.keyboard.press("Enter")
    expect(page.locator("#boxes tbody tr")).to_have_count(1)
    assert "find=ill" in page.url
    page.get_by_role("link", name="ill", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#drift")).to_contain_text("shall be north/street@2, is north/street@1 (it is hot)")
    page.locator("#again-why").fill("it has a fan now")
    page.locator("#again").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#page-said")).to_contain_text("tries again")
    with centre.core.db.read() as session:
        assert session.get_one(FleetBox, "ill").again == 1
    page.go_back()
    expect(page.locator("#boxes tbody tr")).to_have_count(1)


def test_a_shadow_is_a_table_of_differences(browser: Browser, centre: Town) -> None:
    fleet(centre)
    page = page_of(browser, centre, "zh-CN", "ada", path="#/fleet/tries", color_scheme="dark")
    rows = page.locator("#shadow tbody tr")
    expect(rows).to_have_count(3)
    assert [re.split(r"\s+", text.strip()) for text in rows.all_inner_texts()] == [
        ["bag", "10", "1", "28", "26", "%"], ["car", "80", "3", "2", "94", "%"], ["合计", "90", "4", "30", "73", "%"],
    ]  # fmt: skip


@pytest.mark.parametrize(("locale", "scheme"), [("en-GB", "light"), ("zh-CN", "dark")])
def test_a_rollout_is_paused_resumed_aborted_and_finished_with_the_keyboard(
    browser: Browser, centre: Town, locale: str, scheme: str
) -> None:
    fleet(centre)
    plan = {"shadow": {"share": 0.5}, "rings": [{"name": "ring-0", "labels": {"ring": "early"}}]}
    with centre.person("ada") as ada:
        told = ada.post("/fleet/rollouts", json={"candidate": "north/street@2", "plan": plan})
        told.raise_for_status()
    page = page_of(browser, centre, locale, "ada", path="#/rollouts", color_scheme=scheme)
    count, report = violations(page)
    assert count == 0, report
    page.get_by_role("link", name="north/street@2").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".stages [aria-current=step]")).to_have_text(
        {"en-GB": "shadow", "zh-CN": "影子"}[locale]
    )
    page.locator("#reason").fill("the holidays")
    for act, after in (("pause", "paused"), ("resume", "running"), ("abort", "aborted")):
        page.locator(f"#act-{act}").focus()
        page.keyboard.press("Enter")
        expect(page.locator(f"#act-{act}")).to_have_count(0)
        with centre.person("ada") as ada:
            assert ada.get(f"/fleet/rollouts/{told.json()['id']}").json()["status"] == after
    expect(page.locator("#page")).to_contain_text("the holidays")
    expect(page.locator("#page button")).to_have_count(0)
    count, report = violations(page)
    assert count == 0, report
    with centre.person("ada") as ada:
        last = ada.post(
            "/fleet/rollouts", json={"candidate": "north/street@2", "plan": plan | {"shadow": None}}
        )
        page.goto(f"{centre.url}/#/rollouts/{last.raise_for_status().json()['id']}")
        page.locator("#act-finish").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#act-finish")).to_have_count(0)
        assert ada.get(f"/fleet/rollouts/{last.json()['id']}").json()["status"] == "done"


def test_from_a_case_back_to_box_frame_and_model(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre, name="ada")
    page.locator("#trace-link").focus()
    page.keyboard.press("Enter")
    way = page.locator("#trace")
    for words in ("box-1", "cam-1", "street 1", "0" * 64, "parking.motor@v1"):
        expect(way).to_contain_text(words)
    count, report = violations(page)
    assert count == 0, report
    way.get_by_role("link", name="box-1").click()
    expect(page.locator("#page h1")).to_contain_text("box-1")
