"""Rollouts over a simulated fleet: light boxes and reviewers over HTTP against the real centre in a process of its own.

The clock is the simulation's: each step of it every box sends its heartbeat, obeys, and raises what its model raises; then
people decide what was raised. Nothing of the centre is replaced, and nothing waits for real hours.
"""

from __future__ import annotations

import asyncio
import mmap
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from api.db import Database
from api.migrate import migrate
from api.security import add_user
from bench.ports import free_port
from bench.rollout_boxes import Model, SimBox
from bench.rollout_centre import settings_of
from bench.waiting import until_ready
from contract import DesiredState
from edge.fleet.enrol import enrol

START = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
PEOPLE = ("rita", "omar")
SLIP = 0.03  # share of decisions that are wrong
AT_ONCE = 16
CHAMPION = Model("north/street@7", right=0.34, wrong=0.08)
CRASHING = Model("north/street@8-crashing", right=0.34, wrong=0.08, ends=3)
WORSE = Model("north/street@8-worse", right=0.34, wrong=0.51, apart=0.2)
GOOD = Model("north/street@8", right=0.38, wrong=0.06)
LIMITS = {"min_hours": 12}


@dataclass
class Outcome:
    """What became of one rollout."""

    model: str
    status: str
    stage: str
    why: str
    city_hours: float
    most_boxes: int
    rings: list[int]
    ran_past_ring_0: int
    beats_to_back: int | None
    still_on_it: int
    intact: bool
    gates: list[str] = field(default_factory=list)


class Town:
    """The centre, its people, its boxes."""

    def __init__(
        self, url: str, clock: mmap.mmap, step: timedelta, seed: int, models: Sequence[Model]
    ) -> None:
        self.url, self.step, self.rng = url, step, random.Random(seed)
        self._clock, self.now = clock, START
        self._models = {m.path: m for m in (CHAMPION, *models)}
        self.boxes: list[SimBox] = []
        self.passwords: dict[str, str] = {}
        self.people: dict[str, httpx.AsyncClient] = {}
        self.requests = self.alerts = self.decided = 0
        self._waiting: list[tuple[str, bool]] = []
        # Each box's heartbeats up to the answer to the first word of trouble.
        self.at_trouble: dict[str, int] = {}
        self.trying = ""
        self.turn(timedelta(0))

    def turn(self, by: timedelta) -> None:
        """Move the city's clock."""
        self.now += by
        self._clock[:8] = struct.pack("d", self.now.timestamp())

    def enrol(self, count: int, cameras: int, folder: Path) -> None:
        """Enrol boxes by one-time codes with keys of their own; one in ten is of ring 0, three in ten of ring 1."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as admin:
            said = {"username": "root", "password": self.passwords["root"]}
            admin.post("/session", json=said).raise_for_status()
            for i in range(count):
                ring = "0" if i % 10 == 0 else "1" if i % 10 < 4 else "2"
                told = {"device_id": f"box-{i:03d}", "labels": {"ring": ring}}
                code = admin.post("/fleet/codes", json=told).raise_for_status().json()["code"]
                home = folder / f"{i:03d}"
                with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as nobody:
                    token = enrol(home, nobody, code).token
                seed = random.Random(self.rng.random())
                self.boxes.append(SimBox(f"box-{i:03d}", token, home, self._models, CHAMPION, seed, cameras))
                self.requests += 2

    async def turn_all(self, client: httpx.AsyncClient, sync: httpx.Client) -> None:
        """One step: heartbeats of all boxes, what they raise, what people decide."""
        self.turn(self.step)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(box: SimBox) -> None:
            async with gate:
                await self._box(box, client, sync)

        order = self.rng.sample(self.boxes, len(self.boxes))
        await asyncio.gather(*(one(box) for box in order))
        decided, self._waiting = self._waiting, []
        await asyncio.gather(*(self._review(list(decided[i::2]), who) for i, who in enumerate(PEOPLE)))

    async def _box(self, box: SimBox, client: httpx.AsyncClient, sync: httpx.Client) -> None:
        who = {"Authorization": f"Bearer {box.token}"}
        raised = [
            (true, box.message(self.now, self.alerts + i)) for i, true in enumerate(box.alerts(self.step))
        ]
        self.alerts += len(raised)
        beat = box.heartbeat(self.now, self.step)
        answer = await client.post("/heartbeats", json=beat.wire(), headers=who)
        answer.raise_for_status()
        if beat.fleet is not None and beat.fleet.model_refused == self.trying and not self.at_trouble:
            self.at_trouble = {b.name: b.beats for b in self.boxes}
        for true, message in raised:
            filed = await client.post("/alerts", json=message, headers=who)
            self._waiting.append((filed.raise_for_status().json()["case_id"], true))
        self.requests += 1 + len(raised)
        box.obey(DesiredState.model_validate_json(answer.content), sync, self.now)

    async def _review(self, cases: Sequence[tuple[str, bool]], who: str) -> None:
        for case, true in cases:
            yes = true if self.rng.random() >= SLIP else not true
            said: dict[str, Any] = {"kind": "confirm"} if yes else {"kind": "reject", "reason": 1}
            answer = await self._ask(who, "POST", f"/cases/{case}/verdicts", said)
            answer.raise_for_status()
            self.decided += 1

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask as the admin."""
        return (await self._ask("root", method, path, body)).raise_for_status().json()

    async def _ask(self, who: str, method: str, path: str, body: Any) -> httpx.Response:
        if who not in self.people:
            self.people[who] = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=60)
        self.requests += 1
        answer = await self.people[who].request(method, path, json=body)
        if answer.status_code != 401:
            return answer
        said = {"username": who, "password": self.passwords[who]}  # a week has passed since the last sign-in
        (await self.people[who].post("/session", json=said)).raise_for_status()
        return await self.people[who].request(method, path, json=body)


@contextmanager
def town(boxes: int, cameras: int, step: timedelta, seed: int, models: Sequence[Model]) -> Iterator[Town]:
    """Start the centre and enrol the boxes."""
    memory = Path("/dev/shm")  # noqa: S108  # the folder itself is mkdtemp's; 200 boxes fsync their slots
    folder = Path(tempfile.mkdtemp(prefix="cw-rollout-", dir=memory if memory.is_dir() else None))
    (folder / "clock").write_bytes(struct.pack("d", START.timestamp()))
    try:
        with (folder / "clock").open("r+b") as file, mmap.mmap(file.fileno(), 8) as clock:
            settings = settings_of(folder / "centre", step.total_seconds())
            db = Database(settings)
            migrate(db.engine)
            with db.write() as session:
                roles = {"root": "admin"} | dict.fromkeys(PEOPLE, "reviewer")
                passwords = {name: add_user(session, name, role, START) for name, role in roles.items()}
            db.close()
            port = free_port()
            told = [str(settings.data), str(port), str(folder / "clock"), str(step.total_seconds())]
            server = subprocess.Popen([sys.executable, "-m", "bench.rollout_centre", *told])
            try:
                made = Town(f"http://127.0.0.1:{port}", clock, step, seed, models)
                made.passwords = passwords
                until_ready(made.url, server, 180)
                made.enrol(boxes, cameras, folder / "boxes")
                yield made
            finally:
                server.terminate()
                server.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def plan(limits: dict[str, Any]) -> dict[str, Any]:
    """Return the plan: a shadow everywhere, ring 0, ring 1, the rest."""
    rings = [{"name": "ring-0", "labels": {"ring": "0"}}, {"name": "ring-1", "labels": {"ring": "1"}}]
    return {"shadow": {"share": 0.1}, "rings": [*rings, {"name": "rest"}], "limits": LIMITS | limits}


async def roll_out(made: Town, model: Model, limits: dict[str, Any], most_days: float) -> Outcome:
    """Begin a rollout, let the days pass until it is over and its boxes are where they shall be."""
    began, most, reached = made.now, 0, set[str]()
    made.at_trouble, made.trying = {}, model.path
    limit = httpx.Limits(max_connections=AT_ONCE)
    halted: dict[str, int] = {}
    back: dict[str, int] = {}
    rollout = (await made.ask("POST", "/fleet/rollouts", {"candidate": model.path, "plan": plan(limits)}))[
        "id"
    ]
    with httpx.Client(trust_env=False) as sync:
        async with httpx.AsyncClient(base_url=made.url, trust_env=False, timeout=60, limits=limit) as client:
            told: dict[str, Any] = {"status": "running"}
            after = 0
            while made.now - began < timedelta(days=most_days) and after < 2:
                await made.turn_all(client, sync)
                reached |= {box.name for box in made.boxes if model.path in box.ran}
                most = max(most, sum(box.model is model for box in made.boxes))
                if told["status"] not in {"running", "paused"}:
                    after += 1
                told = await made.ask("GET", f"/fleet/rollouts/{rollout}")
                if told["status"] == "done":
                    break
                if told["status"] == "halted" and not halted:
                    # From the first box's word of trouble, or from the look of the job that halted it.
                    known = made.at_trouble or {box.name: box.beats for box in made.boxes}
                    halted = {name: known[name] for name in reached}
                for box in made.boxes:
                    if box.name in halted and box.name not in back and _says(box, model):
                        back[box.name] = max(0, box.beats - halted[box.name])
    late = {box.name for box in made.boxes if box.model is model}
    return Outcome(
        model=model.path, status=told["status"], stage=told["stage"], why=told["why"],
        city_hours=round((made.now - began) / timedelta(hours=1), 1), most_boxes=most,
        rings=[r["boxes"] for r in told["rings"]],
        ran_past_ring_0=sum(model.path in b.ran and b.name not in ring_0(made) for b in made.boxes),
        beats_to_back=max(back.values()) if halted and len(back) == len(halted) else None, still_on_it=len(late),
        intact=told["intact"], gates=[f"{g['name']}: {g['verdict']}, {g['reason']}" for g in told["gates"]],
    )  # fmt: skip


def ring_0(made: Town) -> set[str]:
    """Return the boxes of the first ring."""
    return {box.name for i, box in enumerate(made.boxes) if i % 10 == 0}


def _says(box: SimBox, model: Model) -> bool:
    return box.reported != model.path


async def run_all(
    made: Town, models: Sequence[Model], limits: dict[str, Any], baseline_days: float, most_days: float
) -> list[Outcome]:
    """Let the champion work alone for a while, then roll the models out one after the other."""
    with httpx.Client(trust_env=False) as sync:
        async with httpx.AsyncClient(base_url=made.url, trust_env=False, timeout=60) as client:
            end = made.now + timedelta(days=baseline_days)
            while made.now < end:
                await made.turn_all(client, sync)
    found = [await roll_out(made, model, limits, most_days) for model in models]
    for person in made.people.values():
        await person.aclose()
    return found


def run(
    boxes: int, hours: float = 2.0, seed: int = 1, cameras: int = 4, models: Sequence[Model] = (CRASHING, WORSE, GOOD),
    limits: dict[str, Any] | None = None, baseline_days: float = 2.0, most_days: float = 14.0,
) -> dict[str, Any]:  # fmt: skip
    """Simulate and return the figures."""
    began = time.monotonic()
    with town(boxes, cameras, timedelta(hours=hours), seed, models) as made:
        found = asyncio.run(run_all(made, models, limits or {}, baseline_days, most_days))
        return {
            "boxes": boxes, "cameras": boxes * cameras, "hours_a_step": hours, "seed": seed, "requests": made.requests,
            "alerts": made.alerts, "decided": made.decided,
            "city_days": round((made.now - START) / timedelta(days=1), 1),
            "seconds": round(time.monotonic() - began, 1), "outcomes": [asdict(o) for o in found],
        }  # fmt: skip
