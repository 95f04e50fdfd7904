"""Take the documentation's pictures anew: the console with the demo's cases, in a real Chromium.

.venv/bin/python scripts/screenshot.py docs/img
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from curbwatch.demo.run import Demo
from curbwatch.demo.show import Show

DESK, PHONE = (1366, 768), (390, 844)
QUALITY = 80
WITH_CLIP = "parking.motor"
SHOWN = ("vendor.unlicensed", "vendor.out_of_permit", WITH_CLIP)
VERDICTS = (
    {"kind": "confirm", "seconds": 3.2}, {"kind": "reject", "reason": 2, "seconds": 5.1},
    {"kind": "confirm", "seconds": 2.4}, {"kind": "confirm", "seconds": 2.9},
)  # fmt: skip


@contextmanager
def _signed_in(
    browser: Browser,
    demo: Demo,
    locale: str,
    scheme: Literal["light", "dark"] = "light",
    size: tuple[int, int] = DESK,
) -> Iterator[Page]:
    """Sign a person in with a browser of their own; afterwards they leave, so that no case stays on their lease."""
    viewport = ViewportSize(width=size[0], height=size[1])
    context = browser.new_context(locale=locale, color_scheme=scheme, viewport=viewport)
    page = context.new_page()
    page.goto(demo.address)
    for field, value in zip(("username", "password"), demo.login, strict=True):
        page.locator(f"input[name={field}]").fill(value)
    page.keyboard.press("Enter")
    page.wait_for_selector("#logout:visible")
    yield page
    page.locator("#logout").click()
    page.wait_for_selector("#login-form:visible")
    context.close()


def _shoot(page: Page, target: Path) -> None:
    page.wait_for_timeout(2500)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=target, type="jpeg", quality=QUALITY)


def _case(page: Page, demo: Demo, case_id: str, target: Path) -> None:
    page.goto(f"{demo.address}/#/review?case={case_id}")
    page.locator(f'#queue [data-id="{case_id}"][aria-current="true"]').wait_for(state="attached")
    _shoot(page, target)


def _setup(page: Page, demo: Demo, target: Path) -> None:
    page.goto(f"{demo.address}/#/setup/street-cam")
    page.locator(".zonelist button", has_text="breakfast-point").click()
    page.locator("#try-run").click()
    page.locator("#trial strong").wait_for(timeout=60_000)
    _shoot(page, target)


def _judge(page: Page, cases: list[str]) -> None:
    """Decide a few cases, so that the statistics have something to show."""
    for case, verdict in zip(cases, VERDICTS, strict=False):
        page.evaluate(
            "async ([id, verdict]) => { const r = await fetch(`/cases/${id}/verdicts`, {method: 'POST', headers: "
            "{'Content-Type': 'application/json'}, body: JSON.stringify(verdict)}); if (!r.ok) throw new Error(r.status); }",
            [case, verdict],
        )


def _walk(browser: Browser, demo: Demo, cases: dict[str, str], folder: Path) -> None:
    with _signed_in(browser, demo, "en-GB") as page:
        _case(page, demo, cases["vendor.unlicensed"], folder / "console.jpg")
    with _signed_in(browser, demo, "zh-CN", "dark") as page:
        _case(page, demo, cases["parking.motor"], folder / "console-zh.jpg")
    with _signed_in(browser, demo, "zh-CN", size=PHONE) as page:
        _case(page, demo, cases["vendor.out_of_permit"], folder / "console-phone.jpg")
    with _signed_in(browser, demo, "en-GB") as page:
        page.goto(f"{demo.address}/#/wall")
        _shoot(page, folder / "console-wall.jpg")
        _setup(page, demo, folder / "console-setup.jpg")
        page.goto(f"{demo.address}/#/start")
        _judge(page, list(cases.values()))
    with _signed_in(browser, demo, "zh-CN") as page:
        page.goto(f"{demo.address}/#/stats")
        _shoot(page, folder / "console-stats-zh.jpg")


def _cases(demo: Demo, limit_s: float) -> dict[str, str]:
    """Wait until the shown kinds are there; return the id of one case of each kind that there is by then."""
    end = time.monotonic() + limit_s
    while not (found := {c["issue"]: str(c["id"]) for c in demo.cases()}).keys() >= set(SHOWN):
        if time.monotonic() > end:
            raise RuntimeError(f"of {', '.join(SHOWN)} only {', '.join(found) or 'nothing'} came")
        time.sleep(1)
    return found


def main(folder: Path) -> None:
    """Run the demo until the kinds that are shown are there; write one JPEG a page."""
    demo = Demo(Path("var/screenshot"), Path("var/cache"), Show())
    with demo.running() as children, sync_playwright() as play:
        cases = _cases(demo, 300)
        demo.with_clip(children, cases[WITH_CLIP], 400)
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        _walk(browser, demo, _cases(demo, 0), folder)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
