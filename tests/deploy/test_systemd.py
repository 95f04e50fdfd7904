"""The systemd unit: its rights and times, and a box in the file system that it gives."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What ProtectSystem=strict does: all but these folders, /dev, /proc and /sys is read-only.
STRICT = """
for dir in $WRITABLE; do mount --bind "$dir" "$dir"; done
awk '{print $2}' /proc/self/mounts | sort -ru | while read -r at; do
  case "$at " in /proc*|/sys*|/dev*) continue;; esac
  case " $WRITABLE " in *" $at "*) ;; *) mount -o remount,bind,ro "$at" 2>/dev/null;; esac
done
exec "$@"
"""


@pytest.fixture
def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy" / "systemd" / "curbwatch-edge@.service")
    return unit["Service"]


def test_the_unit_gives_the_supervisor_time_and_no_rights(service: configparser.SectionProxy) -> None:
    from edge.supervisor import REFUSED, STOP_S

    assert service["Type"] == "notify"
    assert float(service["TimeoutStopSec"]) > STOP_S
    assert service["RestartPreventExitStatus"] == str(REFUSED)
    assert service["KillMode"] == "mixed"
    assert service["CapabilityBoundingSet"] == ""


def test_a_box_starts_where_the_unit_alone_is_writable(
    service: configparser.SectionProxy, tmp_path: Path
) -> None:
    """And `edge health` finds it from outside of the unit's own temporary folder."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces need root")
    writable, env = [tmp_path / service["StateDirectory"]], dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    env.pop("TMPDIR", None)
    if "RuntimeDirectory" in service:
        writable.append(tmp_path / "run")
        env["RUNTIME_DIRECTORY"] = str(writable[-1])
    beside = dict(env)
    if service["PrivateTmp"] == "yes":
        writable.append(tmp_path / "tmp")
        env["TMPDIR"] = str(writable[-1])
    for folder in writable:
        folder.mkdir()
    state, file = writable[0], tmp_path / "box.yaml"
    (state / "box.token").write_text("x" * 32)
    file.write_text(
        f"device: box-1\ndata_dir: {state}\napi: {{url: 'http://127.0.0.1:9', token_file: {state}/box.token}}\n"
        "cameras: [{id: away, url: 'rtsp://127.0.0.1:9/none', place: {lon: 0.0, lat: 0.0}}]\n"
    )
    edge = [sys.executable, "-B", "-m", "curbwatch", "edge"]
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        STRICT,
        "sh",
        *edge,
        "run",
        str(file),
    ]
    box = subprocess.Popen(command, env=env | {"WRITABLE": " ".join(map(str, writable))})
    try:
        until, told = time.monotonic() + 120, {"alive": False}
        while not told["alive"] or told["mode"] == "starting":
            assert box.poll() is None, "the supervisor ended"
            assert time.monotonic() < until, told
            time.sleep(0.2)
            asked = subprocess.run([*edge, "health", str(file)], env=beside, capture_output=True, check=False)
            told = json.loads(asked.stdout)
        assert told["mode"] == "normal"
    finally:
        box.terminate()
        box.wait(120)
    assert not list((tmp_path / "run").iterdir()), "its signs of life go with it"
