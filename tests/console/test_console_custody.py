"""What stands behind a case's evidence, on its page; a sealed original opens with a reason, and its opening is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pyrage
import pytest
from console_parts import Town, alert_event, page_of, picture, shown, town, violations
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.browser


def post_sealed(centre: Town, sealed: bytes) -> str:
    """Send a case with a sealed original as a box does; returns its id."""
    event, files = alert_event(1, "parking.motor", "cam-1", 1)
    digest = hashlib.sha256(sealed).hexdigest()
    item = event["data"]["evidence"][0] | {
        "kind": "sealed", "sha256": digest, "media_type": "application/octet-stream", "size": len(sealed)
    }  # fmt: skip
    event["data"]["evidence"].append(item)
    token = {"Authorization": f"Bearer {centre.token}"}
    with httpx.Client(timeout=60, base_url=centre.url, headers=token, trust_env=False) as box:
        answer = box.post("/alerts", json=event).raise_for_status()
        for name, data in {**files, digest: sealed}.items():
            kind = "application/octet-stream" if name == digest else "image/jpeg"
            box.put(f"/evidence/{name}", content=data, headers={"Content-Type": kind}).raise_for_status()
    return str(answer.json()["case_id"])


def test_an_original_is_opened_with_a_reason_and_the_opening_is_kept(
    browser: Browser, tmp_path: Path
) -> None:
    pair, key = pyrage.x25519.Identity.generate(), tmp_path / "age.key"
    key.write_text(f"{pair}\n")
    key.chmod(0o600)
    with town(tmp_path / "data", second_share=0.0, unseal_key=key) as centre:
        case_id = post_sealed(centre, pyrage.encrypt(picture(9, "clear"), [pair.to_public()]))
        plain = page_of(browser, centre)
        shown(plain)
        expect(plain.locator("#custody")).to_contain_text("6 files at the centre")
        expect(plain.locator("#custody")).to_contain_text("does not sign")
        expect(plain.locator("#custody button")).to_have_count(0)
        plain.locator("#logout").click()
        page = page_of(browser, centre, name="ada")
        shown(page)
        page.get_by_role("button", name="Open the original").click()
        expect(page.locator("#unseal-why")).to_be_focused()
        assert violations(page)[0] == 0
        page.keyboard.press("Enter")
        expect(page.locator("#unseal")).to_be_visible()
        page.keyboard.type("appeal 12")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("Its opening is recorded")
        page.wait_for_function("() => document.getElementById('picture').src.startsWith('blob:')")
        shown(page)
        with centre.person("ada") as ada:
            entries = ada.get(f"/cases/{case_id}/audit").raise_for_status().json()["entries"]
        opened = [(e["actor"], e["body"]["reason"]) for e in entries if e["action"] == "evidence.unsealed"]
        assert opened == [("user:ada", "appeal 12")]
        expect(page.get_by_role("link", name="Case file")).to_have_count(0)  # nothing signed to pack
