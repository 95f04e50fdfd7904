"""A clip that the browser does not play, in a real Chromium against a real centre."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import cv2
import httpx
import numpy as np
import pytest
from console_parts import PRESS, Town, alert_event, fetched, page_of, shown
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.browser


X265 = {"preset": "ultrafast", "x265-params": "log-level=none"}


def clip_file(path: Path, codec: str, options: dict[str, str]) -> bytes:
    """Return two seconds of grey, a little lighter with each of its ten frames a second."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as out:
        stream = out.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for n in range(20):
            picture = np.full((240, 320, 3), 10 * n, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path.read_bytes()


def put_clip(centre: Town, digest: str, data: bytes) -> None:
    token = {"Authorization": f"Bearer {centre.token}"}
    with httpx.Client(timeout=60, base_url=centre.url, headers=token, trust_env=False) as box:
        put = {"Content-Type": "video/mp4"}
        box.put(f"/evidence/{digest}", content=data, headers=put).raise_for_status()


def post_with_clip(centre: Town, n: int, data: bytes, *, late: bool = False) -> str:
    """Send a case with a clip as a box does, `late`: the clip not yet; returns the clip's hash."""
    digest = hashlib.sha256(data).hexdigest()
    event, files = alert_event(n, "parking.motor", f"cam-{n}", n)
    still = event["data"]["evidence"][0]
    clip = {**still, "kind": "clip", "sha256": digest, "media_type": "video/mp4", "size": len(data)}
    event["data"]["evidence"].append(clip)
    token = {"Authorization": f"Bearer {centre.token}"}
    with httpx.Client(timeout=60, base_url=centre.url, headers=token, trust_env=False) as box:
        box.post("/alerts", json=event).raise_for_status()
        for name, content in files.items():
            put = {"Content-Type": "image/jpeg"}
            box.put(f"/evidence/{name}", content=content, headers=put).raise_for_status()
    if not late:
        put_clip(centre, digest, data)
    return digest


AT = "() => document.getElementById('clip').currentTime"


def test_a_clip_loops_scrubs_and_steps_by_its_own_frames(
    browser: Browser, centre: Town, tmp_path: Path
) -> None:
    data = clip_file(tmp_path / "c.mp4", "libx264", {"preset": "ultrafast"})
    post_with_clip(centre, 1, data)
    page = page_of(browser, centre)
    shown(page)
    assert page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.42E01E\"')")
    page.keyboard.press(" ")
    page.wait_for_function("() => document.getElementById('clip').currentTime > 0.5")
    page.keyboard.press("[")
    assert page.evaluate("document.getElementById('clip').playbackRate") == 0.5
    # Slowly past some frames, each of which even a busy machine draws: the page learns their interval.
    page.wait_for_function("() => document.getElementById('clip').currentTime > 1.2")
    for _ in range(5):
        page.keyboard.press("]")
    assert page.evaluate("document.getElementById('clip').playbackRate") == 4
    # Two seconds at four times: it has begun again by now.
    page.evaluate(
        """() => new Promise((done) => {
            const v = document.getElementById('clip'); let last = 0;
            v.addEventListener('timeupdate', () => { if (v.currentTime < last) done(); last = v.currentTime; });
        })"""
    )
    page.locator("#scrub").fill("500")
    assert page.evaluate(AT) == pytest.approx(1.0, abs=0.06)
    page.locator("#case-title").click()
    before = page.evaluate(AT)
    # One key after the other, without waiting for the first one's frame.
    page.evaluate(f"() => {{ for (const key of '..') ({PRESS})(key); }}")
    assert page.evaluate(AT) - before == pytest.approx(0.2, abs=0.06), "two frames of a tenth of a second"
    page.wait_for_function("() => !document.getElementById('clip').seeking")
    # The comma of a Chinese input method.
    page.evaluate(
        "() => document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '，', bubbles: true}))"
    )
    assert page.evaluate(AT) - before == pytest.approx(0.1, abs=0.06)


def test_a_frame_key_goes_on_from_where_one_has_scrubbed_to_though_nothing_is_drawn_yet(
    browser: Browser, centre: Town, tmp_path: Path
) -> None:
    post_with_clip(centre, 1, clip_file(tmp_path / "c.mp4", "libx264", {"preset": "ultrafast"}))
    page = page_of(browser, centre)
    shown(page)
    # A busy machine: the browser has found the place, and tells of the picture on the screen later.
    page.evaluate(
        """() => {
            const real = HTMLVideoElement.prototype.requestVideoFrameCallback;
            window.late = false;
            HTMLVideoElement.prototype.requestVideoFrameCallback = function (act) {
                return real.call(this, function again(...told) { if (!window.late) act(...told); });
            };
        }"""
    )
    page.keyboard.press(" ")
    page.wait_for_function("() => document.getElementById('clip').currentTime > 0.5")
    page.keyboard.press("[")
    page.wait_for_function("() => document.getElementById('clip').currentTime > 1.2")
    page.evaluate(
        """() => new Promise((done) => {
            const video = document.getElementById('clip'), scrub = document.getElementById('scrub');
            video.pause();
            window.late = true;
            video.addEventListener('seeked', done, { once: true });
            scrub.value = '250';
            scrub.dispatchEvent(new Event('input'));
        })"""
    )
    assert page.evaluate(AT) == pytest.approx(0.5, abs=0.06)
    page.keyboard.press(".")
    assert page.evaluate(AT) == pytest.approx(0.6, abs=0.06)


def test_the_next_clip_is_there_and_stands_still_where_motion_is_unwanted(
    browser: Browser, centre: Town, tmp_path: Path
) -> None:
    clips = [
        clip_file(tmp_path / f"{n}.mp4", "libx264", {"preset": "ultrafast", "crf": str(n)}) for n in (20, 30)
    ]
    _, second = (post_with_clip(centre, n, data) for n, data in enumerate(clips, 1))
    page = page_of(browser, centre, reduced_motion="reduce")
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url.rsplit("/", 1)[-1]))
    shown(page)
    fetched(page, [second])
    page.keyboard.press("c")
    expect(page.locator("#case-title")).to_contain_text("Street 2")
    asked.clear()
    page.locator('#strip [data-kind="clip"]').click()
    page.wait_for_function("() => document.getElementById('clip').readyState >= 3")
    assert second not in asked, "it was fetched before it was asked for"
    page.wait_for_timeout(400)
    assert page.evaluate("document.getElementById('clip').paused")
    assert page.evaluate(AT) == 0


def test_a_clip_in_h265_is_converted_when_it_is_opened(
    browser: Browser, centre: Town, tmp_path: Path
) -> None:
    digest = post_with_clip(centre, 1, clip_file(tmp_path / "c.mp4", "libx265", X265))
    page = page_of(browser, centre)
    shown(page)
    plays = page.evaluate(
        "document.createElement('video').canPlayType('video/mp4; codecs=\"hvc1.1.6.L60.90\"')"
    )
    page.locator('#strip [data-kind="clip"]').click()
    video = page.locator("#clip")
    expect(video).to_be_visible()
    if plays:
        pytest.skip("this browser plays H.265 itself")
    # A browser without H.264 says that it cannot play the copy either.
    h264 = page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.42E01E\"')")
    words = "A copy in H.264" if h264 else "cannot be played here"
    expect(page.locator("#clipnote")).to_contain_text(words)
    if h264:
        assert video.get_attribute("src") == f"/evidence/{digest}/playable"
        assert page.evaluate("document.getElementById('clip').videoWidth") == 320
    assert list((centre.core.settings.data / "playable").glob("*.mp4"))


def test_a_clip_that_comes_later_than_its_alert_is_played_without_a_reload(
    browser: Browser, centre: Town, tmp_path: Path
) -> None:
    data = clip_file(tmp_path / "c.mp4", "libx264", {"preset": "ultrafast"})
    digest = post_with_clip(centre, 1, data, late=True)
    page = page_of(browser, centre)
    shown(page)
    page.keyboard.press(" ")
    expect(page.locator("#clipnote")).to_contain_text("cannot be played here")
    put_clip(centre, digest, data)
    page.keyboard.press(" ")
    page.wait_for_function("() => document.getElementById('clip').videoWidth === 320")
    expect(page.locator("#clipnote")).to_have_text("")


def test_the_dwell_is_one_picture_to_take_away(browser: Browser, centre: Town, tmp_path: Path) -> None:
    case_id = centre.post_case(1)
    page = page_of(browser, centre)
    shown(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Strip as one picture").click()
    assert download.value.suggested_filename == f"{centre.case(case_id)['number']}.jpg"
    download.value.save_as(tmp_path / "strip.jpg")
    strip = cv2.imread(str(tmp_path / "strip.jpg"))
    assert strip is not None
    # Three panels of 480 x 270 with a caption, and below them a line for each of the box's steps.
    assert strip.shape == (270 + 46 + 3 * 18 + 16, 3 * 486 - 6, 3)
    for panel in range(3):
        blue, green, red = strip[107, panel * 486 + 200].astype(int)  # the line is two wide, round 270 * 0.4
        assert red > 180, "the zone's edge"
        assert green > 130
        assert blue < 110
    words = strip[270 + 46 :]
    assert [int(words[4 + 18 * i : 18 + 18 * i].max()) > 180 for i in range(3)] == [True] * 3
