"""What is round the box in the soak: cameras, centre, line, clock and disk, each of which can fail.

All are processes of their own; the box is `curbwatch edge run` and the centre `curbwatch api run`, unchanged.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.chaos_net import FaultyLine
from bench.chaos_rim import Rim, build
from bench.ports import free_port
from bench.street_video import ZONE, StreetClip
from bench.throughput import CONFIRM_S, streets

DEVICE = "soak-box"
# One camera in this many has its zone where the van stops; the others have theirs beside it. An alert's clip costs half a
# minute of processor, a place is asked again after `COOLDOWN_S`.
VAN_EVERY, COOLDOWN_S = 4, 600.0
_QUIET_ZONE = [[0.05, 0.70], [0.30, 0.70], [0.30, 0.93], [0.05, 0.93]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong for `seconds`: `begin` and `heal` are given the victim's number."""

    name: str
    seconds: float
    begin: Callable[[int], None]
    heal: Callable[[int], None]


class World:
    """Box and all round it, the van's dwell being `confirm_s`. Raises `bench.chaos_rim.RimUnavailableError` where there is no C compiler."""

    def __init__(
        self,
        folder: Path,
        clips: tuple[StreetClip, StreetClip],
        cameras: int,
        bundle: str = "default",
        confirm_s: float = CONFIRM_S,
    ) -> None:
        self.folder, self.cameras, self._confirm_s = folder, cameras, confirm_s
        self.metrics_port = free_port()
        self._clips, self._api_port = clips, free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "api").mkdir(parents=True, exist_ok=True)
        (folder / "box").mkdir(parents=True, exist_ok=True)
        self._rim = Rim(build(folder), folder / "box.page", folder / "box")
        self._starts = 0
        self._line: FaultyLine | None = None
        try:
            self._set_up(bundle)
        except BaseException:
            self.close()
            raise

    def _set_up(self, bundle: str) -> None:
        plan = streets(self._clips, self.cameras, "sub")
        others = [str(self._clips[0].sub.resolve())]
        (self.folder / "plan.json").write_text(json.dumps({"cameras": plan, "others": others}))
        self._plan = plan
        cams = self._spawn(
            "cams", "bench.soak_cams", str(self.folder / "plan.json"), stdout=subprocess.PIPE, stdin=subprocess.PIPE
        )  # fmt: skip
        told = subprocess.run(
            [sys.executable, "-m", "curbwatch", "api", "device", "add", DEVICE, "--data", str(self.folder / "api"), "--json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        (self.folder / "token").write_text(json.loads(told.stdout.splitlines()[-1])["token"])
        (self.folder / "token").chmod(0o600)
        self.start_api()
        self._line = FaultyLine(self._api_port)
        assert cams.stdout is not None
        port = int(cams.stdout.readline())
        config = self._box_file(port, f"http://127.0.0.1:{self._line.port}", bundle)
        self._spawn("box", "curbwatch", "edge", "run", str(config), env=self._rim.env)

    def _box_file(self, port: int, api: str, bundle: str) -> Path:
        listed: list[dict[str, Any]] = [
            {
                "id": f"cam{i}",
                "url": f"rtsp://127.0.0.1:{port}/cam{i}",
                # 352 x 288 of a 16:9 view.
                "sub_url": f"rtsp://127.0.0.1:{port}/cam{i}-sub",
                "sub_stretched": True,
                # A kilometre apart: no two are one case.
                "place": {"lon": 100 + i * 0.01, "lat": 20.0},
                "zones": [
                    {"id": "kerb", "kind": "no_parking", "polygon": ZONE if i % VAN_EVERY == 0 else _QUIET_ZONE}
                ],
                "policy": {
                    "parking.motor": {
"candidate_s": self._confirm_s / 3, "confirm_s": self._confirm_s, "cooldown_s": COOLDOWN_S}
                },
                "sampling": {"heartbeat_s": 20},
                # The clips come again and again.
                "view_check": {"looped": False},
            }
            for i in range(self.cameras)
        ]  # fmt: skip
        config = {
            "device": DEVICE,
            "data_dir": str(self.folder / "box"),
            "api": {"url": api, "token_file": str(self.folder / "token")},
            "metrics_port": self.metrics_port,
            "model": {"bundle": bundle, "threads": 1},
            "cameras": listed,
        }
        path = self.folder / "box.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        path.chmod(0o600)
        return path

    def _spawn(
        self, name: str, *args: str, stdout: int | None = None, stdin: int = subprocess.DEVNULL, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        self._starts += 1
        with (self.folder / f"{name}-{self._starts:03}.log").open("wb") as log:
            process = self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *args],
                stdout=log if stdout is None else stdout,
                stderr=log,
                stdin=stdin,
                env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            )
        return process

    @property
    def box(self) -> subprocess.Popen[bytes]:
        """The box's supervisor; its worker is its only child."""
        return self._processes["box"]

    def start_api(self) -> None:
        """Start the centre on its port."""
        self._spawn(
            "api", "curbwatch", "api", "run", "--data", str(self.folder / "api"), "--port", str(self._api_port)
        )  # fmt: skip

    def faults(self) -> list[Fault]:
        """Return what happens by turns, in this order."""
        line, rim = self._line, self._rim
        assert line is not None
        cams = self._processes["cams"]

        def kill_api(_: int) -> None:
            self._processes["api"].kill()
            self._processes["api"].wait()

        return [
            self._camera("connections cut", 1, close_s=0),
            self._camera("stall", 15, stall_s=0),
            self._camera("404", 20, refuse="404 Not Found"),
            self._camera("wrong login", 20, refuse="401 Unauthorized"),
            self._camera("a tenth of packets corrupt", 20, corrupt=0.1),
            self._camera("2 % of packets lost", 20, loss=0.02),
            Fault("new resolution", 30, self._other_size, self._own_size),
            self._camera("camera's clock an hour off", 30, clock_skew_s=3600.0),
            Fault("server restarts", 8, lambda _: self._order(server="stop"), lambda _: self._order(server="start")),
            Fault("server frozen", 12, lambda _: cams.send_signal(signal.SIGSTOP), lambda _: cams.send_signal(signal.SIGCONT)),
            Fault("box's clock an hour ahead", 30, lambda _: rim.clock(3600), lambda _: rim.clock(0)),
            Fault("box's disk full", 10, lambda _: rim.full(True), lambda _: rim.full(False)),
            Fault("centre cut off", 40, lambda _: line.set("cut"), lambda _: line.set("pass")),
            Fault("line half open", 20, lambda _: line.set("half_open"), lambda _: line.set("pass")),
            Fault("centre killed", 5, kill_api, lambda _: self.start_api()),
        ]  # fmt: skip

    def close(self) -> None:
        """End all processes, by their ids."""
        for name in ("box", "api", "cams"):
            process = self._processes.get(name)
            if process is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._line is not None:
            self._line.close()

    def _order(self, **order: Any) -> None:
        pipe = self._processes["cams"].stdin
        assert pipe is not None
        pipe.write(json.dumps(order).encode() + b"\n")
        pipe.flush()

    def _paths(self, victim: int) -> list[str]:
        return [f"cam{victim}", f"cam{victim}-sub"]

    def _camera(self, name: str, seconds: float, refuse: str | None = None, **faults: float) -> Fault:
        """Both streams of one camera; one that is to be refused is cut first."""
        what: dict[str, Any] = {"status": refuse, "close_s": 0} if refuse else dict(faults)
        return Fault(
            name,
            seconds,
            lambda i: self._order(cameras=self._paths(i), faults=what),
            lambda i: self._order(cameras=self._paths(i), faults={}),
        )

    def _other_size(self, victim: int) -> None:
        self._swap(victim, str(self._clips[0].sub.resolve()))

    def _own_size(self, victim: int) -> None:
        self._swap(victim, self._plan[f"cam{victim}"]["file"])

    def _swap(self, victim: int, file: str) -> None:
        """Give the main stream another file, which the next connection shows."""
        self._order(cameras=[f"cam{victim}"], clip=file)
        self._order(cameras=[f"cam{victim}"], faults={"close_s": 0})
        # A moment, in which it is cut.
        time.sleep(0.3)
        self._order(cameras=[f"cam{victim}"], faults={})
