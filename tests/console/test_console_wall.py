"""The wall when a camera's view becomes bad: told live, and first among the cameras."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from console_parts import Town, alert_event, go, page_of
from playwright.sync_api import Browser, expect

from api.examples import HEARTBEAT
from contract import new_id, utc_now

pytestmark = pytest.mark.browser


def beat(centre: Town, view: str, was: str = "") -> None:
    now = utc_now()
    cameras = [
        {"camera_id": "gate", "state": "live", "view": view, "view_since": now.isoformat()},
        {"camera_id": "alley", "state": "live", "view": "good"},
    ]
    events = [{"camera_id": "gate", "at": now.isoformat(), "was": was, "view": view}] if was else []
    body = HEARTBEAT | {
        "id": new_id(),
        "at": (now + timedelta(seconds=1)).isoformat(),
        "cameras": cameras,
        "camera_events": events,
    }
    token = {"Authorization": f"Bearer {centre.token}"}
    with httpx.Client(timeout=60, base_url=centre.url, headers=token, trust_env=False) as box:
        box.post("/heartbeats", json=body).raise_for_status()


def test_a_moved_camera_is_told_and_comes_first(browser: Browser, centre: Town) -> None:
    beat(centre, "good")
    page = page_of(browser, centre, path="#/wall")
    expect(page.locator(".cams .cam.live")).to_have_count(2)
    expect(page.locator(".cams .cam").first).to_contain_text("alley")
    beat(centre, "moved", "good")
    expect(page.locator(".arrivals .camnews")).to_contain_text("view moved")
    expect(page.locator(".cams .cam").first).to_contain_text("gate")
    expect(page.locator(".cams .cam.unfit .mark")).to_have_text("view moved")
    beat(centre, "good", "moved")
    expect(page.locator(".arrivals .camnews")).to_have_count(2)
    expect(page.locator(".cams .cam.unfit")).to_have_count(0)


def test_a_cameras_name_is_text_on_the_map(browser: Browser, centre: Town) -> None:
    name = "<a href=//elsewhere.example id=planted>Session over. Sign in</a>"
    event, _ = alert_event(1, "parking.motor", "cam-1", 1)
    event["data"]["camera_name"] = name
    with httpx.Client(
        timeout=60, base_url=centre.url, headers={"Authorization": f"Bearer {centre.token}"}, trust_env=False
    ) as box:
        box.post("/alerts", json=event).raise_for_status()
    page = page_of(browser, centre, path="#/wall")
    page.locator("path.leaflet-interactive").dispatch_event("mouseover")
    expect(page.locator(".leaflet-tooltip")).to_have_text(name)
    expect(page.locator("#planted")).to_have_count(0)


def test_the_map_goes_on_under_news_that_never_pauses(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre, path="#/wall")
    expect(page.locator("#page")).to_contain_text("1 cases on the map")
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if "/map?" in r.url else None)
    news = "() => import('/static/wall.js').then((wall) => wall.news({ kind: 'case.opened', case_id: 'x' }))"
    for _ in range(12):
        page.evaluate(news)
        page.clock.run_for(250)
    page.evaluate("() => fetch('/healthz')")  # what was asked before this is told by now
    assert len(asked) >= 2


def test_a_map_that_does_not_hold_all_says_so(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    with centre.person("li") as li:
        (point,) = li.get("/map").raise_for_status().json()
    found = 5000
    page = page_of(browser, centre, path="#/start")
    page.route("**/map?*", lambda route: route.fulfill(json=[point] * found))
    go(page, "wall")
    expect(page.locator("#page")).to_contain_text("5000 cases on the map")
    expect(page.locator("#page")).not_to_contain_text("there are more")
    go(page, "start")
    found += 1
    go(page, "wall")
    expect(page.locator("#page")).to_contain_text("The newest 5000 cases on the map; there are more")
