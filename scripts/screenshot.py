"""Take the documentation's pictures anew: the console with the demo's case, in a real Chromium.

.venv/bin/python scripts/screenshot.py docs/img
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from curbwatch.demo.box import DEMO_ZONES
from curbwatch.demo.run import Demo
from curbwatch.demo.show import Show

PAGES = (("console", "en-GB", ""), ("console-zh", "zh-CN", ""))
SETUP = ("console-setup", "en-GB", "#/setup/yard-cam")


def _signed_in(browser: Browser, demo: Demo, locale: str) -> Page:
    page = browser.new_context(locale=locale, viewport={"width": 1366, "height": 768}).new_page()
    page.goto(demo.address)
    for field, value in zip(("username", "password"), demo.login, strict=True):
        page.locator(f"input[name={field}]").fill(value)
    page.keyboard.press("Enter")
    page.wait_for_selector("#logout:visible")
    return page


def _shoot(page: Page, demo: Demo, path: str, target: Path) -> None:
    page.goto(f"{demo.address}/{path}")
    page.wait_for_selector("#page h1" if path else "#picture[src]")
    page.wait_for_timeout(2500)
    page.screenshot(path=target, type="jpeg", quality=80)


def _draw(page: Page) -> None:
    """Save the demo's zone with a schedule as a version, as the engineer does on the page."""
    zone = DEMO_ZONES[0] | {"schedule": [{"begin": "07:00", "end": "20:00"}]}
    told = {"setup": {"zones": [zone]}, "note": "as painted on the kerb"}
    page.evaluate(
        "async (told) => { const r = await fetch('/cameras/yard-cam/setup', {method: 'PUT', headers: "
        "{'Content-Type': 'application/json'}, body: JSON.stringify(told)}); if (!r.ok) throw new Error(r.status); }",
        told,
    )


def main(folder: Path) -> None:
    """Run the demo, open its case in both languages and the camera's setup; write one JPEG each."""
    demo = Demo(Path("var/screenshot"), Path("var/cache"), Show())
    with demo.running() as children, sync_playwright() as play:
        demo.with_clip(children, demo.first_case(children, 180)["id"], 180)
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, locale, path in PAGES:
            page = _signed_in(browser, demo, locale)
            _shoot(page, demo, path, folder / f"{name}.jpg")
        name, locale, path = SETUP
        page = _signed_in(browser, demo, locale)
        _draw(page)
        page.goto(f"{demo.address}/{path}")
        page.locator(".zonelist button").first.click()
        page.locator("#try-run").click()
        page.wait_for_timeout(1500)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=80)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
