"""A simulated box: the real slots, trials and obedience of `edge/fleet/models.py`, a real token, real messages; no cameras.

What is not real: a model is a name and a few figures, a release needs no download, and the worker's new start takes no time.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import structlog

from api.examples import ALERT_EVENT
from contract import CameraHealth, DesiredState, Heartbeat, new_id
from contract.fleet import BoxLoad, FleetReport, ShadowOrder, ShadowReport
from edge.fleet.enrol import ROOT
from edge.fleet.health_window import Look
from edge.fleet.models import ModelFromCentre
from edge.fleet.settings import FleetConfig
from edge.fleet.state import write_bytes, write_state

# Two hundred boxes' own logs are nothing to read.
LOG = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))
OBJECTS_A_FRAME = 0.2


@dataclass(frozen=True, slots=True)
class Model:
    """What is true of a model: alerts a camera-day that are right and wrong, and where its worker ends."""

    path: str
    right: float
    wrong: float
    apart: float = 0.1  # share of the objects on which it and the champion differ
    ends: int = 0  # every so many boxes of a ring its worker ends at once; 0: nowhere
    slower: float = 1.05


class _Models(ModelFromCentre):
    """Without the download; `tests/fleet/test_model_follows.py` has that."""

    def _fetch(self, wanted: str, client: httpx.Client) -> tuple[Path | None, str, bool]:
        del wanted, client
        slot = self.slots.free()
        if slot is not None:
            slot.mkdir(exist_ok=True)
        return slot, "no slot is free", slot is not None

    def settled(self) -> None:
        """Wait for what `obey` began."""
        if self._fetching is not None:
            self._fetching.join()


@dataclass
class SimBox:
    """One box of four cameras."""

    name: str
    token: str
    folder: Path
    models: dict[str, Model]
    champion: Model
    rng: random.Random
    cameras: int = 4
    beats: int = 0
    reported: str = ""
    wanted: DesiredState | None = None
    shadow: ShadowReport | None = None
    born: float = 0.0
    ran: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        write_bytes(self.folder / "fleet" / ROOT, b"{}")
        (self.folder / "models").mkdir(exist_ok=True)
        slots = {"active": {"slot": "a", "model": self.champion.path}}
        write_state(self.folder / "models" / "slots.json", slots)
        self._begin()

    def _begin(self) -> None:
        self._follow = _Models(self.folder, FleetConfig(), "http://127.0.0.1:9", LOG)
        self._follow.slots.boot()
        self.ran.append(self.model.path)

    @property
    def model(self) -> Model:
        """The model that runs."""
        return self.models[self._follow.slots.model]

    def start(self, now: datetime) -> None:
        """Start the worker as its supervisor does, again and again while a model ends it at once."""
        self.born = now.timestamp()
        self._begin()
        place = int(self.name.rpartition("-")[2]) // 10
        while (ends := self.model.ends) and place % ends == 0:
            self._begin()

    def look(self, now: datetime) -> Look:
        """All cameras live."""
        live = frozenset(f"{self.name}-{i}" for i in range(self.cameras))
        return Look(now.timestamp(), live, live)

    def heartbeat(self, now: datetime, step: timedelta) -> Heartbeat:
        """Return what the box says now."""
        self.beats += 1
        self._follow.watch(self.look(now), lambda: self.start(now))
        slots, name = self._follow.slots, self.model.path.partition("/")[2]
        refused, reason = slots.refused
        self.reported = slots.model
        self._judge_shadow(self.wanted.shadow if self.wanted else None, step)
        age = 0.6 * self.model.slower * self.rng.uniform(0.9, 1.1)
        return Heartbeat(
            id=new_id(), device_id=self.name, at=now, uptime_s=max(0.0, now.timestamp() - self.born),
            software_version="1", model_name=name.partition("@")[0], model_version=name.partition("@")[2],
            model_sha256="0" * 64, config_sha256="0" * 64, load=BoxLoad(age_p95_s=age),
            cameras=tuple(CameraHealth(camera_id=f"{self.name}-{i}", state="live") for i in range(self.cameras)),
            fleet=FleetReport(
                model=slots.model, model_phase=slots.phase, model_refused=refused, model_reason=reason,
                shadow=self.shadow,
            ),
        )  # fmt: skip

    def obey(self, wanted: DesiredState, client: httpx.Client, now: datetime) -> None:
        """Do what the centre wishes."""
        self.wanted = wanted
        self._follow.obey(wanted.model, client, lambda: self.look(now), lambda: self.start(now))
        self._follow.settled()

    def _judge_shadow(self, order: ShadowOrder | None, step: timedelta) -> None:
        if order is None:
            self.shadow = None
            return
        old = (
            self.shadow
            if self.shadow and self.shadow.model == order.model
            else ShadowReport(model=order.model)
        )
        # A quiet camera is looked at every ten seconds or so.
        frames = int(self.cameras * step.total_seconds() / 10 * order.share)
        objects = int(frames * OBJECTS_A_FRAME)
        apart = sum(self.rng.random() < self.models[order.model].apart for _ in range(objects))
        self.shadow = old.model_copy(
            update={
                "frames": old.frames + frames, "both": old.both + objects - apart,
                "champion_only": old.champion_only + apart // 2, "candidate_only": old.candidate_only + apart - apart // 2,
                "champion_ms": 20.0, "candidate_ms": 20.0 * self.models[order.model].slower,
            }
        )  # fmt: skip

    def alerts(self, step: timedelta) -> list[bool]:
        """Return of each alert of this step whether it is right."""
        days = self.cameras * (step / timedelta(days=1))
        return [true for true, rate in ((True, self.model.right), (False, self.model.wrong))
                for _ in range(_poisson(self.rng, rate * days))]  # fmt: skip

    def message(self, now: datetime, number: int) -> dict[str, Any]:
        """Return an alert of the model that runs, at a place of its own."""
        told = copy.deepcopy(ALERT_EVENT)
        alert = told["data"]
        name, _, version = self.model.path.partition("/")[2].partition("@")
        alert |= {"id": new_id(), "device_id": self.name, "camera_id": f"{self.name}-{number % self.cameras}"}
        alert |= {"evidence": [], "occurred_at": now.isoformat(), "camera_name": self.name}
        alert["key"] = {"site_id": new_id(), "ground_cell": new_id()}
        alert["model"] |= {"name": name, "version": version}
        # A hundred metres apart, so that no two are one place.
        alert["place"] |= {"lon": 100 + number % 2000 / 1000, "lat": 30 + number // 2000 / 1000}
        for word, shift in (("first_seen_at", 185), ("candidate_at", 125), ("confirmed_at", 0)):
            alert["dwell"][word] = (now - timedelta(seconds=shift)).isoformat()
        told |= {"id": new_id(), "subject": alert["id"], "time": now.isoformat()}
        told["source"] = f"/device/{self.name}/camera/{alert['camera_id']}"
        return told


def _poisson(rng: random.Random, mean: float) -> int:
    """Return a Poisson number (D. E. Knuth, TAOCP vol. 2, 3.4.1); means here are small."""
    count, left = 0, rng.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + rng.expovariate(1.0)
    return count
