"""Camera setup in a real Chromium against a real centre: drawn, tried on the box, saved, taken by the box."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import pytest
from console_parts import Town, page_of
from playwright.sync_api import Browser, expect

from api.examples import HEARTBEAT
from camera_adapters.clock import SystemClock
from contract import new_id, utc_now
from edge.agent import CentreAgent
from edge.checks import Checks, Snapshots
from edge.config import CameraConfig
from edge.log import get_logger
from edge.orders import OrderBook
from edge.score_floor import ScoreFloor
from edge.site_view import Observation
from edge.tape import Tape
from models.detections import Detections

pytestmark = pytest.mark.browser


def box_answers(town: Town, camera_id: str) -> None:
    """Let a box with a record of ten minutes hear the heartbeat's answer, work, and report."""
    car = Detections(
        np.array([[512, 360, 768, 504]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), ("car",)
    )
    tape, now, log = Tape(), utc_now(), get_logger()
    for n in range(300):
        tape.keep(Observation(now - timedelta(seconds=600 - 2 * n), 2.0 * n, 1280, 720, car))
    told = {
        "id": camera_id,
        "url": "rtsp://viewer:geheim7@127.0.0.1:1/x",
        "place": {"lon": 116.4, "lat": 39.9},
    }
    camera = CameraConfig.model_validate(told)
    checks = Checks(
        "box-1",
        lambda _: camera,
        lambda _: tape,
        Snapshots(),
        SystemClock(),
        "Asia/Shanghai",
        None,
        True,
        log,
    )
    with (
        httpx.Client(
            timeout=60, base_url=town.url, headers={"Authorization": f"Bearer {town.token}"}, trust_env=False
        ) as client,
        TemporaryDirectory() as folder,
    ):
        book = OrderBook(Path(folder), "box-1", [camera_id])
        floor = ScoreFloor(Path(folder) / "floor.json", "Asia/Shanghai")
        agent = CentreAgent("box-1", book, floor, {}, client, utc_now, log, checks)
        for _ in range(100):
            agent.obey(client.post("/heartbeats", json=HEARTBEAT | {"id": new_id()}))
            if checks.settled:
                return
            time.sleep(0.1)
    raise AssertionError("the box did not answer")


def test_a_zone_is_drawn_tried_and_saved_by_keyboard(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre, name="ada", path="#/setup/cam-1")
    page.locator("#new-zone").focus()
    page.keyboard.press("Enter")
    canvas = page.locator(".drawing svg")
    expect(canvas).to_be_focused()
    # From the middle, 0.02 a step: round the object, whose foot is at 0.4 to 0.6, 0.7.
    for way, times in (("Left", 10), ("Down", 15), ("Right", 20), ("Up", 20)):
        for _ in range(times):
            page.keyboard.press(f"Arrow{way}")
        page.keyboard.press("Enter")
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.locator("#finish-zone").click()
    expect(page.locator(".zonelist")).to_contain_text("zone-1 · no parking")
    page.locator("#try-run").click()
    expect(page.locator("#tried")).to_contain_text(
        "Of 1 alerts of the last 1 h this draft would have raised 1"
    )
    expect(page.locator("#tried")).to_contain_text("only the box could tell")
    # The box judges its own record of ten minutes with the draft: a car stood there.
    expect(page.locator("#trial")).to_contain_text("The box is asked with its next heartbeat")
    box_answers(centre, "cam-1")
    expect(page.locator("#trial")).to_contain_text(
        "The box would have raised 1 in the last 10 min (300 looks judged anew)"
    )
    expect(page.locator("#trial li")).to_contain_text("zone-1 · 5:00")
    page.locator("#probe-now").click()
    expect(page.locator("#probed")).to_contain_text("The box is asked")
    box_answers(centre, "cam-1")
    expect(page.locator("#probed")).to_contain_text("The stream is not in order")
    expect(page.locator("#probed")).not_to_contain_text("geheim7")
    page.get_by_role("button", name="Add a time").click()
    page.get_by_label("from", exact=True).fill("06:30")
    page.locator("#save-version").click()
    expect(page.locator("#page-said")).to_contain_text("Saved as version 1. The box judges by its own file")
    with centre.person("ada") as ada:
        saved = ada.get("/cameras/cam-1/setup").json()
    (zone,) = saved["setup"]["zones"]
    assert len(zone["polygon"]) == 4
    assert zone["schedule"][0]["begin"] == "06:30:00"
    page.reload()
    expect(page.locator(".zonelist")).to_contain_text("zone-1")
    with centre.person("ada") as ada:
        ada.put("/cameras/cam-1/setup", json={"setup": {}}).raise_for_status()
    page.locator("#save-version").click()
    expect(page.locator("#page-said")).to_contain_text("Somebody saved a version while you drew")


def test_the_ground_plane_shows_its_error(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    page = page_of(browser, centre, name="ada", path="#/setup/cam-1")
    corners = [(0.2, 0.3), (0.8, 0.3), (0.8, 0.8), (0.2, 0.8), (0.5, 0.55)]
    expect(page.locator("#ground")).to_contain_text("0 of 4 pairs")
    box = page.locator(".drawing svg").bounding_box()
    assert box is not None
    for i, (x, y) in enumerate(corners):
        page.locator("#add-pair").click()
        page.locator(".drawing svg").click(position={"x": x * box["width"], "y": y * box["height"]})
        row = page.locator("#ground tbody tr").nth(i)
        row.get_by_label("longitude").fill(str(116.4 + (x - 0.5) * 1e-3))
        row.get_by_label("longitude").press("Tab")
        row.get_by_label("latitude").fill(str(39.9 - (y - 0.5) * 1e-3))
        row.get_by_label("latitude").press("Tab")
        if i == 3:
            expect(page.locator("#ground")).to_contain_text("add a fifth")
            # The picture is 1 of 1000ths of a degree wide: a pixel is 1/1280 of 85 m, or of 111 m upwards.
            expect(page.locator("#ground tbody tr td.num").nth(1)).to_have_text("0.09")
    expect(page.locator("#ground")).to_contain_text(re.compile(r"error 0\.\d\d m over 5 pairs"))


def test_the_homography_of_the_page_is_that_of_a_known_plane(browser: Browser, centre: Town) -> None:
    rng = np.random.default_rng(4)
    plane = np.array([[40.0, 6.0, -12.0], [3.0, -55.0, 20.0], [0.1, 0.6, 1.0]])
    seen = rng.uniform(0.1, 0.9, (8, 2))
    flat = np.c_[seen, np.ones(8)] @ plane.T
    metres = flat[:, :2] / flat[:, 2:]
    lon = 116.4 + metres[:, 0] / (111320 * np.cos(np.radians(39.9)))
    lat = 39.9 + metres[:, 1] / 111320
    pairs = [
        {"picture": list(p), "lon": a, "lat": b} for p, a, b in zip(seen.tolist(), lon, lat, strict=True)
    ]
    page = page_of(browser, centre)
    fit = "async (pairs) => { const g = await import('/static/ground.js'); const f = g.fit(pairs); return f && {rms: f.rms, at: f.map([0.5, 0.5])}; }"
    found = page.evaluate(fit, pairs)
    there = plane @ [0.5, 0.5, 1.0]
    assert found["rms"] < 0.01
    assert found["at"]["lat"] == pytest.approx(39.9 + there[1] / there[2] / 111320, abs=1e-7)
    pairs[0]["lat"] += 5 / 111320
    assert page.evaluate(fit, pairs)["rms"] > 0.3
    line = [{"picture": [0.1 * i, 0.1 * i], "lon": 116 + i * 1e-4, "lat": 39 + i * 1e-4} for i in range(1, 6)]
    assert page.evaluate(fit, line) is None


CONFIG = """
cameras:
- id: cam-1
  url: rtsp://10.0.0.1/1
  place: {lon: 116.39, lat: 39.9}
"""


def test_the_page_says_when_the_box_has_taken_what_was_saved(browser: Browser, centre: Town) -> None:
    centre.post_case(1)
    zone = {"id": "kerb", "kind": "no_parking", "polygon": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]}
    said: Any = None

    def beat(**fleet: Any) -> None:
        told = HEARTBEAT | {"id": new_id(), "at": utc_now().isoformat(), "fleet": fleet}
        token = {"Authorization": f"Bearer {centre.token}"}
        with httpx.Client(timeout=60, base_url=centre.url, headers=token, trust_env=False) as box:
            box.post("/heartbeats", json=told).raise_for_status()

    with centre.person("ada") as ada:
        ada.put("/cameras/cam-1/setup", json={"setup": {"zones": [zone]}}).raise_for_status()
        ada.put("/fleet/boxes/box-1/config", json={"body": CONFIG}).raise_for_status()
    page = page_of(browser, centre, name="ada", path="#/setup/cam-1")
    said = page.locator("#page-said")
    for version, phase, words in (
        (2, "held", "The box has taken it"),
        (3, "refused", "did not take configuration 3: too hot"),
    ):
        page.locator(".zonelist button").first.click()
        page.get_by_role("button", name="Add a time").click()
        page.locator("#save-version").click()
        expect(said).to_contain_text(
            f"Saved as version {version}. The box takes it with its next heartbeat, as configuration {version}"
        )
        if phase == "held":
            beat(config_version=version, config_phase="trial")
            expect(said).to_contain_text("on trial")
            beat(config_version=version, config_phase="held")
        else:
            beat(config_version=2, config_phase="held", config_refused=version, config_reason="too hot")
        expect(said).to_contain_text(words)
    page.reload()
    expect(page.locator(".boxfacts").last).to_contain_text("did not take configuration 3")
