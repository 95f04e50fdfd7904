"""The pages beside review, in both languages and schemes, in a real Chromium against a real centre."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from console_parts import Town, go, page_of, picture, shown, town, violations
from playwright.sync_api import Browser, expect

from api.examples import HEARTBEAT
from api.middleware import policy
from contract import CaseState, new_id, utc_now

STATIC = Path(__file__).parents[2] / "api" / "console" / "static"
PAGES = (
    "review",
    "labels",
    "wall",
    "setup",
    "setup/cam-1",
    "visits",
    "fleet",
    "fleet/box-1",
    "rollouts",
    "stats",
    "quality",
    "start",
)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_first_steps_command_for_the_citys_map_works_as_it_stands(
    browser: Browser, tmp_path: Path
) -> None:
    area = {"type": "Polygon", "coordinates": [[[116, 39], [117, 39], [117, 40], [116, 39]]]}
    grid = {"type": "Feature", "properties": {"code": "11010101"}, "geometry": area}
    (tmp_path / "grid.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [grid]}))
    with town(tmp_path / "data") as centre:
        page = page_of(browser, centre, path="#/start")
        told = page.locator(".steps code", has_text="/geo/grid").text_content()
        assert told
        for word, is_so in (
            ("https://CENTRE", centre.url),
            ("NAME", "ada"),
            ("PASSWORD", centre.word("ada")),
        ):
            told = told.replace(word, is_so)
        alone = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        done = subprocess.run(
            ["bash", "-ec", told], cwd=tmp_path, env=alone, capture_output=True, text=True, check=False, timeout=60
        )  # fmt: skip
        assert '"features":1' in done.stdout, done.stdout + done.stderr
        page.reload()
        expect(page.locator(".steps .done", has_text="Give the city")).to_be_visible()


def fill(centre: Town) -> list[str]:
    """A few cases, judged in different ways, and a heartbeat."""
    ids = [centre.post_case(n, "parking.motor" if n % 2 else "dumping.exposed") for n in range(1, 7)]
    with centre.person("li") as li:
        told = [{"kind": "confirm"}, {"kind": "reject", "reason": 1}, {"kind": "unsure"}]
        for case, verdict in zip(ids, told, strict=False):
            li.post(f"/cases/{case}/verdicts", json=verdict | {"seconds": 3.1}).raise_for_status()
    with centre.person("ada") as ada:
        signals = {"uncertainty": 0.9, "disagreement": 0.2, "rare_camera": 0.6, "rare_hour": 0.1}
        lines = [{"case_id": c, "score": s, "signals": signals} for c, s in ((ids[3], 0.8), (ids[4], 0.4))]
        ada.put("/labels", json={"items": lines}).raise_for_status()
    now = utc_now().isoformat()
    cameras = [
        {"camera_id": "cam-1", "state": "live", "view": "good", "frames_decoded": 100, "last_frame_at": now},
        {"camera_id": "cam-2", "state": "failed", "reason": "401 from the camera", "view": "unknown"},
    ]
    beat = {
        "id": new_id(), "device_id": "box-1", "at": now, "uptime_s": 5, "software_version": "0.1.0", "model_name": "street",
        "model_version": "1", "model_sha256": "0" * 64, "config_sha256": "0" * 64, "cameras": cameras,
    }  # fmt: skip
    with httpx.Client(
        timeout=60, base_url=centre.url, headers={"Authorization": f"Bearer {centre.token}"}, trust_env=False
    ) as box:
        box.post("/heartbeats", json=beat).raise_for_status()
    return ids


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_every_page_is_accessible_and_translated(
    browser: Browser, centre: Town, locale: str, scheme: str
) -> None:
    fill(centre)
    page = page_of(browser, centre, locale, "ada", color_scheme=scheme)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None
    )
    keys = set(re.findall(r"(\w+): \[", "".join(f.read_text("utf-8") for f in STATIC.glob("words*.js"))))
    raw = {k for k in keys if "_" in k}
    for path in PAGES:
        go(page, path)
        count, report = violations(page)
        assert count == 0, f"{path}: {report}"
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth + 1"), path
        words = set(re.findall(r"\w+", page.locator("body").inner_text()))
        assert not raw & words, f"{path}: keys without words"
        if locale == "zh-CN":
            assert page.locator("html").get_attribute("lang") == "zh-CN"
    page.locator('[href="#/review"]').click()
    shown(page)
    for keys_pressed, dialog in (("?", "#sheet"), ("r9", "#other"), ("b", "#batch")):
        for key in keys_pressed:
            page.keyboard.press(key)
        expect(page.locator(dialog)).to_be_visible()
        count, report = violations(page)
        assert count == 0, f"{dialog}: {report}"
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
    page.keyboard.press("f")
    expect(page.locator("#choices")).to_be_visible()
    page.keyboard.press("l")
    count, report = violations(page)
    assert count == 0, report
    page.context.set_offline(True)
    page.keyboard.press("1")
    expect(page.locator("#offline")).to_be_visible()
    count, report = violations(page)
    assert count == 0, report
    page.context.set_offline(False)
    page.locator("#logout").click()
    expect(page.locator("#login-form")).to_be_visible()
    count, report = violations(page)
    assert count == 0, report
    assert faults == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1366])
def test_no_page_scrolls_sideways(browser: Browser, centre: Town, width: int) -> None:
    fill(centre)
    page = page_of(browser, centre, name="ada")
    page.set_viewport_size({"width": width, "height": 768})
    for path in PAGES:
        go(page, path)
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth + 1"), path
    go(page, "review")
    # The picture, the verdict's keys and the strip are on the first screen of a desk; on a phone the keys stay in reach.
    for part in (
        ("#do-confirm", "#picture") if width < 1366 else ("#do-confirm", "#picture", "#strip", "#dwellmarks")
    ):
        expect(page.locator(part)).to_be_in_viewport(ratio=0.99 if width == 1366 else 0.3)
    if width < 1366:
        page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
        expect(page.locator("#do-confirm")).to_be_in_viewport(ratio=0.9)
        page.locator("#do-confirm").click()
        expect(page.locator("#said")).to_contain_text("confirmed")


@pytest.mark.browser
def test_the_citys_own_tiles_are_drawn(browser: Browser, tmp_path: Path) -> None:
    asked: list[str] = []

    class Tiles(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.end_headers()
            self.wfile.write(picture(1, "tile"))

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Tiles)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tiles = f"http://127.0.0.1:{server.server_port}/{{z}}/{{x}}/{{y}}.png"
    with town(tmp_path, second_share=0.0, map_tiles=tiles) as centre:
        centre.post_case(1)
        page = page_of(browser, centre)
        shown(page)
        page.wait_for_function(
            "() => [...document.querySelectorAll('.leaflet-tile')].some((i) => i.naturalWidth)"
        )
        assert all(re.fullmatch(r"/\d+/\d+/\d+\.png", path) for path in asked)
        # No picture from anywhere else: an <img> that slipped in could carry words out.
        elsewhere = "() => new Promise((done) => { const i = new Image(); i.onload = () => done('shown'); i.onerror = () => done('refused'); i.src = 'http://localhost:PORT/1/1/1.png'; })"
        assert page.evaluate(elsewhere.replace("PORT", str(server.server_port))) == "refused"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("address", "source"),
    [
        (None, "img-src 'self' data: blob:;"),
        ("https://tiles.city.example/{z}/{x}/{y}.png", "blob: https://tiles.city.example;"),
        ("http://10.1.2.3:8080/{z}/{x}/{y}.png", "blob: http://10.1.2.3:8080;"),
        ("https://{s}.tiles.city.example/{z}/{x}/{y}.png", "blob: https://*.tiles.city.example;"),
        ("https://t{s}.city.example/{z}/{x}/{y}.png", "blob: https://*.city.example;"),
    ],
)
def test_the_content_policy_names_the_tile_server_alone(address: str | None, source: str) -> None:
    assert source in policy(address)
    assert "unsafe" not in policy(address)


@pytest.mark.browser
def test_a_look_shows_before_and_after(browser: Browser, centre: Town) -> None:
    case = centre.post_case(1)
    with centre.person("ada") as ada:
        ada.post(f"/cases/{case}/verdicts", json={"kind": "confirm"}).raise_for_status()
    page = page_of(browser, centre, name="ada", path="#/visits")
    page.locator(".camgrid a").click()
    expect(page.locator("#page")).to_contain_text("Nobody has looked again yet")
    page.locator("#look-again").click()
    expect(page.locator("#page-said")).to_contain_text("looks within minutes")
    data = picture(9, "after")
    item = {
        "kind": "after", "sha256": hashlib.sha256(data).hexdigest(), "media_type": "image/jpeg", "size": len(data),
        "captured_at": utc_now().isoformat(), "width": 1280, "height": 720,
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {centre.token}"}
    with httpx.Client(timeout=60, base_url=centre.url, headers=headers, trust_env=False) as box:
        (order,) = box.post("/heartbeats", json=HEARTBEAT | {"id": new_id()}).json()["inspections"]
        looks = [{"at": utc_now().isoformat(), "found": "clear"}] * 3
        report = {
            "order_id": order["id"], "alert_id": order["alert_id"], "camera_id": order["camera_id"], "device_id": "box-1",
            "result": "cleared", "reason": "3 of 3 looks are clear", "finished_at": utc_now().isoformat(), "looks": looks,
            "after": item,
        }  # fmt: skip
        box.post(f"/inspections/{order['id']}/report", json=report).raise_for_status()
        put = {"Content-Type": "image/jpeg"}
        box.put(f"/evidence/{item['sha256']}", content=data, headers=put).raise_for_status()
    page.reload()
    expect(page.locator(".looks")).to_contain_text("cleared · asked for")
    expect(page.locator(".pair img")).to_have_count(2)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.pair img')].every((i) => i.naturalWidth > 0)"
    )
    count, report_of_axe = violations(page)
    assert count == 0, report_of_axe


@pytest.mark.browser
def test_the_wall_shows_arrivals_and_keeps_its_filters_in_the_address(browser: Browser, centre: Town) -> None:
    fill(centre)
    page = page_of(browser, centre, path="#/wall?hours=168")
    expect(page.locator("#page")).to_contain_text("6 cases on the map")
    expect(page.locator(".cams li").first).to_contain_text("401 from the camera")
    centre.post_case(9, "dumping.exposed")
    expect(page.locator(".arrivals li").first).to_contain_text("Exposed garbage")
    expect(page.locator("#page")).to_contain_text("7 cases on the map")
    page.get_by_label("Class").select_option("parking.motor")
    expect(page).to_have_url(re.compile(r"#/wall\?issue=parking.motor&hours=168"))
    expect(page.locator("#page")).to_contain_text("3 cases on the map")
    page.reload()
    expect(page.locator("#page")).to_contain_text("3 cases on the map")
    expect(page.get_by_label("Class")).to_have_value("parking.motor")


@pytest.mark.browser
def test_the_map_has_the_citys_areas_and_clusters(browser: Browser, centre: Town) -> None:
    ring = [[116.3, 39.8], [116.6, 39.8], [116.6, 40.0], [116.3, 40.0], [116.3, 39.8]]
    area = {
        "type": "Feature",
        "properties": {"code": "d1"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    with centre.person("ada") as ada:
        ada.put("/geo/district", json={"type": "FeatureCollection", "features": [area]}).raise_for_status()
    for n in range(1, 5):
        centre.post_case(n, near=1)
    page = page_of(browser, centre, path="#/wall")
    expect(page.locator(".leaflet-overlay-pane path").first).to_be_attached()
    for _ in range(4):
        page.locator(".leaflet-control-zoom-out").first.click()
    expect(page.locator(".pin.many")).to_have_text("4")


@pytest.mark.browser
def test_statistics_are_pictures_and_tables_to_take_away(browser: Browser, centre: Town) -> None:
    fill(centre)
    page = page_of(browser, centre, name="ada", path="#/stats")
    for name in ("indicators", "heat", "precision", "models", "load"):
        expect(page.locator(f"#fig-{name} svg.chart")).to_be_visible()
        for kind in ("csv", "svg", "png"):
            with page.expect_download() as download:
                page.locator(f'[data-take="{name}.{kind}"]').click()
            if kind == "png":
                image = cv2.imread(str(download.value.path()))
                assert image is not None
                assert image.shape[1] > 1000, "twice as fine as on the page"
                assert len(np.unique(image.reshape(-1, 3), axis=0)) > 3, "drawn, not blank"
                continue
            text = Path(download.value.path()).read_text("utf-8-sig")
            assert text.startswith("<svg") if kind == "svg" else len(list(csv.reader(io.StringIO(text)))) > 1
    expect(page.locator("#fig-indicators")).to_contain_text("Exposed garbage")
    expect(page.locator("#fig-load")).to_contain_text("li")
    page.locator(".filters select").nth(1).select_option("camera")
    expect(page).to_have_url(re.compile("by=camera"))
    expect(page.locator("#fig-indicators")).to_contain_text("cam-1")


@pytest.mark.browser
def test_times_are_the_citys_and_know_summer_time(browser: Browser, tmp_path: Path) -> None:
    with town(tmp_path, timezone="Europe/London") as centre:
        page = page_of(browser, centre, timezone_id="America/New_York")
        expect(page.locator("#empty")).to_be_visible()
        told = "async (text) => (await import('/static/facts.js')).clock(text)"
        assert page.evaluate(told, "2026-01-15T12:00:00Z") == "12:00:00"
        assert page.evaluate(told, "2026-07-15T12:00:00Z") == "13:00:00"
        # The hour that comes twice when summer time ends.
        assert [page.evaluate(told, f"2026-10-25T0{h}:30:00Z") for h in (0, 1)] == ["01:30:00", "01:30:00"]


@pytest.mark.browser
def test_what_to_label_next_is_judged_and_passed_over_on_its_page(browser: Browser, centre: Town) -> None:
    ids = fill(centre)
    page = page_of(browser, centre, path="#/labels")
    expect(page.locator("#label-count")).to_have_text("2 wait for a label")
    first, second = page.locator("#label-list li").nth(0), page.locator("#label-list li").nth(1)
    number = centre.case(ids[3])["number"]
    expect(first).to_contain_text(number)
    expect(first).to_contain_text("near the threshold, few labels of this camera · worth 0.80")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.labelled img')].every((i) => i.naturalWidth)"
    )
    drawn, seen = first.locator("rect").bounding_box(), first.locator("img").bounding_box()
    x1, y1, x2, y2 = centre.case(ids[3])["alerts"][-1]["box"]
    assert drawn
    assert seen
    assert abs((drawn["x"] - seen["x"]) / seen["width"] - x1) < 0.03
    assert abs(drawn["height"] / seen["height"] - (y2 - y1)) < 0.03
    assert x2 > x1
    first.get_by_role("button", name="confirm").click()
    expect(page.locator("#label-count")).to_have_text("1 wait for a label")
    assert centre.case(ids[3])["state"] == CaseState.CONFIRMED.value
    page.locator("#label-list li").first.get_by_role("button", name="Pass over").click()
    expect(page.locator("#label-count")).to_contain_text("Nothing to label")
    assert centre.case(ids[4])["state"] == CaseState.IN_REVIEW.value
    assert second.count() == 0


@pytest.mark.browser
def test_gold_items_are_made_on_the_page(browser: Browser, centre: Town) -> None:
    fill(centre)
    page = page_of(browser, centre, name="ada", path="#/quality")
    page.get_by_label("Case number").fill(centre.case(centre.post_case(20))["number"])
    page.get_by_role("button", name="Make it a gold item").click()
    expect(page.locator("#page-said")).to_contain_text("Is a gold item now")


@pytest.mark.browser
def test_a_reviewer_sees_the_pages_of_a_reviewer(browser: Browser, centre: Town) -> None:
    page = page_of(browser, centre, path="#/stats")
    expect(page.locator("#pages a")).to_have_text(
        ["Review", "Label next", "Live", "Cameras", "At work", "First steps"]
    )
    expect(page.locator("#review")).to_be_visible()
