"""The whole house on this machine: RTSP camera, edge, API; the edge is killed on the way and makes no second case."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import pytest
from click.testing import CliRunner

from contract import utc_now
from curbwatch.commands.explain import cli as explain
from curbwatch.demo.run import Demo
from curbwatch.demo.show import Show
from curbwatch.demo.street import STREET_ISSUES

ROOT = Path(__file__).parents[2]


def explained(case: dict[str, Any], folder: Path) -> None:
    """The box's ledger and the centre's case give one and the same explanation, in words and as a picture."""
    alert, data = case["alerts"][0], folder / "demo"
    (folder / "case.json").write_text(json.dumps(case), encoding="utf-8")
    here = ["--files", str(data / "api" / "evidence"), "--picture", str(folder / "strip.jpg")]
    at_the_box = CliRunner().invoke(explain, [alert["id"], "--box", str(data / "edge"), "--json", *here])
    assert at_the_box.exit_code == 0, at_the_box.output
    words = [step["words"] for step in json.loads(at_the_box.output)[0]["timeline"]]
    assert words[0].startswith("first seen in zone yard")
    assert any(w.startswith("candidate: still for") for w in words)
    assert any(w.startswith("confirmed: still for") for w in words)
    assert "the box was started again" in words
    strip = cv2.imread(str(folder / "strip.jpg"))
    assert strip is not None
    assert strip.shape[1] == 3 * 480 + 2 * 6
    at_the_centre = CliRunner().invoke(explain, [str(folder / "case.json")])
    assert at_the_centre.exit_code == 0, at_the_centre.output
    assert all(w in at_the_centre.output for w in words)
    assert "no active permit covers the place" in at_the_centre.output


def wait_for_a_site(store: Path) -> None:
    """Wait until the box has written down that something stands there."""
    for _ in range(600):
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            if db.execute("SELECT count(*) FROM sites").fetchone()[0]:
                return
        time.sleep(0.1)
    raise AssertionError("the box saw nothing for a minute")


@pytest.mark.timeout(600)
def test_a_parked_van_becomes_one_confirmed_case_though_the_edge_is_killed(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "demo", ROOT / "var" / "cache", Show(), street=False)
    with demo.running() as children:
        wait_for_a_site(tmp_path / "demo" / "edge" / "sites.db")
        killed_at = utc_now()
        os.kill(demo.edge.process.pid, signal.SIGKILL)
        demo.edge.process.wait()
        children.started.remove(demo.edge)
        demo.restart_edge(children)
        case = demo.first_case(children, 120)
        alert = case["alerts"][0]
        assert case["issue"] == "parking.motor"
        assert alert["zone"]["id"] == "yard"
        # The van's box as a person read it off the frames.
        x1, y1, x2, y2 = alert["box"]
        assert 0.848 <= (x1 + x2) / 2 <= 0.945
        assert 0.075 <= (y1 + y2) / 2 <= 0.175
        assert alert["dwell"]["dwell_s"] >= 20
        # The dwell began before the kill: the restart did not start the clock anew.
        assert datetime.fromisoformat(alert["dwell"]["first_seen_at"]) < killed_at

        whole = demo.with_clip(children, case["id"])
        kinds = {e["kind"] for a in whole["alerts"] for e in a["evidence"]}
        assert {"context", "first", "middle", "confirm", "crop", "clip"} <= kinds
        explained(whole, tmp_path)

        os.kill(demo.edge.process.pid, signal.SIGKILL)
        demo.edge.process.wait()
        children.started.remove(demo.edge)
        demo.open_street()
        demo.restart_edge(children)
        street = demo.every_kind(children, 240)
        for issue, zone in STREET_ISSUES.items():
            told = demo.case(street[issue]["id"])["alerts"][0]
            assert (told["zone"]["id"], told["camera_id"]) == (zone, "street-cam"), issue
        permit = demo.case(street["vendor.out_of_permit"]["id"])["alerts"][0]["zone"]["permit"]
        assert "Breakfast stall 12" in permit
        vans = [c for c in demo.cases() if c["camera_id"] == "yard-cam"]
        assert len(vans) == 1, "the restart of the edge made a second case of the same van"
        assert len(demo.case(case["id"])["alerts"]) == 1

        confirmed = demo.confirm(case["id"])
        assert confirmed["state"] not in {"in_review", "second_review", "rejected"}
        assert confirmed["verdicts"][-1]["kind"] == "confirm"
    token = (tmp_path / "demo" / "device-token").read_text()
    for log in (tmp_path / "demo" / "logs").glob("*.log"):
        assert token not in log.read_text(errors="replace"), f"the device token is in {log.name}"
    assert not demo.left_running()
