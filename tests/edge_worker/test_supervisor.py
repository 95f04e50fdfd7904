"""The supervisor over real processes: ends, hangs, memory, crash loops, reloads; and the worker that ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.breaker import LONGEST_SAFE_S, LONGEST_WAIT_S, SAFE_S, CrashBreaker
from edge.log import get_logger
from edge.supervise_config import SuperviseConfig
from edge.supervisor import Supervisor
from edge.vitals import read_vitals, vitals_file

PATIENCE_S = 120.0


def wait_for(check, what: str):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if found := check():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE_S} s for {what}")


class Played:
    """A supervisor on a thread over workers that play a part, and what they wrote down."""

    def __init__(self, folder: Path, part: str, supervise: str = "{}", configs: int = 1) -> None:
        self.notes = folder / "notes"
        self.notes.touch()
        script = folder / "worker.py"
        script.write_text(
            textwrap.dedent(
                """
                import os, signal, sys, time
                from pathlib import Path
                from edge.vitals import Vitals, vitals_file, write_vitals
                config, safe, notes = Path(sys.argv[1]), sys.argv[2] == "safe", Path(sys.argv[3])
                def note(word):
                    with notes.open("a") as f: f.write(f"{config.name} {word} {os.getpid()}\\n")
                def alive(mode="safe" if safe else "normal"):
                    now = time.monotonic()
                    write_vitals(vitals_file(config), Vitals(os.getpid(), now, now, mode))
                signal.signal(signal.SIGHUP, lambda *_: note("reload"))
                note("safe" if safe else "start")
                """
            )
            + textwrap.dedent(part)
        )
        self.configs = []
        for i in range(configs):
            path = folder / f"box{i}.yaml"
            path.write_text(f"supervise: {supervise}\n")
            self.configs.append(path)

        def command(config: Path, safe: bool) -> list[str]:
            return [sys.executable, str(script), str(config), "safe" if safe else "normal", str(self.notes)]

        self.supervisor = Supervisor(self.configs, get_logger(), command)
        self.status: list[int] = []
        self._thread = threading.Thread(target=lambda: self.status.append(self.supervisor.run()))

    def __enter__(self) -> Played:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert not [p for p in self.pids() if psutil.pid_exists(p)]

    def lines(self, word: str, config: str = "") -> list[str]:
        return [n for n in self.notes.read_text().splitlines() if f" {word} " in n and n.startswith(config)]

    def pids(self) -> list[int]:
        return [int(n.rsplit(" ", 1)[1]) for n in self.notes.read_text().splitlines()]


STAY = "while True:\n    alive()\n    time.sleep(0.05)\n"


def test_a_killed_worker_starts_again_and_its_neighbour_stays(tmp_path: Path) -> None:
    with Played(tmp_path, STAY, configs=2) as played:
        wait_for(lambda: len(played.lines("start")) == 2, "both workers")
        victim = int(played.lines("start", "box0")[0].rsplit(" ", 1)[1])
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(played.lines("start", "box0")) == 2, "the second start")
        assert len(played.lines("start", "box1")) == 1
    assert played.status == [0]


def test_a_hung_worker_is_ended_and_starts_again(tmp_path: Path) -> None:
    part = "for _ in range(4):\n    alive()\n    time.sleep(0.05)\ntime.sleep(600)\n"
    with Played(tmp_path, part, "{watchdog_s: 5}") as played:
        wait_for(lambda: len(played.lines("start")) == 2, "the start after the watchdog")


def test_a_worker_above_its_memory_is_ended_in_order(tmp_path: Path) -> None:
    part = """
    signal.signal(signal.SIGTERM, lambda *_: (note("term"), sys.exit(0)))
    held = bytearray(os.urandom(1) * (200 * 2**20)) if len(notes.read_text().splitlines()) == 1 else b""
    while True:
        alive()
        time.sleep(0.05)
    """
    with Played(tmp_path, part, "{memory_mib: 128}") as played:
        wait_for(lambda: played.lines("term"), "an orderly end")
        wait_for(lambda: len(played.lines("start")) == 2, "the next start")


@pytest.mark.parametrize("how", ["reload", "file"])
def test_a_crash_loop_ends_in_safe_mode_and_a_reload_or_another_file_ends_that(
    tmp_path: Path, how: str
) -> None:
    part = "if not safe and len(notes.read_text().splitlines()) < 4:\n    sys.exit(1)\n" + STAY
    with Played(tmp_path, part, "{crashes: 2}") as played:
        wait_for(lambda: played.lines("safe"), "safe mode")
        assert len(played.lines("start")) == 2
        wait_for(
            lambda: (v := read_vitals(vitals_file(played.configs[0]))) and v.mode == "safe",
            "its signs of life",
        )
        if how == "reload":
            played.supervisor.reload()
        else:
            path = played.configs[0]
            path.write_text(path.read_text() + "# corrected\n")
        wait_for(lambda: len(played.lines("start")) == 3, "a normal start")


def test_a_worker_that_asks_for_a_new_start_is_no_crash(tmp_path: Path) -> None:
    part = "if len(notes.read_text().splitlines()) < 4:\n    sys.exit(75)\n" + STAY
    with Played(tmp_path, part, "{crashes: 2}") as played:
        wait_for(lambda: len(played.lines("start")) == 4, "the fourth start")
        assert not played.lines("safe")


def test_another_model_ends_safe_mode(tmp_path: Path) -> None:
    part = "if safe:\n    sys.exit(75)\nif len(notes.read_text().splitlines()) < 3:\n    sys.exit(1)\n" + STAY
    with Played(tmp_path, part, "{crashes: 2}") as played:
        wait_for(lambda: len(played.lines("start")) == 3, "a normal start")
        assert len(played.lines("safe")) == 1


def test_a_refused_file_is_not_tried_again_until_it_changes(tmp_path: Path) -> None:
    part = "if config.name == 'box1.yaml' and 'good' not in config.read_text():\n    sys.exit(2)\n" + STAY
    with Played(tmp_path, part, configs=2) as played:
        wait_for(lambda: len(played.lines("start")) == 2, "both")
        time.sleep(1.5)
        assert len(played.lines("start", "box1")) == 1
        played.configs[1].write_text("supervise: {}\n# good\n")
        wait_for(lambda: len(played.lines("start", "box1")) == 2, "the corrected file")
        played.supervisor.reload()
        wait_for(lambda: len(played.lines("reload")) == 2, "both reloads")


def test_a_refused_file_is_tried_again_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.supervisor.RETRY_S", 1.0)
    part = (
        "if config.name == 'box1.yaml' and len(notes.read_text().splitlines()) < 4:\n    sys.exit(2)\n" + STAY
    )
    with Played(tmp_path, part, configs=2) as played:
        wait_for(lambda: len(played.lines("start", "box1")) == 3, "the third start")
        wait_for(lambda: read_vitals(vitals_file(played.configs[1])), "its signs of life")


@pytest.mark.parametrize(
    ("mistake", "status"),
    [
        ("bundle: centernet", 2),  # no such field there
        ("http://127.0.0.1:9", 1),  # the token's file is not there yet
        ("data", 1),  # a file is in the data folder's place
    ],
)
def test_only_a_wrong_file_is_refused_and_the_rest_is_tried_again(
    tmp_path: Path, mistake: str, status: int
) -> None:
    config = _box(tmp_path)
    if mistake == "data":
        (tmp_path / "data").write_text("")
    elif status == 2:
        config.write_text(config.read_text().replace(mistake, f"zoo: 1, {mistake}"))
    else:
        config.write_text(config.read_text().replace("token: none-needed", f"token_file: {tmp_path}/none"))
    worker = subprocess.run(
        [sys.executable, "-m", "curbwatch", "edge", "work", str(config)],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert worker.returncode == status, worker.stderr
    assert "Traceback" not in worker.stderr


def test_nothing_but_refused_files_ends_with_status_2(tmp_path: Path) -> None:
    with Played(tmp_path, "sys.exit(2)\n") as played:
        wait_for(lambda: played.status, "the end")
    assert played.status == [2]


@given(st.lists(st.floats(0.1, 2000.0), min_size=1, max_size=60))
def test_breaker_waits_are_bounded_and_safe_mode_comes_after_the_limit_only(runs: list[float]) -> None:
    breaker, now, quick = CrashBreaker(limit=3, window_s=600.0), 0.0, 0
    for ran in runs:
        began, now = now, now + ran
        again = breaker.ended(began, now)
        assert 0 < again.wait_s <= LONGEST_WAIT_S
        quick = 1 if ran >= 600 else quick + 1
        if again.safe:
            assert quick >= 3
            assert SAFE_S <= again.safe_s <= LONGEST_SAFE_S
            now, quick = now + again.safe_s, 0
        now += again.wait_s
    assert breaker.total == len(runs)


def test_safe_mode_lasts_twice_as_long_each_time_until_a_good_run() -> None:
    breaker, now, spans = CrashBreaker(limit=2, window_s=100.0), 0.0, []
    for ran in (1, 1, 1, 1, 1, 1, 500, 1):
        again = breaker.ended(now, now + ran)
        now += ran + again.wait_s + again.safe_s
        if again.safe:
            spans.append(again.safe_s)
    assert spans == [SAFE_S, 2 * SAFE_S, 4 * SAFE_S, SAFE_S]


@pytest.mark.parametrize("told", [{"watchdog_s": 1}, {"memory_mib": 5}, {"crashes": 1}, {"zoo": 1}])
def test_settings_have_bounds(told: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SuperviseConfig.model_validate(told)


def _box(folder: Path, device: str = "box-1") -> Path:
    config = folder / "box.yaml"
    config.write_text(
        f"""
device: {device}
data_dir: {folder}/data
api: {{url: "http://127.0.0.1:9", token: none-needed, heartbeat_s: 1}}
model: {{bundle: centernet, provider: cpu}}
cameras:
- id: dead
  name: Dead
  url: rtsp://127.0.0.1:9/none
  place: {{lon: 116.4, lat: 39.9, view_radius_m: 40}}
  zones:
  - {{id: kerb, kind: no_parking, street_class: control, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]}}
"""
    )
    return config


def _health(config: Path) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "curbwatch", "edge", "health", str(config)], capture_output=True, text=True
    )
    return done.returncode, json.loads(done.stdout)


def test_a_real_box_lives_under_its_supervisor_and_dies_with_it(tmp_path: Path) -> None:
    config = _box(tmp_path)
    assert _health(config) == (1, {"alive": False, "reason": "no worker of this file runs here"})
    process = subprocess.Popen([sys.executable, "-m", "curbwatch", "edge", "run", str(config)])
    try:
        vitals = wait_for(
            lambda: (
                (v := read_vitals(vitals_file(config))) and v.mode == "normal" and v.pid != process.pid and v
            ),
            "life",
        )
        code, told = _health(config)
        assert code == 0
        assert told["alive"] is True
        assert (told["mode"], told["cameras"]) == ("normal", 1)
        worker = psutil.Process(vitals.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        worker.wait(10)  # the kernel ends it
        again = subprocess.Popen([sys.executable, "-m", "curbwatch", "edge", "run", str(config)])
        wait_for(
            lambda: (
                (v := read_vitals(vitals_file(config))) and v.pid not in {vitals.pid} and v.mode == "normal"
            ),
            "life again",
        )
        again.send_signal(signal.SIGTERM)
        assert again.wait(PATIENCE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()


def test_two_workers_never_share_a_data_folder(tmp_path: Path) -> None:
    from edge.alone import hold

    first = hold(tmp_path / "data")
    with pytest.raises(ValueError, match=r"data_dir: .* held by another process"):
        hold(tmp_path / "data", patience_s=0.2)
    first.close()
    hold(tmp_path / "data", patience_s=0.2).close()


def test_safe_mode_tells_the_centre_which_cameras_rest_and_why(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from edge.config import load_box
    from edge.fleet.slots import Slots
    from edge.fleet.state import write_state
    from edge.safe import REASON, SafeBox

    beats: list[dict[str, object]] = []

    class Centre(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            beats.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        do_PUT = do_POST  # noqa: N815

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Centre)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = _box(tmp_path)
    config.write_text(config.read_text().replace('127.0.0.1:9"', f'127.0.0.1:{server.server_port}"'))
    told = load_box(config)
    # What the box had of the centre before it began to end again and again: the engineer sees it in safe mode too.
    slots = Slots(told.data_dir / "models", 2**30)
    slots.switch(told.data_dir / "models" / "a", "north/street@2")
    slots.fall_back("the box ended while the model was on trial")
    write_state(told.data_dir / "fleet" / "config.json", {"trial": 3, "held": 0})
    box = SafeBox(told, get_logger())
    box.start()
    beat = wait_for(lambda: next((b for b in beats if "mode" in b), None), "a heartbeat")
    box.stop()
    server.shutdown()
    server.server_close()
    assert beat["mode"] == "safe"
    assert [(c["camera_id"], c["state"], c["reason"]) for c in beat["cameras"]] == [
        ("dead", "failed", REASON)
    ]
    fleet = beat["fleet"]
    assert (fleet["model_phase"], fleet["model_refused"]) == ("rolled_back", "north/street@2")
    assert (fleet["config_phase"], fleet["config_refused"]) == ("rolled_back", 3)
    assert beat["disk_bytes"] > beat["disk_free_bytes"] > 0


def test_safe_modes_heartbeat_outlives_any_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from edge.config import load_box
    from edge.safe import SafeBox

    tried: list[float] = []

    def heartbeat() -> None:
        tried.append(time.monotonic())
        raise ArithmeticError("the disk tells of fewer than no bytes")

    box = SafeBox(load_box(_box(tmp_path)), get_logger())
    monkeypatch.setattr(box, "heartbeat", heartbeat)
    box.start()
    wait_for(lambda: len(tried) > 1, "a second heartbeat")
    box.stop()
    assert "ArithmeticError" in "".join(capfd.readouterr())


def test_systemd_is_told_when_a_worker_is_ready_and_when_the_end_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        heard = []
        with Played(tmp_path, STAY):
            while not heard or heard[-1] != b"READY=1":
                heard.append(line.recv(100))
        assert heard.index(b"READY=1") == len(heard) - 1
        while heard[-1] != b"STOPPING=1":
            heard.append(line.recv(100))
