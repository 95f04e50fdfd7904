"""The demo: every part of the house as its own process on this machine, and a person's walk through it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.ports import free_port
from curbwatch.demo.box import TIMEZONE, DemoBox
from curbwatch.demo.children import Child, Children
from curbwatch.demo.clip import demo_clip
from curbwatch.demo.show import Show
from curbwatch.demo.street import STREET_ISSUES, street_clip
from curbwatch.demo.town import give_map, give_zones

NAME, STREET = "van", "street"


class DemoFailedError(RuntimeError):
    """The demo could not be brought to its end; the message says where and why."""


@dataclass
class Timings:
    """Seconds from the start of the box's process."""

    first_frame_s: float | None = None
    first_alert_s: float | None = None
    case_s: float | None = None
    alerts: set[str] = field(default_factory=set)


class Demo:
    """One run of the demo. `data` is emptied of the last run; the fetched clip in `cache` stays."""

    def __init__(
        self, data: Path, cache: Path, show: Show, source: str | None = None, port: int | None = None,
        street: bool = True,
    ) -> None:  # fmt: skip
        """`street`: the made market street from the start on; `open_street` adds it later."""
        self._data, self._cache, self._show, self._source = data, cache, show, source
        self._port = port or free_port()
        self._api_url = f"http://127.0.0.1:{self._port}"
        self._http = httpx.Client(base_url=self._api_url, timeout=10, trust_env=False)
        self._password = ""
        self._with_street = street
        self._camera_url = ""
        self._street_url: str | None = None
        self._edge_log_at = 0
        self.timings = Timings()

    @property
    def address(self) -> str:
        """The console's address."""
        return self._api_url

    @property
    def login(self) -> tuple[str, str]:
        """User name and password of this run's reviewer."""
        return "admin", self._password

    @contextmanager
    def running(self) -> Iterator[Children]:
        """Start the parts in order and stop them at the end of the block."""
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(parents=True)
        with Children(self._data / "logs") as children, self._http:
            self._start_api(children)
            self._start_edge(children, *self._cameras(children))
            yield children

    def _start_api(self, children: Children) -> None:
        with self._show.step("starting the central API (SQLite, evidence in a folder)") as step:
            folder = self._data / "api"
            secrets = api_command(["init", "--data", str(folder), "--json"])
            self._password = secrets["password"]
            token = api_command(["device", "add", "demo-box", "--data", str(folder), "--json"])["token"]
            token_file = self._data / "device-token"
            token_file.touch(mode=0o600)
            token_file.write_text(token, encoding="utf-8")
            children.start(
                "api",
                ["curbwatch", "api", "run", "--data", str(folder), "--port", str(self._port)],
                {"CURBWATCH_API_TIMEZONE": TIMEZONE},
            )
            self._wait(children, lambda: self._get_ok("/readyz"), 40, "the API did not become ready")
            self._http.post(
                "/session", json={"username": "admin", "password": self._password}
            ).raise_for_status()
            if not self._source:
                give_map(self._http)
            step.done(self._api_url)

    def _cameras(self, children: Children) -> tuple[str, str | None]:
        """Start the RTSP server; return the camera's address, and the made street's."""
        if self._source and "://" in self._source:
            return self._source, None
        with self._show.step("getting the clip of a real CCTV camera") as step:
            clip = Path(self._source) if self._source else demo_clip(self._cache, step.say)
            if not clip.is_file():
                raise DemoFailedError(
                    f"SOURCE: {clip} is no file; give an address like rtsp://user:password@camera/path or a video file"
                )
            step.done(str(clip))
        clips = {NAME: clip}
        if not self._source:
            with self._show.step(
                "making a market street from it: stalls, bags, somebody who drops one"
            ) as step:
                clips[STREET] = street_clip(clip, self._cache)
                step.done(str(clips[STREET]))
        base = self._serve(children, clips)
        return f"{base}/{NAME}", f"{base}/{STREET}" if STREET in clips else None

    def _serve(self, children: Children, clips: dict[str, Path]) -> str:
        with self._show.step("starting an RTSP server that plays them in a loop") as step:
            port = free_port()
            played = [f"{name}={clip}" for name, clip in clips.items()]
            args = [
                "camera_adapters.testing.loopcam", str(port), *played, "--cache", str(self._cache / "h264")
            ]  # fmt: skip
            camera = children.start("camera", args)
            self._wait(
                children,
                lambda: "ready" in camera.log.read_text(errors="replace"),
                120,
                "the RTSP server did not start",
            )
            step.done(f"rtsp://127.0.0.1:{port}")
            return f"rtsp://127.0.0.1:{port}"

    def _start_edge(self, children: Children, camera_url: str, street_url: str | None) -> None:
        with self._show.step("starting the edge worker: RTSP, detector, rules, evidence") as step:
            self._camera_url, self._street_url = camera_url, street_url
            self._box_file = self._write_box(street_url if self._with_street else None)
            self._edge_started = time.monotonic()
            self._edge = self.start_edge(children)
            self._wait(children, self._first_frame, 60, "no frame came from the camera")
            if self._with_street and street_url:
                self._wait(children, lambda: give_zones(self._http), 30, "a camera was not heard of")
            step.done(f"first frame after {self.timings.first_frame_s:.1f} s")

    def _write_box(self, street_url: str | None) -> Path:
        box = DemoBox(
            self._camera_url,
            self._api_url,
            self._data / "device-token",
            self._data / "edge",
            bool(self._source),
            street_url,
        )
        return box.write(self._data / "box.yaml")

    def open_street(self) -> None:
        """Give the box the made street as well; it is watched from the box's next start on."""
        self._write_box(self._street_url)

    def start_edge(self, children: Children) -> Child:
        """Start the edge worker (again)."""
        return children.start("edge", ["curbwatch", "edge", "run", str(self._box_file)])

    def restart_edge(self, children: Children) -> None:
        """Start the edge worker again after it has ended."""
        self._edge = self.start_edge(children)

    def left_running(self) -> bool:
        """True while the edge worker's process lives."""
        return self._edge.process.poll() is None

    @property
    def edge(self) -> Child:
        """The edge worker's process."""
        return self._edge

    def first_case(self, children: Children, limit_s: float) -> dict[str, Any]:
        """Wait for the first case in review and return it as the API gives it."""
        with self._show.step(
            "watching: the zone wants a vehicle to stand for 20 s before it is a case"
        ) as step:

            def case_there() -> bool:
                self._first_frame()
                step.say(f"{self._edge_word()} ({time.monotonic() - self._edge_started:.0f} s)")
                return bool(self._first_cases())

            self._wait(children, case_there, limit_s, "no case appeared", every_s=0.5)
            self.timings.case_s = round(time.monotonic() - self._edge_started, 2)
            case = self.case(self._first_cases()[0]["id"])
            step.done(f"case {case['number']} after {self.timings.case_s:.1f} s")
        return case

    def _first_cases(self) -> list[dict[str, Any]]:
        """Return the cases of the recording itself, or of one's own source."""
        return [c for c in self._cases() if self._source or c["issue"] not in STREET_ISSUES]

    def every_kind(self, children: Children, limit_s: float) -> dict[str, dict[str, Any]]:
        """Wait for a case of each kind that the made street gives; return them by issue."""
        with self._show.step("watching the market street: stalls, bags, an expired permit") as step:

            def missing() -> list[str]:
                there = {c["issue"] for c in self._cases()}
                return sorted(set(STREET_ISSUES) - there)

            def all_there() -> bool:
                step.say(f"still to come: {', '.join(missing())}")
                return not missing()

            self._wait(children, all_there, limit_s, "not every kind of case appeared", every_s=0.5)
            took = time.monotonic() - self._edge_started
            step.done(f"{len(STREET_ISSUES)} kinds after {took:.0f} s")
        return {c["issue"]: c for c in self._cases() if c["issue"] in STREET_ISSUES}

    def with_clip(self, children: Children, case_id: str, limit_s: float = 120.0) -> dict[str, Any]:
        """Wait until the case's clip has come and return the case; every file is fetched and its hash checked."""
        with self._show.step(
            "waiting for the clip's last seconds, then checking every file by its hash"
        ) as step:

            def clip_there() -> bool:
                return "clip" in {e["kind"] for a in self.case(case_id)["alerts"] for e in a["evidence"]}

            self._wait(children, clip_there, limit_s, "the clip did not come", every_s=0.5)
            case = self.case(case_id)
            items = [e for a in case["alerts"] for e in a["evidence"]]
            for item in items:
                self._wait(
                    children,
                    lambda sha=item["sha256"]: self._stored(sha),
                    20,
                    f"the {item['kind']} did not come",
                )
            step.done(f"{len(items)} files, {sum(e['size'] for e in items) / 1024:.0f} KiB")
        return case

    def _stored(self, sha256: str) -> bool:
        answer = self._http.get(f"/evidence/{sha256}")
        return answer.status_code == httpx.codes.OK and hashlib.sha256(answer.content).hexdigest() == sha256

    def cases(self) -> list[dict[str, Any]]:
        """Return the cases in review, as the queue page lists them."""
        return self._cases()

    def case(self, case_id: str) -> dict[str, Any]:
        """Return one case whole."""
        answer = self._http.get(f"/cases/{case_id}").raise_for_status().json()
        return dict(answer)

    def confirm(self, case_id: str) -> dict[str, Any]:
        """Confirm a case as the reviewer does, and return it."""
        answer = self._http.post(f"/cases/{case_id}/verdicts", json={"kind": "confirm", "seconds": 1.0})
        return dict(answer.raise_for_status().json())

    def _cases(self) -> list[dict[str, Any]]:
        answer = (
            self._http.get("/cases", params={"state": "in_review", "limit": 50}).raise_for_status().json()
        )
        return list(answer["items"])

    def _get_ok(self, path: str) -> bool:
        try:
            return self._http.get(path).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _edge_word(self) -> str:
        return (
            "alert sent, case on its way" if self.timings.first_alert_s is not None else "dwell clock running"
        )

    def _first_frame(self) -> bool:
        """Read the edge worker's new log lines; True once a frame was judged."""
        with self._edge.log.open("rb") as file:
            file.seek(self._edge_log_at)
            lines = file.read().split(b"\n")
        self._edge_log_at += sum(len(line) + 1 for line in lines[:-1])
        for line in lines[:-1]:
            self._note(line)
        return self.timings.first_frame_s is not None

    def _note(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return
        since = round(time.monotonic() - self._edge_started, 2)
        if entry.get("event") == "camera.first_frame" and self.timings.first_frame_s is None:
            self.timings.first_frame_s = since
        if entry.get("event") == "alert.opened":
            self.timings.alerts.add(entry["alert"])
            if self.timings.first_alert_s is None:
                self.timings.first_alert_s = since

    def _wait(
        self, children: Children, ready: Any, limit_s: float, failure: str, every_s: float = 0.2
    ) -> None:
        end = time.monotonic() + limit_s
        while not ready():
            children.check()
            if time.monotonic() > end:
                raise DemoFailedError(f"{failure} within {limit_s:.0f} s; the logs are in {children.logs}")
            time.sleep(every_s)


def api_command(args: list[str]) -> dict[str, Any]:
    """Run `curbwatch api ARGS...` to its end and return its JSON answer, which never touches a log file."""
    done = subprocess.run(
        [sys.executable, "-m", "curbwatch", "api", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise DemoFailedError(f"`curbwatch api {args[0]}` failed: {done.stderr.strip()[-800:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
