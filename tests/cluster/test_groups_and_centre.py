"""What the centre gives a box holds in a group of a cluster as well; the actor's class, run without Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from curbwatch.cluster.groups import CameraGroup
from edge.fleet.state import write_bytes, write_state
from edge.supervisor import AGAIN


def camera(name: str, url: str) -> dict[str, Any]:
    return {"id": name, "url": url, "place": {"lon": 0.0, "lat": 0.0}}


def box_file(folder: Path) -> Path:
    path, data = folder / "box.yaml", folder / "data"
    told = {
        "device": "box-1", "data_dir": str(data), "model": {"bundle": "centernet"},
        "api": {"url": "http://127.0.0.1:9", "token": "none-needed"},
        "cameras": [camera("own", "rtsp://127.0.0.1:9/none")],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(told))
    write_bytes(path.with_suffix(".env"), b"EAST=secret\n")
    given = {"cameras": [camera("of-the-centre", "rtsp://u:${EAST}@127.0.0.1:9/none")]}
    write_bytes(data / "fleet" / "config-1.yaml", yaml.safe_dump(given).encode())
    write_state(data / "fleet" / "config.json", {"held": 1, "seen": 1})
    return path


def test_a_group_keeps_the_centres_cameras_at_its_start_and_at_a_reload(tmp_path: Path) -> None:
    path = str(box_file(tmp_path))
    group = CameraGroup(path, None)
    try:
        for _ in range(2):
            assert [c.id for c in group._box.config.cameras] == ["of-the-centre"]
            group.reload(path)
    finally:
        group.stop()


def test_a_group_that_shall_run_another_model_ends_its_process_in_order(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from curbwatch.cluster.groups import CameraGroup\n"
        "group = CameraGroup(sys.argv[1], None)\n"
        "group._box._fleet.restart()\n"
        "group._box._fleet.restart()\n"
        "time.sleep(600)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(box_file(tmp_path))], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == AGAIN, done.stderr
    assert "box.stopped" in done.stdout + done.stderr
