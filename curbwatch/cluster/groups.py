"""A group of cameras as a Ray actor, and who keeps one actor for each group.

The actors are detached and named: the command that placed them may end. When a node dies, Ray starts its actors on
another node that fits; a group's folder is locked, so that a node that was only cut off and comes back cannot run it twice.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from curbwatch.cluster.plan import ClusterPlan, GroupPlan
from edge.supervisor import AGAIN

# A node that was cut off ends its actors within a minute of the head's verdict.
LOCK_PATIENCE_S = 120.0


class CameraGroup:
    """One box inside an actor. Its configuration is read on the node, so that no password travels through the cluster."""

    def __init__(self, box: str, data_dir: str | None) -> None:
        from edge.alone import hold
        from edge.box import Box
        from edge.config import load_box
        from edge.log import configure, get_logger

        configure(json_lines=True)
        config = load_box(Path(box))
        if data_dir is not None:
            config = config.model_copy(update={"data_dir": Path(data_dir)})
        self._held = hold(config.data_dir, LOCK_PATIENCE_S)
        self._box = Box(config, get_logger(), env_file=Path(box).with_suffix(".env"))
        self._ends = threading.Event()
        self._box.on_restart(self._begin_again)
        self._box.start()

    def health(self) -> dict[str, Any]:
        """Return the node, the number of cameras, how many are live and how many have shown a picture here."""
        lanes = self._box.worker.lanes
        states = [lane.stream.health() for lane in lanes if lane.stream is not None]
        return {
            "node": ray.get_runtime_context().get_node_id(),
            "cameras": len(lanes),
            "live": sum(1 for s in states if s.state.value == "live" and s.frames_decoded > 0),
            "at": time.time(),
        }

    def reload(self, box: str) -> None:
        """Take up the box file as it is now, without a restart; what the centre gives stays over it.

        Raises:
            ValueError: it cannot be taken up; the old one holds on.
        """
        from edge.config import load_box

        self._box.apply_file(load_box(Path(box)).model_copy(update={"data_dir": self._box.config.data_dir}))

    def _begin_again(self) -> None:
        """Run another model as a box under `edge run` does: in a new process. Ray starts an actor that ended so again."""
        if not self._ends.is_set():
            self._ends.set()
            # A thread of the box asks, and the box's end waits for its threads.
            threading.Thread(target=self._end_process, name="again").start()

    def _end_process(self) -> None:
        try:
            self.stop()
        finally:
            os._exit(AGAIN)

    def stop(self) -> None:
        """Stop the box in order; what was not sent stays in its outbox."""
        self._box.stop()
        self._held.close()


@dataclass(frozen=True, slots=True)
class GroupState:
    """How a group is."""

    name: str
    node: str | None
    cameras: int = 0
    live: int = 0
    reason: str = ""


class Keeper:
    """Places the groups of a plan and looks after them. A driver connected by `ray.init` is needed."""

    def __init__(self, plan: ClusterPlan) -> None:
        self._plan = plan

    def place(self) -> list[str]:
        """Start an actor for each group that has none; end those of this namespace that the plan no longer names.

        Returns the names of the groups that were started. Placing waits for nothing: a group that no node fits stays
        pending until one comes.
        """
        wanted = {g.name: g for g in self._plan.groups}
        there = {
            a["name"]
            for a in ray.util.list_named_actors(all_namespaces=True)
            if a["namespace"] == self._plan.namespace
        }
        for name in sorted(there - wanted.keys()):
            self.end(name)
        started = []
        for name, group in wanted.items():
            if name not in there:
                self._start(group)
                started.append(name)
        return started

    def _start(self, group: GroupPlan) -> None:
        state = None if self._plan.state is None else str(self._plan.state / group.name)
        near = {**group.only, **group.near}
        options: dict[str, Any] = {
            "name": group.name, "namespace": self._plan.namespace, "lifetime": "detached",
            "num_cpus": group.cpus, "num_gpus": group.gpus, "memory": group.memory_mib * 2**20,
            "max_restarts": -1, "max_concurrency": 4,
        }  # fmt: skip
        if near:
            options["label_selector"] = near
            if group.near:
                options["fallback_strategy"] = [{"label_selector": dict(group.only)}]
        ray.remote(CameraGroup).options(**options).remote(str(group.box), state)

    def end(self, name: str, patience_s: float = 60.0) -> None:
        """End a group in order, and with force after `patience_s` seconds."""
        try:
            actor = ray.get_actor(name, namespace=self._plan.namespace)
        except ValueError:
            return
        try:
            ray.get(actor.stop.remote(), timeout=patience_s)
        except (GetTimeoutError, RayActorError):
            pass
        finally:
            ray.kill(actor)

    def end_all(self) -> None:
        """End every group of the plan."""
        for group in self._plan.groups:
            self.end(group.name)

    def reload(self) -> dict[str, str]:
        """Let every group take up its box file; return what could not, by name."""
        failed = {}
        for group in self._plan.groups:
            try:
                actor = ray.get_actor(group.name, namespace=self._plan.namespace)
                ray.get(actor.reload.remote(str(group.box)), timeout=60)
            except (ValueError, GetTimeoutError, RayActorError) as exc:
                failed[group.name] = str(exc).strip().splitlines()[-1]
        return failed

    def states(self, timeout_s: float = 3.0) -> list[GroupState]:
        """Ask every group how it is; one that does not answer in time (it is being placed, or moved) says so."""
        asked: list[tuple[str, Any]] = []
        found: dict[str, GroupState] = {}
        for group in self._plan.groups:
            try:
                actor = ray.get_actor(group.name, namespace=self._plan.namespace)
            except ValueError:
                found[group.name] = GroupState(group.name, None, reason="not placed")
                continue
            asked.append((group.name, actor.health.remote()))
        ready, _ = (
            ray.wait([ref for _, ref in asked], num_returns=len(asked), timeout=timeout_s)
            if asked
            else ([], [])
        )
        for name, ref in asked:
            if ref not in ready:
                found[name] = GroupState(name, None, reason="no answer yet: it is being placed or moved")
                continue
            try:
                told = ray.get(ref)
                found[name] = GroupState(name, told["node"], told["cameras"], told["live"])
            except RayActorError as exc:
                found[name] = GroupState(name, None, reason=str(exc).strip().splitlines()[0][:200])
        return [found[g.name] for g in self._plan.groups]
