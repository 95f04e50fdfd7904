"""A real centre on loopback with real cases, and a real Chromium."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import select

from api.app import create_app
from api.core import Core
from api.security import add_device, add_user
from api.settings import Settings
from api.tables import CaseRow
from bench.ports import free_port
from contract import new_id, utc_now

# Of a machine that does other work at the same time; a page that never comes to it fails all the same.
PATIENCE_MS = 45_000
expect.set_options(timeout=PATIENCE_MS)

LOOK_MS = 260  # a case that is on the screen for less is not judged

# A key in the very task of the page in which the test speaks; `page.keyboard` takes the way through the browser.
PRESS = "(key) => document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))"

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Town:
    """A centre with a box and a reviewer."""

    url: str
    token: str
    username: str
    password: str
    others: dict[str, str]
    core: Core

    def post_case(
        self, n: int, issue: str = "parking.motor", camera: str | None = None, near: int | None = None
    ) -> str:
        """Send an alert with its pictures as a box does, of camera `camera` near the spot `near`; returns the case's id."""
        with httpx.Client(
            timeout=60, base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, trust_env=False
        ) as box:
            event, files = alert_event(n, issue, camera or f"cam-{n}", near if near is not None else n)
            answer = box.post("/alerts", json=event)
            answer.raise_for_status()
            for digest, data in files.items():
                box.put(
                    f"/evidence/{digest}", content=data, headers={"Content-Type": "image/jpeg"}
                ).raise_for_status()
            return str(answer.json()["case_id"])

    def case(self, case_id: str) -> dict[str, Any]:
        """Read a case through the API."""
        with self.person(self.username) as person:
            return dict(person.get(f"/cases/{case_id}").raise_for_status().json())

    def free(self, case_id: str) -> None:
        """End the lease of a case, as time does."""
        with self.core.db.write() as session:
            row = session.get_one(CaseRow, case_id)
            row.lease_by = row.lease_until = None

    def word(self, name: str) -> str:
        """Return a person's password."""
        return self.password if name == self.username else self.others[name]

    @contextmanager
    def person(self, name: str) -> Iterator[httpx.Client]:
        """Sign a person in at the API."""
        with httpx.Client(timeout=60, base_url=self.url, trust_env=False) as client:
            client.post("/session", json={"username": name, "password": self.word(name)}).raise_for_status()
            yield client


def picture(n: int, words: str) -> bytes:
    """Return a made street picture as JPEG."""
    rng = np.random.default_rng(n)
    image = cv2.resize(
        rng.integers(60, 140, (36, 64, 3), dtype=np.uint8), (1280, 720), interpolation=cv2.INTER_CUBIC
    )
    cv2.rectangle(image, (512, 360), (768, 504), (40, 40, 190), -1)
    cv2.putText(image, f"{n} {words}", (40, 80), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 4)
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


def alert_event(n: int, issue: str, camera: str, near: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return alert `n` of a camera and its files by hash."""
    now = utc_now()
    shots = {kind: picture(n, kind) for kind in ("context", "first", "middle", "confirm", "crop")}
    files = {hashlib.sha256(data).hexdigest(): data for data in shots.values()}
    evidence = [
        {
            "kind": kind,
            "sha256": hashlib.sha256(data).hexdigest(),
            "media_type": "image/jpeg",
            "size": len(data),
            "captured_at": now.isoformat(),
            "width": 1280,
            "height": 720,
        }
        for kind, data in shots.items()
    ]
    site = new_id()
    alert = {
        "id": site,
        "stage": "opened",
        "issue": issue,
        "camera_id": camera,
        "camera_name": f"Street {n}",
        "device_id": "box-1",
        "occurred_at": now.isoformat(),
        "place": {
            "lon": 116.39 + near * 0.01 + (n - near) * 1e-5,
            "lat": 39.9,
            "error": {"semi_major_m": 14.0, "semi_minor_m": 5.0, "bearing_deg": 40.0},
            "source": "homography",
        },
        "key": {"site_id": site, "ground_cell": f"cell-{n}"},
        "box": [0.4, 0.5, 0.6, 0.7],
        "zone": {
            "id": "kerb",
            "kind": "no_parking",
            "street_class": "control",
            "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]],
        },
        "rule": {"name": f"{issue}@v1", "candidate_s": 60, "confirm_s": 300},
        "model": {"name": "street", "version": "1", "sha256": "0" * 64, "class_name": "car", "score": 0.61},
        "dwell": {
            "first_seen_at": (now - timedelta(seconds=312)).isoformat(),
            "candidate_at": (now - timedelta(seconds=250)).isoformat(),
            "confirmed_at": now.isoformat(),
            "dwell_s": 312.0,
            "samples": 150,
            "clock_source": "rtcp_sender_report",
        },
        "frame_width": 1280,
        "frame_height": 720,
        "evidence": evidence,
        "software_version": "0.1.0",
        "note": "first seen standing in zone kerb as car; candidate: still for 60 s; confirmed: still for 300 s",
    }
    event = {
        "specversion": "1.0",
        "id": new_id(),
        "source": f"/device/box-1/camera/{camera}",
        "type": "city.curbwatch.alert.opened.v1",
        "time": now.isoformat(),
        "subject": site,
        "datacontenttype": "application/json",
        "data": alert,
    }
    return event, files


@contextmanager
def town(data: Path, port: int | None = None, **settings: Any) -> Iterator[Town]:
    """Serve a centre on `port`, or a free one, of loopback."""
    app = create_app(Settings(data=data, **settings))
    core = app.state.core
    with core.db.write() as session:
        password = add_user(session, "wang", "reviewer", core.now())
        others = {n: add_user(session, n, r, core.now()) for n, r in (("li", "reviewer"), ("ada", "admin"))}
        token = add_device(session, "box-1", core.now())
    with served(app, port) as url:
        yield Town(url, token, "wang", password, others, core)


@contextmanager
def served(app: FastAPI, port: int | None) -> Iterator[str]:
    """Serve an app on `port`, or a free one, of loopback; yield its address."""
    port = port or free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(60)


@contextmanager
def again(old: Town, port: int) -> Iterator[Town]:
    """Start a centre that has ended once more, over its own data."""
    app = create_app(old.core.settings)
    with served(app, port) as url:
        yield replace(old, url=url, core=app.state.core)


def go(page: Page, path: str) -> None:
    """Go to a page of the console and wait until it is drawn."""
    page.evaluate("(path) => { location.hash = `#/${path}`; }", path)
    # The page may be asked before the browser has told it of its new address; a key of no meaning lets it know.
    page.keyboard.press("Shift")
    if path.startswith("review"):
        shown(page)
    else:
        expect(page.locator("#page")).not_to_have_attribute("aria-busy", "true")
        expect(page.locator("#page h1")).to_be_visible()


def page_of(
    browser: Browser,
    centre: Town,
    locale: str = "en-GB",
    name: str | None = None,
    path: str = "",
    **context: Any,
) -> Page:
    """Open the console in a browser of its own and sign in as `name`."""
    page = browser.new_context(locale=locale, viewport={"width": 1366, "height": 768}, **context).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{centre.url}/{path}")
    sign_in(page, centre, name)
    return page


def sign_in(page: Page, centre: Town, name: str | None = None) -> None:
    """Sign in as `name` on the page that asks for it."""
    page.locator("input[name=username]").fill(name or centre.username)
    page.locator("input[name=password]").fill(centre.word(name or centre.username))
    page.keyboard.press("Enter")
    expect(page.locator("#logout")).to_be_visible()


def shown(page: Page) -> str:
    """Wait until a case is on the screen with its picture, and return the title."""
    page.wait_for_function(
        "() => { const i = document.getElementById('picture'); return i.checkVisibility() && i.complete && i.naturalWidth > 0 }"
    )
    page.wait_for_timeout(LOOK_MS)
    return page.locator("#case-title").inner_text()


def held_cases(centre: Town) -> dict[str, str]:
    """Return who holds which case."""
    with centre.core.db.read() as session:
        rows = session.execute(select(CaseRow.id, CaseRow.lease_by).where(CaseRow.lease_by.is_not(None)))
        return {row.id: row.lease_by for row in rows}


def fetched(page: Page, digests: Iterable[str]) -> None:
    """Wait until the browser has fetched these files of evidence."""
    page.wait_for_function(
        "(wanted) => wanted.every((d) => performance.getEntriesByType('resource').some((e) => e.name.endsWith(d)))",
        arg=list(digests),
    )


def until(ready: Callable[[], object]) -> None:
    """Wait for what no page shows."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not ready():
        assert time.monotonic() < end, "did not come to pass in time"
        time.sleep(0.05)


def title(page: Page, words: str) -> None:
    """Wait for words in the case's title, and until the case may be judged."""
    expect(page.locator("#case-title")).to_contain_text(words)
    page.wait_for_function("() => document.getElementById('picture').complete")
    page.wait_for_timeout(LOOK_MS)


def said(page: Page, words: str) -> None:
    """Wait for words of the line that answers a key."""
    expect(page.locator("#said")).to_contain_text(words)


def violations(page: Page) -> tuple[int, str]:
    """Return how many rules of WCAG 2.2 AA axe finds broken, and its words."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
    return found.violations_count, str(found.generate_report())


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise RuntimeError(
            "the browser tests need Chromium; run: scripts/install system (as root), or apt-get install chromium"
        )
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
