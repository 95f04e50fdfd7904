"""Take the README's picture anew: the console with the demo's case, in a real Chromium.

.venv/bin/python scripts/screenshot.py docs/img
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from curbwatch.demo.run import Demo
from curbwatch.demo.show import Show


def main(folder: Path) -> None:
    """Run the demo, open its case in both languages, and write one JPEG each."""
    demo = Demo(Path("var/screenshot"), Path("var/cache"), Show())
    with demo.running() as children, sync_playwright() as play:
        demo.with_clip(children, demo.first_case(children, 120)["id"])
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, locale in (("console", "en-GB"), ("console-zh", "zh-CN")):
            context = browser.new_context(locale=locale, viewport={"width": 1366, "height": 850})
            page = context.new_page()
            page.goto(demo.address)
            for field, value in zip(("username", "password"), demo.login, strict=True):
                page.locator(f"input[name={field}]").fill(value)
            page.keyboard.press("Enter")
            page.wait_for_selector("#picture[src]")
            page.wait_for_timeout(1500)
            page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=80)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
