"""A short chaos run on the real box, what its verdicts mean, and that its faults are faults."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from bench.chaos import Chaos
from bench.chaos_boxes import StreetBox
from bench.chaos_rim import Rim, build
from bench.chaos_street import PLACES, make_bundle, picture_of
from bench.chaos_truth import Raised, Stay, verdict
from models.bundle import load_bundle
from models.detector import Detector

STAYS = [Stay("cam", "z", 10, 30), Stay("cam", "z", 50, 70), Stay("cam", "z", 90, 110)]
ALWAYS = [(0.0, 200.0)]


@pytest.mark.parametrize(
    ("seeing", "raised", "told"),
    [
        (ALWAYS, (14, 54, 94), (3, 0, 0, 0)),
        (ALWAYS, (14, 94), (3, 1, 0, 0)),
        (ALWAYS, (14, 20, 54, 94), (3, 0, 1, 0)),
        (ALWAYS, (5, 14, 54, 94), (3, 0, 0, 1)),
        ([(0.0, 15.0), (60.0, 200.0)], (64, 94), (2, 0, 0, 0)),
        ([(0.0, 15.0), (60.0, 200.0)], (94,), (2, 1, 0, 0)),
        ([(0.0, 35.0), (49.0, 200.0)], (14, 94), (2, 0, 0, 0)),
        ([(0.0, 35.0), (49.0, 200.0)], (14, 54, 94), (2, 0, 0, 0)),
        ([(0.0, 35.0), (49.0, 200.0)], (14, 54, 56, 94), (2, 0, 1, 0)),
        ([], (), (0, 0, 0, 0)),
    ],
    ids=["all", "one lost", "twice", "before any car", "off meanwhile", "off, lost", "gap unseen", "may be two", "not three", "blind"],
)  # fmt: skip
def test_what_must_have_become_of_the_cars(
    seeing: list[tuple[float, float]], raised: tuple[float, ...], told: tuple[int, int, int, int]
) -> None:
    alerts = [Raised(str(t), "cam", "z", t) for t in raised]
    v = verdict(STAYS, {"cam": seeing}, alerts, confirm_s=3, sure_s=10)
    assert (v.expected, len(v.lost), len(v.doubled), len(v.invented)) == told


def test_the_made_net_finds_the_made_cars_and_nothing_else(tmp_path: Path) -> None:
    detector = Detector(load_bundle(make_bundle(tmp_path)))
    noise = np.random.default_rng(1).integers(-6, 7, (240, 320))
    for share in (0.05, 0.3, 0.55, 0.8):
        (found,) = detector.detect([picture_of(share, noise)])
        there = [(x, y) for x, y, come, go in PLACES.values() if come <= share < go]
        centres = [((a + c) / 2, (b + d) / 2) for a, b, c, d in found.boxes]
        assert sorted(map(tuple, np.round(centres).tolist())) == sorted(there)
    assert len(detector.detect([picture_of(0.5, noise, empty=True)])[0]) == 0


WRITER = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for pragma in ("journal_mode=WAL", "synchronous=" + sys.argv[2]): db.execute("PRAGMA " + pragma)
db.execute("CREATE TABLE IF NOT EXISTS t (x)")
(n,) = db.execute("SELECT count(*) FROM t").fetchone()
for n in range(n, n + 2000):
    db.execute("INSERT INTO t VALUES (?)", (n,))
    os.write(1, b"%d\\n" % (n + 1))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("rim"))


def test_what_sqlite_has_synced_outlives_a_power_cut(library: Path, tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    rim = Rim(library, tmp_path / "page", root)
    rim.power(0.02)
    for _ in range(6):
        command = [sys.executable, "-c", WRITER, str(root / "a.db"), "FULL"]
        done = subprocess.run(command, env=rim.env, capture_output=True, check=False)
        with closing(sqlite3.connect(root / "a.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            if done.stdout:
                (there,) = db.execute("SELECT count(*) FROM t").fetchone()
                assert there >= int(done.stdout.split()[-1])
    assert rim.struck > 0


def test_a_power_cut_takes_what_was_not_synced(library: Path, tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    rim = Rim(library, tmp_path / "page", root)
    rim.power(1.0)
    code = (
        "import os, sys\n"
        "file = os.open(sys.argv[1] + '/a', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n"
        "for n in range(50): os.write(file, bytes([n]) * 100)\n"
        "other = os.open(sys.argv[1] + '/b', os.O_WRONLY | os.O_CREAT)\n"
        "os.write(other, b'x')\n"
        "os.fsync(other)\n"
    )
    sizes = set()
    for _ in range(6):
        done = subprocess.run([sys.executable, "-c", code, str(root)], env=rim.env, check=False)
        assert done.returncode == -9
        left = (root / "a").read_bytes()
        assert left == b"".join(bytes([n]) * 100 for n in range(50))[: len(left)]
        sizes.add(len(left))
    assert len(sizes) > 1
    assert rim.struck == 6


def test_a_full_disk_and_a_stepped_clock(library: Path, tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    rim = Rim(library, tmp_path / "page", root)
    rim.full(True)
    rim.clock(3600)
    code = (
        "import sqlite3, sys, time\n"
        "print(time.time(), time.monotonic())\n"
        "open(sys.argv[2], 'w').write('elsewhere')\n"
        "try: sqlite3.connect(sys.argv[1]).execute('CREATE TABLE t (x)')\n"
        "except sqlite3.OperationalError as exc: print(exc)\n"
    )
    command = [sys.executable, "-c", code, str(root / "a.db"), str(tmp_path / "other")]
    here = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = subprocess.run(
        command, env=rim.env, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    (wall, mono), (wall_here, mono_here) = (map(float, t.split()) for t in (told[0], here.stdout))
    assert 3600 <= wall - wall_here < 3700
    assert 0 <= mono - mono_here < 100
    assert told[1] == "database or disk is full"
    assert (tmp_path / "other").read_text() == "elsewhere"


def test_a_real_box_loses_nothing_to_a_few_faults(tmp_path: Path) -> None:
    box = StreetBox(tmp_path, cameras=2, loop_s=20, confirm_s=2, sure_s=8)
    chaos = Chaos(tmp_path, 3, lambda _: None, box)
    faults = ("box_disk_full", "clock_step", "api_500", "box_power_cut")
    try:
        result = chaos.run(len(faults), faults, calm_s=(1.0, 2.0))
    finally:
        chaos.close()
    assert result.clean, result.wire()
    assert result.alerts > 0
    assert result.box_starts == 3, "a power cut, and the last start"
    assert result.evidence >= 4 * result.alerts
